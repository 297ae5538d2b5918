"""Who may join a federation, and what every forged, stale or stolen credential is told."""

from __future__ import annotations

import base64
import hmac
import json
import socket
import ssl
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from umbel.federation.errors import IdentityError
from umbel.federation.identity import (
    Authority,
    Certificate,
    EnrolmentRequest,
    Invitation,
    JoinToken,
    PartyName,
    check_name,
)
from umbel.federation.identity.certificates import fingerprint
from umbel.federation.identity.enrolment import enrol, renew, requested_key, signing_request
from umbel.federation.identity.keys import new_key, read_key, write_key, write_secret

NOW = datetime.now(UTC)
URL = "https://coordinator.example:8443"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.create(tmp_path_factory.mktemp("authority"), "north", now=NOW)


def invited(authority: Authority, site: str = "hospital-a") -> tuple[Invitation, JoinToken]:
    return Invitation.make(site, URL, authority.fingerprint, now=NOW)


# --- names ----------------------------------------------------------------------------------------


@given(st.text(max_size=70))
def test_a_name_that_is_taken_is_safe_everywhere(text: str) -> None:
    try:
        name = check_name(text)
    except IdentityError:
        return
    assert Path("sites", name).resolve() == Path("sites").resolve() / name
    assert PartyName.parse(str(PartyName("north", "site", name))).name == name


@pytest.mark.parametrize(
    "text",
    ["", "-a", "a-", "A", "a/b", "..", "a\n", "a\0", "a" * 64, "ä", "a%2fb", "a.b", "a b"],
)
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(IdentityError, match="is no name of a site"):
        check_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "https://north/site/a", "spiffe://north/site/a/b", "spiffe://north/site/a?x", "a",
        "spiffe://user@north/site/a", "spiffe://north/admin/a", "spiffe://north:1/site/a",
        "spiffe://north/site/a#b", "spiffe://north//site/a", "spiffe://[/site/a",
        "SPIFFE://north/site/a",
    ],
)  # fmt: skip
def test_what_names_no_party(text: str) -> None:
    with pytest.raises(IdentityError):
        PartyName.parse(text)


# --- the authority --------------------------------------------------------------------------------


def test_an_authority_is_read_back_without_the_roots_key(tmp_path: Path) -> None:
    made = Authority.create(tmp_path / "ca", "north")
    (tmp_path / "ca" / "root.key").unlink()  # taken offline
    found = Authority.open(tmp_path / "ca")
    assert found.federation == "north"
    assert found.fingerprint == made.fingerprint
    issued = found.issue_site("a", new_key().public_key(), now=NOW)
    issued.check(made.root)


def test_the_issuing_certificate_is_renewed_with_the_roots_key_alone(tmp_path: Path) -> None:
    """What was issued before stays good, and what is issued after outlives the old issuer."""
    made = Authority.create(tmp_path, "north", now=NOW)
    old = made.issue_site("a", new_key().public_key(), now=NOW)
    late = NOW + timedelta(days=700)
    found = Authority.renew_issuer(tmp_path, now=late)
    assert found.fingerprint == made.fingerprint
    assert found.issuer.own.not_valid_after_utc > made.issuer.own.not_valid_after_utc
    old.check(found.root, now=NOW + timedelta(days=1))
    issued = found.issue_site("a", new_key().public_key(), now=late, life=timedelta(days=90))
    issued.check(made.root, now=late + timedelta(days=89))
    (tmp_path / "root.key").unlink()
    with pytest.raises(IdentityError, match=r"cannot read the key .*root\.key"):
        Authority.renew_issuer(tmp_path)


def test_an_authority_is_not_made_twice(tmp_path: Path) -> None:
    Authority.create(tmp_path, "north")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(IdentityError, match="holds an authority already"):
        Authority.create(tmp_path, "north")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    Authority.create(tmp_path, "north")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("*.key")} == {0o600}
    (tmp_path / "issuer.key").chmod(0o640)
    with pytest.raises(IdentityError, match="others can read the key"):
        Authority.open(tmp_path)


def test_an_authority_with_a_wrong_key(tmp_path: Path) -> None:
    Authority.create(tmp_path, "north")
    write_key(tmp_path / "issuer.key", new_key())
    with pytest.raises(IdentityError, match=r"is not the key of issuer\.pem"):
        Authority.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n", b"\xff\x00"])
def test_a_broken_key(tmp_path: Path, content: bytes) -> None:
    write_secret(tmp_path / "k.key", content)
    with pytest.raises(IdentityError, match="holds no key"):
        read_key(tmp_path / "k.key")


def test_a_key_of_another_kind(tmp_path: Path) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = other.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_secret(tmp_path / "k.key", pem)
    with pytest.raises(IdentityError, match="P-256"):
        read_key(tmp_path / "k.key")


def test_a_secret_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "k").mkdir()  # in the way
    with pytest.raises(IdentityError, match="cannot write"):
        write_secret(tmp_path / "k", b"secret")
    assert [path.name for path in tmp_path.iterdir()] == ["k"]


# --- certificates ---------------------------------------------------------------------------------


def test_a_certificate_says_whose_it_is(authority: Authority) -> None:
    key = new_key()
    issued = authority.issue_site("hospital-a", key.public_key(), now=NOW)
    assert str(issued.party) == "spiffe://north/site/hospital-a"
    assert Certificate.parse(issued.pem()).party == issued.party
    assert NOW + timedelta(days=19) < issued.renewal < NOW + timedelta(days=21)
    issued.check(authority.root, now=NOW)


def test_expiry_and_clocks_are_told_apart(authority: Authority) -> None:
    issued = authority.issue_site("a", new_key().public_key(), now=NOW)
    with pytest.raises(IdentityError, match="expired on"):
        issued.check(authority.root, now=NOW + timedelta(days=31))
    with pytest.raises(IdentityError, match="this machine's clock says"):
        issued.check(authority.root, now=NOW - timedelta(hours=1))
    issued.check(authority.root, now=NOW - timedelta(minutes=4))


def test_another_federation_is_not_trusted(authority: Authority, tmp_path: Path) -> None:
    other = Authority.create(tmp_path, "north")  # even one of the same name
    issued = other.issue_site("a", new_key().public_key(), now=NOW)
    with pytest.raises(IdentityError, match="was not issued by"):
        issued.check(authority.root)


def test_a_site_cannot_issue(authority: Authority) -> None:
    key = new_key()
    site = authority.issue_site("a", key.public_key(), now=NOW)
    forged = (
        x509.CertificateBuilder()
        .subject_name(site.own.subject)
        .issuer_name(site.own.subject)
        .public_key(new_key().public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(minutes=1))
        .not_valid_after(NOW + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier("spiffe://north/coordinator/main")]
            ),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    with pytest.raises(IdentityError, match="was not issued by"):
        Certificate((forged, *site.chain)).check(authority.root)


def test_nothing_outlives_the_issuer(authority: Authority) -> None:
    issued = authority.issue_site("a", new_key().public_key(), life=timedelta(days=9999), now=NOW)
    assert issued.own.not_valid_after_utc == authority.issuer.own.not_valid_after_utc


@pytest.mark.parametrize("content", [b"", b"nothing", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
def test_a_broken_certificate(content: bytes) -> None:
    with pytest.raises(IdentityError, match="is no PEM certificate"):
        Certificate.parse(content)


def test_a_server_needs_hosts_that_are_some(authority: Authority) -> None:
    key = new_key().public_key()
    with pytest.raises(IdentityError, match="needs a host"):
        authority.issue_server("main", key, [])
    with pytest.raises(IdentityError, match="is no host name"):
        authority.issue_server("main", key, ["bücher.example"])


def handshake(
    authority: Authority, folder: Path, client: Certificate, client_key: Path, host: str
) -> str:
    """Connect by TLS, both sides with certificates; give the name that the server saw."""
    key = new_key()
    write_key(folder / "server.key", key)
    server = authority.issue_server("main", key.public_key(), ["localhost", "127.0.0.1"], now=NOW)
    (folder / "server.pem").write_bytes(server.pem())
    (folder / "client.pem").write_bytes(client.pem())
    root = authority.root_pem().decode()
    listening = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cadata=root)
    listening.verify_mode = ssl.CERT_REQUIRED
    listening.load_cert_chain(folder / "server.pem", folder / "server.key")
    calling = ssl.create_default_context(cadata=root)
    calling.load_cert_chain(folder / "client.pem", client_key)
    seen: list[str] = []
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            with theirs, listening.wrap_socket(theirs, server_side=True) as stream:
                found = stream.getpeercert(binary_form=True)
                assert found is not None
                seen.append(str(Certificate((x509.load_der_x509_certificate(found),)).party))
                stream.sendall(b"ok")
        except ssl.SSLError as error:  # the caller hung up; it says why
            seen.append(str(error))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with ours, calling.wrap_socket(ours, server_hostname=host) as stream:
        assert stream.recv(2) == b"ok"
    thread.join(10)
    return seen[0]


def test_certificates_serve_a_tls_connection(authority: Authority, tmp_path: Path) -> None:
    key = new_key()
    write_key(tmp_path / "client.key", key)
    site = authority.issue_site("hospital-a", key.public_key(), now=NOW)
    for host in ("localhost", "127.0.0.1"):
        name = handshake(authority, tmp_path, site, tmp_path / "client.key", host)
        assert name == "spiffe://north/site/hospital-a"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(authority, tmp_path, site, tmp_path / "client.key", "elsewhere.example")


# --- joining --------------------------------------------------------------------------------------


def test_a_site_joins_with_its_token(authority: Authority) -> None:
    invitation, token = invited(authority)
    key = new_key()
    carried = JoinToken.decode(f" {token.encode()}\n")
    assert carried == token
    request = EnrolmentRequest.make(carried, key)
    issued = enrol(authority, invitation, request, now=NOW)
    assert issued.party.name == "hospital-a"
    assert issued.public_key == key.public_key()
    assert carried.authority == fingerprint(authority.root)


def test_the_site_cannot_choose_its_name(authority: Authority) -> None:
    invitation, token = invited(authority, "hospital-a")
    key = new_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "hospital-b")])
    uri = x509.UniformResourceIdentifier("spiffe://north/site/hospital-b")
    wish = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(name)
        .add_extension(x509.SubjectAlternativeName([uri]), critical=False)
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    honest = EnrolmentRequest.make(token, key)
    with pytest.raises(IdentityError, match="does not prove"):
        enrol(authority, invitation, replace(honest, signing_request=wish), now=NOW)
    # As the invited site itself could do.
    proof = hmac.digest(invitation.key, invitation.id.encode() + b"\0" + wish, "sha256").hex()
    proved = EnrolmentRequest(invitation.id, wish, proof)
    assert enrol(authority, invitation, proved, now=NOW).party.name == "hospital-a"


def test_an_invitation_soon_expires(authority: Authority) -> None:
    invitation, token = invited(authority)
    request = EnrolmentRequest.make(token, new_key())
    with pytest.raises(IdentityError, match="expired on"):
        enrol(authority, invitation, request, now=NOW + timedelta(minutes=15))


def test_a_listener_cannot_put_his_own_key_in(authority: Authority) -> None:
    invitation, token = invited(authority)
    seen = EnrolmentRequest.make(token, new_key())
    stolen = replace(seen, signing_request=signing_request(new_key()))
    with pytest.raises(IdentityError, match="does not prove"):
        enrol(authority, invitation, stolen, now=NOW)


def test_a_token_of_another_site(authority: Authority) -> None:
    invitation, _ = invited(authority, "hospital-a")
    _, other = invited(authority, "hospital-b")
    with pytest.raises(IdentityError, match="does not prove"):
        enrol(authority, invitation, EnrolmentRequest.make(other, new_key()), now=NOW)


@pytest.mark.parametrize("proof", ["", "ä", "00", "0" * 64])
def test_a_forged_proof(authority: Authority, proof: str) -> None:
    invitation, token = invited(authority)
    request = EnrolmentRequest.make(token, new_key())
    with pytest.raises(IdentityError, match="does not prove"):
        enrol(authority, invitation, replace(request, proof=proof), now=NOW)


def test_a_request_must_hold_its_key() -> None:
    mine = x509.load_pem_x509_csr(signing_request(new_key()))
    whole = mine.public_bytes(serialization.Encoding.DER)
    body = mine.tbs_certrequest_bytes
    start = whole.index(body) + len(body)
    # The body of one request with the signature of another; its length differs now and then.
    others = (x509.load_pem_x509_csr(signing_request(new_key())) for _ in range(64))
    ders = (other.public_bytes(serialization.Encoding.DER) for other in others)
    other = next(der for der in ders if len(der) == len(whole))
    mixed = base64.encodebytes(whole[:start] + other[start:])
    name = b"CERTIFICATE REQUEST-----\n"
    with pytest.raises(IdentityError, match="not signed by its own key"):
        requested_key(b"-----BEGIN " + name + mixed + b"-----END " + name)


@pytest.mark.parametrize("request_", [b"", b"x" * 5000, b"-----BEGIN CERTIFICATE REQUEST-----\n"])
def test_what_is_no_request(request_: bytes) -> None:
    with pytest.raises(IdentityError, match="no request for a certificate"):
        requested_key(request_)


def test_renewal_keeps_the_name_and_takes_a_new_key(authority: Authority) -> None:
    present = authority.issue_site("hospital-a", new_key().public_key(), now=NOW)
    key, later = new_key(), NOW + timedelta(days=20)
    renewed = renew(authority, present, signing_request(key), now=later)
    assert renewed.party == present.party
    assert renewed.public_key == key.public_key()
    assert renewed.own.not_valid_after_utc > present.own.not_valid_after_utc


def test_what_is_not_renewed(authority: Authority) -> None:
    request = signing_request(new_key())
    old = authority.issue_site("a", new_key().public_key(), now=NOW)
    with pytest.raises(IdentityError, match="expired on"):
        renew(authority, old, request, now=NOW + timedelta(days=31))
    server = authority.issue_server("main", new_key().public_key(), ["localhost"], now=NOW)
    with pytest.raises(IdentityError, match="is no site"):
        renew(authority, server, request, now=NOW)


# --- tokens ---------------------------------------------------------------------------------------


def test_a_secret_does_not_show(authority: Authority) -> None:
    invitation, token = invited(authority)
    assert token.secret.hex() not in repr(token)
    assert repr(token.secret) not in repr(token)
    assert repr(invitation.key) not in repr(invitation)
    assert invitation.key != token.secret


@given(st.data())
def test_a_token_that_was_changed_is_never_taken_for_another(data: st.DataObject) -> None:
    token = JoinToken(URL, "ab" * 32, "0011", b"s" * 32)
    text = token.encode()
    cut = data.draw(st.integers(0, len(text)))
    changed = text[:cut] + data.draw(st.text(max_size=4)) + text[cut + 1 :]
    try:
        found = JoinToken.decode(changed)
    except IdentityError:
        return
    assert isinstance(found, JoinToken)
    assert found.url.startswith("https://")
    assert len(found.secret) == 32


@pytest.mark.parametrize("url", ["http://c.example", "https://", "file:///etc/passwd", "c.example"])
def test_only_https(url: str) -> None:
    text = JoinToken(url, "ab" * 32, "0011", b"s" * 32).encode()
    with pytest.raises(IdentityError, match="https"):
        JoinToken.decode(text)


def test_a_token_of_a_later_version() -> None:
    content = {"v": 2, "url": URL, "ca": "ab" * 32, "id": "1", "secret": "00" * 32}
    text = "umbel-join-" + base64.urlsafe_b64encode(json.dumps(content).encode()).decode()
    with pytest.raises(IdentityError, match="version 2"):
        JoinToken.decode(text)


def test_deep_nesting_in_a_token_is_refused() -> None:
    text = "umbel-join-" + base64.urlsafe_b64encode(b"[" * 3000).decode().rstrip("=")
    with pytest.raises(IdentityError, match="join token"):
        JoinToken.decode(text)


def test_no_secret_is_left_in_the_folder_of_a_failed_write(tmp_path: Path) -> None:
    write_secret(tmp_path / "a", b"one")
    write_secret(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]

"""The federation's certificate authority: a root that can be kept offline, and one that issues."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from umbel.dataclass import dataclass
from umbel.federation.errors import IdentityError
from umbel.federation.identity.certificates import (
    CLOCK_SKEW,
    Certificate,
    fingerprint,
    key_matches,
    name_of,
)
from umbel.federation.identity.keys import (
    PrivateKey,
    PublicKey,
    new_key,
    read_key,
    write_key,
    write_secret,
)
from umbel.federation.identity.names import PartyName, check_name

#: Lives of certificates. A site's is short: it renews itself, and revocation need not reach far.
ROOT_LIFE = timedelta(days=3650)
ISSUER_LIFE = timedelta(days=730)
SITE_LIFE = timedelta(days=30)
SERVER_LIFE = timedelta(days=90)

ROOT, ISSUER = "root", "issuer"


@dataclass(frozen=True)
class Authority:
    """Issues the certificates of one federation.

    The root's key signs the issuer's certificate and nothing else: after `create` it can be taken
    away from the machine, and brought back when the issuer's certificate is renewed.

    Attributes:
        federation: its name.
        root: the certificate that every party trusts.
        issuer: the certificate of the key that issues.
    """

    federation: str
    root: x509.Certificate
    issuer: Certificate
    _key: PrivateKey

    @classmethod
    def create(cls, folder: Path, federation: str, *, now: datetime | None = None) -> Authority:
        """Make an authority; its keys and certificates are written to a folder.

        Raises:
            IdentityError: there is one already, or the folder cannot be written.
        """
        check_name(federation, "federation")
        now = now or datetime.now(UTC)
        if any((folder / f"{name}.pem").exists() for name in (ROOT, ISSUER)):
            raise IdentityError(
                f"{folder} holds an authority already",
                hint="a new one would lock out every site that joined; choose another folder",
            )
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise IdentityError(f"cannot make {folder}: {error.strerror}") from None
        root_key, key = new_key(), new_key()
        name = name_of(f"{federation} root", federation)
        root = _sign_authority(name, root_key.public_key(), name, root_key, 1, now, ROOT_LIFE)
        issuer = _sign_authority(
            name_of(f"{federation} issuer", federation),
            key.public_key(), name, root_key, 0, now, ISSUER_LIFE,
        )  # fmt: skip
        write_key(folder / f"{ROOT}.key", root_key)
        write_key(folder / f"{ISSUER}.key", key)
        for file, certificate in ((ISSUER, issuer), (ROOT, root)):
            (folder / f"{file}.pem").write_bytes(Certificate((certificate,)).pem())
        return cls(federation, root, Certificate((issuer,)), key)

    @classmethod
    def open(cls, folder: Path, *, now: datetime | None = None) -> Authority:
        """Read an authority; the root's key need not be there.

        Raises:
            IdentityError: there is none, its certificate has expired, or its key is another's.
        """
        root = Certificate.read(folder / f"{ROOT}.pem").own
        issuer = Certificate.read(folder / f"{ISSUER}.pem")
        issuer.check(root, now=now)
        key = read_key(folder / f"{ISSUER}.key")
        if not key_matches(key, issuer):
            raise IdentityError(f"{folder / ISSUER}.key is not the key of {ISSUER}.pem")
        found = root.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
        return cls(str(found[0].value) if found else "", root, issuer, key)

    @classmethod
    def renew_issuer(cls, folder: Path, *, now: datetime | None = None) -> Authority:
        """Give the key that issues a new certificate; this takes the root's key.

        What was issued before stays good: the key is the same, and the root that parties trust.

        Raises:
            IdentityError: there is no authority, or the root's key is not there or another's.
        """
        root, key = Certificate.read(folder / f"{ROOT}.pem"), read_key(folder / f"{ISSUER}.key")
        root_key = read_key(folder / f"{ROOT}.key")
        if not key_matches(root_key, root):
            raise IdentityError(f"{folder / ROOT}.key is not the key of {ROOT}.pem")
        issuer = _sign_authority(
            Certificate.read(folder / f"{ISSUER}.pem").own.subject,
            key.public_key(), root.own.subject, root_key, 0, now or datetime.now(UTC), ISSUER_LIFE,
        )  # fmt: skip
        write_secret(folder / f"{ISSUER}.pem", Certificate((issuer,)).pem())
        return cls.open(folder, now=now)

    @property
    def fingerprint(self) -> str:
        """The root's SHA-256: what an invitation carries, so that nobody can pose as us."""
        return fingerprint(self.root)

    def root_pem(self) -> bytes:
        """The certificate that every party trusts, as PEM."""
        return Certificate((self.root,)).pem()

    def issue_site(
        self,
        site: str,
        key: PublicKey,
        *,
        life: timedelta = SITE_LIFE,
        now: datetime | None = None,
    ) -> Certificate:
        """Issue a site's certificate for a key that the site has proved to hold.

        Raises:
            IdentityError: the site's name is none.
        """
        party = PartyName(self.federation, "site", site)
        usage = ExtendedKeyUsageOID.CLIENT_AUTH
        return self._issue(party, key, usage, (), life, now)

    def issue_server(
        self,
        name: str,
        key: PublicKey,
        hosts: Sequence[str],
        *,
        life: timedelta = SERVER_LIFE,
        now: datetime | None = None,
    ) -> Certificate:
        """Issue the coordinator's certificate.

        Args:
            name: the coordinator's.
            key: its key.
            hosts: the host names and addresses at which it is reached.
            life: how long it is valid.
            now: the time; None for the clock's.

        Raises:
            IdentityError: there is no host, or a name is none.
        """
        if not hosts:
            raise IdentityError(
                "a server's certificate needs a host",
                hint="give the names and addresses at which sites reach the coordinator",
            )
        party = PartyName(self.federation, "coordinator", name)
        usage = ExtendedKeyUsageOID.SERVER_AUTH
        return self._issue(party, key, usage, [_host(host) for host in hosts], life, now)

    def _issue(
        self,
        party: PartyName,
        key: PublicKey,
        usage: x509.ObjectIdentifier,
        hosts: Sequence[x509.GeneralName],
        life: timedelta,
        now: datetime | None,
    ) -> Certificate:
        now = now or datetime.now(UTC)
        # Nothing that we issue outlives us.
        end = min(now + life, self.issuer.own.not_valid_after_utc)
        names = [x509.UniformResourceIdentifier(str(party)), *hosts]
        builder = _builder(name_of(party.name, self.federation), key, now, end)
        signed = (
            builder.issuer_name(self.issuer.own.subject)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
            .add_extension(_usage(signing=False), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.issuer.public_key),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        return Certificate((signed, *self.issuer.chain))


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass  # a name, then
    try:
        return x509.DNSName(host)
    except ValueError:
        raise IdentityError(
            f"{host!r} is no host name", hint="write other alphabets as xn--… (IDNA)"
        ) from None


def _builder(
    subject: x509.Name, key: PublicKey, start: datetime, end: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - CLOCK_SKEW)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _sign_authority(
    subject: x509.Name,
    key: PublicKey,
    issuer: x509.Name,
    issuer_key: PrivateKey,
    below: int,
    now: datetime,
    life: timedelta,
) -> x509.Certificate:
    """Sign an authority's certificate; `below` counts the authorities that may stand below it."""
    return (
        _builder(subject, key, now, now + life)
        .issuer_name(issuer)
        .add_extension(x509.BasicConstraints(ca=True, path_length=below), critical=True)
        .add_extension(_usage(signing=True), critical=True)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .sign(issuer_key, hashes.SHA256())
    )


def _usage(*, signing: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signing,
        key_cert_sign=signing,
        crl_sign=signing,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )

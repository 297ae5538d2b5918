"""Who may do what at a coordinator: every route, every role, and tokens that are no good."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

import umbel as ub
from tests.federation.coordinator.conftest import Running
from umbel.federation.access import ApiToken, Permission, Role
from umbel.federation.coordinator.app import ROUTES
from umbel.federation.errors import AccessError, CoordinatorError, IdentityError
from umbel.federation.identity import Authority, Certificate, EnrolmentRequest, JoinToken
from umbel.federation.identity.keys import new_key
from umbel.plan.errors import PlanError

#: Which roles may call which routes. Said here once more, by hand, so that a change of the
#: permissions has to be made twice.
ALL, ASKING = "viewer analyst publisher operator auditor", "analyst"
MAY = {
    "GET /v1/whoami": ALL,
    "GET /v1/tokens": "operator auditor",
    "POST /v1/tokens": "operator",
    "DELETE /v1/tokens/{name}": "operator",
    "POST /v1/invitations": "publisher operator",
    "GET /v1/sites": ALL,
    "GET /v1/status": ALL,
    "DELETE /v1/sites/{name}": "operator",
    "GET /v1/tables": ALL,
    "GET /v1/table": ALL,
    "GET /v1/platforms": ALL,
    "GET /v1/uploads/{name}": ASKING,
    "PUT /v1/uploads/{name}": ASKING,
    "POST /v1/explain": ASKING,
    "POST /v1/asks": ASKING,
    "POST /v1/questions": ASKING,
    "POST /v1/questions/{name}": ASKING,
    "DELETE /v1/questions/{name}": ASKING,
    "POST /v1/runs": ASKING,
    "GET /v1/runs": ALL,
    "GET /v1/runs/{name}": ALL,
    "GET /v1/runs/{name}/events": ALL,
    "GET /v1/runs/{name}/result": ASKING,
    "DELETE /v1/runs/{name}/result": ASKING,
    "POST /v1/runs/{name}/cancel": ALL,
    "POST /v1/runs/{name}/resume": ASKING,
    "POST /v1/runs/prune": ALL,
}
OPEN = {"GET /v1/login", "GET /v1/hello", "GET /v1/authority", "POST /v1/enrol"}


def test_every_route_asks_who_is_there_and_what_they_may(running: Running) -> None:
    assert {f"{method} {path}" for method, path, _, _ in ROUTES} == MAY.keys() | OPEN
    clients = {role: running.http(role) for role in Role}
    nobody = httpx.Client(base_url=running.url, verify=False, trust_env=False)
    for method, path, _, _ in ROUTES:
        here = path.replace("{name}", "0" * 64)
        answer = nobody.request(method, here)
        if f"{method} {path}" in OPEN:
            assert answer.status_code != 401 or "invitation" in answer.text
            continue
        assert answer.status_code == 401, path
        for role, client in clients.items():
            # What is asked for makes no sense, so that nothing is done; only who asks is judged.
            status = client.request(method, here).status_code
            allowed = role.value in MAY[f"{method} {path}"].split()
            assert (status != 403) is allowed, (role, method, path, status)
            assert status != 401
            assert status < 500
    for client in (nobody, *clients.values()):
        client.close()


def test_roles_add_up(running: Running) -> None:
    with running.http(Role.AUDITOR, Role.PUBLISHER) as client:
        assert client.get("/v1/tokens").status_code == 200
        assert client.post("/v1/invitations", json={"site": "s"}).status_code == 201
        told = client.post("/v1/tokens", json={"user": "x", "roles": ["viewer"]}).json()["error"]
    assert told["class"] == "AccessError"
    assert "auditor, publisher" in told["message"]
    assert "operator" in told["hint"]


def test_tokens_that_are_no_good_are_told_why(running: Running) -> None:
    good = running.token()
    with ub.connect(running.url, token=good) as session:  # type: ignore[attr-defined]
        assert session.user == "ann"
    read = ApiToken.decode(good)
    forged = ApiToken(read.id, "0" * 64, read.authority).encode()
    unknown = ApiToken("0" * 16, read.secret, read.authority).encode()
    for wrong in (forged, unknown):
        with pytest.raises(IdentityError, match="not known here") as caught:
            ub.connect(running.url, token=wrong)
        assert read.secret not in str(caught.value)
    with pytest.raises(IdentityError, match="no whole token") as caught:
        ub.connect(running.url, token=good[:-1])
    assert read.secret not in str(caught.value)
    _, late = running.coordinator.new_token("bob", [Role.VIEWER], timedelta(seconds=-1))
    with pytest.raises(IdentityError, match="'bob' expired on"):
        ub.connect(running.url, token=late.encode())
    elsewhere = ApiToken(read.id, read.secret, "f" * 64).encode()
    with pytest.raises(IdentityError, match="not the one that this token is for"):
        ub.connect(running.url, token=elsewhere)


def test_a_token_that_is_revoked_is_of_no_use_at_once(running: Running) -> None:
    session: Any = ub.connect(running.url, token=running.token(user="eve"))
    table = session.table("ref.people")
    assert table.count() == 1000
    record = next(r for r in running.coordinator.store.tokens.all() if r.user == "eve")
    with running.http(Role.OPERATOR) as operator:
        assert operator.delete(f"/v1/tokens/{record.id}").status_code == 204
        assert operator.delete("/v1/tokens/none").status_code == 404
        listed = {token["id"]: token["revoked"] for token in operator.get("/v1/tokens").json()}
    assert listed[record.id] is True
    with pytest.raises(IdentityError, match="was revoked"):
        table.count()
    session.close()


def test_a_viewer_sees_tables_and_may_not_ask(running: Running) -> None:
    session: Any = ub.connect(running.url, token=running.token(Role.VIEWER))
    table = session.table("ref.people")
    assert table.columns == ["id", "age", "name"]
    with pytest.raises(AccessError, match="may not ask here as viewer"):
        table.collect()
    session.close()


def test_the_store_holds_no_secret(running: Running) -> None:
    token = ApiToken.decode(running.token(user="carl"))
    record = running.coordinator.store.tokens.get(token.id)
    assert record is not None
    assert token.secret not in repr(record) + record.digest + repr(token)
    content = (running.coordinator.settings.folder / "state.db").read_bytes()
    assert token.secret.encode() not in content
    assert b"carl" in content or (running.coordinator.settings.folder / "state.db-wal").exists()


def test_a_site_joins_once_and_is_revoked(running: Running) -> None:
    with running.http(Role.OPERATOR) as client:
        word = client.post("/v1/invitations", json={"site": "hospital-a"}).json()["token"]
        request = EnrolmentRequest.make(JoinToken.decode(word), new_key())
        body = {
            "invitation": request.invitation,
            "signing_request": request.signing_request.decode(),
            "proof": request.proof,
        }
        forged = client.post("/v1/enrol", json={**body, "proof": "0" * 64})
        assert forged.status_code == 401
        joined = client.post("/v1/enrol", json=body).json()
        again = client.post("/v1/enrol", json=body)
        assert again.status_code == 401
        assert "used already" in again.text
        certificate = Certificate.parse(joined["certificate"].encode())
        certificate.check(Certificate.parse(joined["root"].encode()).own)
        assert str(certificate.party) == "spiffe://north/site/hospital-a"
        running.coordinator.store.members.check("hospital-a", certificate.serial)
        assert [(s["name"], s["state"]) for s in client.get("/v1/sites").json()] == [
            ("hospital-a", "joined")
        ]
        assert client.delete("/v1/sites/hospital-a").status_code == 204
        assert client.delete("/v1/sites/nobody").status_code == 404
        with pytest.raises(IdentityError, match="revoked"):
            running.coordinator.store.members.check("hospital-a", certificate.serial)


def test_an_invitation_with_a_key_of_another_kind_is_refused(running: Running) -> None:
    _, word = running.coordinator.invite("hospital-b")
    wrong: Any = ec.generate_private_key(ec.SECP384R1())
    request = EnrolmentRequest.make(JoinToken.decode(word), wrong)
    with pytest.raises(IdentityError, match="P-256"):
        running.coordinator.enrol(request)


# --- reaching a coordinator -----------------------------------------------------------------------


def test_a_coordinator_that_is_down_is_named(running: Running) -> None:
    with pytest.raises(CoordinatorError, match="localhost:1 cannot be reached") as caught:
        ub.connect("https://localhost:1", token=running.token())
    assert "umbel coordinator serve" in str(caught.value)


def test_only_https_to_a_host_is_a_coordinator(running: Running) -> None:
    for url in ("http://localhost:1", "https://ann:pw@localhost:1", "https://localhost/x", "north"):
        with pytest.raises(PlanError, match="https://host:port") as caught:
            ub.connect(url, token=running.token())
        assert "pw@" not in str(caught.value)


def test_a_certificate_of_another_authority_is_refused(running: Running, tmp_path: Any) -> None:
    other = Authority.create(tmp_path / "a", "south")
    (tmp_path / "south.pem").write_bytes(other.root_pem())
    with pytest.raises(IdentityError, match="not the one that this token is for"):
        ub.connect(running.url, token=running.token(), ca=tmp_path / "south.pem")
    # One who holds a token of the other federation, and its root, meets a stranger here.
    read = ApiToken.decode(running.token())
    foreign = ApiToken(read.id, read.secret, other.fingerprint).encode()
    with pytest.raises(IdentityError, match="not the coordinator of this token"):
        ub.connect(running.url, token=foreign, ca=tmp_path / "south.pem")
    root = running.coordinator.settings.authority / "root.pem"
    ub.connect(running.url, token=running.token(), ca=root).close()  # type: ignore[attr-defined]


def test_a_name_that_is_not_in_the_certificate_is_refused(running: Running) -> None:
    port = running.url.rpartition(":")[2]
    with pytest.raises(IdentityError, match="not for the host of"):
        ub.connect(f"https://127.0.0.1:{port}", token=running.token())


def test_plain_http_gets_no_answer(running: Running) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(running.url.replace("https", "http") + "/v1/hello", trust_env=False)


def test_a_client_of_another_version_is_told_which(running: Running) -> None:
    with running.http() as client:
        answer = client.get("/v1/whoami", headers={"umbel-protocol": "99"})
    assert answer.status_code == 426
    assert "version 2 of the protocol, the client version '99'" in answer.json()["error"]["message"]


def test_what_is_no_route_is_an_error_of_ours(running: Running) -> None:
    with running.http() as client:
        answer = client.get("/v1/sites/../../etc/passwd")
        assert answer.status_code == 404
        assert answer.json()["error"]["class"] == "UnknownNameError"
        assert client.get("/docs").status_code == 404


def test_permissions_are_each_somebodys() -> None:
    held = frozenset[Permission]().union(*(role.permissions for role in Role))
    assert held == set(Permission)


def test_certificates_that_are_overdue_are_told(running: Running) -> None:
    """The ports' are to be new after 60 days of 90, the issuer's after 486 of 730."""
    with running.http(Role.VIEWER) as client:
        found = client.get("/v1/status").json()["certificates"]
    assert [one["late"] for one in found] == [False, False, False]
    assert {one["days"] for one in found} == {89, 729}
    for days, late in ((59, [False] * 3), (62, [False, True, True]), (490, [True] * 3)):
        then = datetime.now(UTC) + timedelta(days=days)
        assert [one["late"] for one in running.coordinator.certificates(then)] == late

"""Every credential that is no good is told why, on the site's side or by the coordinator."""

from __future__ import annotations

import json
import shutil
import socket
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyarrow import flight

from tests.federation.harness import Federation, compute, federation, numbers, settles, task
from umbel.federation.errors import FederationError, IdentityError, SiteError
from umbel.federation.identity import Authority, Certificate
from umbel.federation.identity.keys import key_bytes, new_key, sign, write_key
from umbel.federation.wire import Agent, AgentConfig, messages
from umbel.federation.wire.connection import Connection, SiteIdentity, UnreachableError
from umbel.federation.wire.messages import Refused, RefusedError
from umbel.federation.wire.sessions import signed_hello


@pytest.fixture(scope="module")
def wire() -> Iterator[Federation]:
    with federation(poll_seconds=1.0, lease_seconds=1.5) as made:
        yield made


def connection(wire: Federation, site: str) -> Connection:
    return Connection(SiteIdentity.read(wire.join(site)), wire.address)


def poll(line: Connection, number: int = 0) -> Any:
    return line.ask(
        lambda session: messages.Poll(session=session, number=number, slots=0, holding=[], wait=0),
        messages.Polled,
    )[0]


def send(line: Connection, request: messages.Request) -> dict[str, Any]:
    """Send a message as it is; give the header of the answer."""
    action = flight.Action(request.name, messages.pack(request))
    first = next(iter(line._connected().do_action(action)))
    read: dict[str, Any] = json.loads(first.body.to_pybytes())
    return read


# --- What the site finds out itself, for TLS would not say.


def test_an_expired_certificate_is_named_before_the_site_dials(wire: Federation) -> None:
    folder = wire.join("late", life=timedelta(days=1), ago=timedelta(days=2))
    with pytest.raises(IdentityError, match="expired on"):
        Agent(AgentConfig(folder, wire.address), compute)


def test_a_clock_that_is_slow_is_named(wire: Federation) -> None:
    folder = wire.join("slow", ago=timedelta(hours=-1))
    with pytest.raises(IdentityError, match=r"valid only from .* clock says"):
        Agent(AgentConfig(folder, wire.address), compute)


def test_files_that_do_not_belong_together_are_named(wire: Federation, tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="cannot read"):
        SiteIdentity.read(tmp_path)
    one, two = wire.join("one"), wire.join("two")
    mixed = tmp_path / "mixed"
    shutil.copytree(one, mixed)
    shutil.copy(two / "site.key", mixed / "site.key")
    with pytest.raises(IdentityError, match=r"is not the key of site\.pem"):
        SiteIdentity.read(mixed)
    other = Authority.create(tmp_path / "other", "north")
    (mixed / "root.pem").write_bytes(other.root_pem())
    shutil.copy(one / "site.key", mixed / "site.key")
    with pytest.raises(IdentityError, match="was not issued by"):
        Agent(AgentConfig(mixed, wire.address), compute)


def test_why_there_is_no_line_is_found_out(wire: Federation, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        line = Connection(SiteIdentity.read(wire.join("dials")), f"127.0.0.1:{port}")
        with pytest.raises(UnreachableError, match="cannot reach the coordinator"):
            poll(line)
        assert "Connection refused" in line.diagnose()
    assert Connection(line.identity, wire.address).diagnose() == "the line is fine now"
    wrong = Connection(line.identity, f"localhost:{wire.endpoint.port}")
    assert "certificate is no good here: " in wrong.diagnose()
    assert "write host:port" in Connection(line.identity, "coordinator").diagnose()
    # One of another authority, which the site would believe: the server does not.
    other = Authority.create(tmp_path / "ca", "north")
    key = new_key()
    stranger = other.issue_site("dials", key.public_key())
    write_key(tmp_path / "site.key", key)
    (tmp_path / "site.pem").write_bytes(stranger.pem())
    (tmp_path / "root.pem").write_bytes(wire.authority.root_pem())
    identity = SiteIdentity.read(tmp_path)
    with pytest.raises(IdentityError, match="was not issued by"):
        poll(Connection(identity, wire.address))
    assert "this site's certificate" in Connection(identity, wire.address).diagnose()


@pytest.mark.parametrize("shown", ["nothing", "stranger", "plaintext"])
def test_nobody_comes_in_without_a_certificate_of_ours(
    wire: Federation, tmp_path: Path, shown: str
) -> None:
    tls: dict[str, Any] = {"tls_root_certs": wire.authority.root_pem()}
    if shown == "stranger":
        key = new_key()
        stranger = Authority.create(tmp_path / "ca", "north").issue_site("a", key.public_key())
        tls |= {"cert_chain": stranger.pem(), "private_key": key_bytes(key)}
    location = f"grpc://{wire.address}" if shown == "plaintext" else f"grpc+tls://{wire.address}"
    options = {} if shown == "plaintext" else tls
    with (
        flight.FlightClient(location, **options) as client,
        pytest.raises(flight.FlightUnavailableError),
    ):
        list(client.do_action(flight.Action("challenge", b"")))


# --- What the coordinator finds out.


def test_a_stolen_credential_does_not_speak_for_another_site(wire: Federation) -> None:
    thief, victim = connection(wire, "thief"), connection(wire, "victim")
    poll(victim)
    # The victim's session, by the thief's certificate.
    answer = send(thief, messages.Have(session=victim._session, task="0" * 64, token="0" * 32))
    assert answer["refused"] == "session"
    # The victim's certificate, which is no secret, by the thief's key, over the thief's line.
    epoch = "0" * 32

    def hello(certificate: Certificate, key: Any, nonce: str) -> dict[str, Any]:
        return send(
            thief,
            messages.Hello(
                protocol=messages.PROTOCOL,
                nonce=nonce,
                epoch=epoch,
                certificate=certificate.pem().decode(),
                signature=sign(key, signed_hello("north", nonce, epoch, certificate)).hex(),
                clock=time.time(),
                round_trip=0.0,
                version="0",
            ),
        )

    def nonce(line: Connection) -> str:
        return str(send(line, messages.Challenge(protocol=messages.PROTOCOL))["nonce"])

    mine, theirs = thief.identity, victim.identity
    assert (
        "was shown by site 'thief'" in hello(theirs.certificate, mine.key, nonce(thief))["message"]
    )
    assert "not signed by the key" in hello(mine.certificate, theirs.key, nonce(thief))["message"]
    # A nonce is for one site, once.
    assert "nonce" in hello(mine.certificate, mine.key, nonce(victim))["message"]
    once = nonce(thief)
    assert "session" in hello(mine.certificate, mine.key, once)
    assert "used already" in hello(mine.certificate, mine.key, once)["message"]
    # A certificate of our own authority that was never recorded, as by a stolen issuer's backup.
    unknown = wire.authority.issue_site("thief", mine.key.public_key())
    assert "issued no such certificate" in hello(unknown, mine.key, nonce(thief))["message"]


def test_revocation_holds_in_the_middle_of_a_session_and_of_a_poll(wire: Federation) -> None:
    line = connection(wire, "revoked")
    poll(line)
    ended: list[BaseException] = []
    agent = Agent(AgentConfig(wire.join("waits"), wire.address), compute)
    original = agent._serve

    def serve() -> None:
        try:
            original()
        except FederationError as error:
            ended.append(error)

    agent._serve = serve  # type: ignore[method-assign]
    agent.start()
    settles(lambda: wire.endpoint.presence("waits").connected)
    for site in ("revoked", "waits"):
        wire.store.members.revoke(site)
    with pytest.raises(IdentityError, match="'revoked' was revoked"):
        poll(line, 1)
    with pytest.raises(IdentityError, match="'revoked' was revoked"):
        poll(Connection(line.identity, wire.address))
    # The one that waits gets nothing of what comes after.
    running = wire.begin(task("r-revoked", 0, 1, site="waits"), patience=0.3)
    settles(lambda: ended)
    assert isinstance(ended[0], IdentityError)
    with pytest.raises(SiteError, match="'waits' is away"):
        running.result()
    agent.stop()


def test_a_second_process_of_a_site_takes_its_place(wire: Federation) -> None:
    first = connection(wire, "twice")
    second = Connection(first.identity, wire.address)
    poll(first)
    poll(second)
    with pytest.raises(RefusedError, match="another process speaks for site 'twice'") as caught:
        poll(first, 1)
    assert caught.value.why is Refused.SUPERSEDED
    poll(second, 1)


def test_a_session_is_begun_anew_after_the_coordinator_was(wire: Federation) -> None:
    line = connection(wire, "again")
    poll(line)
    wire.endpoint._sessions._sessions.clear()
    poll(line, 1)


def test_a_certificate_is_renewed_in_time_and_the_older_holds_no_more(wire: Federation) -> None:
    # Two thirds of its life are over.
    folder = wire.join("renews", life=timedelta(hours=3), ago=timedelta(hours=2, minutes=10))
    before = SiteIdentity.read(folder)
    agent = wire.agent("renews")
    work = task("r-renew", 0, 3, site="renews")
    assert wire.run(work).equals(numbers(work))
    after = SiteIdentity.read(folder)
    assert after.certificate.serial != before.certificate.serial
    assert after.certificate.renewal > before.certificate.own.not_valid_after_utc
    assert not agent._connection.renewal_due
    with pytest.raises(IdentityError, match="this certificate of site 'renews' was revoked"):
        poll(Connection(before, wire.address))


def test_a_clock_that_is_off_is_reported(wire: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    line = connection(wire, "clock")
    ahead = SimpleNamespace(time=lambda: time.time() + 3600, monotonic=time.monotonic)
    monkeypatch.setattr("umbel.federation.wire.connection.time", ahead)
    poll(line)
    record = wire.store.members.site("clock")
    assert record is not None
    assert record.clock_ahead == pytest.approx(3600, abs=10)

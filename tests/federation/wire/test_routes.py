"""The straight way between two sites: the coordinator gets the list of segments, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import flight

from tests.federation.harness import Context, Federation, federation
from tests.federation.wire.test_sealing import Reads, Table, giving, names, reading
from umbel.federation.errors import FederationError, IdentityError, SiteError
from umbel.federation.identity import Authority
from umbel.federation.identity.cards import Card, Peers, sealing_key
from umbel.federation.site.settings import SiteSettings
from umbel.federation.site_config import read_site
from umbel.federation.tasks import Outcome, Sealed
from umbel.federation.wire import Agent, WireDispatcher, messages, segments
from umbel.federation.wire.connection import SiteIdentity
from umbel.federation.wire.messages import RefusedError, SegmentEntry
from umbel.federation.wire.routes import Door, Line
from umbel.plan.errors import PlanError


@dataclass
class Straight:
    """Site a may dial site b, which has a door open."""

    wire: Federation
    gives: Table
    reads: Reads
    b: Agent

    def sealed(self, run: str, to: tuple[str, ...] = ("b",)) -> tuple[Sealed, Outcome]:
        given: list[Any] = []
        dispatcher = WireDispatcher(self.wire.endpoint)
        outcome = dispatcher.run(giving(to, run), {}, Context(), given.append)
        return given[0], outcome

    def kept(self) -> list[str]:
        """What lies in the coordinator's folder of results."""
        found = (self.wire.folder / "results").rglob("*")
        return [path.name for path in found if path.is_file()]


@pytest.fixture(scope="module")
def straight() -> Iterator[Straight]:
    with federation() as wire:
        gives, reads = Table(), Reads()
        b = wire.agent("b", reads, listen="127.0.0.1:0")
        assert b.door is not None
        wire.agent("c", Reads())
        # Nobody listens on port 1, and c has no door.
        routes = {"b": f"127.0.0.1:{b.door.port}", "c": "127.0.0.1:1"}
        wire.agent("a", gives, routes=routes)
        yield Straight(wire, gives, reads, b)


@pytest.mark.parametrize("rows", [0, 3, 400_000])
def test_segments_go_straight_and_the_coordinator_has_their_list(
    straight: Straight, rows: int
) -> None:
    straight.gives.rows = names(rows)
    run = f"r-{rows}"
    sealed, outcome = straight.sealed(run)
    assert (len(sealed), sealed.direct, outcome.note) == (rows, True, "")
    assert not straight.kept()
    records = straight.wire.endpoint.store.tasks.segments(sealed.task)
    assert [one.content for one in records] == [None] * len(records)
    assert sum(one.rows for one in records) == rows
    straight.wire.run(reading(sealed, run=run), {"stage_0": sealed})
    assert straight.reads.read.pop().equals(straight.gives.rows)


def test_where_the_way_fails_it_goes_by_the_coordinator_and_that_is_said(
    straight: Straight, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight.gives.rows = names(400_000)
    door = straight.b.door
    assert door is not None
    put, taken = door._answer, []

    def breaks(*given: Any) -> Iterator[Any]:
        taken.append(1)
        if len(taken) > 2:
            raise flight.FlightInternalError("broken")
        yield from put(*given)

    monkeypatch.setattr(door._server, "_umbel_answer", breaks)
    sealed, outcome = straight.sealed("r-breaks")
    monkeypatch.undo()
    assert len(taken) > 2
    assert not sealed.direct
    assert outcome.note == (
        "by way of the coordinator, and not straight to b: site 'b' does not answer"
    )
    assert len(straight.kept()) == len(straight.wire.endpoint.store.tasks.segments(sealed.task))
    straight.wire.run(reading(sealed, run="r-breaks"), {"stage_0": sealed})
    assert straight.reads.read.pop().equals(straight.gives.rows)
    straight.wire.endpoint.forget("r-breaks")
    # To two sites it goes straight only if both have a door; c has none.
    straight.gives.rows = names(3)
    sealed, outcome = straight.sealed("r-two", ("b", "c"))
    assert not sealed.direct
    assert "straight to b, c: site 'c' has no door open" in outcome.note
    straight.wire.run(reading(sealed, run="r-two"), {"stage_0": sealed})
    assert straight.reads.read.pop().equals(straight.gives.rows)


def test_what_is_lost_at_the_reader_is_made_anew_by_the_next_try(straight: Straight) -> None:
    straight.gives.rows = names(3)
    sealed, _ = straight.sealed("r-lost")
    again, _ = straight.sealed("r-lost")
    assert again.envelope == sealed.envelope  # it is kept as long as it is there
    for path in (straight.wire.folder / "site-b" / "door" / "a" / sealed.task).iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    door = straight.b.door
    assert door is not None
    door._of("a")._verified.clear()  # as after a restart: what lies there is looked at
    with pytest.raises(SiteError, match="is not here any more") as caught:
        straight.wire.run(reading(sealed, run="r-lost"), {"stage_0": sealed})
    assert "made anew" in str(caught.value)
    anew, _ = straight.sealed("r-lost")
    assert anew.envelope != sealed.envelope
    straight.wire.run(reading(anew, run="r-lost"), {"stage_0": anew})
    assert straight.reads.read.pop().equals(straight.gives.rows)


# --- Who may come through the door, and with what.


def test_the_door_takes_sites_of_the_federation_and_no_others(straight: Straight) -> None:
    wire, door = straight.wire, straight.b.door
    assert door is not None
    address = f"127.0.0.1:{door.port}"
    content = b"ciphertext"
    entry = SegmentEntry(digest=segments.digest(content), bytes=len(content), rows=1)
    identity = SiteIdentity.read(wire.join("d"))
    line = Line("b", address, door.certificate, identity)
    line.give("0" * 64, entry, memoryview(content))
    line.give("0" * 64, entry, memoryview(content))  # again: it is there
    wrong = entry.model_copy(update={"digest": "f" * 32})
    with pytest.raises(RefusedError, match="not the one that its digest names"):
        line.give("0" * 64, wrong, memoryview(content))
    # It is d's, whatever task it says; a's lies elsewhere.
    with pytest.raises(FederationError, match="cannot be read"):
        list(door.contents("a", "0" * 64, [entry]))
    # No other action is known there, nor this one at the coordinator.
    with pytest.raises(RefusedError, match="no such action"):
        _ask(line._client, messages.Have.name)
    # Another door's certificate is not this one's; other authorities' certificates are none.
    evil = Authority.create(wire.folder / "evil", wire.authority.federation)
    other = SiteIdentity(
        identity.folder,
        identity.key,
        evil.issue_site("a", identity.key.public_key()),
        wire.authority.root,
    )
    spare = Door(identity, "127.0.0.1:0", wire.folder / "spare", 1 << 20, known=("a",))
    try:
        for bad in (
            Line("b", address, spare.certificate, identity),
            Line("b", address, door.certificate, other),
        ):
            with pytest.raises(FederationError, match="does not answer"):
                bad.give("0" * 64, entry, memoryview(content))
        # Where peers are pinned, the others stay out; and nobody fills the disk.
        narrow = f"127.0.0.1:{spare.port}"
        with pytest.raises(IdentityError, match="'d' is not among the peers"):
            Line("d", narrow, spare.certificate, identity).give("0" * 64, entry, memoryview(b""))
        a = Line("d", narrow, spare.certificate, SiteIdentity.read(wire.folder / "site-a"))
        large = entry.model_copy(update={"bytes": 2 << 20})
        with pytest.raises(RefusedError, match="its quota is 1,048,576"):
            a.give("0" * 64, large, memoryview(bytes(2 << 20)))
    finally:
        spare.close()


def _ask(client: Any, action: str) -> None:
    (answer,) = list(client.do_action(flight.Action(action, b"")))
    messages.read_answer(messages.Stored, answer.body.to_pybytes())


def test_a_card_says_whose_door_it_is(straight: Straight) -> None:
    """The coordinator hands the door's certificate on, and cannot put its own in."""
    identity = SiteIdentity.read(straight.wire.folder / "site-b")
    door = straight.b.door
    assert door is not None
    key = sealing_key(identity.folder)
    card = Card.make(identity.certificate, identity.key, key, door.certificate).to_json()
    peers = Peers(straight.wire.authority.federation, identity.root)
    assert peers.card_of(card, "b").door == door.certificate
    for other in ("", door.certificate.replace("A", "B", 1)):
        with pytest.raises(IdentityError, match="not signed by the site"):
            peers.card_of(json.dumps({**json.loads(card), "door": other}), "b")


def test_doors_routes_and_peers_are_read_from_the_configuration(tmp_path: Path) -> None:
    text = """
        [site]
        name = "a"
        [agent]
        coordinator = "127.0.0.1:8444"
        listen = "0.0.0.0:8445"
        [peers]
        b = "sha256:%s"
        [routes]
        b = "b.example:8445"
    """
    file = tmp_path / "site.toml"
    file.write_text(text % ("0a" * 32))
    settings = SiteSettings.read(file)
    assert settings.listen == "0.0.0.0:8445"
    assert settings.peers == {"b": "sha256:" + "0a" * 32}
    assert settings.routes == {"b": "b.example:8445"}
    assert read_site(file).manifest().routes == ("b",)
    file.write_text(text % "0a")
    with pytest.raises(PlanError, match=r"line 8: .*sha256: and 64 digits"):
        SiteSettings.read(file)
    file.write_text(text.replace("b.example:8445", "b.example") % ("0a" * 32))
    with pytest.raises(PlanError, match="host:port"):
        SiteSettings.read(file)


def test_only_what_is_sealed_can_be_said_to_have_gone_straight(straight: Straight) -> None:
    def lies(task: Any, inputs: Any, cancellation: Any, deliver: Any) -> Outcome:
        deliver(pa.table({"name": ["x"]}))
        return Outcome(1, 1, 0.0, direct=True)

    straight.wire.agent("e", lies)
    plain = giving((), "r-lies")
    task = type(plain)(plain.run, 0, "e", plain.plan, (), plain.requester)
    with pytest.raises(SiteError, match="only what is sealed goes straight"):
        straight.wire.run(task)

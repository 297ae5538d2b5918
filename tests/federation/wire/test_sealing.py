"""What a site seals to another one nobody between them can read, change, swap, repeat or cut."""

from __future__ import annotations

import json
import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.federation.harness import ANN, Context, Federation, federation, settles
from tests.federation.raw import Raw
from umbel.federation.errors import FederationError, SiteError
from umbel.federation.identity import Authority
from umbel.federation.identity.cards import SEALING, Card, Peers, sealing_key
from umbel.federation.identity.keys import key_fingerprint, new_key, sign
from umbel.federation.tasks import Input, Outcome, Sealed, Task
from umbel.federation.wire import WireDispatcher, messages, segments
from umbel.federation.wire.connection import SiteIdentity
from umbel.federation.wire.messages import InputComes, SegmentEntry
from umbel.federation.wire.sealing import Envelope
from umbel.federation.wire.seals import Seals
from umbel.plan.operators import Placeholder, Values

#: A value that nobody but the two sites may hold.
CANARY = "CANARY-5e41"
SCHEMA = pa.schema([("name", pa.string())])


def names(rows: int) -> pa.Table:
    word = secrets.token_hex(4)
    return pa.table({"name": [f"{CANARY} {word} {i}" for i in range(rows)]}, schema=SCHEMA)


def giving(to: tuple[str, ...], run: str = "r-1", stage: int = 0) -> Task:
    """A task of site a; its number stands in the plan, so that each is another one."""
    plan = Values(table=pa.table({"name": [str(stage)]}, schema=SCHEMA))
    return Task(run, stage, "a", plan, (), ANN, to=to)


def reading(sealed: Sealed, site: str = "b", run: str = "r-1") -> Task:
    """A task that hands on what another site has sealed."""
    plan = Placeholder(label="stage_0", columns=SCHEMA)
    return Task(run, 1, site, plan, (Input.of("stage_0", sealed),), ANN)


class Table:
    """Gives the rows that a test lays on it."""

    def __init__(self) -> None:
        self.rows = names(1)

    def __call__(self, task: Task, inputs: Any, cancellation: Any, deliver: Any) -> Outcome:
        deliver(self.rows)
        return Outcome(self.rows.num_rows, self.rows.nbytes, 0.0)


class Reads:
    """Keeps what it reads, and tells how much it was."""

    def __init__(self) -> None:
        self.read: list[pa.Table] = []

    def __call__(self, task: Task, inputs: Any, cancellation: Any, deliver: Any) -> Outcome:
        (table,) = inputs.values()
        self.read.append(table)
        deliver(pa.table({"name": [f"{table.num_rows} rows"]}, schema=SCHEMA))
        return Outcome(1, 0, 0.0)


@dataclass
class Pair:
    """Two sites and a coordinator between them."""

    wire: Federation
    gives: Table
    reads: Reads

    def sealed(self, of: Task) -> Sealed:
        given: list[Any] = []
        WireDispatcher(self.wire.endpoint).run(of, {}, Context(), given.append)
        (sealed,) = given
        assert isinstance(sealed, Sealed)
        return sealed


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    with federation() as wire:
        made = Pair(wire, Table(), Reads())
        wire.agent("a", made.gives)
        wire.agent("b", made.reads)
        yield made


@pytest.mark.parametrize("rows", [0, 3, 400_000])
def test_rows_go_from_site_to_site_and_the_coordinator_keeps_ciphertext(
    pair: Pair, rows: int, caplog: pytest.LogCaptureFixture
) -> None:
    pair.gives.rows = names(rows)
    run = f"r-{rows}"
    with caplog.at_level(logging.DEBUG):
        sealed = pair.sealed(giving(("b",), run))
        assert (len(sealed), sealed.to) == (rows, ("b",))
        records = pair.wire.store.tasks.segments(sealed.task)
        assert len(records) == {0: 0, 3: 1}.get(rows, 2)
        answer = pair.wire.run(reading(sealed, run=run), {"stage_0": sealed})
    assert answer.to_pylist() == [{"name": f"{rows} rows"}]
    assert pair.reads.read.pop().equals(pair.gives.rows)
    # Not on the coordinator's disk, its store (with what was not checkpointed), or in any log.
    # Arrow's files begin with a word of their own; what is sealed does not even show that.
    kept = [p for p in pair.wire.folder.rglob("*") if p.is_file() and "site-" not in str(p)]
    assert any(p.name.startswith("coordinator.db") for p in kept)
    for path in kept:
        content = path.read_bytes()
        assert CANARY.encode() not in content
        assert b"ARROW1" not in content or path.suffix != ".arrow"
    assert CANARY not in caplog.text
    for record in records:
        content, _ = pair.wire.endpoint.content(sealed.task, record)
        entry = SegmentEntry(digest=record.digest, bytes=record.bytes, rows=record.rows)
        with pytest.raises(FederationError, match="not a whole Arrow file"):
            segments.unseal(content, entry, SCHEMA, known=True)


def test_the_coordinator_keeps_no_task_for_a_site_that_never_comes(pair: Pair) -> None:
    with pytest.raises(SiteError, match="site 'nobody' is away") as caught:
        WireDispatcher(pair.wire.endpoint, patience=0.1).run(
            giving(("nobody",), "r-away"), {}, Context(), lambda data: None
        )
    assert "cannot be sealed before it was here" in str(caught.value)


def test_nothing_is_sealed_to_a_site_that_is_revoked_or_too_old(pair: Pair) -> None:
    wire = pair.wire
    wire.agent("gone", pair.reads)
    settles(lambda: wire.endpoint.board.card("gone", 0))
    assert wire.store.members.revoke("gone")
    with pytest.raises(SiteError, match="site 'gone' was revoked: nothing is sealed to it"):
        pair.sealed(giving(("gone",), "r-gone"))
    # A site of an older version shows no card when it says hello.
    old = Raw(wire, "old")
    try:
        old.poll(wait=0.0)
        with pytest.raises(SiteError, match="'old' has shown no key by which to seal"):
            pair.sealed(giving(("old",), "r-old"))
    finally:
        old.connection.close()


def test_a_site_to_which_nothing_is_sealed_cannot_read_it(pair: Pair) -> None:
    pair.gives.rows = names(3)
    sealed = pair.sealed(giving(("a",), "r-self"))
    with pytest.raises(SiteError, match="is not sealed to site 'b'"):
        pair.wire.run(reading(sealed, run="r-self"), {"stage_0": sealed})


# --- What a coordinator that lies can try, at the site that reads.


class Lies:
    """One output of a to b, and what comes of it when somebody between them meddles."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority.create(folder / "authority", "north")
        self.folder = folder
        self.a, self.b = self.seals("a"), self.seals("b")

    def seals(self, site: str, authority: Authority | None = None, **options: Any) -> Seals:
        authority = authority or self.authority
        folder = self.folder / secrets.token_hex(4)
        folder.mkdir()
        key = new_key()
        identity = SiteIdentity(
            folder, key, authority.issue_site(site, key.public_key()), self.authority.root
        )
        return Seals(lambda: identity, sealing_key(folder), **options)

    @staticmethod
    def card(of: Seals) -> str:
        identity = of.identity()
        return Card.make(identity.certificate, identity.key, of.key).to_json()

    def seal(
        self, task: Task, tables: list[pa.Table], by: Seals | None = None
    ) -> tuple[str, list[SegmentEntry], list[bytes]]:
        cards = {"b": self.card(self.b), "c": self.card(self.seals("c"))}
        sealer = (by or self.a).sealer(task, {site: cards[site] for site in task.to})
        plain = [one for table in tables for one in segments.seal(table)]
        contents = [sealer.segment(one.content) for one in plain]
        made = [
            segments.Segment(pa.py_buffer(content), one.rows)
            for content, one in zip(contents, plain, strict=True)
        ]
        entries = [one.entry() for one in made]
        return sealer.close(entries), entries, contents

    def open(
        self,
        envelope: str,
        entries: list[SegmentEntry],
        contents: list[bytes],
        *,
        run: str = "r-1",
        by: Seals | None = None,
    ) -> list[pa.Table]:
        """What site b does with an input, whose digest the coordinator names."""
        named = Sealed("0" * 64, "a", ("b",), 0, 0, envelope)
        task = reading(named, run=run)
        comes = InputComes(segments=entries, envelope=envelope)
        pieces = zip(entries, contents, strict=True)
        return (by or self.b).opened(task, task.inputs[0], comes, pieces, SCHEMA)


@pytest.fixture(scope="module")
def lies(tmp_path_factory: pytest.TempPathFactory) -> Lies:
    return Lies(tmp_path_factory.mktemp("lies"))


@pytest.fixture(scope="module")
def tables() -> list[pa.Table]:
    return [names(3), names(3), names(3)]


def refused(words: str, act: Callable[..., object], *given: Any, **options: Any) -> None:
    with pytest.raises(FederationError, match=words) as caught:
        act(*given, **options)
    assert CANARY not in str(caught.value)


def test_what_is_sealed_is_opened(lies: Lies, tables: list[pa.Table]) -> None:
    assert lies.open(*lies.seal(giving(("b", "c")), tables)) == tables
    assert lies.open(*lies.seal(giving(("b",)), [])) == []


def test_segments_that_are_swapped_missing_repeated_or_others_are_refused(
    lies: Lies, tables: list[pa.Table]
) -> None:
    envelope, entries, contents = lies.seal(giving(("b",)), tables)
    again = lies.seal(giving(("b",)), tables)  # another attempt at the same task
    other = lies.seal(giving(("b",), stage=7), tables)  # another stage of the same run
    changed = "was changed on its way"
    swapped = [1, 0, 2]
    lists: list[list[int]] = [swapped, [0, 1], [1, 2], [0, 1, 2, 2], []]
    for order in lists:
        # The list that goes with them, too, and then only what lies in their places.
        told = [entries[i] for i in order], [contents[i] for i in order]
        refused(changed, lies.open, envelope, *told)
    for mixed in (
        [contents[i] for i in swapped],
        [contents[0], contents[0], contents[2]],
        [again[2][0], *contents[1:]],
        [other[2][0], *contents[1:]],
    ):
        refused(changed, lies.open, envelope, entries, mixed)
    # The envelope of one output with the segments of another one.
    for before in (again, other):
        refused(changed, lies.open, envelope, *before[1:])
        assert lies.open(*before) == tables


def test_no_flipped_bit_passes(lies: Lies, tables: list[pa.Table]) -> None:
    envelope, entries, contents = lies.seal(giving(("b",)), tables[:1])
    (content,) = contents
    for place in range(0, len(content), 97):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        refused("changed", lies.open, envelope, entries, [bytes(flipped)])
    for size in (0, 15, len(content) - 1):
        refused("changed", lies.open, envelope, entries, [content[:size]])
    # Each field of the envelope: whatever it says then, the site did not sign it.
    fields = json.loads(envelope)
    for name, value in fields.items():
        for other in _others(value):
            text = json.dumps({**fields, name: other})
            with pytest.raises(FederationError):
                lies.open(text, entries, contents)


def _others(value: Any) -> list[Any]:
    match value:
        case str() if value[:2] == "--":
            return [value.replace("A", "B", 1)]
        case str():
            turned = "0" if value[-1:] != "0" else "1"
            return [value[:-1] + turned, value[:-2], "ff" * 32]
        case int():
            return [value + 1, -1 - value]
        case dict():
            (wrapped,) = value.values()
            return [{}, {"c": wrapped}, {"b": "00" * 80}, {**value, "c": wrapped}]
    return [None]


def test_an_output_of_another_run_or_site_is_refused(lies: Lies, tables: list[pa.Table]) -> None:
    sealed = lies.seal(giving(("b",)), tables)
    refused("another run", lies.open, *sealed, run="r-2")
    refused("not sealed to site 'b'", lies.open, *lies.seal(giving(("c",)), tables))
    # Site c signs what a has sealed as its own, or makes something up in a's name.
    c = lies.seals("c")
    made = lies.seal(giving(("b",)), tables, by=c)
    refused("certificate of spiffe://north/site/c was shown for site 'a'", lies.open, *made)
    # A coordinator without a false certificate signs by a key of its own.
    key = new_key()
    forged = Envelope.model_validate_json(sealed[0])
    forged = forged.model_copy(update={"signature": sign(key, forged.signed).hex()})
    refused("is not signed by it", lies.open, forged.model_dump_json(), *sealed[1:])
    # What the task names is another output of the same site, which came instead.
    task = reading(Sealed("0" * 64, "a", ("b",), 0, 0, sealed[0]))
    instead = lies.seal(giving(("b",)), tables)
    comes = InputComes(segments=instead[1], envelope=instead[0])
    pieces = list(zip(instead[1], instead[2], strict=True))
    named = "not the one that the task names"
    refused(named, lies.b.opened, task, task.inputs[0], comes, pieces, SCHEMA)


def test_other_columns_and_bombs_are_refused_as_from_any_site(lies: Lies) -> None:
    made = lies.seal(giving(("b",)), [pa.table({"other": ["x"]})])
    refused("it is no 'name' of type string", lies.open, *made)


# --- What it can try with the cards, at the site that gives.


def test_a_card_is_its_sites_or_it_is_refused(lies: Lies, tmp_path: Path) -> None:
    task = giving(("b",))
    card = lies.card(lies.b)
    lies.a.sealer(task, {"b": card})
    # The coordinator puts a key of its own in, or the card of a site with which it is in league.
    own = sealing_key(tmp_path).public_key().public_bytes_raw().hex()
    swapped = json.dumps({**json.loads(card), "key": own})
    refused("not signed by the site", lies.a.sealer, task, {"b": swapped})
    c = lies.card(lies.seals("c"))
    refused("site/c was shown for site 'b'", lies.a.sealer, task, {"b": c})
    # A certificate of another authority of the same name.
    evil = Authority.create(tmp_path / "evil", "north")
    refused("not issued by", lies.a.sealer, task, {"b": lies.card(lies.seals("b", evil))})
    refused("not the message of card", lies.a.sealer, task, {"b": "{}"})
    # A card does not outlive its certificate.
    key = new_key()
    old = lies.authority.issue_site("b", key.public_key(), life=timedelta(seconds=-60))
    expired = Card.make(old, key, lies.b.key).to_json()
    refused("expired", lies.a.sealer, task, {"b": expired})


def test_a_false_certificate_is_believed_unless_keys_are_pinned(
    lies: Lies, tables: list[pa.Table]
) -> None:
    """What the certificates alone do not stop: the coordinator is the authority."""
    false = lies.seals("b")
    task = giving(("b",))
    lies.a.sealer(task, {"b": lies.card(false)})
    pin = key_fingerprint(lies.b.identity().certificate.public_key)
    careful = replace(lies.a, pinned={"b": pin})
    careful.sealer(task, {"b": lies.card(lies.b)})
    refused("not the one that is pinned", careful.sealer, task, {"b": lies.card(false)})
    alone = replace(lies.a, pinned={})
    refused("'b' is not among the peers", alone.sealer, task, {"b": lies.card(lies.b)})
    # And what a false site a has made up.
    posing = lies.seal(task, tables, by=lies.seals("a"))
    assert lies.open(*posing) == tables
    known = key_fingerprint(lies.a.identity().certificate.public_key)
    sure = replace(lies.b, pinned={"a": known})
    refused("not the one that is pinned", lies.open, *posing, by=sure)
    assert lies.open(*lies.seal(task, tables), by=sure) == tables


def test_a_key_that_was_lost_opens_nothing_and_says_so(
    lies: Lies, tables: list[pa.Table], tmp_path: Path
) -> None:
    anew = replace(lies.b, key=sealing_key(tmp_path))
    refused("does not have", lies.open, *lies.seal(giving(("b",)), tables), by=anew)
    # The same file gives the same key; others may not read it, nor may it be something else.
    assert sealing_key(tmp_path).public_key() == anew.key.public_key()
    (tmp_path / SEALING).chmod(0o644)
    refused("others can read", sealing_key, tmp_path)
    (tmp_path / SEALING).chmod(0o600)
    (tmp_path / SEALING).write_bytes(b"-----BEGIN")
    refused("no key that can be used", sealing_key, tmp_path)


# --- A coordinator that lies, over the wire.


def test_a_lying_coordinator_over_the_wire(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.gives.rows = names(3)
    endpoint, read = pair.wire.endpoint, len(pair.reads.read)
    sealed = pair.sealed(giving(("b",), "r-lie"))
    (record,) = endpoint.store.tasks.segments(sealed.task)
    content, _ = endpoint.content(sealed.task, record)

    def lying(meddle: Callable[[bytearray], None]) -> Callable[..., Any]:
        def give(task: str, of: Any) -> tuple[pa.Buffer, bool]:
            changed = bytearray(content.to_pybytes())
            meddle(changed)
            return pa.py_buffer(bytes(changed)), True

        return give

    def flip(changed: bytearray) -> None:
        changed[len(changed) // 2] ^= 4

    monkeypatch.setattr(endpoint, "content", lying(flip))
    with pytest.raises(SiteError, match="was changed on its way"):
        pair.wire.run(reading(sealed, run="r-lie"), {"stage_0": sealed})
    monkeypatch.undo()
    # It says that there is less, or names another envelope.
    monkeypatch.setattr(endpoint.store.tasks, "segments", lambda task: [])
    with pytest.raises(SiteError, match="was changed on its way"):
        pair.wire.run(replace(reading(sealed, run="r-lie"), stage=2), {"stage_0": sealed})
    monkeypatch.undo()
    other = replace(sealed, envelope=sealed.envelope.replace('"rows":3', '"rows":2'))
    with pytest.raises(SiteError, match="is not signed by it"):
        pair.wire.run(replace(reading(other, run="r-lie"), stage=3), {"stage_0": other})
    with pytest.raises(SiteError, match="not the one that the task names"):
        pair.wire.run(replace(reading(sealed, run="r-lie"), stage=4), {"stage_0": other})
    # It asks for the output in clear of what is to be sealed; or gives its own card for b's.
    monkeypatch.setattr(endpoint.board, "card", lambda site, wait: Lies.card(_posing(pair)))
    with pytest.raises(SiteError, match="site/c was shown for site 'b'"):
        pair.wire.run(giving(("b",), "r-lie", 5))
    monkeypatch.undo()
    assert len(pair.reads.read) == read
    # All is well again.
    pair.wire.run(replace(reading(sealed, run="r-lie"), stage=6), {"stage_0": sealed})
    assert pair.reads.read.pop().equals(pair.gives.rows)


def _posing(pair: Pair) -> Seals:
    identity = SiteIdentity.read(pair.wire.join("c"))
    return Seals(lambda: identity, sealing_key(identity.folder))


def test_a_sealed_result_outlives_the_end_of_the_site_that_made_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What was sealed before the agent ended is committed by its next life, with its envelope."""
    reached = []
    with federation() as wire:
        gives, reads = Table(), Reads()
        gives.rows = names(2_000)
        agent = wire.agent("a", gives)
        wire.agent("b", reads)
        work = giving(("b",), "r-end")
        two = Pair(wire, gives, reads)

        def never(*given: Any) -> Any:
            reached.append(1)
            raise messages.RefusedError(messages.Refused.INTERNAL, "not now")

        monkeypatch.setattr(wire.endpoint, "_commit", never)
        found: list[Sealed] = []
        thread = threading.Thread(target=lambda: found.append(two.sealed(work)), daemon=True)
        thread.start()
        settles(lambda: reached, 30)
        agent.stop()
        wire.agents.remove(agent)
        monkeypatch.undo()
        wire.agent("a", lambda *given: pytest.fail("it is done already"))
        thread.join(30)
        (sealed,) = found
        wire.run(reading(sealed, run="r-end"), {"stage_0": sealed})
        assert reads.read.pop().equals(gives.rows)


def test_peers_know_federations_apart(tmp_path: Path) -> None:
    north = Authority.create(tmp_path / "north", "north")
    key = new_key()
    certificate = north.issue_site("b", key.public_key())
    Peers("north", north.root).check(certificate, "b")
    with pytest.raises(FederationError, match="spiffe://north/site/b was shown"):
        Peers("south", north.root).check(certificate, "b")

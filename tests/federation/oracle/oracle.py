"""What may leave, by its definition: nobody can tell worlds apart that the policy says are alike.

For a question and a policy the site answers in one world and in all those beside it. What leaves,
rows or the words of a refusal, must be the same. Each row that leaves must change, or go, for none
or for enough individuals when they are taken out of the world, one at a time. And nothing of the
planted values may be in the bytes. None of this knows how the site decides.
"""

from __future__ import annotations

import json
import logging
import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from tests.federation.oracle.worlds import (
    GIVEN,
    VISITS,
    Policy,
    World,
    beside,
    hidden_of,
    without,
)
from umbel.api.session import Session
from umbel.executor import Cancellation
from umbel.federation.errors import PolicyError
from umbel.federation.execution import SiteExecution
from umbel.federation.publishing import PublishedTable, Site
from umbel.federation.rules import Form
from umbel.federation.tasks import Failure, Input, Requester, Task
from umbel.federation.wire.segments import seal
from umbel.plan import operators as ops
from umbel.platforms.python.platform import PythonPlatform
from umbel.platforms.registry import Registry

_SESSION = Session(progress=False, platforms=Registry(PythonPlatform()))


@dataclass
class Left:
    """What left a site for one question.

    Attributes:
        refused: why nothing did, in the words that leave; None if it answered.
        denied: the policy refused it.
        rows: what it answered.
        heard: all bytes, each as a text or a buffer.
    """

    refused: str | None = None
    denied: bool = False
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    heard: list[bytes] = field(default_factory=list)


def site_of(world: World, policy: Policy) -> Site:
    """A site with the tables of a world, under a policy."""
    site = Site("north", _SESSION)
    rules = policy.rules()
    for name, table in world.tables().items():
        first, *others = rules[name]
        plan = _SESSION.from_arrow(table).plan
        site.tables[name] = PublishedTable(name, plan, first, False, tuple(others))
    return site


def answered(world: World, policy: Policy, plan: ops.Operator) -> Left:
    """Ask a site as a coordinator would that cares for no policy."""
    left = Left()
    labels = {op.label for op in ops.topological(plan) if isinstance(op, ops.Placeholder)}
    inputs = dict.fromkeys(labels, GIVEN)
    task = Task(
        "r", 0, "north", plan, tuple(Input.of(n, t) for n, t in inputs.items()), Requester("ann")
    )
    parts: list[pa.Table] = []
    with _listening(left.heard):
        try:
            outcome = SiteExecution(site_of(world, policy))(
                task, inputs, Cancellation(), parts.append
            )
        except Exception as error:  # noqa: BLE001 (whatever it is, its words are what leaves)
            left.refused = Failure.of(error).to_json()
            left.denied = isinstance(error, PolicyError)
            left.heard.append(left.refused.encode())
            return left
    told = json.loads(outcome.to_json())
    left.heard.append(json.dumps({**told, "seconds": 0}).encode())
    for part in parts:
        for segment in seal(part):
            left.heard += _buffers(segment.content)
        left.rows += [tuple(row.values()) for row in part.to_pylist()]
    return left


@contextmanager
def _listening(heard: list[bytes]) -> Iterator[None]:
    """Take the lines of the log too: they are written to places that others read."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(f"{record.getMessage()} {record.__dict__}".encode())

    handler, log = Handler(), logging.getLogger("umbel")
    log.addHandler(handler)
    try:
        yield
    finally:
        log.removeHandler(handler)


def _buffers(content: Any) -> Iterator[bytes]:
    """What is in a segment: as it is, and each buffer of it as it was before compression."""
    yield bytes(memoryview(content))
    with pa.ipc.open_file(content) as reader:
        table = reader.read_all()
    yield str(table.schema.to_string(show_schema_metadata=True)).encode()
    for column in table.columns:
        for chunk in column.chunks:
            yield from (b.to_pybytes() for b in chunk.buffers() if b is not None)
            if pa.types.is_dictionary(chunk.type):
                yield repr(chunk.dictionary.to_pylist()).encode()
        yield repr(column.to_pylist()).encode()


def planted(world: World, policy: Policy) -> dict[bytes, str]:
    """What must be in no byte that leaves, in every way in which it could be written."""
    shown = {name for c in policy.visits for name in c.dimensions}
    if "*" in shown:
        shown = set(VISITS.names)
    found: dict[bytes, str] = {}
    for row in world.visits:
        for column in {"name", "cost", "weight"} - shown:
            for way in _written(row[column]):
                found[way] = f"{column} {row[column]!r}"
    if "*" not in policy.codes.columns:
        for row in world.codes:
            for way in _written(row["secret"]):
                found[way] = f"secret {row['secret']!r}"
    return found


def _written(value: Any) -> Iterator[bytes]:
    if isinstance(value, str):
        word = value.split()[1] if value.startswith("CANARY ") else value
        for text in (word, word.upper(), word[::-1]):
            yield text.encode()
            yield text.encode("utf-16-le")
            yield text.encode().hex().encode()
    elif isinstance(value, int | float) and value:
        yield repr(value).encode()
        if isinstance(value, int):
            yield value.to_bytes(8, "little")
            yield value.to_bytes(8, "big")
            yield f"{value:x}".encode()
        yield memoryview(pa.array([float(value)]).buffers()[1]).tobytes()[:8]


# --- the judgement --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Judgement:
    """What came of one draw.

    Attributes:
        left: what left in the first world.
        holes: what the definition says against it; none is as it must be.
    """

    left: Left
    holes: tuple[str, ...]


def judge(rng: random.Random, policy: Policy, world: World, plan: ops.Operator) -> Judgement:
    """Hold what a site lets out against the definition."""
    first = answered(world, policy, plan)
    ask: Callable[[World], Left] = lambda other: answered(other, policy, plan)  # noqa: E731
    holes = list(_canaries(first, planted(world, policy)))
    if not first.denied:
        holes += _told_apart(rng, policy, world, first, ask)
        holes += _of_few(policy, world, plan, first, ask)
    return Judgement(first, tuple(holes))


def _canaries(left: Left, values: dict[bytes, str]) -> Iterator[str]:
    everything = b"\0".join(left.heard)
    for way, what in values.items():
        if way in everything:
            yield f"{what} is in what left"


def _told_apart(
    rng: random.Random, policy: Policy, world: World, first: Left, ask: Callable[[World], Left]
) -> Iterator[str]:
    for other in beside(rng, policy, world):
        second = ask(other.world)
        if first.refused != second.refused:
            yield f"{other.why}: {first.refused} became {second.refused}"
        elif not alike(first.rows, second.rows, near=other.near):
            yield f"{other.why}: {first.rows[:4]} became {second.rows[:4]}"


def _of_few(
    policy: Policy, world: World, plan: ops.Operator, first: Left, ask: Callable[[World], Left]
) -> Iterator[str]:
    """Each row must change for none or for enough individuals."""
    if not policy.individual or first.refused or not first.rows or not tells_all(plan):
        return
    least = min(clause.min_individuals for clause in policy.visits)
    people = sorted({row["id"] for row in world.visits if row["id"] is not None})
    changed = [0] * len(first.rows)
    for who in people:
        rest = {_key(row) for row in ask(without(world, who)).rows}
        for number, row in enumerate(first.rows):
            changed[number] += _key(row) not in rest
    for row, count in zip(first.rows, changed, strict=True):
        if 0 < count < least:
            yield f"row {row} hangs on {count} individuals, not on {least}"


def tells_all(plan: ops.Operator) -> bool:
    """Whether what is done with the aggregates keeps their values, so that people show in them.

    A bound that a count passes, or a number of groups, hangs on whoever comes last; and whether a
    value is there hangs on whoever has it alone. These are no values of few.
    """
    for operator in ops.topological(plan):
        match operator:
            case ops.Aggregate(aggregates=calls):
                if any(c.function not in ("sum", "mean", "len", "count") for _, c in calls):
                    return False
            case ops.Scan() | ops.Filter() | ops.Project() | ops.Placeholder():
                pass
            case _:
                return False
    gates = [op for op in ops.topological(plan) if isinstance(op, ops.Aggregate)]
    return len(gates) == 1 and gates[0] is plan


def alike(first: list[tuple[Any, ...]], second: list[tuple[Any, ...]], *, near: bool) -> bool:
    """Whether two answers are the same rows in any order; floats to the last bits, if near."""
    if len(first) != len(second):
        return False
    pairs = zip(sorted(first, key=_order), sorted(second, key=_order), strict=True)
    return all(_same(a, b, near) for one, other in pairs for a, b in zip(one, other, strict=True))


def _same(a: Any, b: Any, near: bool) -> bool:
    if isinstance(a, float) and isinstance(b, float):
        if math.isnan(a) or math.isnan(b):
            return math.isnan(a) and math.isnan(b)
        return a == b or (near and math.isclose(a, b, rel_tol=1e-12))
    return repr(a) == repr(b)


def _order(row: tuple[Any, ...]) -> str:
    return repr([f"{v:.5g}" if isinstance(v, float) else repr(v) for v in row])


def _key(row: tuple[Any, ...]) -> str:
    return repr([f"{v:.12g}" if isinstance(v, float) else repr(v) for v in row])


__all__ = ["Form", "Judgement", "Left", "alike", "answered", "hidden_of", "judge", "site_of"]

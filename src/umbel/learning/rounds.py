"""Rounds of training: sums of every part, and the state that follows of them."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.learning.gathering import Asker, check_quorum, gather
from umbel.learning.masked import TOGETHER, masked_sum
from umbel.learning.parts import Part
from umbel.learning.secure.options import Secure
from umbel.models.applying import not_converged
from umbel.models.base import DivergedError, Memory
from umbel.models.layout import Array, Layout, from_bytes, state_table
from umbel.models.solvers import solver_of
from umbel.plan.errors import PlanError, RunError
from umbel.plan.models import Design
from umbel.plan.operators import Contribute, Evaluate, Operator, Summing


@dataclass(frozen=True)
class Share:
    """What one part gave in a round.

    Attributes:
        part: its name.
        rows: the rows that are in the sums.
        left_out: rows in which a feature or the label is missing.
        sums: the sums.
        loss: of its rows together, before the round; None if it is not known.
        norm: how far it went, where it trained by steps.
        excluded: why what it gave was not used; empty if it was.
        seconds: from the question to its answer; None if it was not asked by itself.
    """

    part: str
    rows: int
    left_out: int
    sums: Array
    loss: float | None = None
    norm: float | None = None
    excluded: str = ""
    seconds: float | None = None


@dataclass(frozen=True)
class Round:
    """One round of training.

    Attributes:
        number: counts from 1.
        loss: per row, penalties included, of the best state until now.
        shares: what the parts gave.
        seconds: how long it took.
    """

    number: int
    loss: float
    shares: tuple[Share, ...]
    seconds: float

    def __str__(self) -> str:
        rows = sum(share.rows for share in self.shares)
        return f"round {self.number}: loss {self.loss:.6g} over {rows:,} rows, {self.seconds:.2f} s"


#: Told of every round.
Watcher = Callable[[Round], None]


@dataclass(frozen=True)
class Trained:
    """What rounds of training led to.

    Attributes:
        state: the model's numbers.
        rounds: the rounds.
        details: what the last sums say besides.
    """

    state: Array
    rounds: tuple[Round, ...]
    details: Mapping[str, Array] = field(default_factory=dict)


def train_exactly(
    session: Asker,
    design: Design,
    parts: Sequence[Part],
    *,
    rounds: int,
    seed: int,
    watch: Watcher | None = None,
    secure: Secure | None = None,
) -> Trained:
    """Train by sums over all rows, until the state does not change any more.

    Args:
        session: runs the rounds.
        design: the model.
        parts: where the rows lie.
        rounds: at most so many.
        seed: of what the first state is drawn with.
        watch: told of every round.
        secure: have sites mask their sums, so that only their sum is seen.

    Raises:
        DivergedError: the model does not converge.
        UpdateError: a part gave something that is no update.
        SecureAggregationError: there is no sum of enough sites.
    """
    solver = solver_of(design)
    state = solver.initial(design, seed)
    memory: Memory | None = None
    done: list[Round] = []
    for number in range(1, rounds + 1):
        start = time.perf_counter()
        layout = solver.sums(design)
        if secure is None:
            shares = sums_of(session, design, state, parts, layout)
        else:
            shares = masked_sums(session, design, state, parts, layout, secure, number)
            gone = {share.part for share in shares if share.excluded}
            if gone:
                # Those who are left have another best state: what was known of the last is void.
                parts, memory = [part for part in parts if part.name not in gone], None
        rows = sum(share.rows for share in shares)
        if not rows:
            raise no_rows(shares)
        together = np.sum([share.sums for share in shares], axis=0)
        step = solver.solve(design, state, together, rows, memory)
        seconds = time.perf_counter() - start
        done.append(Round(number, step.loss / rows, _with_losses(shares, layout), seconds))
        if watch is not None:
            watch(done[-1])
        state, memory = step.state, step.memory
        if step.converged:
            return Trained(state, tuple(done), step.details)
    raise not_converged(rounds)


def _with_losses(shares: Sequence[Share], layout: Layout) -> tuple[Share, ...]:
    return tuple(replace(s, loss=float(layout.split(s.sums)["loss"])) for s in shares)


def sums_of(
    session: Asker,
    design: Design,
    state: Array,
    parts: Sequence[Part],
    layout: Layout,
    kind: type[Contribute] | type[Evaluate] = Contribute,
) -> tuple[Share, ...]:
    """Have every part summed up where it lies, all at the same time.

    Raises:
        UpdateError: a part gave nothing, or something else than was asked for.
    """
    table = state_table(state)

    def ask(part: Part) -> Operator:
        return kind(input=part.plan, design=design, state=table, part=part.name)

    return tuple(
        Share(
            part.name,
            row["rows"],
            row["left_out"],
            from_bytes(row["sums"], layout, f"part {part.name!r}"),
        )
        for part, row in asked_of(session, parts, ask)
    )


def masked_sums(
    session: Asker,
    design: Design,
    state: Array,
    parts: Sequence[Part],
    layout: Layout,
    secure: Secure,
    number: int,
    kind: type[Contribute] | type[Evaluate] = Contribute,
) -> tuple[Share, ...]:
    """Have sites sum up where rows lie, and give the sum of all, and those that are not in it.

    Raises:
        SecureAggregationError: there is no sum of enough sites.
    """
    table = state_table(state)

    def ask(part: Part) -> Summing:
        return kind(input=part.plan, design=design, state=table, part=part.name)

    found = masked_sum(session, parts, ask, replace(secure, bound=None), number)
    summed = found.summed
    whole = Share(TOGETHER, round(summed.rows), round(summed.left_out), summed.total)
    nothing = np.zeros(layout.size)
    away = [Share(name, 0, 0, nothing, excluded=why) for name, why in sorted(found.silent.items())]
    return (whole, *away)


def check_all(shares: Sequence[Share]) -> None:
    """Raise `RunError` if a part is not in a masked sum that has to be of all."""
    for share in shares:
        if share.excluded:
            raise RunError(
                f"{share.part!r} is not in the sum: {share.excluded}",
                hint="see to that site, or leave it out (without=[…])",
            )


def asked_of(
    session: Asker, parts: Sequence[Part], ask: Callable[[Part], Operator]
) -> list[tuple[Part, dict[str, Any]]]:
    """Have every part answered where it lies, all at the same time; one row each.

    Args:
        session: runs it.
        parts: the parts.
        ask: what to run for each.

    Raises:
        UpdateError: a part gave nothing, or something else than was asked for.
        RunError: a part is away.
    """
    found = gather(session, {part.name: ask(part) for part in parts})
    check_quorum(found, len(parts), None)
    return [(part, found.rows[part.name]) for part in parts]


def history_of(rounds: Sequence[Round]) -> pa.Table:
    """Give rounds as a table: a row for each round and part."""
    columns: dict[str, list[object]] = {name: [] for name in HISTORY.names}
    for one in rounds:
        for share in one.shares:
            columns["round"].append(one.number)
            columns["part"].append(share.part)
            columns["rows"].append(share.rows)
            columns["left_out"].append(share.left_out)
            own = None if share.loss is None or not share.rows else share.loss / share.rows
            columns["part_loss"].append(own)
            columns["loss"].append(one.loss)
            columns["norm"].append(share.norm)
            columns["excluded"].append(share.excluded or None)
            columns["seconds"].append(one.seconds)
    return pa.table(columns, schema=HISTORY)


#: The columns of a training's history.
HISTORY = pa.schema(
    [
        ("round", pa.int64()),
        ("part", pa.string()),
        ("rows", pa.int64()),
        ("left_out", pa.int64()),
        ("part_loss", pa.float64()),
        ("loss", pa.float64()),
        ("norm", pa.float64()),
        ("excluded", pa.string()),
        ("seconds", pa.float64()),
    ]
)


def watcher_of(progress: bool | Watcher) -> Watcher | None:
    """Give what is told of rounds: a function, or for True what writes a line to stderr."""
    if callable(progress):
        return progress
    return _say if progress else None


def _say(one: Round) -> None:
    sys.stderr.write(f"{one}\n")
    sys.stderr.flush()


def no_rows(shares: Sequence[Share]) -> DivergedError:
    """The error of data in which no row is whole."""
    left_out = sum(share.left_out for share in shares)
    why = f": in all {left_out:,} a feature or the label is missing" if left_out else ""
    return DivergedError(f"there are no rows to learn from{why}")


def check_rounds(rounds: int) -> None:
    """Raise `PlanError` unless there is at least one round."""
    if rounds < 1:
        raise PlanError(f"a model is trained in at least one round, not {rounds}")


__all__ = [
    "HISTORY",
    "Round",
    "Share",
    "Trained",
    "Watcher",
    "asked_of",
    "check_all",
    "check_rounds",
    "history_of",
    "masked_sums",
    "no_rows",
    "sums_of",
    "train_exactly",
    "watcher_of",
]

"""Asking many parts at once: some may be away, or slow, and the round goes on without them.

While all answer it is one run. Only when that fails, or a deadline bounds it, is each part asked by
itself: then one that is away is known by its name, and the others' answers are there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import field
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.executor import Cancellation
from umbel.models.layout import UpdateError
from umbel.plan.errors import (
    CancelledError,
    PlacementError,
    PlanError,
    RunError,
    UmbelError,
)
from umbel.plan.operators import Operator, Union

if TYPE_CHECKING:
    from umbel.api.session import Session

#: What asks parts: a session, or what stands for one.
Asker: TypeAlias = "Session | HasLines"

#: Errors of whoever asks: they are no reason to go on without a part.
OWN_ERRORS = (PlanError, PlacementError, CancelledError)


@dataclass(frozen=True)
class Patience:
    """How long a round waits, and for how many.

    Attributes:
        quorum: parts whose answers make a round; None for all.
        deadline: seconds after which a round goes on with those that have answered, as soon as
            these are enough; None waits for all that are not away.
    """

    quorum: int | None = None
    deadline: float | None = None

    def __post_init__(self) -> None:
        if self.quorum is not None and self.quorum < 1:
            raise PlanError(f"a round of {self.quorum} parts is none", hint="quorum is 1 or more")
        if self.deadline is not None and not self.deadline > 0:
            raise PlanError(f"a deadline is so many seconds, not {self.deadline:g}")
        if self.deadline is not None and self.quorum is None:
            raise PlanError("a round for which all are needed waits for all", hint="quorum=…")

    def needed(self, asked: int) -> int:
        """How many of those who are asked make a round.

        >>> Patience().needed(3), Patience(quorum=2).needed(3), Patience(quorum=4).needed(3)
        (3, 2, 3)
        """
        return asked if self.quorum is None else min(self.quorum, asked)


@dataclass(frozen=True)
class Gathered:
    """What came.

    Attributes:
        rows: the row that each part gave, by name.
        away: why the others gave none.
        seconds: from the question to the answer, of those that were asked by themselves.
    """

    rows: Mapping[str, dict[str, Any]]
    away: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Answers:
    """What parts that were asked by themselves gave.

    Attributes:
        tables: what each gave, by name.
        errors: why the others gave nothing.
        seconds: from the question to the answer of each.
    """

    tables: Mapping[str, pa.Table]
    errors: Mapping[str, UmbelError] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


@runtime_checkable
class AsksSites(Protocol):
    """A session that asks sites without planning anything."""

    def ask_sites(self, plans: Mapping[str, Operator], patience: Patience) -> Answers | None:
        """Ask each site what lies wholly there; None if something does not."""


@runtime_checkable
class HasLines(Protocol):
    """What stands for a session: its parts have taken the question, and only numbers go."""

    @property
    def session(self) -> Session:
        """What it stands for."""

    def gather(self, asks: Mapping[str, Operator], patience: Patience) -> Gathered | None:
        """Ask by what stands; None if it has to be asked as before."""


def gather(
    session: Asker, asks: Mapping[str, Operator], patience: Patience | None = None
) -> Gathered:
    """Have every part answered where it lies, all at the same time; one row each.

    Args:
        session: runs it; or what stands for one, whose parts have taken the question.
        asks: what to run, by the name of the part.
        patience: how long to wait; None for as long as it takes, and for all that are not away.

    Raises:
        UpdateError: a part gave something else than was asked for.
        PlanError: the question itself is wrong, or a site's rules do not allow it.
    """
    if isinstance(session, HasLines):
        gathered = session.gather(asks, patience or Patience())
        if gathered is not None:
            return _checked(gathered, asks)
        session = session.session
    answers = None
    if isinstance(session, AsksSites):
        answers = session.ask_sites(asks, patience or Patience())
    if answers is None and (patience is None or patience.deadline is None):
        members = tuple(asks.values())
        whole = members[0] if len(members) == 1 else Union(members=members)
        try:
            return Gathered(_rows_of(session.run(whole).data.to_pylist(), asks))
        except (*OWN_ERRORS, UpdateError):
            raise
        except UmbelError as error:
            if len(members) == 1:
                return Gathered({}, {next(iter(asks)): error.message})
    if answers is None:

        def run(name: str, cancellation: Cancellation) -> pa.Table:
            return session.run(asks[name], cancellation=cancellation).data

        answers = ask_each(asks, run, patience or Patience())
    rows: dict[str, dict[str, Any]] = {}
    for name, table in answers.tables.items():
        rows |= _rows_of(table.to_pylist(), {name: asks[name]})
    away = {name: error.message for name, error in answers.errors.items()}
    return Gathered(rows, away, answers.seconds)


def ask_each(
    names: Iterable[str], run: Callable[[str, Cancellation], pa.Table], patience: Patience
) -> Answers:
    """Ask parts by themselves, at the same time.

    Args:
        names: of the parts.
        run: asks one.
        patience: how long to wait, and for how many.

    Raises:
        PlanError: the question itself is wrong, or a site's rules do not allow it.
    """
    stops = {name: Cancellation() for name in names}
    tables: dict[str, pa.Table] = {}
    errors: dict[str, UmbelError] = {}
    seconds: dict[str, float] = {}
    begun = monotonic()
    end = None if patience.deadline is None else monotonic() + patience.deadline
    with ThreadPoolExecutor(len(stops), thread_name_prefix="umbel-part") as pool:
        waiting: dict[Future[pa.Table], str] = {
            pool.submit(run, name, stop): name for name, stop in stops.items()
        }
        try:
            while waiting:
                left = None
                if end is not None and len(tables) >= patience.needed(len(stops)):
                    left = max(0.0, end - monotonic())
                done, _ = wait(waiting, left, FIRST_COMPLETED)
                if not done:
                    break
                for future in done:
                    name = waiting.pop(future)
                    try:
                        tables[name] = future.result()
                        seconds[name] = monotonic() - begun
                    except OWN_ERRORS:
                        raise
                    except UmbelError as error:
                        errors[name] = error
        finally:
            for name in waiting.values():
                stops[name].cancel()
    for future, name in waiting.items():
        # Whoever was stopped at the deadline may have been done just then: that is too late.
        future.exception()
        errors[name] = RunError(f"it has not answered within {patience.deadline:g} s")
    return Answers(tables, errors, seconds)


def _checked(gathered: Gathered, asks: Mapping[str, Operator]) -> Gathered:
    rows: dict[str, Any] = {}
    for name, row in gathered.rows.items():
        rows |= _rows_of([row], {name: asks[name]})
    return Gathered(rows, gathered.away, gathered.seconds)


def _rows_of(found: list[dict[str, Any]], asks: Mapping[str, Operator]) -> dict[str, Any]:
    given = {row["part"]: row for row in found}
    rows = {}
    for name in asks:
        row = given.pop(name, None)
        if row is None:
            raise UpdateError(f"part {name!r} gave nothing")
        if row["rows"] < 0 or row["left_out"] < 0:
            raise UpdateError(f"part {name!r} gave a negative number of rows")
        rows[name] = row
    if given:
        raise UpdateError(f"there is no part {next(iter(given))!r}, but it gave something")
    return rows


def check_quorum(gathered: Gathered, asked: int, patience: Patience | None) -> None:
    """Raise `RunError` if too few have answered for a round."""
    needed = (patience or Patience()).needed(asked)
    if len(gathered.rows) < needed:
        why = "; ".join(f"{name}: {reason}" for name, reason in sorted(gathered.away.items()))
        raise RunError(
            f"{len(gathered.rows)} of {asked} parts have answered, and a round takes {needed}. "
            f"{why}",
            hint="see to those that are away, leave them out (without=[…]), or take a quorum",
        )


__all__ = [
    "OWN_ERRORS",
    "Answers",
    "Asker",
    "AsksSites",
    "Gathered",
    "Patience",
    "ask_each",
    "check_quorum",
    "gather",
]

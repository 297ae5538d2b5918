"""What happens during a run, as typed events. Progress display, logs and records feed on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from umbel.optimizer import ExecutionPlan, PlannedStage


@dataclass(frozen=True)
class Event:
    """Something happened; `at` is in seconds since the run began."""

    at: float


@dataclass(frozen=True)
class RunStarted(Event):
    """A plan begins to run."""

    plan: ExecutionPlan


@dataclass(frozen=True)
class StageStarted(Event):
    """A stage begins; `depth` counts the loops around it."""

    stage: PlannedStage
    depth: int = 0


@dataclass(frozen=True)
class StageFinished(Event):
    """A stage ended well, with the rows it gave (None if unknown) and the seconds it took."""

    stage: PlannedStage
    rows: int | None
    seconds: float
    depth: int = 0


@dataclass(frozen=True)
class StageFailed(Event):
    """A stage ended badly; `error` is a `CancelledError` if it was stopped because others failed."""

    stage: PlannedStage
    error: BaseException
    depth: int = 0


@dataclass(frozen=True)
class RoundFinished(Event):
    """A loop finished a round, counted from 1; `depth` counts the loops around this one."""

    stage: PlannedStage
    round: int
    depth: int = 0


@dataclass(frozen=True)
class Unlifted(Event):
    """A lifted stage failed: the plan runs anew with the Python functions as they were written."""

    reason: str


@dataclass(frozen=True)
class RunFinished(Event):
    """The run ended; `error` is None if it ended well."""

    error: BaseException | None


#: Told of every event, one at a time, on the thread on which it happened. What it raises fails
#: the run.
Listener = Callable[[Event], None]

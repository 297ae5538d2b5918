"""What happens during a run, as typed events. Progress display, logs and records feed on them.

A run goes `RunStarted` … `RunFinished`, and each stage in it `StageQueued`, `StageStarted`, any
number of `StageProgress` and `StageWaiting`, then one of `StageFinished`, `StageFailed` and `StageCancelled`; the
hand-over of a finished stage's output shows as `ConversionFinished`. The stages of a loop's body
do so in each round, with `depth` 1 and more, and `RoundFinished` ends the round.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import field

from umbel.dataclass import dataclass
from umbel.optimizer import ExecutionPlan, PlannedStage
from umbel.plan.errors import CancelledError


@dataclass(frozen=True)
class Event:
    """Something happened; `at` is in seconds since the run began."""

    at: float


@dataclass(frozen=True)
class RunStarted(Event):
    """A plan begins to run; `when` is in seconds since 1970, for logs and traces."""

    plan: ExecutionPlan
    when: float = field(default_factory=time.time)


@dataclass(frozen=True)
class StageQueued(Event):
    """The inputs of a stage are there; it starts as soon as fewer stages run."""

    stage: PlannedStage
    depth: int = 0


@dataclass(frozen=True)
class StageStarted(Event):
    """A stage begins; `depth` counts the loops around it."""

    stage: PlannedStage
    depth: int = 0


@dataclass(frozen=True)
class StageProgress(Event):
    """A stage goes on: one of its operators has given `rows` so far. Told a few times a second.

    Only of engines that count while they run; `fraction` is the part of the operator's estimate.
    """

    stage: PlannedStage
    operator: str
    rows: int
    fraction: float | None
    depth: int = 0


@dataclass(frozen=True)
class StageWaiting(Event):
    """A stage waits for a person, and `why` says for whom; told once for each time."""

    stage: PlannedStage
    why: str
    depth: int = 0


@dataclass(frozen=True)
class StageFinished(Event):
    """A stage ended well: the rows and bytes it gave (None if unknown), the seconds it took."""

    stage: PlannedStage
    rows: int | None
    seconds: float
    depth: int = 0
    bytes: int | None = None


@dataclass(frozen=True)
class ConversionFinished(Event):
    """A stage's output was brought from one channel to another, for those that read it there."""

    stage: PlannedStage
    source: str
    target: str
    rows: int | None
    bytes: int | None
    seconds: float
    depth: int = 0


@dataclass(frozen=True)
class StageFailed(Event):
    """A stage ended badly."""

    stage: PlannedStage
    error: BaseException
    depth: int = 0


@dataclass(frozen=True)
class StageCancelled(StageFailed):
    """A stage was stopped: the run was cancelled, or another stage failed."""


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

    @property
    def cancelled(self) -> bool:
        """Whether somebody stopped it."""
        return isinstance(self.error, CancelledError)


#: Told of every event, one at a time, on the thread on which it happened. What it raises fails
#: the run.
Listener = Callable[[Event], None]

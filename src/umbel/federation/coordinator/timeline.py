"""When each stage of a run was at work, and where: from the run's events, and from sites' tasks."""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from umbel.executor.events import (
    Event,
    RunStarted,
    StageCancelled,
    StageFailed,
    StageFinished,
    StageStarted,
)
from umbel.executor.record import Run
from umbel.federation.store import TaskRecord
from umbel.federation.store.tasks import LEASED
from umbel.optimizer import PlannedStage

#: What a stage is called that waits for others, or was at hand from before.
WAITING, KEPT = "waiting", "kept"


class Timeline:
    """What is known of the stages of one try of a run."""

    def __init__(self) -> None:
        self._stages: dict[int, dict[str, Any]] = {}

    def tell(self, event: Event) -> None:
        """Take an event in."""
        match event:
            case RunStarted():
                self._stages = {stage.index: _stage(stage) for stage in event.plan.stages}
            case StageStarted(depth=0):
                self._set(event.stage, state="running", began=_now())
            case StageFinished(depth=0):
                self._set(
                    event.stage,
                    state="finished",
                    ended=_now(),
                    rows=event.rows,
                    bytes=event.bytes,
                    attempts=1,
                )
            case StageFailed(depth=0):
                self._set(event.stage, state="failed", ended=_now())
            case StageCancelled(depth=0):
                self._set(event.stage, state="cancelled", ended=_now())

    def _set(self, stage: PlannedStage, **values: Any) -> None:
        self._stages.setdefault(stage.index, _stage(stage)).update(values)

    def to_json(
        self, tasks: Iterable[TaskRecord] = (), run: Run | None = None
    ) -> list[dict[str, Any]]:
        """Describe the stages.

        Args:
            tasks: what sites were asked for; they say more of their stages than events do.
            run: the record of the run, once it is over.
        """
        known: dict[tuple[str, int], list[TaskRecord]] = {}
        for task in tasks:
            known.setdefault((task.site, task.stage), []).append(task)
        kept = {stage.index for stage in run.stages if stage.resumed} if run is not None else ()
        found = []
        for index, stage in sorted(self._stages.items()):
            told = {**stage, **_of_tasks(known.get((stage["platform"], index), []))}
            if index in kept:
                told["state"] = KEPT
            found.append(told)
        return found


def _stage(stage: PlannedStage) -> dict[str, Any]:
    return {
        "stage": stage.index,
        "platform": stage.platform.name,
        "operators": [planned.operator.name for planned in stage.operators],
        "state": WAITING,
        "began": None,
        "ended": None,
        "rows": None,
        "bytes": None,
        "attempts": 0,
    }


def _of_tasks(tasks: list[TaskRecord]) -> dict[str, Any]:
    """What the tasks of a stage say of it: of a loop's there is one for each round."""
    if not tasks:
        return {}
    done = [task.outcome for task in tasks if task.outcome is not None]
    ends = [task.finished for task in tasks]
    found: dict[str, Any] = {
        "began": moment(min(task.submitted for task in tasks)),
        "attempts": sum(max(task.attempts, task.outcome is not None) for task in tasks),
    }
    if done:
        found["rows"] = sum(outcome.rows for outcome in done)
        found["bytes"] = sum(outcome.bytes for outcome in done)
    if None not in ends:
        found["ended"] = moment(max(end for end in ends if end is not None))
    elif any(task.state == LEASED for task in tasks):
        found["state"] = "at the site"
    return found


def moment(seconds: float) -> str:
    """Write a time, in seconds since 1970.

    >>> moment(0.5)
    '1970-01-01T00:00:00.500000+00:00'
    """
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _now() -> str:
    return moment(time.time())


__all__ = ["Timeline", "moment"]

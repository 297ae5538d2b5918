"""The events of a run as plain data, for those who watch it from elsewhere."""

from __future__ import annotations

from typing import Any

from umbel.executor.events import (
    ConversionFinished,
    Event,
    RoundFinished,
    RunFinished,
    RunStarted,
    StageCancelled,
    StageFailed,
    StageFinished,
    StageProgress,
    StageQueued,
    StageStarted,
    StageWaiting,
    Unlifted,
)
from umbel.federation.protocol import error_to_json
from umbel.optimizer import PlannedStage


def narrate(event: Event) -> dict[str, Any]:
    """Describe an event; there is no data in it, only counts."""
    found: dict[str, Any] = {"event": type(event).__name__, "at": round(event.at, 6)}
    match event:
        case RunStarted():
            found["stages"] = [_stage(stage) for stage in event.plan.stages]
        case RunFinished():
            found["error"] = None if event.error is None else error_to_json(event.error)
        case StageProgress():
            found |= {"operator": event.operator, "rows": event.rows, "fraction": event.fraction}
        case StageWaiting():
            found["why"] = event.why
        case StageFinished():
            found |= {"rows": event.rows, "bytes": event.bytes, "seconds": event.seconds}
        case ConversionFinished():
            found |= {"source": event.source, "target": event.target, "rows": event.rows}
            found |= {"bytes": event.bytes, "seconds": event.seconds}
        case StageCancelled():
            pass
        case StageFailed():
            found["error"] = error_to_json(event.error)
        case RoundFinished():
            found["round"] = event.round
        case Unlifted():
            found["reason"] = event.reason
    match event:
        case (
            StageQueued()
            | StageStarted()
            | StageProgress()
            | StageWaiting()
            | StageFinished()
            | ConversionFinished()
            | StageFailed()
            | RoundFinished()
        ):
            found |= {"stage": _stage(event.stage), "depth": event.depth}
    return found  # fmt: skip


def _stage(stage: PlannedStage) -> dict[str, Any]:
    return {
        "index": stage.index,
        "platform": stage.platform.name,
        "operators": [planned.operator.name for planned in stage.operators],
        "expected": stage.root.estimate.expected,
    }


__all__ = ["narrate"]

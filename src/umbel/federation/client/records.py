"""What a coordinator says of its runs, in the forms that sessions know: records, plans, events."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NoReturn, cast

from umbel.dataclass import dataclass
from umbel.executor import Run
from umbel.executor import events as known_events
from umbel.executor.events import Event
from umbel.executor.record import OperatorRecord, StageRecord
from umbel.plan.errors import PlanError


class MissingSitesWarning(UserWarning):
    """An answer does not cover all sites that have a part of its tables."""


class RemoteRun(Run):
    """The record of a run at a coordinator, and of what was done here with its answers.

    Attributes:
        id: by which the coordinator knows it; empty if it was asked more than one question.
        ids: of all questions.
        missing: the sites that were away, and that the answer does not cover.
        covers: the sites that it covers.
    """

    def __init__(
        self,
        stages: list[StageRecord],
        seconds: float,
        planning: float,
        missing: tuple[str, ...] = (),
        covers: tuple[str, ...] = (),
        ids: tuple[str, ...] = (),
    ) -> None:
        self.missing = missing
        self.covers = covers
        self.ids = ids
        self.id = ids[0] if len(ids) == 1 else ""
        self.stages = stages
        self.seconds = seconds
        self.planning_seconds = planning
        self.unlifted = ""

    def __getattr__(self, name: str) -> NoReturn:
        if name == "plan":
            raise PlanError(
                "the plan of this run lies at the coordinator", hint="explain() shows it"
            )
        raise AttributeError(name)

    def __repr__(self) -> str:
        return f"RemoteRun(stages={len(self.stages)}, seconds={self.seconds:.3f})"


def stages_from(record: dict[str, Any] | None) -> list[StageRecord]:
    """Read the stages of a record."""
    return [_stage(stage) for stage in (record or {}).get("stages", [])]


def _stage(data: dict[str, Any]) -> StageRecord:
    return StageRecord(
        index=data["index"],
        platform=data["platform"],
        operators=[_operator(operator) for operator in data["operators"]],
        estimated_seconds=_number(data["estimated_seconds"]),
        estimated_rows=_bounds(data["estimated_rows"]),
        text=data["text"],
        seconds=data["seconds"],
        handover_seconds=data["handover_seconds"],
        rows=data["rows"],
        rounds=data["rounds"],
        notes=[str(note) for note in data.get("notes", [])],
        bodies=[[_stage(inner) for inner in body] for body in data["bodies"]],
    )


def _operator(data: dict[str, Any]) -> OperatorRecord:
    return OperatorRecord(
        **{
            **data,
            "estimated_rows": _bounds(data["estimated_rows"]),
            "estimated_seconds": _number(data["estimated_seconds"]),
        }
    )


def _number(value: float | None) -> float:
    return float("inf") if value is None else value


def _bounds(value: list[float | None]) -> tuple[float, float]:
    low, high = value
    return _number(low), _number(high)


@dataclass(frozen=True)
class RemoteExplanation:
    """How a coordinator would run a plan, and what is done here.

    Attributes:
        parts: what the coordinator said of each question to it.
        here: what is done here with the answers; empty if nothing is.
    """

    parts: tuple[dict[str, Any], ...]
    here: str = ""

    def text(self) -> str:
        """Give the explanation as text."""
        texts = [str(part["text"]) for part in self.parts]
        if self.here:
            texts.append(f"here, over what the coordinator answers: {self.here}")
        return "\n\n".join(texts)

    def __str__(self) -> str:
        return self.text()

    def to_dict(self) -> dict[str, Any]:
        """Give the explanation as plain data; of several questions as a list of them."""
        found = [part["data"] for part in self.parts]
        first: dict[str, Any] = found[0] if len(found) == 1 else {"questions": found}
        return {**first, "here": self.here}

    def to_json(self) -> str:
        """Give the explanation as JSON."""
        return json.dumps(self.to_dict(), indent=2)

    def to_mermaid(self) -> str:
        """Give the stages as a Mermaid flowchart, for Markdown."""
        return "\n\n".join(str(part["mermaid"]) for part in self.parts)

    def to_svg(self) -> str:
        """Give the stages as a drawing."""
        return str(self.parts[0]["svg"])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.text())}</pre>"


_STAGES: dict[str, Callable[[float, Any, dict[str, Any]], Event]] = {
    "StageQueued": lambda at, stage, d: known_events.StageQueued(at, stage, d["depth"]),
    "StageStarted": lambda at, stage, d: known_events.StageStarted(at, stage, d["depth"]),
    "StageProgress": lambda at, stage, d: known_events.StageProgress(
        at, stage, d["operator"], d["rows"], d["fraction"], d["depth"]
    ),
    "StageWaiting": lambda at, stage, d: known_events.StageWaiting(
        at, stage, str(d["why"]), d["depth"]
    ),
    "StageFinished": lambda at, stage, d: known_events.StageFinished(
        at, stage, d["rows"], d["seconds"], d["depth"], d["bytes"]
    ),
    "StageCancelled": lambda at, stage, d: known_events.StageCancelled(
        at, stage, PlanError("cancelled"), d["depth"]
    ),
    "StageFailed": lambda at, stage, d: known_events.StageFailed(
        at, stage, PlanError(str(d["error"]["message"])), d["depth"]
    ),
    "RoundFinished": lambda at, stage, d: known_events.RoundFinished(
        at, stage, d["round"], d["depth"]
    ),
    "ConversionFinished": lambda at, stage, d: known_events.ConversionFinished(
        at, stage, d["source"], d["target"], d["rows"], d["bytes"], d["seconds"], d["depth"]
    ),
}


def event_from(data: dict[str, Any]) -> Event | None:
    """Read an event of a run at a coordinator; None for a kind that is not known here.

    Its stage has the number, the platform's and the operators' names and the expected rows.
    """
    kind, at = str(data.get("event")), float(data.get("at", 0.0))
    if kind == "RunStarted":
        stages = [_stand_in(stage) for stage in data["stages"]]
        return known_events.RunStarted(at, cast("Any", SimpleNamespace(stages=stages)))
    if kind == "Unlifted":
        return known_events.Unlifted(at, str(data["reason"]))
    if kind not in _STAGES:
        return None
    return _STAGES[kind](at, _stand_in(data["stage"]), data)


def _stand_in(data: dict[str, Any]) -> Any:
    """What those who watch a run read of a stage."""
    operators = [
        SimpleNamespace(operator=SimpleNamespace(name=str(name))) for name in data["operators"]
    ]
    return SimpleNamespace(
        index=int(data["index"]),
        platform=SimpleNamespace(name=str(data["platform"])),
        operators=operators,
        root=SimpleNamespace(estimate=SimpleNamespace(expected=float(data["expected"]))),
    )


__all__ = ["MissingSitesWarning", "RemoteExplanation", "RemoteRun", "event_from", "stages_from"]

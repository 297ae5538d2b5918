"""What a run leaves behind: for every stage and operator the estimate beside the measurement."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from umbel.optimizer import ExecutionPlan
from umbel.optimizer.execution_plan import PlannedStage


@dataclass
class OperatorRecord:
    """One operator of a stage.

    Attributes:
        name, detail: the operator and its arguments.
        origin: the user's line.
        estimated_rows: bounds of the estimate.
        rows: measured; None where the engine runs the operator fused with others and does not say.
        estimated_seconds: from the cost profile.
        seconds: measured; None as for `rows`. The stage's time is always measured.
        digest: identifies what the operator computes.
    """

    name: str
    detail: str
    origin: str
    estimated_rows: tuple[float, float]
    estimated_seconds: float
    digest: str
    rows: int | None = None
    seconds: float | None = None


@dataclass
class StageRecord:
    """One stage of a run; in a loop's body, all its rounds together."""

    index: int
    platform: str
    operators: list[OperatorRecord]
    estimated_seconds: float
    estimated_rows: tuple[float, float]
    text: str = ""
    seconds: float | None = None
    rows: int | None = None
    rounds: int = 0
    bodies: list[list[StageRecord]] = field(default_factory=list)


@dataclass
class Run:
    """One execution of an execution plan.

    Attributes:
        plan: what was run.
        stages: its stages, estimate beside measurement.
        seconds: from start to end, planning left out.
        unlifted: why the run started anew with the Python functions as written; empty if not.
    """

    plan: ExecutionPlan
    stages: list[StageRecord]
    seconds: float = 0.0
    planning_seconds: float = 0.0
    unlifted: str = ""

    def to_json(self) -> str:
        """Give the record as JSON."""
        return json.dumps(
            {
                "seconds": self.seconds,
                "planning_seconds": self.planning_seconds,
                "unlifted": self.unlifted,
                "stages": [asdict(stage) for stage in self.stages],
            },
            indent=2,
        )

    def measured_rows(self) -> dict[str, float]:
        """Rows by operator digest, for the estimates of later runs."""
        return {
            record.digest: float(record.rows)
            for stage in self.stages
            for record in stage.operators
            if record.rows is not None
        }

    def __str__(self) -> str:
        lines = [
            f"{'stage':<7}{'platform':<10}{'operator':<14}{'rows: estimate':>24}{'measured':>12}{'seconds: est.':>15}{'measured':>10}"
        ]
        for stage in self.stages:
            lines.extend(_lines(stage))
        lines.append(f"total {self.seconds:.3f} s, planned in {self.planning_seconds * 1e3:.1f} ms")
        if self.unlifted:
            lines.append(f"run again without lifting: {self.unlifted}")
        return "\n".join(lines)


def _lines(stage: StageRecord) -> list[str]:
    lines = []
    for position, record in enumerate(stage.operators):
        head = f"{stage.index:<7}{stage.platform:<10}" if position == 0 else " " * 17
        low, high = record.estimated_rows
        between = f"{low:,.0f} … {high:,.0f}" if low != high else f"{low:,.0f}"
        rows = "" if record.rows is None else f"{record.rows:,}"
        spent = "" if record.seconds is None else f"{record.seconds:.3f}"
        lines.append(
            f"{head}{record.name:<14}{between:>24}{rows:>12}"
            f"{record.estimated_seconds:>15.4f}{spent:>10}"
        )
    spent = "" if stage.seconds is None else f"{stage.seconds:.3f}"
    lines.append(f"{'':<17}{'= stage':<50}{stage.estimated_seconds:>15.4f}{spent:>10}")
    return lines


@dataclass(frozen=True)
class Result:
    """What a run gave.

    Attributes:
        data: a `pyarrow.Table` for a relation, a list of elements for a Dataset.
        run: the record of the run.
    """

    data: Any
    run: Run

    @property
    def table(self) -> pa.Table:
        """The rows of a relation."""
        if not isinstance(self.data, pa.Table):
            raise TypeError("the result is a collection of elements; see .elements")
        return self.data

    @property
    def elements(self) -> list[Any]:
        """The elements of a Dataset."""
        if isinstance(self.data, pa.Table):
            raise TypeError("the result is a relation; see .table")
        return self.data if isinstance(self.data, list) else list(self.data)


def stage_record(planned: PlannedStage) -> StageRecord:
    """Begin the record of a stage with its estimates."""
    rows = planned.root.estimate.rows
    return StageRecord(
        index=planned.index,
        platform=planned.platform.name,
        operators=[
            OperatorRecord(
                name=p.operator.name,
                detail=p.operator.describe(),
                origin=str(p.operator.origin or ""),
                estimated_rows=(p.estimate.rows.low, p.estimate.rows.high),
                estimated_seconds=p.cost.seconds,
                digest=p.operator.digest,
            )
            for p in planned.operators
        ],
        estimated_seconds=planned.cost.seconds,
        estimated_rows=(rows.low, rows.high),
        bodies=[_records(body.stages) for body in planned.bodies],
    )


def _records(stages: Sequence[PlannedStage]) -> list[StageRecord]:
    return [stage_record(stage) for stage in stages]

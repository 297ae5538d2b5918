"""What a run leaves behind: for every stage and operator the estimate beside the measurement."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, field
from typing import Any

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.executor.context import StageContext
from umbel.optimizer import ExecutionPlan
from umbel.optimizer.execution_plan import COLLECTED, PlannedStage
from umbel.plan.operators import Broadcast, Operator, Placeholder, Scan, topological
from umbel.plan.rows import infer_rows, may_stop_early

#: Columns of a single row that is shown as a whole.
_SHORT = 4
#: Handing over in less than so many seconds is not shown.
_SHOWN = 0.001


@dataclass
class OperatorRecord:
    """One operator of a stage.

    Attributes:
        name, detail: the operator and its arguments.
        origin: the user's line.
        estimated_rows: bounds of the estimate.
        estimated_seconds: from the cost profile.
        digest: identifies what the operator computes.
        rows: measured; None where the engine runs the operator fused with others and does not say.
            In a loop's body that of the last round.
        seconds: measured; None as for `rows`. In a loop's body of all rounds together.
        inferred: `rows` were not counted here but follow for sure from other counts, as those of
            a projection do from its input's.
        partial: a limit above may have kept the operator from giving more than these `rows`.
    """

    name: str
    detail: str
    origin: str
    estimated_rows: tuple[float, float]
    estimated_seconds: float
    digest: str
    rows: int | None = None
    seconds: float | None = None
    inferred: bool = False
    partial: bool = False


@dataclass
class StageRecord:
    """One stage of a run.

    Attributes:
        index: its number in the execution plan.
        platform: what ran it.
        operators: its operators, inputs first.
        estimated_seconds: from the cost profile; of a loop, all its rounds.
        estimated_rows: bounds of the estimate of its output.
        text: what the engine ran: a statement, a query.
        seconds: measured; in a loop's body of all rounds together.
        handover_seconds: measured; for bringing its output into the forms that other stages read.
        rows: of its output; in a loop's body that of the last round.
        rounds: how often it ran: more than once only in a loop's body.
        resumed: it did not run, for an earlier try of the run had kept its output.
        notes: what its platform says of its runs.
        bodies: of a loop the stages of its body, and then those of its condition.
    """

    index: int
    platform: str
    operators: list[OperatorRecord]
    estimated_seconds: float
    estimated_rows: tuple[float, float]
    text: str = ""
    seconds: float | None = None
    handover_seconds: float = 0.0
    rows: int | None = None
    rounds: int = 0
    resumed: bool = False
    notes: list[str] = field(default_factory=list)
    bodies: list[list[StageRecord]] = field(default_factory=list)

    def take_over(self, rows: int | None, seconds: float) -> None:
        """Note that the stage's output was at hand; `seconds` is what reading it took."""
        self.resumed = True
        self.rows, self.seconds = rows, seconds
        self.operators[-1].rows = rows

    def note(
        self,
        planned: PlannedStage,
        context: StageContext,
        rows: int | None,
        seconds: float,
        given: Mapping[str, int],
    ) -> None:
        """Add the measurements of one run of the stage.

        Args:
            planned: the stage.
            context: holds what its engine counted.
            rows: of its output; None if not known.
            seconds: that it took.
            given: rows of its inputs, by placeholder label, where known.
        """
        self.rounds += 1
        self.seconds = (self.seconds or 0.0) + seconds
        if rows is not None:
            self.rows = rows
        compiled = compiled_operators(planned)
        measured = [context.measured(operator) for operator in compiled]
        # An engine that times only its output gives the time of the whole stage.
        fused = not any(known and known.seconds is not None for known in measured[:-1])
        for record, known in zip(self.operators, measured, strict=True):
            if known is not None and known.seconds is not None and not fused:
                record.seconds = (record.seconds or 0.0) + known.seconds
        if len(self.operators) == 1:
            self.operators[0].seconds = self.seconds
        counted = {
            id(operator): known.rows
            for operator, known in zip(compiled, measured, strict=True)
            if known is not None
        }
        if rows is not None:
            counted[id(compiled[-1])] = rows
        self._note_rows(planned, compiled, counted, given)

    def _note_rows(
        self,
        planned: PlannedStage,
        compiled: Sequence[Operator],
        counted: Mapping[int, int],
        given: Mapping[str, int],
    ) -> None:
        """Keep the rows that were counted, and those that follow from them."""
        order = topological(planned.stage.root)
        cut = may_stop_early(order)
        sure = {identity: rows for identity, rows in counted.items() if identity not in cut}
        for operator in order:
            if isinstance(operator, Placeholder) and operator.label in given:
                sure.setdefault(id(operator), given[operator.label])
        for operator, known in zip(compiled, planned.operators, strict=True):
            if isinstance(operator, Scan) and not operator.predicate:
                estimate = known.estimate
                if estimate.rows.exact and not estimate.measured:  # footers count their rows
                    sure.setdefault(id(operator), int(estimate.rows.low))
        sure = infer_rows(order, sure)
        for record, operator in zip(self.operators, compiled, strict=True):
            record.inferred = id(operator) in sure and id(operator) not in counted
            record.partial = id(operator) in cut and id(operator) not in sure
            record.rows = sure.get(id(operator), counted.get(id(operator)))


@dataclass(repr=False)
class Run:
    """One execution of an execution plan.

    Attributes:
        plan: what was run.
        stages: its stages, estimate beside measurement.
        seconds: from start to end, planning left out.
        planning_seconds: spent on choosing how to run it.
        unlifted: why the run started anew with the Python functions as written; empty if not.
        id: of a durable run; empty for others.
        prepared: the plan was made for an earlier run, and nothing has changed since.
    """

    plan: ExecutionPlan
    stages: list[StageRecord]
    seconds: float = 0.0
    planning_seconds: float = 0.0
    unlifted: str = ""
    id: str = ""
    prepared: bool = False

    def to_json(self) -> str:
        """Give the record as JSON; a bound that is not known is null."""
        return json.dumps(
            _finite(
                {
                    "id": self.id,
                    "seconds": self.seconds,
                    "planning_seconds": self.planning_seconds,
                    "unlifted": self.unlifted,
                    "stages": [asdict(stage) for stage in self.stages],
                }
            ),
            indent=2,
            allow_nan=False,
        )

    def measured_rows(self) -> dict[str, float]:
        """Rows by operator digest, for the estimates of later runs.

        What a limit may have cut short is left out.
        """
        return {
            record.digest: float(record.rows)
            for stage in self.stages
            for record in stage.operators
            if record.rows is not None and not record.partial
        }

    def __repr__(self) -> str:
        names = list(dict.fromkeys(stage.platform for stage in self.stages))
        return f"Run on {', '.join(names)} in {self.seconds:.3f} s"

    def __str__(self) -> str:
        head = f"{'stage':<8}{'platform':<10}{'operator':<16}"
        lines = [
            f"{head}{'rows: estimate':>22}{'measured':>14}{'seconds: est.':>15}{'measured':>10}"
        ]
        for stage in self.stages:
            lines.extend(_lines(stage, ""))
        how = "planned before, looked up" if self.prepared else "planned"
        lines.append(f"total {self.seconds:.3f} s, {how} in {self.planning_seconds * 1e3:.1f} ms")
        if self.unlifted:
            lines.append(f"run again without lifting: {self.unlifted}")
        return "\n".join(lines)


def _lines(stage: StageRecord, above: str) -> list[str]:
    """Show a stage; `above` holds the numbers of the loops around it."""
    number = f"{above}{stage.index}"
    lines = []
    for position, record in enumerate(stage.operators):
        head = f"{number:<8}{stage.platform:<10}" if position == 0 else " " * 18
        lines.append(
            f"{head}{record.name:<16}{_bounds(record.estimated_rows):>22}{_rows(record):>14}"
            f"{record.estimated_seconds:>15.4f}{_time(record.seconds) or 'in stage':>10}"
        )
    what = "= stage" if stage.rounds <= 1 else f"= stage, {stage.rounds:,} rounds"
    if stage.resumed:
        what = "= kept by an earlier try"
    lines.append(f"{'':<18}{what:<52}{stage.estimated_seconds:>15.4f}{_time(stage.seconds):>10}")
    if stage.handover_seconds >= _SHOWN:
        lines.append(f"{'':<18}{'+ handing it on':<67}{_time(stage.handover_seconds):>10}")
    lines.extend(f"{'':<18}{note}" for note in stage.notes)
    for body in stage.bodies:
        for inner in body:
            lines.extend(_lines(inner, f"{number}."))
    return lines


def _bounds(rows: tuple[float, float]) -> str:
    low, high = rows
    return f"{low:,.0f} … {high:,.0f}" if low != high else f"{low:,.0f}"


def _rows(record: OperatorRecord) -> str:
    """The rows that were counted; ≥ before what a limit may have cut short."""
    if record.rows is None:
        return "in stage"
    return f"{'≥ ' if record.partial else ''}{record.rows:,}"


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.3f}"


def _finite(value: Any) -> Any:
    """Replace what JSON has no number for by null."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True, repr=False)
class Result:
    """What a run gave.

    Attributes:
        data: a `pyarrow.Table` for a relation, a list of elements for a Dataset.
        run: the record of the run.
    """

    data: Any
    run: Run

    def __repr__(self) -> str:
        data = self.data
        if not isinstance(data, pa.Table):
            what = f"{len(data):,} elements"
        elif data.num_rows == 1 and data.num_columns <= _SHORT:
            what = ", ".join(f"{name} = {value!r}" for name, value in data.to_pylist()[0].items())
        else:
            what = f"{data.num_rows:,} rows of {', '.join(data.column_names)}"
        return f"Result: {what} ({self.run!r})"

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
        elements: list[Any] = self.data
        return elements


def stage_records(stages: Sequence[PlannedStage]) -> list[StageRecord]:
    """Begin the records of stages with their estimates."""
    return [_stage_record(stage) for stage in stages]


def _stage_record(planned: PlannedStage) -> StageRecord:
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
        bodies=[stage_records(body.stages) for body in planned.bodies],
    )


def compiled_operators(planned: PlannedStage) -> list[Operator]:
    """The operators that the engine was given, in the order of `planned.operators`.

    They are not the same objects: placeholders stand for what other stages give.
    """
    root = planned.stage.root
    return [
        operator for operator in topological(root) if operator is root or not _stands_in(operator)
    ]


def _stands_in(operator: Operator) -> bool:
    """Whether an operator only stands for what another stage gives."""
    match operator:
        case Broadcast(input=Placeholder(label=label)):
            return label.endswith(COLLECTED)
        case _:
            return isinstance(operator, Placeholder)


__all__ = [
    "OperatorRecord",
    "Result",
    "Run",
    "StageRecord",
    "compiled_operators",
    "stage_records",
]

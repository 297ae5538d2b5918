"""A stage as a chain of streams: which builder makes which operator, and how a stage is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pyarrow as pa

from umbel.plan.errors import PlanError
from umbel.plan.operators import (
    Aggregate,
    Broadcast,
    Cartesian,
    CoGroup,
    Contribute,
    Count,
    Distinct,
    Evaluate,
    Except,
    Explode,
    Filter,
    FilterRows,
    FlatMap,
    GroupBy,
    GroupByKey,
    Intersect,
    Join,
    JoinByKey,
    Limit,
    Map,
    MapPartitions,
    Operator,
    Placeholder,
    Predict,
    Project,
    Reduce,
    ReduceBy,
    ReduceByKey,
    Rows,
    Sample,
    Scan,
    Sort,
    SortBy,
    ToFrame,
    Transform,
    Union,
    Values,
    Window,
    ZipWithId,
    consumers,
    topological,
)
from umbel.plan.sources import MemorySource
from umbel.platforms.base import ARROW, PYTHON, RunContext, Stage
from umbel.platforms.conform import conform
from umbel.platforms.python import functional, pairs, relational, sets
from umbel.platforms.python.aggregates import build_aggregate
from umbel.platforms.python.arrow import ArrowElements, table_of
from umbel.platforms.python.columnar import build_columnar, counted
from umbel.platforms.python.frames import build_to_frame
from umbel.platforms.python.joins import build_join
from umbel.platforms.python.run import Piece, Run
from umbel.platforms.python.scans import build_scan
from umbel.platforms.python.spill import Collection
from umbel.platforms.python.stream import Stream
from umbel.platforms.python.windows import build_window

#: Makes an operator's output stream of the streams of its inputs.
Builder = Callable[[Any, Run, list[Stream]], Stream]

#: Every operator that the platform runs, but for placeholders, which a stage binds itself.
BUILDERS: dict[type[Operator], Builder | None] = {
    Placeholder: None,
    Scan: build_scan,
    Values: relational.build_values,
    Project: relational.build_project,
    Filter: relational.build_filter,
    Join: build_join,
    Aggregate: build_aggregate,
    Window: build_window,
    Sort: relational.build_sort,
    Limit: relational.build_limit,
    Distinct: sets.build_distinct,
    Union: sets.build_union,
    Intersect: sets.build_intersect,
    Except: sets.build_except,
    Sample: relational.build_sample,
    Explode: relational.build_explode,
    Map: functional.build_map,
    FlatMap: functional.build_flat_map,
    FilterRows: functional.build_filter_rows,
    MapPartitions: functional.build_map_partitions,
    ReduceByKey: pairs.build_reduce_by_key,
    ReduceBy: pairs.build_reduce_by,
    GroupByKey: pairs.build_group_by_key,
    GroupBy: pairs.build_group_by,
    Reduce: functional.build_reduce,
    JoinByKey: pairs.build_join_by_key,
    CoGroup: pairs.build_co_group,
    Cartesian: functional.build_cartesian,
    SortBy: functional.build_sort_by,
    ZipWithId: functional.build_zip_with_id,
    Count: functional.build_count,
    Rows: functional.build_rows,
    ToFrame: build_to_frame,
    Broadcast: functional.build_broadcast,
    Contribute: build_columnar,
    Evaluate: build_columnar,
    Predict: build_columnar,
    Transform: build_columnar,
}

#: Operators that keep elements, and so share the stage's memory among them.
BLOCKING = (
    Aggregate, Cartesian, CoGroup, Distinct, Except, GroupBy, GroupByKey, Intersect, Join,
    JoinByKey, ReduceBy, ReduceByKey, Sample, Sort, SortBy, Window,
)  # fmt: skip


class PythonStage:
    """A stage of the python platform.

    Nothing is translated ahead: building the streams is what a run begins with, and takes less
    than a millisecond.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._order = topological(stage.root)
        reading = consumers(stage.root)
        self._shared = {id(operator) for operator in self._order if len(reading[id(operator)]) > 1}
        for operator in self._order:
            if type(operator) not in BUILDERS:
                raise PlanError(f"the python platform does not run {operator.name}")
        if stage.output not in (ARROW, PYTHON):
            raise PlanError(f"the python platform does not write channel {stage.output!r}")

    @property
    def text(self) -> str:
        """The operators in the order in which elements pass them."""
        lines = []
        for operator in self._order:
            said = operator.describe()
            notes = [
                *(["keeps elements"] if isinstance(operator, BLOCKING) else []),
                *(["read more than once"] if id(operator) in self._shared else []),
            ]
            note = f"  [{', '.join(notes)}]" if notes else ""
            lines.append(f"{operator.name}{': ' + said if said else ''}{note}")
        return "\n".join(lines)

    def run(self, inputs: Mapping[str, Any], context: RunContext) -> Any:
        """Run the stage; see `umbel.platforms.base.CompiledStage`."""
        blocking = sum(isinstance(operator, BLOCKING) for operator in self._order)
        run = Run(context, blocking + len(self._shared) + 1)
        run.wanted.update(self._first_rows())
        streams: dict[int, Callable[[], Stream]] = {}
        for operator in self._order:
            run.meter(operator)  # so that measurements are reported in the plan's order
            below = [streams[id(child)]() for child in operator.inputs]
            stream = self._build(operator, run, below, inputs)
            whole = self._columns(operator, inputs)
            if whole is not None:
                stream.columns = counted(operator, run, whole)
            streams[id(operator)] = (
                _Shared(run, stream).stream if id(operator) in self._shared else _once(stream)
            )
        output = streams[id(self._stage.root)]()
        data = self._output(run, output)
        run.report()
        return data

    def _first_rows(self) -> Iterator[tuple[int, int]]:
        """Yield the sorts of which only the first rows are read, and how many."""
        for operator in self._order:
            if isinstance(operator, Limit) and operator.count is not None:
                below = operator.inputs[0]
                if isinstance(below, Sort) and id(below) not in self._shared:
                    yield id(below), operator.offset + operator.count

    def _build(
        self, operator: Operator, run: Run, below: list[Stream], inputs: Mapping[str, Any]
    ) -> Stream:
        builder = BUILDERS[type(operator)]
        if builder is not None:
            return builder(operator, run, below)
        if not isinstance(operator, Placeholder) or operator.label not in inputs:
            raise PlanError(f"input {operator.describe()!r} of the stage is not bound")
        data = inputs[operator.label]
        if self._stage.inputs.get(operator.label, PYTHON) == ARROW:
            data = ArrowElements(data, operator.schema, operator.element)
        return Stream.of(run, operator, run.pieces(data), as_rows=False)

    def _columns(self, operator: Operator, inputs: Mapping[str, Any]) -> pa.Table | None:
        """The rows of an operator that are columns already, as they come into the stage."""
        match operator:
            case Placeholder(label=label) if self._stage.inputs.get(label) == ARROW:
                return conform(inputs[label], operator.schema)
            case Scan(source=MemorySource(data=pa.Table() as table), predicate=None):
                return conform(table, operator.schema)
        return None

    def _output(self, run: Run, output: Stream) -> Any:
        if self._stage.output == ARROW and output.columns is not None:
            return output.columns()
        if self._stage.output == ARROW:
            return table_of(output.rows(), self._stage.root.schema)
        return output.elements().into(Collection(run)).compact()


def _once(stream: Stream) -> Callable[[], Stream]:
    return lambda: stream


class _Shared:
    """The output of an operator that several others read: kept when first read."""

    def __init__(self, run: Run, stream: Stream) -> None:
        self._run = run
        self._stream = stream
        self._kept: Collection | None = None

    def stream(self) -> Stream:
        """Start one reading of it."""
        source = self._stream
        reading = Stream(
            self._run, self._pieces(), source.schema, source.element, as_rows=source.as_rows
        )
        reading.columns = source.columns
        return reading

    def _pieces(self) -> Iterator[Piece]:
        if self._kept is None:
            self._kept = self._stream.into(Collection(self._run))
        yield from self._run.pieces(self._kept)


__all__ = ["BUILDERS", "PythonStage"]

"""What is known for sure of the numbers and dates in columns: that sums of them do not overflow, say.

Estimates may be wrong; these bounds may not, as rules move work on the strength of them. They come
from data in memory, from the footers of all files of a source, and from the types of columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pyarrow as pa

from umbel.catalog.statistics import TableStatistics, statistics
from umbel.lazy import LazyModule
from umbel.plan import operators as ops
from umbel.plan.errors import UmbelError
from umbel.plan.expressions import Column, Expression
from umbel.plan.safety import DAY, Range, cannot_fail, examine, is_moment
from umbel.plan.sources import MemorySource, ParquetSource, Source
from umbel.plan.types import is_decimal, is_integer

pc = LazyModule("pyarrow.compute")

#: Microseconds of the units of timestamps.
_SIZES = {"s": 1_000_000, "ms": 1_000, "us": 1}
#: Operators between a column and its source that are looked through.
_DEEPEST = 24
#: Rows of a table in memory that are looked at; ten million take some milliseconds.
_LOOKED_AT = 10_000_000


class Bounds:
    """Looks up the bounds of columns, each once."""

    def __init__(self, known: Callable[[Source], TableStatistics] = statistics) -> None:
        self._statistics = known
        self._known: dict[tuple[int, str], Range | None] = {}
        self._safe: dict[tuple[int, ...], bool] = {}
        self._alive: list[object] = []  # so that no identity is used again

    def cannot_fail(self, expression: Expression, *inputs: ops.Operator) -> bool:
        """Whether an expression over the columns of some operators has a value for every row.

        >>> from umbel.plan.expressions import Call, Column, Literal
        >>> values = ops.Values(table=pa.table({"a": [1, 2]}))
        >>> Bounds().cannot_fail(Call("add", (Column("a"), Literal(1, pa.int64()))), values)
        True
        """
        if isinstance(expression, Column):
            return True
        key = (id(expression), *map(id, inputs))
        if key not in self._safe:
            if len(inputs) == 1:
                schema = inputs[0].schema
            else:
                schema = pa.schema([field for operator in inputs for field in operator.schema])
            self._alive.extend((expression, *inputs))
            self._safe[key] = cannot_fail(expression, schema, _Columns(self, inputs))
        return self._safe[key]

    def of(self, operator: ops.Operator, name: str, depth: int = 0) -> Range | None:
        """Give the bounds of a column; None if nothing but its type is known."""
        key = id(operator), name
        if key not in self._known:
            self._alive.append(operator)
            self._known[key] = self._find(operator, name, depth) if depth < _DEEPEST else None
        return self._known[key]

    def _find(self, operator: ops.Operator, name: str, depth: int) -> Range | None:
        match operator:
            case ops.Scan(source=source):
                return self._of_source(source, name)
            case ops.Values(table=table):
                return _of_table(table, name)
            case ops.Project(columns=columns):
                return self._of_expression(dict(columns)[name], operator.input, depth)
            case ops.Aggregate(keys=keys, aggregates=aggregates):
                computed = dict((*keys, *aggregates))[name]
                return self._of_expression(computed, operator.input, depth)
            case ops.Explode(column=column) if column == name:
                return None
            case ops.Window(columns=columns) if name in dict(columns):
                return self._of_expression(dict(columns)[name], operator.input, depth)
            case (
                ops.Filter()
                | ops.Sort()
                | ops.Limit()
                | ops.Sample()
                | ops.Distinct()
                | ops.Explode()
                | ops.Window()
                | ops.Join()
            ):
                for child in operator.inputs:
                    if name in child.schema.names:
                        return self.of(child, name, depth + 1)
            case ops.Union(members=members):
                found = [self.of(member, name, depth + 1) for member in members]
                known = [r for r in found if r is not None]
                if len(known) == len(members):
                    return min(low for low, _ in known), max(high for _, high in known)
        return None

    def _of_source(self, source: Source, name: str) -> Range | None:
        if isinstance(source, MemorySource) and isinstance(source.data, pa.Table):
            return _of_table(source.data, name)
        if not isinstance(source, ParquetSource):
            return None
        try:
            known = self._statistics(source)
        except UmbelError:
            return None  # reading it will say what is wrong with it
        column = known.columns.get(name)
        if column is None or known.rows.confidence < 1.0:
            return None
        low, high = column.low, column.high
        return (_exact(low), _exact(high)) if _is_exact(low) and _is_exact(high) else None

    def _of_expression(
        self, expression: Expression, below: ops.Operator, depth: int
    ) -> Range | None:
        return examine(expression, below.schema, _Columns(self, (below,), depth + 1)).bounds


class _Columns(Mapping[str, Range]):
    """The known bounds of the columns of operators, looked up when asked for."""

    def __init__(self, bounds: Bounds, operators: tuple[ops.Operator, ...], depth: int = 0) -> None:
        self._bounds = bounds
        self._operators = operators
        self._depth = depth

    def __getitem__(self, name: str) -> Range:
        for operator in self._operators:
            index = operator.schema.get_field_index(name)
            if index >= 0 and _has_bounds(operator.schema.field(index).type):
                found = self._bounds.of(operator, name, self._depth)
                if found is not None:
                    return found
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return (name for operator in self._operators for name in operator.schema.names)

    def __len__(self) -> int:
        return sum(len(operator.schema) for operator in self._operators)


def _is_exact(value: Any) -> bool:
    return isinstance(value, int | Decimal | date) and not isinstance(value, bool)


def _exact(value: int | Decimal | date) -> int | Fraction:
    """A bound in the terms of `Range`."""
    if isinstance(value, datetime):
        since = value - datetime(1970, 1, 1, tzinfo=value.tzinfo and UTC)
        return since // timedelta(microseconds=1)
    if isinstance(value, date):
        return (value - date(1970, 1, 1)).days * DAY
    return Fraction(value) if isinstance(value, Decimal) else value


def _of_table(table: pa.Table, name: str) -> Range | None:
    column = table.column(name)
    if not _has_bounds(column.type) or len(column) > _LOOKED_AT:
        return None
    found = pc.min_max(column)
    # A column of nulls only has no values: any bounds hold.
    if not found["min"].is_valid:
        return 0, 0
    if is_moment(column.type):  # in years that Python may not have
        size = DAY if pa.types.is_date(column.type) else _SIZES[column.type.unit]
        return found["min"].value * size, found["max"].value * size
    return _exact(found["min"].as_py()), _exact(found["max"].as_py())


def _has_bounds(dtype: pa.DataType) -> bool:
    return is_integer(dtype) or is_decimal(dtype) or is_moment(dtype)


__all__ = ["Bounds"]

"""Operators on relations: bags of rows with named, typed columns.

No operator keeps or gives an order of rows, but for `Sort`, whose order the operators directly
above it that keep rows apart (`Limit`, `Project`, `Filter`) and the end of the plan see.
"""

from __future__ import annotations

from functools import cached_property
from typing import Literal as OneOf
from typing import get_args

import pyarrow as pa

from umbel.plan.errors import PlanError, TypeClashError, UnknownNameError
from umbel.plan.expressions import (
    AggregateCall,
    Column,
    Expression,
    SortKey,
    WindowCall,
    columns_of,
)
from umbel.plan.operators.base import Binary, Element, Operator, Unary, same_schema
from umbel.plan.sources import AttachedSource, Source
from umbel.plan.types import common_type, is_list, type_name
from umbel.plan.typing import check_boolean, check_order, forbid_aggregates, infer_column

JoinType = OneOf["inner", "left", "right", "full", "semi", "anti", "cross"]
JOIN_TYPES: tuple[str, ...] = get_args(JoinType)


class Scan(Operator):
    """The rows of a source.

    Attributes:
        source: what is read.
        columns: the columns to read, in output order; None reads all.
        predicate: only rows for which this is true; may read columns that are not output.
    """

    source: Source
    columns: tuple[str, ...] | None = None
    predicate: Expression | None = None

    def __post_init__(self) -> None:
        for name in self.columns or ():
            if name not in self.source.schema.names:
                raise UnknownNameError("column", name, self.source.schema.names)
        if self.predicate is not None:
            check_boolean(self.predicate, self.source.schema, "a filter")

    @cached_property
    def schema(self) -> pa.Schema:
        if self.columns is None:
            return self.source.schema
        return pa.schema([self.source.schema.field(name) for name in self.columns])

    @property
    def element(self) -> Element:
        return Element(self.source.element)

    @cached_property
    def places(self) -> frozenset[str]:
        source = self.source
        return frozenset({source.platform} if isinstance(source, AttachedSource) else ())

    def describe(self) -> str:
        parts = [self.source.describe()]
        if self.columns is not None:
            parts.append(f"columns {', '.join(self.columns)}")
        if self.predicate is not None:
            parts.append(f"where {self.predicate}")
        return "; ".join(parts)


class Values(Operator):
    """A small constant table, held in the plan itself."""

    table: pa.Table
    form: Element = Element.ROW

    @cached_property
    def schema(self) -> pa.Schema:
        return self.table.schema

    @property
    def element(self) -> Element:
        return self.form

    def describe(self) -> str:
        return f"{self.table.num_rows} rows"


class Project(Unary):
    """One output column per (name, expression); `form` says how Python sees a row of it."""

    columns: tuple[tuple[str, Expression], ...]
    form: Element = Element.ROW

    def __post_init__(self) -> None:
        check_names([name for name, _ in self.columns])
        for _, expression in self.columns:
            forbid_aggregates(expression, "in a projection")
        _ = self.schema

    @cached_property
    def schema(self) -> pa.Schema:
        below = self.input.schema
        return pa.schema([infer_column(name, e, below) for name, e in self.columns])

    @property
    def element(self) -> Element:
        return self.form

    def describe(self) -> str:
        return ", ".join(name if e == Column(name) else f"{name} = {e}" for name, e in self.columns)


class Filter(Unary):
    """The rows for which the predicate is true; false and null are dropped."""

    predicate: Expression

    def __post_init__(self) -> None:
        forbid_aggregates(self.predicate, "in a filter")
        check_boolean(self.predicate, self.input.schema, "a filter")

    @cached_property
    def schema(self) -> pa.Schema:
        return self.input.schema

    @property
    def element(self) -> Element:
        return self.input.element

    def describe(self) -> str:
        return str(self.predicate)


class Join(Binary):
    """Pairs of rows whose keys are equal and for which the residual condition is true.

    The output has the columns of both inputs, whose names must differ; a semi or anti join has
    those of the left input only. A null key matches nothing; NaN matches NaN.

    Attributes:
        how: inner, left, right, full, semi, anti or cross.
        on: pairs of a left and a right column that must be equal, of types that compare.
        residual: a further condition over the columns of both inputs.
    """

    how: JoinType = "inner"
    on: tuple[tuple[str, str], ...] = ()
    residual: Expression | None = None

    def __post_init__(self) -> None:
        if self.how not in JOIN_TYPES:
            raise UnknownNameError("join type", str(self.how), JOIN_TYPES)
        if self.how == "cross" and (self.on or self.residual is not None):
            raise PlanError("a cross join takes no keys and no condition")
        if self.how != "cross" and not self.on and self.residual is None:
            raise PlanError(f"a {self.how} join needs keys or a condition")
        left, right = self.left.schema, self.right.schema
        clash = sorted(set(left.names) & set(right.names))
        if clash:
            raise PlanError(
                f"both inputs of the join have columns {', '.join(map(repr, clash))}",
                hint="rename them on one side before the join",
            )
        for left_key, right_key in self.on:
            for key, schema, side in ((left_key, left, "left"), (right_key, right, "right")):
                if key not in schema.names:
                    raise UnknownNameError("column", key, schema.names, where=f"the {side} input")
            try:
                common_type(left.field(left_key).type, right.field(right_key).type)
            except TypeClashError as error:
                raise TypeClashError(
                    f"join keys {left_key!r} and {right_key!r} cannot be compared: {error.message}",
                    hint=error.hint,
                ) from None
        if self.residual is not None:
            check_boolean(self.residual, self.pair_schema, "the condition of a join")

    @cached_property
    def pair_schema(self) -> pa.Schema:
        """The columns of both inputs, which the residual condition reads."""
        return pa.schema([*self.left.schema, *self.right.schema])

    @cached_property
    def schema(self) -> pa.Schema:
        left, right = list(self.left.schema), list(self.right.schema)
        if self.how in ("semi", "anti"):
            return pa.schema(left)
        if self.how in ("right", "full"):
            left = [f.with_nullable(True) for f in left]
        if self.how in ("left", "full"):
            right = [f.with_nullable(True) for f in right]
        return pa.schema([*left, *right])

    def describe(self) -> str:
        keys = [f"{left} = {right}" for left, right in self.on]
        condition = [] if self.residual is None else [str(self.residual)]
        return " ".join(
            [self.how, *([f"on {' and '.join(keys + condition)}"] if keys + condition else [])]
        )


class Aggregate(Unary):
    """One row per group of rows with equal keys; without keys exactly one row.

    Nulls form one group, so do NaNs, and -0.0 is in the group of 0.0.
    """

    keys: tuple[tuple[str, Expression], ...] = ()
    aggregates: tuple[tuple[str, AggregateCall], ...] = ()
    form: Element = Element.ROW

    def __post_init__(self) -> None:
        if not self.keys and not self.aggregates:
            raise PlanError("an aggregate needs keys or aggregates")
        check_names([name for name, _ in (*self.keys, *self.aggregates)])
        for _, key in self.keys:
            forbid_aggregates(key, "in a grouping key")
        for name, call in self.aggregates:
            if not isinstance(call, AggregateCall):
                raise PlanError(f"column {name!r} of an aggregate is not an aggregate: {call}")
        _ = self.schema

    @cached_property
    def schema(self) -> pa.Schema:
        below = self.input.schema
        columns = (*self.keys, *self.aggregates)
        return pa.schema([infer_column(name, e, below) for name, e in columns])

    @property
    def element(self) -> Element:
        return self.form

    def describe(self) -> str:
        calls = ", ".join(f"{name} = {call}" for name, call in self.aggregates)
        keys = ", ".join(name if e == Column(name) else f"{name} = {e}" for name, e in self.keys)
        return "; ".join(part for part in (f"by {keys}" if keys else "", calls) if part)


class Window(Unary):
    """The input's columns, and one more per (name, window call)."""

    columns: tuple[tuple[str, WindowCall], ...]

    def __post_init__(self) -> None:
        check_names([*self.input.schema.names, *(name for name, _ in self.columns)])
        for name, call in self.columns:
            if not isinstance(call, WindowCall):
                raise PlanError(f"column {name!r} of a window is not a window call: {call}")
        _ = self.schema

    @cached_property
    def schema(self) -> pa.Schema:
        below = self.input.schema
        return pa.schema([*below, *(infer_column(n, e, below) for n, e in self.columns)])

    def describe(self) -> str:
        return ", ".join(f"{name} = {call}" for name, call in self.columns)


class Sort(Unary):
    """The input's rows in order. Rows with equal keys come in any order."""

    keys: tuple[SortKey, ...]

    def __post_init__(self) -> None:
        if not self.keys:
            raise PlanError("a sort needs at least one key")
        for key in self.keys:
            forbid_aggregates(key.expression, "in a sort key")
        check_order(self.keys, self.input.schema)

    @cached_property
    def schema(self) -> pa.Schema:
        return self.input.schema

    @property
    def element(self) -> Element:
        return self.input.element

    def describe(self) -> str:
        return ", ".join(map(str, self.keys))


class Limit(Unary):
    """At most `count` rows (all, if None) after skipping `offset`."""

    count: int | None
    offset: int = 0

    def __post_init__(self) -> None:
        for value, what in ((self.count or 0, "limit"), (self.offset, "offset")):
            if value < 0:
                raise PlanError(f"a {what} cannot be negative, but is {value}")

    @cached_property
    def schema(self) -> pa.Schema:
        return self.input.schema

    @property
    def element(self) -> Element:
        return self.input.element

    def describe(self) -> str:
        return f"{'all' if self.count is None else self.count} from {self.offset}"


class Sample(Unary):
    """Some distinct positions of the input, drawn by a generator seeded with `seed`.

    `count` of them, or a `fraction` of all, rounded down.
    """

    count: int | None = None
    seed: int = 0
    fraction: float | None = None

    def __post_init__(self) -> None:
        if (self.count is None) == (self.fraction is None):
            raise PlanError("a sample has either a size or a fraction", hint="give one of them")
        if self.count is not None and self.count < 0:
            raise PlanError(f"a sample's size cannot be negative, but is {self.count}")
        if self.fraction is not None and not 0 <= self.fraction <= 1:
            raise PlanError(
                f"a sample's fraction lies between 0 and 1, but is {self.fraction}",
                hint="a sample holds no position twice",
            )

    def size(self, rows: int) -> int:
        """How many positions are drawn from so many rows."""
        if self.count is not None:
            return min(self.count, rows)
        return int(rows * (self.fraction or 0.0))

    @cached_property
    def schema(self) -> pa.Schema:
        return self.input.schema

    @property
    def element(self) -> Element:
        return self.input.element

    def describe(self) -> str:
        size = f"{self.fraction} of the rows" if self.count is None else self.count
        return f"{size} with seed {self.seed}"


class Explode(Unary):
    """One row per item of a list column, which becomes a column of items.

    A null or empty list gives no row, or with `outer` one row with a null item.
    """

    column: str
    outer: bool = False

    def __post_init__(self) -> None:
        schema = self.input.schema
        if self.column not in schema.names:
            raise UnknownNameError("column", self.column, schema.names)
        dtype = schema.field(self.column).type
        if not is_list(dtype):
            raise TypeClashError(
                f"explode needs a list, but column {self.column!r} is {type_name(dtype)}"
            )

    @cached_property
    def schema(self) -> pa.Schema:
        below = self.input.schema
        index = below.get_field_index(self.column)
        # Arrow's list items are nullable unless the list type says otherwise.
        item = below.field(index).type.value_field
        return below.set(index, pa.field(self.column, item.type, item.nullable or self.outer))

    @property
    def element(self) -> Element:
        return self.input.element

    def describe(self) -> str:
        return self.column


def check_names(names: list[str]) -> None:
    """Raise `PlanError` if a name stands twice or is empty."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise PlanError(
                f"column {name!r} is defined twice", hint="give one of them another .alias(...)"
            )
        if not name:
            raise PlanError("a column has an empty name")
        seen.add(name)


__all__ = [
    "JOIN_TYPES",
    "Aggregate",
    "Explode",
    "Filter",
    "Join",
    "JoinType",
    "Limit",
    "Project",
    "Sample",
    "Scan",
    "Sort",
    "Values",
    "Window",
    "columns_of",
    "same_schema",
]

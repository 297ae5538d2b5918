"""Cardinalities: how many rows, how wide, and how many distinct values each operator gives.

Estimates are intervals with a confidence. They start at the sources' statistics and are pushed
through the plan; where nothing is known, textbook defaults stand (Selinger et al., "Access path
selection in a relational database management system", SIGMOD 1979).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import pyarrow as pa

from umbel.catalog.statistics import Interval, TableStatistics, statistics
from umbel.plan import operators as ops
from umbel.plan.expressions import (
    Call,
    Column,
    Expression,
    Literal,
    columns_of,
)
from umbel.plan.sources import Source
from umbel.plan.types import is_list, type_width

_EQUAL, _RANGE, _LIKE, _DEFAULT = 0.1, 1 / 3, 0.1, 0.5
_LIST_ITEMS = 5.0
#: A key's values cover at least this part of the range of the references to it.
_COVERS = 0.8


@dataclass(frozen=True)
class ColumnEstimate:
    """What is reckoned of one column; None where nothing is known.

    Attributes:
        distinct: number of distinct values.
        low, high: bounds of its values.
        nulls: fraction of nulls.
        items: mean number of items, for a list.
        different_items: number of different items in all lists.
    """

    distinct: float | None = None
    low: Any = None
    high: Any = None
    nulls: float | None = None
    items: float | None = None
    different_items: float | None = None


@dataclass(frozen=True)
class Estimate:
    """What is reckoned of an operator's output.

    Attributes:
        rows: an interval that holds the number of rows with some confidence.
        width: mean bytes per row.
        columns: what is known of columns, by name.
        words: mean number of words in a value, for text.
        vocabulary: number of different words in all values, for text.
        measured: the rows were counted by an earlier run.
        by: the platform that reckoned the rows, if it is not our estimate.
        source_rows: rows of the source whose columns these are, before any were taken away; None
            if they come from several sources, or are computed.
    """

    rows: Interval
    width: float
    columns: Mapping[str, ColumnEstimate] = field(default_factory=dict)
    words: float | None = None
    vocabulary: float | None = None
    measured: bool = False
    by: str = ""
    source_rows: float | None = None

    @cached_property
    def expected(self) -> float:
        """The number of rows to reckon with: the geometric mean of the bounds."""
        return expected(self.rows)

    @cached_property
    def size(self) -> float:
        """Bytes to reckon with."""
        return self.expected * self.width

    @property
    def whole(self) -> float:
        """The rows of the source, or if there is none those to reckon with."""
        return self.expected if self.source_rows is None else self.source_rows

    def distinct(self, name: str) -> float:
        """How many different values a column has; what is not known is reckoned as a key.

        Of the source: filters leave rows out, but what is left still refers to one row in so many.
        """
        return self.columns.get(name, ColumnEstimate()).distinct or max(1.0, self.whole)


def expected(rows: Interval) -> float:
    """The geometric mean of an interval's bounds; 0 only for the interval [0, 0].

    >>> from umbel.catalog.statistics import Interval
    >>> expected(Interval(10, 1000, 0.5))
    100.0
    """
    if rows.high <= 0:
        return 0.0
    return float((max(rows.low, 0.5) * max(rows.high, 0.5)) ** 0.5)


def key_distinct(left: Estimate, right: Estimate, on: Sequence[tuple[str, str]]) -> float:
    """How many different keys a join has: of so many pairs of rows one matches.

    That is the greater number of the two sides (Selinger et al.), but for a foreign key. Its
    different values are often known only as "no more than there are rows"; yet they are no more
    than those of the key that they refer to.
    """
    sides = [_keys(left, [a for a, _ in on]), _keys(right, [b for _, b in on])]
    (a, a_is_full), (b, b_is_full) = sides
    if a_is_full and b_is_full and _refers(left, right, on):
        return min(a, b)
    return max(a, b)


def matching_share(left: Estimate, right: Estimate, on: Sequence[tuple[str, str]]) -> float:
    """The fraction of the left rows whose keys are among those of the right rows."""
    present = right.expected
    product = 1.0
    for _, name in on:
        product *= max(1.0, right.distinct(name))
    return min(1.0, min(present, product) / max(1.0, key_distinct(left, right, on)))


def _unreduced(side: ops.Operator, other: ops.Operator) -> ops.Operator:
    """Look below a semi join with the keys of the other side: it drops what the join drops."""
    match side:
        case ops.Join(
            how="semi", left=whole, right=ops.Distinct(input=ops.Project(input=keys))
        ) if keys is other:
            return whole
    return side


def _keys(side: Estimate, names: Sequence[str]) -> tuple[float, bool]:
    """Different keys of a side, and whether there may be as many as rows.

    Several columns together have no more different values than there are rows. (What was joined
    before may have fewer rows than its columns have values at their sources.)
    """
    product = 1.0
    for name in names:
        product *= max(1.0, side.distinct(name))
    bounded = product if side.source_rows is None else min(product, side.whole)
    return bounded, product >= side.whole


def _refers(left: Estimate, right: Estimate, on: Sequence[tuple[str, str]]) -> bool:
    """Whether the keys of the side with more rows may be references to those of the other.

    They are not if they spread over values that the other side has not.
    """
    if len(on) > 1:
        return True
    columns = [
        side.columns.get(name, ColumnEstimate())
        for side, name in ((left, on[0][0]), (right, on[0][1]))
    ]
    few, many = columns if left.whole <= right.whole else reversed(columns)
    if many.distinct is None:
        return True
    start = _position(few.low, many.low, many.high)
    end = _position(few.high, many.low, many.high)
    return start is not None and end is not None and end - start > _COVERS


def exactly(rows: float) -> Interval:
    """An interval of one certain number."""
    return Interval(rows, rows, 1.0)


def scale(rows: Interval, low: float, high: float, confidence: float) -> Interval:
    """Multiply an interval by a factor that lies between two bounds."""
    return Interval(rows.low * low, rows.high * high, rows.confidence * confidence)


def spread(rows: Interval, value: float, factor: float, confidence: float) -> Interval:
    """An interval around `value`, `factor` times less and more."""
    return Interval(value / factor, value * factor, rows.confidence * confidence)


def schema_width(schema: pa.Schema) -> float:
    """Mean bytes of one row of a schema, without knowing the data."""
    return sum(type_width(f.type) for f in schema) or 1.0


class Estimator:
    """Estimates every operator of a plan once.

    Attributes:
        measured: rows that earlier runs counted, by the operator's digest; they win.
        known: what is known of a source.
    """

    def __init__(
        self,
        measured: Mapping[str, float] | None = None,
        placeholders: Mapping[str, Estimate] | None = None,
        known: Callable[[Source], TableStatistics] = statistics,
    ) -> None:
        self.measured = measured or {}
        self.known = known
        self._placeholders = placeholders or {}
        self._told: dict[str, tuple[str, Interval]] = {}
        self._known: dict[int, Estimate] = {}
        self._alive: list[ops.Operator] = []

    def tell(self, rows: Mapping[str, tuple[str, Interval]]) -> None:
        """Take the word of platforms, for operators by digest; counted rows still win."""
        self._told.update(rows)
        self._known.clear()
        self._alive.clear()

    def __call__(self, operator: ops.Operator) -> Estimate:
        """Estimate an operator's output."""
        known = self._known.get(id(operator))
        if known is not None:
            return known
        if not all(id(child) in self._known for child in operator.inputs):
            for step in operator.below:
                if id(step) not in self._known:
                    self._add(step)
        return self._add(operator)

    def _add(self, operator: ops.Operator) -> Estimate:
        """Estimate an operator whose inputs are known."""
        estimate = self._estimate(operator)
        if estimate.measured or estimate.by:  # that was said of an input
            estimate = replace(estimate, measured=False, by="")
        if (self.measured or self._told) and not estimate.rows.exact:
            counted, told = self.measured.get(operator.digest), self._told.get(operator.digest)
            if counted is not None:
                estimate = replace(estimate, rows=exactly(counted), measured=True)
            elif told is not None:
                estimate = replace(estimate, rows=told[1], by=told[0])
        self._known[id(operator)] = estimate
        self._alive.append(operator)  # keeps the identity from being used again
        return estimate

    def _of(self, operator: ops.Operator) -> Estimate:
        return self._known[id(operator)]

    def _estimate(self, operator: ops.Operator) -> Estimate:
        match operator:
            case ops.Scan():
                return self._scan(operator)
            case ops.Values():
                size = operator.table.nbytes / max(1, operator.table.num_rows)
                return Estimate(exactly(operator.table.num_rows), max(1.0, size))
            case ops.Placeholder():
                return self._placeholders.get(
                    operator.label,
                    Estimate(Interval(1, 1e6, 0.3), schema_width(operator.schema)),
                )
            case ops.Project():
                return self._project(operator)
            case ops.Filter():
                below = self._of(operator.input)
                return _filtered(below, operator.predicate)
            case ops.Join():
                return self._join(operator)
            case ops.Aggregate():
                return self._aggregate(operator)
            case ops.Explode():
                return self._explode(operator)
            case ops.Limit():
                return self._limit(operator)
            case ops.Sample():
                below = self._of(operator.input)
                if operator.count is not None:
                    return replace(below, rows=_at_most(below.rows, operator.count))
                least, most = (operator.size(int(n)) for n in (below.rows.low, below.rows.high))
                drawn = Interval(least, most, below.rows.confidence)
                return replace(below, rows=drawn)
            case ops.Distinct():
                below = self._of(operator.input)
                known = [
                    below.columns.get(n, ColumnEstimate()).distinct for n in operator.schema.names
                ]
                return replace(below, rows=_groups(below.rows, known), source_rows=None)
            case ops.Union():
                return self._union(operator)
            case ops.Intersect():
                left, right = self._of(operator.left), self._of(operator.right)
                high = min(left.rows.high, right.rows.high)
                return replace(left, rows=Interval(0, high, 0.5))
            case ops.Except():
                left = self._of(operator.left)
                return replace(left, rows=Interval(0, left.rows.high, 0.5))
            case ops.Count():
                return Estimate(exactly(1), 8.0)
            case ops.FilterRows():
                below = self._of(operator.input)
                return replace(below, rows=scale(below.rows, 0.1, 1.0, 0.6))
            case ops.FlatMap():
                below = self._of(operator.input)
                items = below.words or _LIST_ITEMS
                return Estimate(scale(below.rows, items / 3, items * 3, 0.5), 60.0)
            case ops.ReduceByKey() | ops.ReduceBy() | ops.GroupByKey() | ops.GroupBy():
                below = self._of(operator.input)
                return Estimate(_groups(below.rows, [None]), 60.0)
            case ops.Reduce():
                return Estimate(exactly(1), 60.0)
            case ops.Cartesian():
                left, right = self._of(operator.left), self._of(operator.right)
                return _product(left, right)
            case ops.JoinByKey() | ops.CoGroup():
                left, right = self._of(operator.left), self._of(operator.right)
                rows = spread(left.rows, max(left.expected, right.expected), 10.0, 0.5)
                return Estimate(rows, 60.0)
            case ops.Window():
                below = self._of(operator.input)
                added = len(operator.columns) * 8.0
                return replace(below, width=below.width + added)
            case ops.Loop():
                inner = Estimator(
                    self.measured,
                    {
                        label: self._of(source)
                        for label, source in zip(operator.labels, operator.inputs, strict=True)
                    },
                    self.known,
                )
                return inner(operator.body)
            case ops.Write():
                return Estimate(exactly(1), 50.0)
        if operator.inputs:  # operators that keep the rows of their first input
            below = self._of(operator.inputs[0])
            same = operator.schema == operator.inputs[0].schema
            return replace(below, width=below.width if same else schema_width(operator.schema))
        return Estimate(Interval(1, 1e6, 0.3), schema_width(operator.schema))

    def _scan(self, scan: ops.Scan) -> Estimate:
        known = self.known(scan.source)
        rows = known.rows
        columns = {
            name: ColumnEstimate(column.distinct, column.low, column.high, column.nulls)
            for name, column in known.columns.items()
        }
        full = schema_width(scan.source.schema)
        width = known.row_width or full
        if scan.columns is not None:
            width *= schema_width(scan.schema) / full
        estimate = Estimate(
            rows,
            max(1.0, width),
            columns,
            known.words,
            known.vocabulary,
            source_rows=expected(rows),
        )
        return estimate if scan.predicate is None else _filtered(estimate, scan.predicate)

    def _project(self, project: ops.Project) -> Estimate:
        below = self._of(project.input)
        columns: dict[str, ColumnEstimate] = {}
        for name, expression in project.columns:
            if below.words and is_list(project.schema.field(name).type):
                columns[name] = ColumnEstimate(items=below.words, different_items=below.vocabulary)
            else:
                columns[name] = _column_of(expression, below)
        keeps = all(isinstance(e, Column) for _, e in project.columns)
        share = schema_width(project.schema) / schema_width(project.input.schema)
        width = below.width * share if keeps else schema_width(project.schema)
        return replace(below, width=max(1.0, width), columns=columns)

    def _join(self, join: ops.Join) -> Estimate:
        left, right = self._of(join.left), self._of(join.right)
        columns = {**left.columns, **right.columns}
        if join.how == "cross" or not join.on:
            both = _product(left, right)
            if join.residual is not None:
                both = replace(both, rows=scale(both.rows, 0.05, 1.0, 0.5))
        else:
            whole_left = self._of(_unreduced(join.left, join.right))
            whole_right = self._of(_unreduced(join.right, join.left))
            different = key_distinct(whole_left, whole_right, join.on)
            value = whole_left.expected * whole_right.expected / max(1.0, different)
            if join.residual is not None:
                value *= selectivity(join.residual, replace(left, columns=columns))
            both = Estimate(spread(left.rows, value, 3.0, 0.6), left.width + right.width, columns)
        match join.how:
            case "semi" | "anti":
                if not join.on:
                    return replace(left, rows=scale(left.rows, 0.1, 1.0, 0.6))
                share = matching_share(left, right, join.on)
                share = max(0.1, 1 - share) if join.how == "anti" else share
                kept = spread(left.rows, left.expected * share, 3.0, 0.6)
                return replace(left, rows=_at_most(kept, left.rows.high))
            case "left":
                return replace(both, rows=_at_least(both.rows, left.expected))
            case "right":
                return replace(both, rows=_at_least(both.rows, right.expected))
            case "full":
                return replace(both, rows=_at_least(both.rows, max(left.expected, right.expected)))
        return both

    def _aggregate(self, aggregate: ops.Aggregate) -> Estimate:
        below = self._of(aggregate.input)
        width = schema_width(aggregate.schema)
        if not aggregate.keys:
            return Estimate(exactly(1), width)
        columns = {name: _column_of(key, below) for name, key in aggregate.keys}
        known = [column.distinct for column in columns.values()]
        return Estimate(_groups(below.rows, known), width, columns)

    def _explode(self, explode: ops.Explode) -> Estimate:
        below = self._of(explode.input)
        lists = below.columns.get(explode.column, ColumnEstimate())
        items = lists.items
        factor = 1.3 if items else 3.0
        items = items or _LIST_ITEMS
        confidence = 0.8 if factor < 2 else 0.5
        rows = scale(below.rows, items / factor, items * factor, confidence)
        columns = {
            **below.columns,
            explode.column: ColumnEstimate(distinct=lists.different_items),
        }
        return Estimate(rows, schema_width(explode.schema), columns)

    def _limit(self, limit: ops.Limit) -> Estimate:
        below = self._of(limit.input)
        after = Interval(
            max(0, below.rows.low - limit.offset),
            max(0, below.rows.high - limit.offset),
            below.rows.confidence,
        )
        return replace(below, rows=after if limit.count is None else _at_most(after, limit.count))

    def _union(self, union: ops.Union) -> Estimate:
        members = [self._of(member) for member in union.members]
        rows = Interval(
            sum(m.rows.low for m in members),
            sum(m.rows.high for m in members),
            min(m.rows.confidence for m in members),
        )
        if union.distinct:
            rows = Interval(min(1, rows.low), rows.high, rows.confidence * 0.7)
        width = max(m.width for m in members)
        columns = {
            name: ColumnEstimate(distinct=_most_distinct(members, name))
            for name in union.schema.names
        }
        return Estimate(rows, width, columns, words=members[0].words)


def _most_distinct(members: list[Estimate], name: str) -> float | None:
    """Distinct values of a column of a union: as many as the richest member has, or more."""
    found = [member.columns.get(name, ColumnEstimate()).distinct for member in members]
    known = [count for count in found if count is not None]
    return max(known) if len(known) == len(found) else None


def _column_of(expression: Expression, below: Estimate) -> ColumnEstimate:
    """What is reckoned of a computed column: a function has no more values than its argument."""
    if isinstance(expression, Column):
        return below.columns.get(expression.name, ColumnEstimate())
    if isinstance(expression, Literal):
        return ColumnEstimate(distinct=1.0)
    match sorted(columns_of(expression)):
        case [name] if name in below.columns:
            return ColumnEstimate(distinct=below.columns[name].distinct)
    return ColumnEstimate()


def _product(left: Estimate, right: Estimate) -> Estimate:
    rows = Interval(
        left.rows.low * right.rows.low,
        left.rows.high * right.rows.high,
        left.rows.confidence * right.rows.confidence,
    )
    return Estimate(rows, left.width + right.width, {**left.columns, **right.columns})


def _at_most(rows: Interval, count: float) -> Interval:
    return Interval(min(rows.low, count), min(rows.high, count), rows.confidence)


def _at_least(rows: Interval, count: float) -> Interval:
    return Interval(max(rows.low, count), max(rows.high, count), rows.confidence)


def _groups(rows: Interval, distinct: list[float | None]) -> Interval:
    """How many groups rows fall into, given the distinct values of each key (None: unknown)."""
    total = expected(rows)
    if all(count is not None for count in distinct):
        product = 1.0
        for count in distinct:
            product *= max(1.0, count or 1.0)
        if product <= total:
            return Interval(min(product, total) / 2, product, rows.confidence * 0.8)
        # No fewer than the key with the most values has; and no more than there are rows.
        least = max(count or 1.0 for count in distinct)
        return Interval(min(least, total) / 2, rows.high, rows.confidence * 0.6)
    guess = total**0.75
    low, high = max(1.0, guess / 10), max(1.0, min(total, guess * 10))
    return Interval(min(total, low), high, rows.confidence * 0.4)


def _filtered(below: Estimate, predicate: Expression) -> Estimate:
    share = selectivity(predicate, below)
    rows = spread(below.rows, below.expected * share, 2.0, 0.7)
    return replace(below, rows=_at_most(rows, below.rows.high))


def selectivity(predicate: Expression, below: Estimate) -> float:
    """The fraction of rows for which a predicate is reckoned to be true."""
    match predicate:
        case Literal(value):
            return 1.0 if value else 0.0
        case Call("and", arguments):
            share = 1.0
            for argument in arguments:
                share *= selectivity(argument, below)
            return share
        case Call("or", arguments):
            miss = 1.0
            for argument in arguments:
                miss *= 1 - selectivity(argument, below)
            return 1 - miss
        case Call("not", (argument,)):
            return 1 - selectivity(argument, below)
        case Call("equal", (Column(name), Literal()) | (Literal(), Column(name))):
            distinct = below.columns.get(name, ColumnEstimate()).distinct
            return 1 / distinct if distinct else _EQUAL
        case Call("not_equal"):
            return 0.9
        case Call("is_null", (Column(name),)):
            nulls = below.columns.get(name, ColumnEstimate()).nulls
            return nulls if nulls is not None else 0.05
        case Call("is_not_null", (Column(name),)):
            nulls = below.columns.get(name, ColumnEstimate()).nulls
            return 1 - nulls if nulls is not None else 0.95
        case Call("is_in", (Column(name), *items)):
            distinct = below.columns.get(name, ColumnEstimate()).distinct
            return min(1.0, len(items) / distinct) if distinct else min(0.5, _EQUAL * len(items))
        case Call(("less" | "less_equal" | "greater" | "greater_equal") as name, arguments):
            return _range_share(name, arguments, below)
        case Call("between", (Column() as column, Literal() as low, Literal() as high)):
            above = _range_share("greater_equal", (column, low), below)
            under = _range_share("less_equal", (column, high), below)
            return max(0.01, above + under - 1) if above + under > 1 else _RANGE / 3
        case Call("like" | "ilike" | "contains" | "starts_with" | "ends_with" | "regexp_matches"):
            return _LIKE
    return _DEFAULT


_MIRROR: dict[str, str] = {
    "less": "greater",
    "less_equal": "greater_equal",
    "greater": "less",
    "greater_equal": "less_equal",
}


def _range_share(name: str, arguments: tuple[Expression, ...], below: Estimate) -> float:
    left, right = arguments
    if isinstance(left, Literal):
        left, right, name = right, left, _MIRROR[name]
    if not (isinstance(left, Column) and isinstance(right, Literal)):
        return _RANGE
    column = below.columns.get(left.name, ColumnEstimate())
    share = _position(right.value, column.low, column.high)
    if share is None:
        return _RANGE
    return min(1.0, max(0.001, share if name.startswith("less") else 1 - share))


def _position(value: Any, low: Any, high: Any) -> float | None:
    """Where a value lies between two bounds, from 0 to 1; None if that cannot be said."""
    if value is None or low is None or high is None or isinstance(value, str | bytes | bool):
        return None
    try:
        width = high - low
        return None if not width else min(1.0, max(0.0, float((value - low) / width)))
    except TypeError:  # a date against a timestamp, a decimal against a float
        return None


__all__ = [
    "ColumnEstimate",
    "Estimate",
    "Estimator",
    "exactly",
    "expected",
    "schema_width",
    "selectivity",
]

"""Cardinalities: how many rows, how wide, and how many distinct values each operator gives.

Estimates are intervals with a confidence. They start at the sources' statistics and are pushed
through the plan; where nothing is known, defaults stand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from umbel.catalog.statistics import Interval, TableStatistics, statistics
from umbel.lazy import LazyMapping
from umbel.optimizer.estimates import (
    ColumnEstimate,
    Estimate,
    at_least,
    at_most,
    exactly,
    expected,
    scale,
    schema_width,
    spread,
)
from umbel.optimizer.matching import key_distinct, matching_share
from umbel.optimizer.selectivity import selectivity
from umbel.plan import operators as ops
from umbel.plan.expressions import Column, Expression, Literal, columns_of
from umbel.plan.sources import Source
from umbel.plan.types import is_list

#: Items of a list, and words of a text, of which nothing is known.
_LIST_ITEMS = 5.0


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
        self.measured = {} if measured is None else measured
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
                    return replace(below, rows=at_most(below.rows, operator.count))
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
                return _product(left, right, (), ())
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
            case ops.Summing():
                return Estimate(exactly(1), 8.0 * len(operator.design.names) ** 2 + 40)
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

        def column(name: str) -> ColumnEstimate:
            found = known.columns[name]
            return ColumnEstimate(found.distinct, found.low, found.high, found.nulls)

        full = schema_width(scan.source.schema)
        width = known.row_width or full
        if scan.columns is not None:
            width *= schema_width(scan.schema) / full
        estimate = Estimate(
            rows,
            max(1.0, width),
            LazyMapping(known.columns, column),
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
            both = _product(left, right, join.left.schema.names, join.right.schema.names)
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
                return replace(left, rows=at_most(kept, left.rows.high))
            case "left":
                return replace(both, rows=at_least(both.rows, left.expected))
            case "right":
                return replace(both, rows=at_least(both.rows, right.expected))
            case "full":
                return replace(both, rows=at_least(both.rows, max(left.expected, right.expected)))
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
        return replace(below, rows=after if limit.count is None else at_most(after, limit.count))

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


def _unreduced(side: ops.Operator, other: ops.Operator) -> ops.Operator:
    """Look below a semi join with the keys of the other side: it drops what the join drops."""
    match side:
        case ops.Join(
            how="semi", left=whole, right=ops.Distinct(input=ops.Project(input=keys))
        ) if keys is other:
            return whole
    return side


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


def _product(
    left: Estimate, right: Estimate, left_names: Sequence[str], right_names: Sequence[str]
) -> Estimate:
    """Every row of one side with every row of the other, with columns of these names."""
    rows = Interval(
        left.rows.low * right.rows.low,
        left.rows.high * right.rows.high,
        left.rows.confidence * right.rows.confidence,
    )
    # Pairs repeat what each side has: no column has more values than there, and they are not the
    # keys that columns of which nothing is known are reckoned as.
    columns = {
        name: replace(column, distinct=side.distinct(name))
        for side, names in ((left, left_names), (right, right_names))
        for name in names
        for column in [side.columns.get(name, ColumnEstimate())]
    }
    return Estimate(rows, left.width + right.width, columns)


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
    return replace(below, rows=at_most(rows, below.rows.high))


__all__ = ["Estimator"]

"""From relations without free columns to the plan's operators."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from umbel.plan import operators as ops
from umbel.plan.errors import PlanError
from umbel.plan.expressions import Call, Column, Expression, Literal, columns_of
from umbel.plan.origin import Origin
from umbel.plan.types import (
    BOOL,
    DATE,
    STRING,
    is_decimal,
    is_float,
    is_integer,
    is_string,
)
from umbel.sql.reading import tree
from umbel.sql.reading.binder import Binder, Query
from umbel.sql.reading.unnest import Unnesting
from umbel.sql.reading.values import Columns


class Lowering:
    """Makes operators of relations; a relation that is read twice becomes one operator."""

    def __init__(self, columns: Columns, origin: Origin | None) -> None:
        self.columns = columns
        self.origin = origin
        self._done: dict[int, ops.Operator] = {}
        self._kept: list[tree.Relation] = []  # so that no identity is used again

    def lower(self, relation: tree.Relation) -> ops.Operator:
        """Give the operator for a relation; it has at least the relation's columns."""
        known = self._done.get(id(relation))
        if known is None:
            known = self._lower(relation)
            self._done[id(relation)] = known
            self._kept.append(relation)
        return known

    def exactly(self, relation: tree.Relation, names: Sequence[str]) -> ops.Operator:
        """Give the operator with just these columns in this order."""
        return self.project(self.lower(relation), tuple((n, Column(n)) for n in names))

    def project(self, below: ops.Operator, columns: tuple[tree.Named, ...]) -> ops.Operator:
        """Put a projection above an operator unless it changes nothing."""
        same = len(columns) == len(below.schema) and all(
            expression == Column(name) and name == own
            for (name, expression), own in zip(columns, below.schema.names, strict=True)
        )
        return below if same else ops.Project(input=below, columns=columns, origin=self.origin)

    def _lower(self, relation: tree.Relation) -> ops.Operator:
        origin = self.origin
        match relation:
            case tree.Leaf(operator, names):
                pairs = zip(names, operator.schema.names, strict=True)
                return self.project(operator, tuple((new, Column(old)) for new, old in pairs))
            case tree.Filter(below, conditions):
                return ops.Filter(
                    input=self.lower(below), predicate=_all(conditions), origin=origin
                )
            case tree.Extend(below, items):
                operator = self.lower(below)
                kept = tuple((name, Column(name)) for name in operator.schema.names)
                return self.project(operator, (*kept, *items))
            case tree.Keep(tree.Extend(below, items), names):
                made = dict(items)
                operator = self.lower(below)
                return self.project(operator, tuple((n, made.get(n, Column(n))) for n in names))
            case tree.Keep(below, names):
                return self.exactly(below, names)
            case tree.Group(below, keys, aggregates):
                return ops.Aggregate(
                    input=self.lower(below), keys=keys, aggregates=aggregates, origin=origin
                )
            case tree.Windows(below, items):
                return ops.Window(input=self.lower(below), columns=items, origin=origin)
            case tree.Order(below, keys):
                return ops.Sort(input=self.lower(below), keys=keys, origin=origin)
            case tree.Slice(below, count, offset):
                return ops.Limit(input=self.lower(below), count=count, offset=offset, origin=origin)
            case tree.Unique(below):
                return ops.Distinct(input=self.exactly(below, below.columns), origin=origin)
            case tree.Unfold(below, column, outer):
                return ops.Explode(
                    input=self.lower(below), column=column, outer=outer, origin=origin
                )
            case tree.Join():
                return self._join(relation)
            case tree.Merge():
                return self._merge(relation)
        raise TypeError(f"no operator for {type(relation).__name__}")

    def _merge(self, merge: tree.Merge) -> ops.Operator:
        members = []
        for member, taken in zip(merge.members, merge.taken, strict=True):
            columns = tuple((n, Column(t)) for n, t in zip(merge.names, taken, strict=True))
            members.append(self.project(self.lower(member), columns))
        if merge.kind == "union":
            return ops.Union(members=tuple(members), distinct=merge.distinct, origin=self.origin)
        cls = ops.Intersect if merge.kind == "intersect" else ops.Except
        return cls(left=members[0], right=members[1], origin=self.origin)

    def _join(self, join: tree.Join) -> ops.Operator:
        left, right = self.lower(join.left), self.lower(join.right)
        left_names, right_names = set(left.schema.names), set(join.right.columns)
        if set(right.schema.names) & left_names:
            # Columns that nobody reads any more may be in both.
            right = self.exactly(join.right, join.right.columns)
        how = join.how
        keys: list[tuple[Expression, Expression]] = []
        rest: list[Expression] = []
        of_left: list[Expression] = []
        of_right: list[Expression] = []
        for condition in join.conditions:
            pairs = self._pairs(condition, left_names, right_names)
            reads = columns_of(condition)
            if pairs is not None:
                keys += pairs
            elif reads and reads <= right_names and how in ("inner", "left", "semi", "anti"):
                of_right.append(condition)
            elif reads and reads <= left_names and how in ("inner", "semi", "right"):
                of_left.append(condition)
            else:
                rest.append(condition)
        if of_right:
            right = ops.Filter(input=right, predicate=_all(of_right), origin=self.origin)
        if of_left:
            left = ops.Filter(input=left, predicate=_all(of_left), origin=self.origin)
        left, left_keys = self._named(left, [key for key, _ in keys])
        right, right_keys = self._named(right, [key for _, key in keys])
        if how == "inner" and not keys and not rest:
            return ops.Join(left=left, right=right, how="cross", origin=self.origin)
        residual = _all(rest) if rest else None
        if not keys and residual is None:
            residual = Literal(value=True, dtype=BOOL)
        on = tuple(zip(left_keys, right_keys, strict=True))
        return ops.Join(
            left=left,
            right=right,
            how=how,  # type: ignore[arg-type]
            on=on,
            residual=residual,
            origin=self.origin,
        )

    def _pairs(
        self, condition: Expression, left: set[str], right: set[str]
    ) -> list[tuple[Expression, Expression]] | None:
        """Read a condition as equal keys of both sides, if it is that."""
        if not isinstance(condition, Call) or len(condition.arguments) != 2:
            return None
        if condition.function not in ("equal", "is_not_distinct_from"):
            return None
        a, b = condition.arguments
        reads_a, reads_b = columns_of(a), columns_of(b)
        if not (reads_a and reads_b):
            return None
        if not (reads_a <= left and reads_b <= right):
            a, b = b, a
            if not (reads_b <= left and reads_a <= right):
                return None
        if condition.function == "equal":
            return [(a, b)]
        return self._null_safe(a, b)

    def _null_safe(
        self, left: Expression, right: Expression
    ) -> list[tuple[Expression, Expression]] | None:
        """Compare keys of which null equals null, by two keys that engines can hash."""
        if not (isinstance(left, Column) and isinstance(right, Column)):
            return None
        fields = [self.columns.field(left.name), self.columns.field(right.name)]
        if not any(field.nullable for field in fields):
            return [(left, right)]
        if fields[0].type != fields[1].type:
            return None
        filler = _filler(fields[0].type)
        if filler is None:
            return None
        sides = [
            (Call("coalesce", (side, filler)), Call("is_null", (side,))) for side in (left, right)
        ]
        return list(zip(*sides, strict=True))

    def _named(
        self, operator: ops.Operator, keys: list[Expression]
    ) -> tuple[ops.Operator, list[str]]:
        """Compute keys that are no columns yet."""
        names, more = [], []
        for key in keys:
            if isinstance(key, Column):
                names.append(key.name)
                continue
            name = self.columns.new("key", pa.null())
            more.append((name, key))
            names.append(name)
        if more:
            kept = tuple((name, Column(name)) for name in operator.schema.names)
            operator = self.project(operator, (*kept, *more))
        return operator, names


def _filler(dtype: pa.DataType) -> Expression | None:
    """Some value of a type, to stand in for null beside a column that says so."""
    import datetime
    from decimal import Decimal

    if is_integer(dtype):
        return Literal(0, dtype)
    if is_float(dtype):
        return Literal(0.0, dtype)
    if is_decimal(dtype):
        return Literal(Decimal(0), dtype)
    if is_string(dtype):
        return Literal("", STRING)
    if dtype == DATE:
        return Literal(datetime.date(1970, 1, 1), DATE)
    if pa.types.is_boolean(dtype):
        return Literal(value=False, dtype=BOOL)
    if pa.types.is_timestamp(dtype) and dtype.tz is None:
        return Literal(datetime.datetime(1970, 1, 1), dtype)  # noqa: DTZ001
    return None


def _all(conditions: Sequence[Expression]) -> Expression:
    if len(conditions) == 1:
        return conditions[0]
    flat: list[Expression] = []
    for condition in conditions:
        is_and = isinstance(condition, Call) and condition.function == "and"
        flat += condition.arguments if is_and else [condition]  # type: ignore[attr-defined]
    return Call("and", tuple(flat))


def plan_of(binder: Binder, query: Query) -> ops.Operator:
    """Take correlation out of a query, and make operators of it."""
    relation = Unnesting(binder.columns).unnest(query.relation)
    if relation.free:
        shown = ", ".join(sorted(name.split("~", 1)[0] for name in relation.free))
        raise PlanError(f"the query reads columns that nothing gives: {shown}")
    lowering = Lowering(binder.columns, binder.origin)
    below = lowering.lower(relation)
    return lowering.project(below, tuple((n, Column(unique)) for n, unique in query.columns))


def one_row() -> ops.Operator:
    """A table of one row, for a SELECT without FROM."""
    return ops.Values(table=pa.table({"nothing": pa.array([0], pa.int8())}))


__all__ = ["Lowering", "one_row", "plan_of"]

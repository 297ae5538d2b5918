"""Write out which operands wait for which, where engines would each decide for themselves.

Only expressions that may fail for some row are touched: for the others it makes no difference.
What is meant stands in `docs/decisions/0008-what-fails-a-run.md`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar, cast

import pyarrow as pa

from umbel.optimizer.bounds import Bounds
from umbel.optimizer.facts import Facts
from umbel.optimizer.rewrite.simplify import joined
from umbel.plan import operators as ops
from umbel.plan.errors import PlanError
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Case,
    Cast,
    Column,
    Expression,
    Literal,
    columns_of,
    transform,
    walk,
)
from umbel.plan.functions import CATALOGUE, Nulls
from umbel.plan.safety import constant_value, is_constant_null
from umbel.plan.types import BOOL
from umbel.plan.typing import infer_type

E = TypeVar("E", bound=Expression)

#: How large an expression may grow by being written twice.
_LARGEST = 200


def order_evaluation(root: ops.Operator, facts: Facts | None = None) -> ops.Operator:
    """Make expressions that may fail say for which rows they are evaluated.

    `and` and `or` evaluate all their conditions, `coalesce` what it needs, an aggregate with a
    filter the rows that pass it, the condition of a join the pairs whose keys are equal.

    >>> import pyarrow as pa
    >>> words = ops.Values(table=pa.table({"a": ["1", "x"], "b": [1, 2]}))
    >>> number = Call("coalesce", (Column("b"), Call("ord", (Column("a"),))))
    >>> order_evaluation(ops.Project(input=words, columns=(("c", number),))).describe()
    'c = case when is_not_null(b) then b else ord(a) end'
    """
    bounds = (facts or Facts()).bounds

    def change(operator: ops.Operator) -> ops.Operator:
        try:
            return _ordered(operator, bounds)
        except PlanError:
            return operator  # one that is as deep as can be grows no deeper

    return ops.rebuild(root, change)


def _ordered(operator: ops.Operator, bounds: Bounds) -> ops.Operator:
    within = _Within(bounds, operator.inputs)
    match operator:
        case ops.Filter(predicate=predicate) if within.may_fail(predicate):
            return replace(operator, predicate=within.condition(within.ordered(predicate)))
        case ops.Project(columns=columns) if within.any_may_fail(columns):
            return replace(operator, columns=within.columns(columns))
        case ops.Window(columns=columns) if within.any_may_fail(columns):
            return replace(operator, columns=within.columns(columns))
        case ops.Aggregate(keys=keys, aggregates=calls) if within.any_may_fail((*keys, *calls)):
            return replace(operator, keys=within.columns(keys), aggregates=within.columns(calls))
        case ops.Sort(keys=keys) if any(within.may_fail(key.expression) for key in keys):
            changed = tuple(replace(k, expression=within.ordered(k.expression)) for k in keys)
            return replace(operator, keys=changed)
        case ops.Join(residual=residual) if residual is not None and within.may_fail(residual):
            return _join(operator, within.condition(within.ordered(residual)))
    return operator


def _join(join: ops.Join, condition: Expression) -> ops.Operator:
    """Give a join that evaluates its condition for the pairs whose keys are equal."""
    if join.how == "inner":
        pairs = replace(join, residual=None, how="inner" if join.on else "cross")
        return ops.Filter(input=pairs, predicate=condition, origin=join.origin, pin=join.pin)
    # A condition on both sides cannot be tried on the rows of one side before they meet.
    left, right = join.on[0] if join.on else (join.left.schema.names[0], join.right.schema.names[0])
    met = Call("or", (Call("is_null", (Column(left),)), Call("is_not_null", (Column(right),))))
    if not join.on:
        met = Call("or", (met, Call("is_null", (Column(right),))))
    return replace(join, residual=Case(((met, condition),), Literal(False, BOOL)))


class _Within:
    """Expressions over the columns of some operators."""

    def __init__(self, bounds: Bounds, inputs: tuple[ops.Operator, ...]) -> None:
        self._bounds = bounds
        self._inputs = inputs

    def may_fail(self, expression: Expression) -> bool:
        return not self._bounds.cannot_fail(expression, *self._inputs)

    def _type(self, expression: Expression) -> pa.DataType:
        return infer_type(expression, pa.schema([f for op in self._inputs for f in op.schema]))

    def any_may_fail(self, columns: Iterable[tuple[str, Expression]]) -> bool:
        return any(
            not isinstance(expression, Column) and self.may_fail(expression)
            for _, expression in columns
        )

    def columns(self, columns: tuple[tuple[str, E], ...]) -> tuple[tuple[str, E], ...]:
        return tuple((name, self.ordered(e)) for name, e in columns)

    def ordered(self, expression: E) -> E:
        """Write out an expression's order of evaluation."""
        # Of an aggregate or window call `_change` gives one again.
        return cast("E", transform(expression, self._change))

    def condition(self, predicate: Expression) -> Expression:
        """Make a condition's parts be evaluated for all rows: engines stop at the first false."""
        several = any(isinstance(n, Call) and n.function in ("and", "or") for n in walk(predicate))
        if not several or not self.may_fail(predicate):
            return predicate
        return Call("is_not_distinct_from", (predicate, Literal(True, BOOL)))

    def _change(self, node: Expression) -> Expression:
        match node:
            case Call(function, arguments) if (
                CATALOGUE[function].nulls in (Nulls.STRICT, Nulls.PARTIAL)
                and any(map(is_constant_null, arguments))
                and self.may_fail(node)
            ):
                # Engines do not look at the other arguments.
                return Literal(None, self._type(node))
            case Call() | Cast() if not columns_of(node) and self.may_fail(node):
                return self._per_row(node)
            case Call("and" | "or", arguments) if self.may_fail(node):
                return joined(node.function, map(_folded, arguments))
            case Case(branches, otherwise):
                return Case(tuple((self.condition(c), value) for c, value in branches), otherwise)
            case Call("coalesce", (*firsts, last)) if firsts and any(
                map(self.may_fail, (*firsts[1:], last))
            ):
                if sum(1 for _ in walk(node)) > _LARGEST:
                    return node
                return Case(tuple((Call("is_not_null", (e,)), e) for e in firsts), last)
            case AggregateCall(where=where) if where is not None:
                return self._filtered(node, where)
        return node

    def _per_row(self, node: Expression) -> Expression:
        """Make a constant that fails one that fails for rows only: some engines try it at once."""
        names = [name for operator in self._inputs for name in operator.schema.names]
        if isinstance(node, Literal) and names:
            return Case(((Call("is_null", (Column(names[0]),)), node),), node)
        fixed = CATALOGUE[node.function].constant if isinstance(node, Call) else ()
        children = list(node.children)
        for position, child in enumerate(children):
            if position not in fixed:
                children[position] = self._per_row(child)
                return node.with_children(tuple(children))
        return node

    def _filtered(self, call: AggregateCall, where: Expression) -> AggregateCall:
        def waiting(argument: Expression) -> Expression:
            return Case(((where, argument),)) if self.may_fail(argument) else argument

        where = self.condition(where)
        return replace(
            call,
            where=where,
            arguments=tuple(map(waiting, call.arguments)),
            order_by=tuple(replace(k, expression=waiting(k.expression)) for k in call.order_by),
        )


def _folded(condition: Expression) -> Expression:
    """Replace a constant condition by what it says: it may decide, and then for all engines."""
    known = constant_value(condition)
    return condition if known is None else Literal(known, BOOL)

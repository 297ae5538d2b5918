"""Forms on DuckDB of the catalogue's comparisons and boolean logic."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.comparison import compared_type, exactly_common
from umbel.plan.functions.forms import Absent, Form, TypedCall
from umbel.platforms.duckdb.casts import cast
from umbel.platforms.duckdb.types import literal
from umbel.sql.nodes import binary, operand

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


Call: TypeAlias = "TypedCall[exp.Expr]"


def pair(call: Call, first: int, second: int) -> tuple[exp.Expr, exp.Expr]:
    """Bring two arguments to the type in which they are compared."""
    types = call.types[first], call.types[second]
    target = compared_type(call.row.name, *types)
    left, right = call.arguments[first], call.arguments[second]
    return cast(left.copy(), types[0], target), cast(right.copy(), types[1], target)


def exact(call: Call) -> bool:
    """Whether the first argument and each of the others have a type that holds both exactly."""
    return all(exactly_common(call.types[0], other) for other in call.types[1:])


def _targets(call: Call) -> set[pa.DataType]:
    return {compared_type(call.row.name, call.types[0], other) for other in call.types[1:]}


def _comparison(operator: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        return binary(getattr(exp, operator), *pair(call, 0, 1)) if exact(call) else call.fallback()

    return Form(build)


def _between(call: Call) -> exp.Expr:
    if not exact(call):
        return call.fallback()
    value, low = pair(call, 0, 1)
    other, high = pair(call, 0, 2)
    if len(_targets(call)) == 1:
        node = exp.Between(this=operand(value), low=operand(low), high=operand(high))
        return exp.Paren(this=node)
    return binary(exp.And, binary(exp.GTE, value, low), binary(exp.LTE, other, high))


def _is_in(call: Call) -> exp.Expr:
    if not exact(call):
        return call.fallback()
    pairs = [pair(call, 0, position) for position in range(1, len(call.arguments))]
    if len(_targets(call)) == 1:
        candidates = [candidate for _, candidate in pairs]
        return exp.Paren(this=exp.In(this=operand(pairs[0][0]), expressions=candidates))
    return reduce(_or, [binary(exp.EQ, *both) for both in pairs])


def _and(left: exp.Expr, right: exp.Expr) -> exp.Expr:
    return binary(exp.And, left, right)


def _or(left: exp.Expr, right: exp.Expr) -> exp.Expr:
    return binary(exp.Or, left, right)


def _joined(join: Callable[[exp.Expr, exp.Expr], exp.Expr]) -> Form[exp.Expr]:
    return Form(lambda call: reduce(join, _booleans(call)))


def _booleans(call: Call) -> list[exp.Expr]:
    return [
        literal(None, pa.bool_()) if pa.types.is_null(dtype) else node
        for node, dtype in zip(call.arguments, call.types, strict=True)
    ]


FORMS: dict[str, Form[Any] | Absent] = {
    "equal": _comparison("EQ"),
    "not_equal": _comparison("NEQ"),
    "less": _comparison("LT"),
    "less_equal": _comparison("LTE"),
    "greater": _comparison("GT"),
    "greater_equal": _comparison("GTE"),
    "between": Form(_between),
    "is_in": Form(_is_in),
    "is_distinct_from": _comparison("NullSafeNEQ"),
    "is_not_distinct_from": _comparison("NullSafeEQ"),
    "and": _joined(_and),
    "or": _joined(_or),
    "not": Form(lambda call: exp.Paren(this=exp.Not(this=operand(_booleans(call)[0])))),
    "xor": Form(lambda call: binary(exp.NEQ, *_booleans(call))),
}

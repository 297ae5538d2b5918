"""Forms on Spark of the catalogue's comparisons and boolean logic.

Spark compares as the plan does: NaN equals itself and is the greatest, text by its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Expression
from umbel.plan.functions.comparison import compared_type, exactly_common
from umbel.plan.functions.forms import Absent, Form
from umbel.platforms.spark.casts import cast
from umbel.platforms.spark.functions.snippets import Call
from umbel.platforms.spark.types import literal
from umbel.sql.nodes import binary, operand

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


def pair(call: Call, first: int, second: int) -> tuple[exp.Expr, exp.Expr]:
    """Bring two arguments to the type in which they are compared."""
    types = call.types[first], call.types[second]
    target = compared_type(call.row.name, *types)
    left, right = call.arguments[first], call.arguments[second]
    return cast(left.copy(), types[0], target), cast(right.copy(), types[1], target)


def refuse_inexact(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    """Say that no type of Spark's has room for both sides of a comparison."""
    if all(exactly_common(types[0], other) for other in types[1:]):
        return None
    return "the decimals compared have no common type of 38 digits"


def _comparison(operator: str) -> Form[exp.Expr]:
    return Form(lambda call: binary(getattr(exp, operator), *pair(call, 0, 1)), refuse_inexact)


def _between(call: Call) -> exp.Expr:
    value, low = pair(call, 0, 1)
    other, high = pair(call, 0, 2)
    return binary(exp.And, binary(exp.GTE, value, low), binary(exp.LTE, other, high))


def _is_in(call: Call) -> exp.Expr:
    pairs = [pair(call, 0, position) for position in range(1, len(call.arguments))]
    targets = {compared_type("is_in", call.types[0], other) for other in call.types[1:]}
    if len(targets) == 1:
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
        literal(None, pa.bool_()) if pa.types.is_null(dtype) else operand(node)
        for node, dtype in zip(call.arguments, call.types, strict=True)
    ]


def _negated(node: exp.Expr) -> exp.Expr:
    return exp.Paren(this=exp.Not(this=operand(node)))


FORMS: dict[str, Form[Any] | Absent] = {
    "equal": _comparison("EQ"),
    "not_equal": _comparison("NEQ"),
    "less": _comparison("LT"),
    "less_equal": _comparison("LTE"),
    "greater": _comparison("GT"),
    "greater_equal": _comparison("GTE"),
    "between": Form(_between, refuse_inexact),
    "is_in": Form(_is_in, refuse_inexact),
    "is_distinct_from": Form(
        lambda call: _negated(binary(exp.NullSafeEQ, *pair(call, 0, 1))), refuse_inexact
    ),
    "is_not_distinct_from": _comparison("NullSafeEQ"),
    "and": _joined(_and),
    "or": _joined(_or),
    "not": Form(lambda call: _negated(_booleans(call)[0])),
    "xor": Form(lambda call: binary(exp.NEQ, *_booleans(call))),
}

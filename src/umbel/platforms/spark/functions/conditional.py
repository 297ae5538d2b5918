"""Forms on Spark of the catalogue's functions of nulls, special floats and choice, and guards."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.types import is_float
from umbel.platforms.spark.casts import cast
from umbel.platforms.spark.functions.comparison import pair, refuse_inexact
from umbel.platforms.spark.functions.snippets import Call, fail, snippet
from umbel.platforms.spark.types import literal
from umbel.sql.expressions import function
from umbel.sql.nodes import binary, is_null, when

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


def _chosen(name: str) -> Callable[[Call], exp.Expr]:
    def build(call: Call) -> exp.Expr:
        if pa.types.is_null(call.dtype):
            return literal(None, call.dtype)
        given = zip(call.arguments, call.types, strict=True)
        values = [cast(node, dtype, call.dtype) for node, dtype in given]
        # Spark wants at least two to choose the greatest from.
        return function(name, *values) if len(values) > 1 else values[0]

    return build


def _float_test(template: str, *, otherwise: bool) -> Form[exp.Expr]:
    """A test of floats; all other numbers have one answer."""

    def build(call: Call) -> exp.Expr:
        node, dtype = call.arguments[0], call.types[0]
        if is_float(dtype):
            return snippet(f"CASE WHEN x IS NOT NULL THEN {template} END", x=node)
        return when(is_null(node), literal(None, pa.bool_()), exp.Boolean(this=otherwise))

    return Form(build)


def _null_if(call: Call) -> exp.Expr:
    if pa.types.is_null(call.dtype):
        return literal(None, call.dtype)
    same = binary(exp.EQ, *pair(call, 0, 1))
    return when(same, literal(None, call.dtype), call.arguments[0])


def _require(call: Call) -> exp.Expr:
    value, condition = call.arguments
    if pa.types.is_null(call.types[1]):
        condition = literal(None, pa.bool_())
    return when(condition, value, fail("a guard failed"))


_INFINITE = "abs(CAST(x AS DOUBLE)) = CAST('inf' AS DOUBLE)"

FORMS: dict[str, Form[Any] | Absent] = {
    "is_null": Form(lambda call: is_null(call.arguments[0])),
    "is_not_null": Form(lambda call: exp.Paren(this=exp.Not(this=is_null(call.arguments[0])))),
    "coalesce": Form(_chosen("coalesce")),
    "null_if": Form(_null_if, refuse_inexact),
    "is_nan": _float_test("isnan(x)", otherwise=False),
    "is_finite": _float_test(f"NOT isnan(x) AND NOT {_INFINITE}", otherwise=True),
    "is_infinite": _float_test(_INFINITE, otherwise=False),
    "greatest": Form(_chosen("greatest"), refuse_inexact),
    "least": Form(_chosen("least"), refuse_inexact),
    "require": Form(_require),
}

"""Forms on DuckDB of the catalogue's functions of nulls, special floats and choice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Absent, Form, TypedCall
from umbel.plan.types import is_float
from umbel.platforms.duckdb.casts import cast
from umbel.platforms.duckdb.functions.comparison import exact, pair
from umbel.platforms.duckdb.types import literal
from umbel.sql.expressions import function
from umbel.sql.nodes import binary, is_null, when

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


Call: TypeAlias = "TypedCall[exp.Expr]"


def _chosen(name: str, *, ordered: bool) -> Form[exp.Expr]:
    """DuckDB's function of the same name over the common type."""

    def build(call: Call) -> exp.Expr:
        if pa.types.is_null(call.dtype):
            return literal(None, call.dtype)
        if ordered and not exact(call):
            return call.fallback()
        given = zip(call.arguments, call.types, strict=True)
        return function(name, *(cast(node, dtype, call.dtype) for node, dtype in given))

    return Form(build)


def _float_test(name: str, *, otherwise: bool) -> Form[exp.Expr]:
    """A test of floats; all other numbers have one answer."""

    def build(call: Call) -> exp.Expr:
        node, dtype = call.arguments[0], call.types[0]
        if is_float(dtype):
            return function(name, node)
        return when(is_null(node), literal(None, pa.bool_()), exp.Boolean(this=otherwise))

    return Form(build)


def _null_if(call: Call) -> exp.Expr:
    if not exact(call):
        return call.fallback()
    if pa.types.is_null(call.dtype):
        return literal(None, call.dtype)
    same = binary(exp.EQ, *pair(call, 0, 1))
    return when(same, literal(None, call.dtype), call.arguments[0])


FORMS: dict[str, Form[Any] | Absent] = {
    "is_null": Form(lambda call: is_null(call.arguments[0])),
    "is_not_null": Form(lambda call: exp.Paren(this=exp.Not(this=is_null(call.arguments[0])))),
    "coalesce": _chosen("coalesce", ordered=False),
    "null_if": Form(_null_if),
    "is_nan": _float_test("isnan", otherwise=False),
    "is_finite": _float_test("isfinite", otherwise=True),
    "is_infinite": _float_test("isinf", otherwise=False),
    "greatest": _chosen("greatest", ordered=True),
    "least": _chosen("least", ordered=True),
}

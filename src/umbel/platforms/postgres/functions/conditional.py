"""Forms on PostgreSQL of the catalogue's functions of nulls, special floats and choice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.types import is_float
from umbel.platforms.postgres.functions.calls import Call, cast_all
from umbel.platforms.postgres.functions.comparison import ordered, pair, refuse_inexact
from umbel.platforms.postgres.snippets import once, snippet
from umbel.platforms.postgres.types import literal
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


def _chosen(name: str, *, in_order: bool) -> Form[exp.Expr]:
    """PostgreSQL's function of the same name over the common type."""

    def build(call: Call) -> exp.Expr:
        if pa.types.is_null(call.dtype):
            return literal(None, call.dtype)
        given = cast_all(call, call.dtype)
        if in_order:
            given[0] = ordered(given[0], call.dtype)
        return function(name, *given)

    return Form(build, refuse_inexact) if in_order else Form(build)


def _float_test(template: str, *, otherwise: bool) -> Form[exp.Expr]:
    """A test of floats; all other numbers have one answer."""

    def build(call: Call) -> exp.Expr:
        node, dtype = call.arguments[0], call.types[0]
        if is_float(dtype):
            return once(template, x=node)
        if pa.types.is_null(dtype):
            return literal(None, pa.bool_())
        return snippet(f"CASE WHEN NOT x IS NULL THEN {otherwise} END", x=node)

    return Form(build)


def _null_if(call: Call) -> exp.Expr:
    if pa.types.is_null(call.dtype):
        return literal(None, call.dtype)
    left, right = pair(call, 0, 1, in_order=False)
    return snippet("CASE WHEN a = b THEN NULL ELSE x END", a=left, b=right, x=call.arguments[0])


FORMS: dict[str, Form[Any] | Absent] = {
    "is_null": Form(lambda call: snippet("x IS NULL", x=call.arguments[0])),
    "is_not_null": Form(lambda call: snippet("NOT x IS NULL", x=call.arguments[0])),
    "coalesce": _chosen("coalesce", in_order=False),
    "null_if": Form(_null_if, refuse_inexact),
    "is_nan": _float_test("x = 'NaN'", otherwise=False),
    "is_finite": _float_test("abs(x) < 'Infinity'", otherwise=True),
    "is_infinite": _float_test("abs(x) = 'Infinity'", otherwise=False),
    "greatest": _chosen("greatest", in_order=True),
    "least": _chosen("least", in_order=True),
}

"""Forms on Polars of the catalogue's functions of nulls, special floats and choice."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Absent, Form, TypedCall
from umbel.plan.types import is_float
from umbel.platforms.polars.casts import cast
from umbel.platforms.polars.functions.comparison import exact, pair
from umbel.platforms.polars.types import literal

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")


Call: TypeAlias = "TypedCall[pl.Expr]"


def _unified(call: Call) -> list[pl.Expr]:
    return [
        cast(expr, dtype, call.dtype)
        for expr, dtype in zip(call.arguments, call.types, strict=True)
    ]


def _float_test(test: Callable[[pl.Expr], pl.Expr], *, otherwise: bool) -> Form[pl.Expr]:
    """A test of floats; all other numbers have one answer."""

    def build(call: Call) -> pl.Expr:
        expr = call.arguments[0]
        if is_float(call.types[0]):
            return test(expr)
        if pa.types.is_null(call.types[0]):
            return literal(None, call.dtype)
        return pl.when(expr.is_not_null()).then(pl.lit(otherwise))

    return Form(build)


def _greatest(call: Call) -> pl.Expr:
    if not exact(call):
        return call.fallback()
    values = _unified(call)
    greatest = pl.max_horizontal(values)
    if not is_float(call.dtype):
        return greatest
    any_nan = pl.any_horizontal([value.is_nan() for value in values])  # Polars skips NaN
    return pl.when(any_nan).then(literal(float("nan"), call.dtype)).otherwise(greatest)


def _least(call: Call) -> pl.Expr:
    return pl.min_horizontal(_unified(call)) if exact(call) else call.fallback()


def _null_if(call: Call) -> pl.Expr:
    if not exact(call):
        return call.fallback()
    same = operator.eq(*pair(call, 0, 1))
    return pl.when(same).then(literal(None, call.dtype)).otherwise(call.arguments[0])


FORMS: dict[str, Form[Any] | Absent] = {
    "is_null": Form(lambda call: call.arguments[0].is_null()),
    "is_not_null": Form(lambda call: call.arguments[0].is_not_null()),
    "coalesce": Form(lambda call: pl.coalesce(_unified(call))),
    "null_if": Form(_null_if),
    "is_nan": _float_test(lambda expr: expr.is_nan(), otherwise=False),
    "is_finite": _float_test(lambda expr: expr.is_finite(), otherwise=True),
    "is_infinite": _float_test(lambda expr: expr.is_infinite(), otherwise=False),
    "greatest": Form(_greatest),
    "least": Form(_least),
}

"""Forms on Polars of the catalogue's mathematics."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Absent, Form, TypedCall
from umbel.plan.types import (
    DURATION,
    FLOAT64,
    INT64,
    MAX_DECIMAL_PRECISION,
    is_decimal,
    is_float,
    is_integer,
)
from umbel.platforms.polars.casts import cast
from umbel.platforms.polars.fallback import each_batch
from umbel.platforms.polars.functions.arithmetic import (
    narrowed,
    negate_integers,
    quotient,
    series_interval,
)
from umbel.platforms.polars.types import literal, polars_type

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")


Call: TypeAlias = "TypedCall[pl.Expr]"


def _reals(call: Call) -> list[pl.Expr]:
    return [
        cast(expr, dtype, FLOAT64) for expr, dtype in zip(call.arguments, call.types, strict=True)
    ]


def _real(function: Callable[..., pl.Expr]) -> Form[pl.Expr]:
    return Form(lambda call: function(*_reals(call)))


def _absolute(series: pl.Series) -> pl.Series:
    return series.abs() if series_interval(series)[0] > -(2**63) else negate_integers(series)


def _abs(call: Call) -> pl.Expr:
    (expr,), (dtype,) = call.arguments, call.types
    if pa.types.is_null(dtype):
        return expr
    if pa.types.is_duration(dtype):
        ticks = cast(expr, dtype, DURATION).cast(pl.Int64)
        return each_batch(_absolute, [ticks], INT64).cast(polars_type(DURATION))
    wide = cast(expr, dtype, call.dtype)
    return each_batch(_absolute, [wide], INT64) if dtype == INT64 else wide.abs()


def _sign(call: Call) -> pl.Expr:
    expr, dtype = call.arguments[0], call.types[0]
    if pa.types.is_null(dtype):
        return expr
    return cast(expr, dtype, FLOAT64).sign() if is_float(dtype) else expr.sign().cast(pl.Int64)


def _whole(function: Callable[[pl.Expr], pl.Expr]) -> Form[pl.Expr]:
    """Floor and ceil."""

    def build(call: Call) -> pl.Expr:
        expr, dtype = call.arguments[0], call.types[0]
        if is_float(dtype):
            return function(cast(expr, dtype, FLOAT64))
        if not is_decimal(dtype):
            return cast(expr, dtype, call.dtype)
        if dtype.precision == MAX_DECIMAL_PRECISION:
            return call.fallback()  # Polars has no room for a carry
        return function(expr).cast(polars_type(call.dtype))

    return Form(build)


def _nearest(mode: str) -> Callable[[Any, int], Any]:
    if mode == "truncate":
        return lambda value, digits: value.truncate(digits)
    return lambda value, digits: value.round(digits, mode=mode)


def _rounding(mode: str) -> Form[pl.Expr]:
    nearest = _nearest(mode)

    def build(call: Call) -> pl.Expr:
        expr, dtype = call.arguments[0], call.types[0]
        digits = call.constant(1) if len(call.nodes) > 1 else 0
        if is_float(dtype):
            wide = cast(expr, dtype, FLOAT64)
            if digits == 0:
                return nearest(wide, 0)
            return each_batch(partial(_float_digits, nearest, digits), [wide], FLOAT64)
        if pa.types.is_null(dtype) or digits >= (dtype.scale if is_decimal(dtype) else 0):
            return cast(expr, dtype, call.dtype)
        if digits < 0 or call.dtype.precision == MAX_DECIMAL_PRECISION:
            return call.fallback()
        return nearest(expr, digits).cast(polars_type(call.dtype))

    return Form(build)


def _float_digits(nearest: Callable[[Any, int], Any], digits: int, series: pl.Series) -> pl.Series:
    power = float(f"1e{abs(digits)}")
    divisor = pl.Series([power])
    if digits < 0:
        return nearest(quotient(series, divisor), 0) * power
    scaled = series * power
    rounded = quotient(nearest(scaled, 0), divisor)
    finite = scaled.is_finite()
    return rounded if finite.all() else rounded.zip_with(finite.fill_null(value=True), series)


def _bitwise(function: Callable[..., pl.Expr]) -> Form[pl.Expr]:
    def build(call: Call) -> pl.Expr:
        if pa.types.is_null(call.dtype):
            return literal(None, call.dtype)
        given: Sequence[tuple[pl.Expr, pa.DataType]] = list(
            zip(call.arguments, call.types, strict=True)
        )
        return function(*(cast(expr, dtype, call.dtype) for expr, dtype in given))

    return Form(build)


def _shift(on_series: Callable[[pl.Series, int], pl.Series], most: int) -> Form[pl.Expr]:
    def build(call: Call) -> pl.Expr:
        bits = call.constant(1)
        if not is_integer(call.types[0]) or bits > most:
            return call.fallback()
        wide = cast(call.arguments[0], call.types[0], call.dtype)
        return each_batch(lambda series: on_series(series, bits), [wide], call.dtype)

    return Form(build)


def _shift_left(series: pl.Series, bits: int) -> pl.Series:
    dtype = pa.uint64() if series.dtype == pl.UInt64 else INT64
    factor = pl.Series([2**bits], dtype=pl.Int128)
    return narrowed(series.cast(pl.Int128) * factor, dtype)


def _shift_right(series: pl.Series, bits: int) -> pl.Series:
    return series // pl.Series([2**bits], dtype=series.dtype)


FORMS: dict[str, Form[Any] | Absent] = {
    "abs": Form(_abs),
    "sign": Form(_sign),
    "ceil": _whole(lambda expr: expr.ceil()),
    "floor": _whole(lambda expr: expr.floor()),
    "round": _rounding("half_away_from_zero"),
    "round_half_even": _rounding("half_to_even"),
    "truncate": _rounding("truncate"),
    "sqrt": _real(lambda x: x.sqrt()),
    "cbrt": _real(lambda x: x.cbrt()),
    "exp": _real(lambda x: x.exp()),
    "ln": _real(lambda x: x.log()),
    "log10": _real(lambda x: x.log10()),
    "log2": _real(lambda x: x.log(2)),
    "log": _real(lambda x, base: x.log() / base.log()),
    "sin": _real(lambda x: x.sin()),
    "cos": _real(lambda x: x.cos()),
    "tan": _real(lambda x: x.tan()),
    "asin": _real(lambda x: x.arcsin()),
    "acos": _real(lambda x: x.arccos()),
    "atan": _real(lambda x: x.arctan()),
    "atan2": _real(lambda y, x: pl.arctan2(y, x)),  # noqa: PLW0108 - Polars is not imported yet
    "sinh": _real(lambda x: x.sinh()),
    "cosh": _real(lambda x: x.cosh()),
    "tanh": _real(lambda x: x.tanh()),
    "degrees": _real(lambda x: x.degrees()),
    "radians": _real(lambda x: x.radians()),
    "pi": Form(lambda call: literal(math.pi, FLOAT64)),
    "e": Form(lambda call: literal(math.e, FLOAT64)),
    "bitwise_and": _bitwise(lambda a, b: a & b),
    "bitwise_or": _bitwise(lambda a, b: a | b),
    "bitwise_xor": _bitwise(lambda a, b: a ^ b),
    "bitwise_not": _bitwise(lambda a: ~a),
    "shift_left": _shift(_shift_left, 62),
    "shift_right": _shift(_shift_right, 62),
}

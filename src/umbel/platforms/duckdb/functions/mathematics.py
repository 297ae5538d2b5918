"""Forms on DuckDB of the catalogue's mathematics."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Absent, Form, TypedCall
from umbel.plan.types import FLOAT64, is_decimal, is_float, is_integer
from umbel.platforms.duckdb.casts import cast
from umbel.platforms.duckdb.functions.arithmetic import ticks
from umbel.platforms.duckdb.operators import double
from umbel.platforms.duckdb.types import convert, literal, type_text
from umbel.sql.expressions import function
from umbel.sql.nodes import binary, number, operand, when

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


Call: TypeAlias = "TypedCall[exp.Expr]"


def _cast_all(call: Call, dtype: pa.DataType) -> list[exp.Expr]:
    return [cast(n, t, dtype) for n, t in zip(call.arguments, call.types, strict=True)]


def _real(name: str) -> Form[exp.Expr]:
    return Form(lambda call: function(name, *_cast_all(call, FLOAT64)))


def _log(call: Call) -> exp.Expr:
    value, base = _cast_all(call, FLOAT64)
    return binary(exp.Div, function("ln", value), function("ln", base))


def _abs(call: Call) -> exp.Expr:
    (node,), (dtype,) = call.arguments, call.types
    if pa.types.is_null(dtype):
        return node
    if pa.types.is_duration(dtype):
        return function("to_microseconds", function("abs", ticks(node, dtype)))
    return function("abs", cast(node, dtype, call.dtype))


def _sign(call: Call) -> exp.Expr:
    node, dtype = call.arguments[0], call.types[0]
    if pa.types.is_null(dtype):
        return node
    if not is_float(dtype):
        return convert(function("sign", node), "BIGINT")
    wide = cast(node, dtype, FLOAT64)
    itself = binary(exp.Or, function("isnan", wide), binary(exp.EQ, wide.copy(), double(0.0)))
    return when(itself, wide.copy(), convert(function("sign", wide.copy()), "DOUBLE"))


def _whole(name: str) -> Form[exp.Expr]:
    """Floor and ceil."""

    def build(call: Call) -> exp.Expr:
        node, dtype = call.arguments[0], call.types[0]
        if is_float(dtype):
            return function(name, cast(node, dtype, FLOAT64))
        if is_decimal(dtype):
            return convert(function(name, node), type_text(call.dtype))
        return cast(node, dtype, call.dtype)

    return Form(build)


def _nearest(value: exp.Expr) -> exp.Expr:
    return function("round", value)


def _even(value: exp.Expr) -> exp.Expr:
    return function("round_even", value, number(0))


def _cut(value: exp.Expr) -> exp.Expr:
    return function("trunc", value)


def _rounding(on_float: Callable[[exp.Expr], exp.Expr], on_decimal: str | None) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        node, dtype = call.arguments[0], call.types[0]
        digits = call.constant(1) if len(call.nodes) > 1 else 0
        if is_float(dtype):
            return _float_digits(on_float, cast(node, dtype, FLOAT64), digits)
        if pa.types.is_null(dtype) or digits >= (dtype.scale if is_decimal(dtype) else 0):
            return cast(node, dtype, call.dtype)
        if digits < 0 or on_decimal is None:
            return call.fallback()
        return convert(function(on_decimal, node, number(digits)), type_text(call.dtype))

    return Form(build)


def _float_digits(
    nearest: Callable[[exp.Expr], exp.Expr], value: exp.Expr, digits: int
) -> exp.Expr:
    if digits == 0:
        return nearest(value)
    power = double(float(f"1e{abs(digits)}"))
    if digits < 0:
        return binary(exp.Mul, nearest(binary(exp.Div, value, power)), power.copy())
    scaled = binary(exp.Mul, value, power)
    rounded = binary(exp.Div, nearest(scaled.copy()), power.copy())
    return when(function("isfinite", scaled), rounded, value.copy())


def _bitwise(function_of: Callable[..., exp.Expr]) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        if pa.types.is_null(call.dtype):
            return literal(None, call.dtype)
        return function_of(*_cast_all(call, call.dtype))

    return Form(build)


def _shift_left(call: Call) -> exp.Expr:
    bits = call.constant(1)
    if not is_integer(call.types[0]) or bits > 62:
        return call.fallback()
    wide = convert(call.arguments[0], "HUGEINT")
    product = binary(exp.Mul, wide, convert(number(2**bits), "HUGEINT"))
    return convert(product, type_text(call.dtype))


def _shift_right(call: Call) -> exp.Expr:
    bits = call.constant(1)
    if not is_integer(call.types[0]) or bits > 62:
        return call.fallback()
    wide = cast(call.arguments[0], call.types[0], call.dtype)
    return binary(exp.BitwiseRightShift, wide, number(bits))


FORMS: dict[str, Form[Any] | Absent] = {
    "abs": Form(_abs),
    "sign": Form(_sign),
    "ceil": _whole("ceil"),
    "floor": _whole("floor"),
    "round": _rounding(_nearest, "round"),
    "round_half_even": _rounding(_even, None),
    "truncate": _rounding(_cut, "trunc"),
    "sqrt": _real("sqrt"),
    "cbrt": _real("cbrt"),
    "exp": _real("exp"),
    "ln": _real("ln"),
    "log10": _real("log10"),
    "log2": _real("log2"),
    "log": Form(_log),
    "sin": _real("sin"),
    "cos": _real("cos"),
    "tan": _real("tan"),
    "asin": _real("asin"),
    "acos": _real("acos"),
    "atan": _real("atan"),
    "atan2": _real("atan2"),
    "sinh": _real("sinh"),
    "cosh": _real("cosh"),
    "tanh": _real("tanh"),
    "degrees": _real("degrees"),
    "radians": _real("radians"),
    "pi": Form(lambda call: double(math.pi)),
    "e": Form(lambda call: double(math.e)),
    "bitwise_and": _bitwise(lambda a, b: binary(exp.BitwiseAnd, a, b)),
    "bitwise_or": _bitwise(lambda a, b: binary(exp.BitwiseOr, a, b)),
    "bitwise_xor": _bitwise(lambda a, b: function("xor", a, b)),
    "bitwise_not": _bitwise(lambda a: exp.Paren(this=exp.BitwiseNot(this=operand(a)))),
    "shift_left": Form(_shift_left),
    "shift_right": Form(_shift_right),
}

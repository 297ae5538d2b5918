"""Forms on DataFusion of the catalogue's mathematics."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.types import FLOAT64, INT64, is_decimal, is_float
from umbel.platforms.datafusion.casts import cast
from umbel.platforms.datafusion.functions.arithmetic import checked
from umbel.platforms.datafusion.functions.calls import Call, cast_all, fallback, is_simple
from umbel.platforms.datafusion.operators import double, snippet
from umbel.platforms.datafusion.types import convert, literal
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


def _real(name: str) -> Form[exp.Expr]:
    return Form(lambda call: function(name, *cast_all(call, FLOAT64)))


def _square_root(call: Call) -> exp.Expr:
    return snippet(
        "CASE WHEN x < 0 THEN nan ELSE sqrt(x) END",
        x=cast_all(call, FLOAT64)[0],
        nan=double(float("nan")),
    )


def _log(call: Call) -> exp.Expr:
    value, base = cast_all(call, FLOAT64)
    return snippet("a / b", a=function("ln", value), b=function("ln", base))


def _abs(call: Call) -> exp.Expr:
    (node,), (dtype,) = call.arguments, call.types
    if pa.types.is_null(dtype):
        return node
    if is_float(dtype) or is_decimal(dtype):
        return function("abs", cast(node, dtype, call.dtype))
    if call.dtype == INT64 and is_simple(call):
        given = cast(node, dtype, INT64)
        negative = checked("subtract", literal(0, INT64), given.copy(), simple=True)
        return snippet("CASE WHEN x < 0 THEN n ELSE x END", x=given, n=negative)
    return call.fallback()


def _sign(call: Call) -> exp.Expr:
    node, dtype = call.arguments[0], call.types[0]
    if pa.types.is_null(dtype):
        return node
    if not is_float(dtype):
        return snippet(
            "CASE WHEN x > z THEN 1 WHEN x < z THEN -1 WHEN x = z THEN 0 END",
            x=node,
            z=literal(0, INT64),
        )
    wide = cast(node, dtype, FLOAT64)
    return snippet(
        "CASE WHEN n OR x = z THEN x ELSE s END",
        s=function("signum", wide.copy()),
        n=function("isnan", wide.copy()),
        x=wide,
        z=double(0.0),
    )


def _whole(name: str) -> Form[exp.Expr]:
    """Floor and ceil."""

    def build(call: Call) -> exp.Expr:
        node, dtype = call.arguments[0], call.types[0]
        if is_float(dtype):
            return function(name, cast(node, dtype, FLOAT64))
        return call.fallback() if is_decimal(dtype) else cast(node, dtype, call.dtype)

    return Form(build)


def _rounding(on_float: str | None) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        node, dtype = call.arguments[0], call.types[0]
        digits = call.constant(1) if len(call.nodes) > 1 else 0
        if is_float(dtype) and on_float is not None:
            nearest = _caller(on_float)
            return _float_digits(nearest, cast(node, dtype, FLOAT64), digits)
        if not is_float(dtype) and digits >= getattr(dtype, "scale", 0):
            return cast(node, dtype, call.dtype)
        return call.fallback()

    return Form(build)


def _caller(name: str) -> Callable[[exp.Expr], exp.Expr]:
    return lambda node: function(name, node)


def _float_digits(
    nearest: Callable[[exp.Expr], exp.Expr], value: exp.Expr, digits: int
) -> exp.Expr:
    if digits == 0:
        return nearest(value)
    power = double(float(f"1e{abs(digits)}"))
    if digits < 0:
        return snippet("r * p", r=nearest(snippet("x / p", x=value, p=power)), p=power.copy())
    scaled = snippet("x * p", x=value, p=power)
    return snippet(
        "CASE WHEN abs(s) < i THEN r / p ELSE x END",
        s=scaled,
        i=double(float("inf")),
        r=nearest(scaled.copy()),
        p=power.copy(),
        x=value.copy(),
    )


def _bitwise(template: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        if pa.types.is_null(call.dtype):
            return literal(None, call.dtype)
        if call.dtype == pa.uint64():
            return call.fallback()
        given = cast_all(call, call.dtype)
        return snippet(template, **dict(zip("xy", given, strict=False)))

    return Form(build)


def _shift_right(call: Call) -> exp.Expr:
    bits = call.constant(1)
    if call.dtype != INT64 or pa.types.is_null(call.types[0]) or not 0 <= bits <= 62:
        return call.fallback()
    return snippet(f"x >> {bits}", x=convert(call.arguments[0], INT64))


FORMS: dict[str, Form[Any] | Absent] = {
    "abs": Form(_abs),
    "sign": Form(_sign),
    "ceil": _whole("ceil"),
    "floor": _whole("floor"),
    "round": _rounding("round"),
    "round_half_even": _rounding(None),
    "truncate": _rounding("trunc"),
    "sqrt": Form(_square_root),
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
    "bitwise_and": _bitwise("x & y"),
    "bitwise_or": _bitwise("x | y"),
    "bitwise_xor": _bitwise("x # y"),
    "bitwise_not": _bitwise("x # -1"),
    "shift_left": Form(fallback),
    "shift_right": Form(_shift_right),
}

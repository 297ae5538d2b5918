"""Forms on Spark of the catalogue's mathematics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Expression
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.types import FLOAT64, is_decimal, is_float
from umbel.platforms.spark.casts import cast
from umbel.platforms.spark.functions.arithmetic import cast_all, ticks
from umbel.platforms.spark.functions.snippets import Call, snippet, typed
from umbel.platforms.spark.types import literal
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


def _real(name: str) -> Form[exp.Expr]:
    return Form(lambda call: function(name, *cast_all(call, FLOAT64)))


#: Spark's logarithms are null at and below zero.
_LOGARITHM = """CASE WHEN x > CAST(0 AS DOUBLE) THEN {0}
    WHEN x = CAST(0 AS DOUBLE) THEN CAST('-inf' AS DOUBLE)
    WHEN x IS NOT NULL THEN CAST('nan' AS DOUBLE) END"""
_LN = _LOGARITHM.format("ln(x)")


def _logarithm(native: str) -> Form[exp.Expr]:
    template = _LOGARITHM.format(native)
    return Form(lambda call: snippet(template, x=cast_all(call, FLOAT64)[0]))


def _log(call: Call) -> exp.Expr:
    value, base = (snippet(_LN, x=node) for node in cast_all(call, FLOAT64))
    return snippet(
        "CASE WHEN y = CAST(0 AS DOUBLE) THEN x * power(y, CAST(-1 AS DOUBLE)) ELSE x / y END",
        x=value,
        y=base,
    )


#: Spark takes -0.0 for 0.0, which turns the angle round.
_ATAN2 = """CASE
    WHEN y = zero AND (x < zero OR (x = zero AND power(x, CAST(-1 AS DOUBLE)) < zero))
    THEN CASE WHEN power(y, CAST(-1 AS DOUBLE)) < zero THEN -pi() ELSE pi() END
    WHEN y = zero AND x >= zero AND NOT isnan(x) THEN y
    ELSE atan2(y, x) END"""


def _atan2(call: Call) -> exp.Expr:
    y, x = cast_all(call, FLOAT64)
    return snippet(_ATAN2, x=x, y=y, zero=literal(0.0, FLOAT64))


def _abs(call: Call) -> exp.Expr:
    (node,), (dtype,) = call.arguments, call.types
    if pa.types.is_null(dtype):
        return literal(None, dtype)
    if pa.types.is_duration(dtype):
        return function("abs", ticks(node, dtype))
    if is_decimal(dtype):  # Spark's abs and minus sign round to 34 digits
        zero = literal(Decimal(0), dtype)
        return typed(
            call, snippet("CASE WHEN x < zero THEN zero - x ELSE x END", x=node, zero=zero)
        )
    return function("abs", cast(node, dtype, call.dtype))


def _sign(call: Call) -> exp.Expr:
    node, dtype = call.arguments[0], call.types[0]
    if pa.types.is_null(dtype):
        return literal(None, dtype)
    if is_float(dtype):
        return function("signum", cast(node, dtype, FLOAT64))
    return snippet(
        "CASE WHEN x > zero THEN above WHEN x = zero THEN at WHEN x < zero THEN below END",
        x=node,
        # Of the same type: a decimal beside another one may lose digits to be compared.
        zero=literal(Decimal(0) if is_decimal(dtype) else 0, dtype),
        above=literal(1, pa.int64()),
        at=literal(0, pa.int64()),
        below=literal(-1, pa.int64()),
    )


#: Doubles of 2**52 and more are whole, and their floor would not fit into a BIGINT.
_WHOLE = """CASE WHEN abs(x) < CAST(4503599627370496 AS DOUBLE)
    THEN CAST({0} AS DOUBLE) ELSE x END"""


def _to_whole(name: str) -> Form[exp.Expr]:
    """Floor and ceil."""
    template = _WHOLE.format(f"{name}(x)")

    def build(call: Call) -> exp.Expr:
        node, dtype = call.arguments[0], call.types[0]
        if is_float(dtype):
            return snippet(template, x=cast(node, dtype, FLOAT64))
        if is_decimal(dtype):
            return typed(call, function(name, node))
        return cast(node, dtype, call.dtype)

    return Form(build)


#: To the nearest double without fraction, halves away from zero; exact, as the fraction is.
_NEAREST = _WHOLE.format(
    """CASE WHEN abs(x) - CAST(floor(abs(x)) AS DOUBLE) >= CAST(0.5 AS DOUBLE)
    THEN sign(x) * (CAST(floor(abs(x)) AS DOUBLE) + CAST(1 AS DOUBLE))
    ELSE sign(x) * CAST(floor(abs(x)) AS DOUBLE) END"""
)


def _rounding(on_float: str, on_decimal: str | None) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        node, dtype = call.arguments[0], call.types[0]
        digits = call.constant(1) if len(call.nodes) > 1 else 0
        if is_float(dtype):
            return _float_digits(on_float, cast(node, dtype, FLOAT64), digits)
        if pa.types.is_null(dtype) or digits >= (dtype.scale if is_decimal(dtype) else 0):
            return cast(node, dtype, call.dtype)
        return typed(call, function(str(on_decimal), node, literal(digits, pa.int32())))

    def refuse(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
        digits = getattr(nodes[1], "value", None) if len(nodes) > 1 else 0
        if is_float(types[0]) or pa.types.is_null(types[0]) or digits is None:
            return None
        if digits >= (types[0].scale if is_decimal(types[0]) else 0):
            return None
        if digits < 0 or on_decimal is None:
            return "Spark rounds exact numbers so only behind the point"
        return None

    return Form(build, refuse)


def _float_digits(template: str, value: exp.Expr, digits: int) -> exp.Expr:
    if digits == 0:
        return snippet(template, x=value)
    power = literal(float(f"1e{abs(digits)}"), FLOAT64)
    if digits < 0:
        scaled = snippet("x / p", x=value, p=power)
        return snippet("x * p", x=snippet(template, x=scaled), p=power)
    scaled = snippet("x * p", x=value, p=power)
    return snippet(
        """CASE WHEN abs(scaled) < CAST('inf' AS DOUBLE) THEN rounded / p ELSE x END""",
        scaled=scaled,
        rounded=snippet(template, x=scaled.copy()),
        p=power,
        x=value,
    )


def _bitwise(template: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        if pa.types.is_null(call.dtype):
            return literal(None, call.dtype)
        return snippet(template, **dict(zip("xy", cast_all(call, call.dtype), strict=False)))

    return Form(build)


def _shift_left(call: Call) -> exp.Expr:
    factor = literal(2 ** call.constant(1), pa.int64())
    return snippet("x * f", x=cast(call.arguments[0], call.types[0], call.dtype), f=factor)


def _shift_right(call: Call) -> exp.Expr:
    wide = cast(call.arguments[0], call.types[0], call.dtype)
    return function("shiftright", wide, literal(call.constant(1), pa.int32()))


def _refuse_shift(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    bits = getattr(nodes[1], "value", None)
    if pa.types.is_null(types[0]) or not isinstance(bits, int) or not 0 <= bits <= 62:
        return "Spark shifts by 0 to 62 bits"
    return None


FORMS: dict[str, Form[Any] | Absent] = {
    "abs": Form(_abs),
    "sign": Form(_sign),
    "ceil": _to_whole("ceil"),
    "floor": _to_whole("floor"),
    "round": _rounding(_NEAREST, "round"),
    "round_half_even": _rounding("rint(x)", "bround"),
    "truncate": _rounding(_WHOLE.format("CAST(x AS BIGINT)"), None),
    "sqrt": _real("sqrt"),
    "cbrt": _real("cbrt"),
    "exp": _real("exp"),
    "ln": _logarithm("ln(x)"),
    "log10": _logarithm("log10(x)"),
    "log2": _logarithm("log2(x)"),
    "log": Form(_log),
    "sin": _real("sin"),
    "cos": _real("cos"),
    "tan": _real("tan"),
    "asin": _real("asin"),
    "acos": _real("acos"),
    "atan": _real("atan"),
    "atan2": Form(_atan2),
    "sinh": _real("sinh"),
    "cosh": _real("cosh"),
    "tanh": _real("tanh"),
    "degrees": _real("degrees"),
    "radians": _real("radians"),
    "pi": Form(lambda call: literal(math.pi, FLOAT64)),
    "e": Form(lambda call: literal(math.e, FLOAT64)),
    "bitwise_and": _bitwise("x & y"),
    "bitwise_or": _bitwise("x | y"),
    "bitwise_xor": _bitwise("x ^ y"),
    "bitwise_not": _bitwise("~x"),
    "shift_left": Form(_shift_left, _refuse_shift),
    "shift_right": Form(_shift_right, _refuse_shift),
}

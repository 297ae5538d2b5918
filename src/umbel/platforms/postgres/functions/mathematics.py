"""Forms on PostgreSQL of the catalogue's mathematics.

PostgreSQL fails where a function has no value or an infinite one; guards give NaN and infinity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Expression, Literal
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.types import FLOAT64, INT64, is_decimal, is_float, is_integer
from umbel.platforms.postgres import floats
from umbel.platforms.postgres.casts import cast, round_away
from umbel.platforms.postgres.functions.calls import Call, cast_all
from umbel.platforms.postgres.snippets import once, snippet
from umbel.platforms.postgres.types import convert, literal, type_text
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

_NAN = "CAST('NaN' AS DOUBLE PRECISION)"
_INFINITY = "CAST('Infinity' AS DOUBLE PRECISION)"
_MINUS_INFINITY = "CAST('-Infinity' AS DOUBLE PRECISION)"


def _real(template: str) -> Form[exp.Expr]:
    return Form(lambda call: once(template, x=cast_all(call, FLOAT64)[0]))


def _logarithm(value: str) -> str:
    return f"""CASE WHEN x > 0 THEN {value} WHEN x = 0 THEN {_MINUS_INFINITY}
        WHEN x < 0 THEN {_NAN} END"""


def _log(call: Call) -> exp.Expr:
    value, base = (once(_logarithm("ln(x)"), x=node) for node in cast_all(call, FLOAT64))
    return floats.divide(value, base, tame=True)


def _abs(call: Call) -> exp.Expr:
    (node,), (dtype,) = call.arguments, call.types
    return node if pa.types.is_null(dtype) else function("abs", cast(node, dtype, call.dtype))


def _sign(call: Call) -> exp.Expr:
    node, dtype = call.arguments[0], call.types[0]
    if pa.types.is_null(dtype):
        return node
    if not is_float(dtype):
        return convert(function("sign", convert(node, "NUMERIC")), "BIGINT")
    wide = cast(node, dtype, FLOAT64)
    return once("CASE WHEN x = 'NaN' OR x = 0 THEN x ELSE sign(x) END", x=wide)


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


def _even(value: exp.Expr) -> exp.Expr:
    return function("round", value)  # of floats: halves to the even one


def _cut(value: exp.Expr) -> exp.Expr:
    return function("trunc", value)


def _digits(nodes: Sequence[Expression]) -> int:
    node = nodes[1] if len(nodes) > 1 else None
    return int(node.value) if isinstance(node, Literal) and node.value is not None else 0


def _rounding(on_float: Callable[[exp.Expr], exp.Expr], on_exact: str | None) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        node, dtype = call.arguments[0], call.types[0]
        digits = _digits(call.nodes)
        if is_float(dtype):
            return _float_digits(on_float, cast(node, dtype, FLOAT64), digits)
        if pa.types.is_null(dtype) or digits >= (dtype.scale if is_decimal(dtype) else 0):
            return cast(node, dtype, call.dtype)
        exact = snippet(f"{on_exact}(x, {digits})", x=convert(node, "NUMERIC"))
        return convert(exact, type_text(call.dtype))

    def refuse(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
        digits = _digits(nodes)
        if is_float(types[0]):
            return "more than 300 digits" if abs(digits) > 300 else None
        scale = types[0].scale if is_decimal(types[0]) else 0
        if on_exact is None and digits < scale and not pa.types.is_null(types[0]):
            return "PostgreSQL rounds halves of exact numbers away from zero only"
        return None

    return Form(build, refuse)


def _float_digits(
    nearest: Callable[[exp.Expr], exp.Expr], value: exp.Expr, digits: int
) -> exp.Expr:
    if digits == 0:
        return nearest(value)
    power = literal(float(f"1e{abs(digits)}"), FLOAT64)
    if digits < 0:
        scaled = floats.divide(value, power, tame=False)
        return floats.multiply(nearest(scaled), power.copy(), tame=False)
    scaled = floats.multiply(value.copy(), power, tame=False)
    rounded = floats.divide(nearest(exp.column("s")), power.copy(), tame=False).sql("postgres")
    return once(f"CASE WHEN abs(s) < 'Infinity' THEN {rounded} ELSE x END", s=scaled, x=value)


def _bitwise(template: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        if pa.types.is_null(call.dtype):
            return literal(None, call.dtype)
        return snippet(template, **dict(zip("xy", cast_all(call, INT64), strict=False)))

    return Form(build)


def _shift_left(call: Call) -> exp.Expr:
    product = snippet(
        "x * p",
        x=convert(call.arguments[0], "NUMERIC"),
        p=convert(exp.Literal.string(str(2 ** int(call.constant(1)))), "NUMERIC"),
    )
    return convert(product, "BIGINT")


def _shift_right(call: Call) -> exp.Expr:
    bits = min(int(call.constant(1)), 63)
    return snippet(f"x >> {bits}", x=cast(call.arguments[0], call.types[0], INT64))


def _refuse_shift(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    if not is_integer(types[0]):
        return "only integers are shifted"
    node = nodes[1]
    if isinstance(node, Literal) and (node.value is None or node.value > 1000):
        return "PostgreSQL's numbers do not grow so far"
    return None


_FINITE_ONLY = f"CASE WHEN abs(x) < 'Infinity' THEN {{0}}(x) WHEN NOT x IS NULL THEN {_NAN} END"
_UNIT_ONLY = f"CASE WHEN abs(x) <= 1 THEN {{0}}(x) WHEN NOT x IS NULL THEN {_NAN} END"

FORMS: dict[str, Form[Any] | Absent] = {
    "abs": Form(_abs),
    "sign": Form(_sign),
    "ceil": _whole("ceil"),
    "floor": _whole("floor"),
    "round": _rounding(round_away, "round"),
    "round_half_even": _rounding(_even, None),
    "truncate": _rounding(_cut, "trunc"),
    "sqrt": _real(f"CASE WHEN x < 0 THEN {_NAN} ELSE sqrt(x) END"),
    "cbrt": _real("cbrt(x)"),
    "exp": _real(
        f"""CASE WHEN x > 709.782712893384 AND x <> 'NaN' THEN {_INFINITY}
        WHEN x < -745.13321910194116 THEN CAST(0 AS DOUBLE PRECISION) ELSE exp(x) END"""
    ),
    "ln": _real(_logarithm("ln(x)")),
    "log10": _real(_logarithm("log(x)")),
    "log2": _real(_logarithm(f"ln(x) / {math.log(2)!r}")),
    "log": Form(_log),
    "sin": _real(_FINITE_ONLY.format("sin")),
    "cos": _real(_FINITE_ONLY.format("cos")),
    "tan": _real(_FINITE_ONLY.format("tan")),
    "asin": _real(_UNIT_ONLY.format("asin")),
    "acos": _real(_UNIT_ONLY.format("acos")),
    "atan": _real("atan(x)"),
    "atan2": Form(lambda call: function("atan2", *cast_all(call, FLOAT64))),
    "sinh": _real("sinh(x)"),
    "cosh": _real("cosh(x)"),
    "tanh": _real("tanh(x)"),
    "degrees": Form(
        lambda call: floats.multiply(
            cast_all(call, FLOAT64)[0], literal(180 / math.pi, FLOAT64), tame=False
        )
    ),
    "radians": Form(
        lambda call: floats.multiply(
            cast_all(call, FLOAT64)[0], literal(math.pi / 180, FLOAT64), tame=False
        )
    ),
    "pi": Form(lambda call: literal(math.pi, FLOAT64)),
    "e": Form(lambda call: literal(math.e, FLOAT64)),
    "bitwise_and": _bitwise("x & y"),
    "bitwise_or": _bitwise("x | y"),
    "bitwise_xor": _bitwise("x # y"),
    "bitwise_not": _bitwise("~x"),
    "shift_left": Form(_shift_left, _refuse_shift),
    "shift_right": Form(_shift_right, _refuse_shift),
}

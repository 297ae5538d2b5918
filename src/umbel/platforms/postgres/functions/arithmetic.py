"""Forms on PostgreSQL of the catalogue's arithmetic.

PostgreSQL fails on integer overflow by itself, and computes decimals exactly. Its integer division
and `%` truncate; the floored ones are made of them. What it does with floats is in
`umbel.platforms.postgres.floats`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Expression
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.types import FLOAT64, INT64, MAX_DECIMAL_PRECISION, is_decimal, is_float, is_integer
from umbel.platforms.postgres import floats
from umbel.platforms.postgres.casts import cast
from umbel.platforms.postgres.functions.calls import Call, cast_all
from umbel.platforms.postgres.snippets import error, once, snippet
from umbel.platforms.postgres.types import convert, literal, type_text

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: The first and last moment that the plan knows, in microseconds: the years 1 to 9999.
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
_DAY = 86_400_000_000


def ticks(node: exp.Expr, dtype: pa.DataType) -> exp.Expr:
    """Microseconds of a duration, timestamp or date, as BIGINT."""
    if is_integer(dtype) or pa.types.is_duration(dtype) or pa.types.is_null(dtype):
        return convert(node, "BIGINT")
    if pa.types.is_date(dtype):
        return snippet(f"CAST(x - DATE '1970-01-01' AS BIGINT) * {_DAY}", x=node)
    return snippet("CAST(EXTRACT(EPOCH FROM x) * 1000000 AS BIGINT)", x=node)


def moment(micros: exp.Expr, dtype: pa.DataType) -> exp.Expr:
    """The timestamp so many microseconds after 1970; fails outside the years 1 to 9999."""
    failure = error("a time is outside the years 1 to 9999", pa.timestamp("us")).sql("postgres")
    made = once(
        f"""CASE WHEN n BETWEEN {_FIRST} AND {_LAST} THEN TIMESTAMP '1970-01-01'
        + n / {_DAY} * INTERVAL '1 day' + n % {_DAY} * INTERVAL '1 microsecond'
        WHEN NOT n IS NULL THEN {failure} END""",
        n=micros,
    )
    return snippet("x AT TIME ZONE 'UTC'", x=made) if dtype.tz else made


def _temporal(call: Call) -> exp.Expr:
    left, right = (ticks(*given) for given in zip(call.arguments, call.types, strict=True))
    total = snippet(f"x {_SIGNS[call.row.name]} y", x=left, y=right)
    return moment(total, call.dtype) if pa.types.is_timestamp(call.dtype) else total


_SIGNS = {"add": "+", "subtract": "-", "multiply": "*"}


def _combine(call: Call) -> exp.Expr:
    """Addition, subtraction and multiplication."""
    if pa.types.is_null(call.dtype):
        return literal(None, call.dtype)
    if any(pa.types.is_temporal(dtype) for dtype in call.types):
        return _temporal(call)
    sign = _SIGNS[call.row.name]
    if is_decimal(call.dtype):
        left, right = (convert(node, "NUMERIC") for node in call.arguments)
        total = snippet(f"x {sign} y", x=left, y=right)
        if call.dtype.precision == MAX_DECIMAL_PRECISION:
            return convert(total, type_text(call.dtype))  # fails if it does not fit
        return total
    left, right = cast_all(call, call.dtype)
    if is_integer(call.dtype):
        return snippet(f"x {sign} y", x=left, y=right)
    tame = all(map(floats.tame, call.nodes, call.types))
    if call.row.name == "multiply":
        return floats.multiply(left, right, tame=tame)
    if call.row.name == "subtract":
        right = snippet("-x", x=right)
    return floats.add(left, right, tame=tame)


def _divide(call: Call) -> exp.Expr:
    left, right = (
        convert(node, "DOUBLE PRECISION")
        if pa.types.is_duration(dtype)
        else cast(node, dtype, FLOAT64)
        for node, dtype in zip(call.arguments, call.types, strict=True)
    )
    return floats.divide(left, right, tame=all(map(floats.tame, call.nodes, call.types)))


def _truncate_divide(call: Call) -> exp.Expr:
    if is_float(call.dtype):
        return snippet("trunc(x)", x=_divide(call))
    return _whole(call, "x / nullif(y, 0)", "div(x, nullif(y, 0))")


def _floor_divide(call: Call) -> exp.Expr:
    step = "CASE WHEN x % y <> 0 AND (x < 0) <> (y < 0) THEN 1 ELSE 0 END"
    return _whole(
        call,
        f"CASE WHEN y <> 0 THEN x / y - {step} END",
        f"CASE WHEN y <> 0 THEN div(x, y) - {step} END",
    )


def _remainder(call: Call) -> exp.Expr:
    return _whole(call, "x % nullif(y, 0)", "x % nullif(y, 0)")


def _modulo(call: Call) -> exp.Expr:
    template = """CASE WHEN y <> 0 THEN x % y +
        CASE WHEN x % y <> 0 AND (x < 0) <> (y < 0) THEN y ELSE 0 END END"""
    return _whole(call, template, template)


def _whole(call: Call, of_integers: str, of_decimals: str) -> exp.Expr:
    if pa.types.is_null(call.dtype):
        return literal(None, call.dtype)
    if is_integer(call.dtype):
        left, right = cast_all(call, INT64)
        return once(of_integers, x=left, y=right)
    left, right = (convert(node, "NUMERIC") for node in call.arguments)
    return convert(once(of_decimals, x=left, y=right), type_text(call.dtype))


def _negate(call: Call) -> exp.Expr:
    (node,), (dtype,) = call.arguments, call.types
    if pa.types.is_null(dtype):
        return node
    return snippet("-x", x=cast(node, dtype, call.dtype))


def _power(call: Call) -> exp.Expr:
    left, right = cast_all(call, FLOAT64)
    logarithm = "least(greatest(y, -1e300), 1e300) * ln(abs(x))"
    odd = "abs(y) < 9007199254740992.0 AND y = trunc(y) AND CAST(y AS BIGINT) % 2 <> 0"
    infinite = f"""CASE WHEN CAST(x AS TEXT) ~ '^-' AND {odd}
        THEN CAST('-Infinity' AS DOUBLE PRECISION) ELSE CAST('Infinity' AS DOUBLE PRECISION) END"""
    return once(
        f"""CASE WHEN x IS NULL OR y IS NULL OR x = 'NaN' OR y = 'NaN' OR y = 0 OR x = 1 OR x = 'Infinity'
            THEN power(x, y)
        WHEN x = '-Infinity' THEN
            CASE WHEN y > 0 THEN {infinite} ELSE CAST(0 AS DOUBLE PRECISION) END
        WHEN x = 0 THEN CASE WHEN y < 0 THEN {infinite} ELSE power(x, y) END
        WHEN abs(y) = 'Infinity' THEN power(x, y)
        WHEN x < 0 AND y <> trunc(y) THEN CAST('NaN' AS DOUBLE PRECISION)
        WHEN abs(y) < 1e-200 OR x = -1 THEN power(x, y)
        WHEN {logarithm} >= 709.79 THEN {infinite}
        WHEN {logarithm} <= -745.14 THEN CAST(0 AS DOUBLE PRECISION)
        ELSE power(x, y) END""",
        x=left,
        y=right,
    )


def _refuse_floats(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    if any(map(is_float, types)):
        return "PostgreSQL has no remainder of floats"
    return None


def _require(call: Call) -> exp.Expr:
    value, condition = call.arguments
    if pa.types.is_null(call.types[1]):
        condition = literal(None, pa.bool_())
    failure = error("a guard failed", call.dtype)
    return snippet("CASE WHEN c THEN v ELSE e END", c=condition, v=value, e=failure)


FORMS: dict[str, Form[Any] | Absent] = {
    "add": Form(_combine),
    "subtract": Form(_combine),
    "multiply": Form(_combine),
    "divide": Form(_divide),
    "floor_divide": Form(_floor_divide, _refuse_floats),
    "modulo": Form(_modulo, _refuse_floats),
    "truncate_divide": Form(_truncate_divide),
    "remainder": Form(_remainder, _refuse_floats),
    "negate": Form(_negate),
    "power": Form(_power),
    "require": Form(_require),
}

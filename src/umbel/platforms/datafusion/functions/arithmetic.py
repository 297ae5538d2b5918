"""Forms on DataFusion of the catalogue's arithmetic.

DataFusion's integers wrap around where they overflow. Where the operands' types leave room for that,
a test of the result's sign finds it, and hands the row to the reference, which fails. Its integer
division and `%` truncate; the floored ones are made of them.
"""

from __future__ import annotations

import decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Literal
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.functions.numbers import exact_type, operand_types
from umbel.plan.types import FLOAT64, INT64, MAX_DECIMAL_PRECISION, is_decimal, is_float, is_integer
from umbel.platforms.datafusion.casts import cast
from umbel.platforms.datafusion.functions.calls import Call, cast_all, is_simple, refuse_types
from umbel.platforms.datafusion.operators import fail, snippet
from umbel.platforms.datafusion.types import convert, literal
from umbel.sql.expressions import function
from umbel.sql.python_functions import call_reference

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: The first and last moment that the plan knows, in microseconds: the years 1 to 9999.
FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
_LEAST, _GREATEST = -(2**63), 2**63 - 1

#: Arithmetic of Python's decimals with room for the longest.
_EXACT = decimal.Context(prec=MAX_DECIMAL_PRECISION)

_SIGNS = {"add": "+", "subtract": "-", "multiply": "*"}
#: Whether a result has overflowed: its sign is not what those of the operands say, or a float is
#: as large.
_OVERFLOWS = {
    "add": "((x # (x + y)) & (y # (x + y))) < 0",
    "subtract": "((x # y) & (x # (x - y))) < 0",
    "multiply": "abs(arrow_cast(x, 'Float64') * arrow_cast(y, 'Float64')) >= 9.2e18",
}


def _is_moment(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_date(dtype) or pa.types.is_timestamp(dtype))


def ticks(node: exp.Expr, dtype: pa.DataType) -> exp.Expr:
    """Microseconds of a duration, timestamp or date, as int64."""
    if is_integer(dtype) or pa.types.is_null(dtype):
        return convert(node, INT64)
    if pa.types.is_date(dtype):
        return snippet("d * 86400000000", d=convert(convert(node, pa.int32()), INT64))
    scale = {"s": 1_000_000, "ms": 1_000, "us": 1}[dtype.unit]
    count = convert(node, INT64)
    return count if scale == 1 else snippet(f"n * {scale}", n=count)


def moment(micros: exp.Expr, dtype: pa.DataType) -> exp.Expr:
    """The timestamp so many microseconds after 1970; fails outside the years 1 to 9999."""
    micros_type = pa.timestamp("us", dtype.tz)
    return snippet(
        f"CASE WHEN n NOT BETWEEN {FIRST} AND {LAST} THEN bad ELSE good END",
        n=micros,
        bad=fail("a time is outside the years 1 to 9999", micros_type),
        good=convert(micros.copy(), micros_type),
    )


def _temporal(call: Call) -> exp.Expr:
    left, right = (ticks(*given) for given in zip(call.arguments, call.types, strict=True))
    total = checked(call.row.name, left, right, simple=is_simple(call))
    if _is_moment(call.dtype):
        return moment(total, call.dtype)
    return convert(total, call.dtype)


def checked(name: str, left: exp.Expr, right: exp.Expr, *, simple: bool) -> exp.Expr:
    """Add, subtract or multiply two int64; fails where the result is none."""
    slow = call_reference(name, (INT64, INT64), INT64, [left, right])
    if not simple:
        return slow  # its kernel is Arrow's, and the operands stand there once
    return snippet(
        f"CASE WHEN {_OVERFLOWS[name]} THEN slow ELSE x {_SIGNS[name]} y END",
        x=left.copy(),
        y=right.copy(),
        slow=slow,
    )


def _combine(call: Call) -> exp.Expr:
    """Addition, subtraction and multiplication."""
    if pa.types.is_null(call.dtype):
        return literal(None, call.dtype)
    if any(pa.types.is_temporal(dtype) for dtype in call.types):
        return _temporal(call)
    if is_decimal(call.dtype):
        return _combine_decimals(call)
    if call.dtype == pa.uint64():
        return call.fallback()
    left, right = cast_all(call, call.dtype)
    if is_integer(call.dtype) and not _is_short(call):
        return checked(call.row.name, left, right, simple=is_simple(call))
    return snippet(f"x {_SIGNS[call.row.name]} y", x=left, y=right)


def _is_short(call: Call) -> bool:
    """Whether int64 has room for all results, whatever the values."""
    return all(is_integer(dtype) and dtype.bit_width <= 32 for dtype in call.types) and not (
        call.row.name == "multiply" and all(dtype == pa.uint32() for dtype in call.types)
    )


def _combine_decimals(call: Call) -> exp.Expr:
    values = [node.value if isinstance(node, Literal) else None for node in call.nodes]
    types = [
        call.dtype if pa.types.is_null(dtype) else exact_type(dtype)
        for dtype in operand_types(call.types, values)
    ]
    full = call.dtype.precision == MAX_DECIMAL_PRECISION
    if call.row.name != "multiply" and full:
        types = [call.dtype, call.dtype]
    left, right = (
        cast(node, source, target)
        for node, source, target in zip(call.arguments, call.types, types, strict=True)
    )
    result = convert(snippet(f"x {_SIGNS[call.row.name]} y", x=left, y=right), call.dtype)
    if not full or sum(dtype.precision for dtype in types) <= MAX_DECIMAL_PRECISION:
        return result
    return within_digits(result, call.dtype) if is_simple(call) else call.fallback()


def within_digits(value: exp.Expr, dtype: pa.DataType) -> exp.Expr:
    """Fail where a decimal has more digits than its type; 128 bits hold a few more."""
    greatest = literal(decimal.Decimal("9" * 38).scaleb(-dtype.scale, _EXACT), dtype)
    bad = fail(f"a result does not fit into decimal(38,{dtype.scale})", dtype)
    return snippet("CASE WHEN abs(x) > g THEN bad ELSE x END", x=value, g=greatest, bad=bad)


def _divide(call: Call) -> exp.Expr:
    left, right = (
        convert(ticks(node, dtype), FLOAT64)
        if pa.types.is_duration(dtype)
        else cast(node, dtype, FLOAT64)
        for node, dtype in zip(call.arguments, call.types, strict=True)
    )
    return snippet("x / y", x=left, y=right)


#: The functions of integer division, over int64. The least integer divided by -1 fails by itself.
_WHOLE = {
    "floor_divide": """CASE WHEN x % nullif(y, 0) <> 0 AND (x < 0) <> (y < 0)
        THEN x / nullif(y, 0) - 1 ELSE x / nullif(y, 0) END""",
    "modulo": """CASE WHEN x % nullif(y, 0) <> 0 AND (x < 0) <> (y < 0)
        THEN x % nullif(y, 0) + y ELSE x % nullif(y, 0) END""",
    "truncate_divide": "x / nullif(y, 0)",
    "remainder": "x % nullif(y, 0)",
}


def _whole(call: Call) -> exp.Expr:
    """The functions of integer division; on decimals, and floored ones on floats, Python does it."""
    if pa.types.is_null(call.dtype):
        return literal(None, call.dtype)
    name = call.row.name
    if is_float(call.dtype) and name == "truncate_divide":
        return function("trunc", _divide(call))
    if is_float(call.dtype) and name == "remainder":
        left, right = cast_all(call, FLOAT64)
        return snippet("x % y", x=left, y=right)
    if call.dtype != INT64 or not is_simple(call):
        return call.fallback()
    left, right = cast_all(call, INT64)
    if all(node.find(exp.Column) is None for node in (left, right)):
        return call.fallback()  # which may fail, but not when DataFusion plans
    return snippet(_WHOLE[name], x=left, y=right)


def _negate(call: Call) -> exp.Expr:
    (node,), (dtype,) = call.arguments, call.types
    if pa.types.is_null(dtype):
        return node
    if pa.types.is_duration(dtype):
        if dtype.unit != "us":
            return call.fallback()  # what is within its range may be beyond that of microseconds
        zero = literal(0, INT64)
        return convert(checked("subtract", zero, ticks(node, dtype), simple=is_simple(call)), dtype)
    if is_integer(call.dtype):
        given = cast(node, dtype, call.dtype)
        if call.dtype != INT64:
            return call.fallback()
        return checked("subtract", literal(0, INT64), given, simple=is_simple(call))
    return snippet("-x", x=cast(node, dtype, call.dtype))


def _power(call: Call) -> exp.Expr:
    """DataFusion fails where a power of zero is infinite."""
    x, y = cast_all(call, FLOAT64)
    return snippet(
        "CASE WHEN x = z AND y < z THEN slow ELSE quick END",
        x=x.copy(),
        y=y.copy(),
        z=literal(0.0, FLOAT64),
        slow=call_reference("power", (FLOAT64, FLOAT64), FLOAT64, [x, y]),
        quick=function("power", x.copy(), y.copy()),
    )


def _is_fine(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_temporal(dtype)) and getattr(dtype, "unit", None) == "ns"


_REFUSE = refuse_types(_is_fine, "counts times in microseconds here, not in nanoseconds")

FORMS: dict[str, Form[Any] | Absent] = {
    "add": Form(_combine, _REFUSE),
    "subtract": Form(_combine, _REFUSE),
    "multiply": Form(_combine, _REFUSE),
    "divide": Form(_divide, _REFUSE),
    "floor_divide": Form(_whole),
    "modulo": Form(_whole),
    "truncate_divide": Form(_whole),
    "remainder": Form(_whole),
    "negate": Form(_negate, _REFUSE),
    "power": Form(_power),
}

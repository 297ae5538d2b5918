"""Casts on DataFusion, as `umbel.plan.casting` defines them."""

from __future__ import annotations

import decimal
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.casting import integer_bounds, kind, text_pattern
from umbel.plan.casting import refuse_cast as refuse_plan_cast
from umbel.plan.types import type_name
from umbel.platforms.datafusion.operators import snippet
from umbel.platforms.datafusion.types import convert, literal, refuse_type
from umbel.sql.python_functions import call_cast

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: Whole numbers up to here are floats exactly.
_EXACT_DIGITS, _EXACT = 15, 2**53
#: Powers of ten up to this one are floats exactly.
_EXACT_SCALE = 22


def refuse_cast(source: pa.DataType, target: pa.DataType) -> str | None:
    """Say why DataFusion cannot make a cast; None if it can."""
    return refuse_plan_cast(source, target) or refuse_type(source) or refuse_type(target)


def cast(
    operand: exp.Expr, source: pa.DataType, target: pa.DataType, *, strict: bool = True
) -> exp.Expr:
    """Build the expression that converts between types as the plan means it.

    Args:
        operand: what to convert.
        source: its type.
        target: the type wanted.
        strict: fail on a value without a form in `target`, instead of giving null.

    >>> cast(exp.column("a"), pa.int16(), pa.int64()).sql("postgres")
    "ARROW_CAST(a, 'Int64')"
    """
    if source == target:
        return operand
    if pa.types.is_null(source):
        return convert(operand, target)
    if strict and operand.find(exp.Column) is None and _may_fail(source, target):
        # DataFusion would evaluate a constant when it plans, also in a branch never taken.
        return call_cast(source, target, operand, strict=strict)
    native = _native(operand, source, target, strict=strict)
    return call_cast(source, target, operand, strict=strict) if native is None else native


def _may_fail(source: pa.DataType, target: pa.DataType) -> bool:
    """Whether some value of a type has no form in another; false only where that is certain."""
    if kind(source) == "integer" and kind(target) == "decimal":
        digits = max(len(str(abs(bound))) for bound in integer_bounds(source))
        return bool(target.precision - target.scale < digits)
    if kind(source) == "decimal" and kind(target) == "decimal":
        whole = source.precision - source.scale
        return bool(target.precision - target.scale < whole or target.scale < source.scale)
    return not (kind(source) in ("boolean", "integer") and target in (pa.int64(), pa.float64()))


def _native(
    operand: exp.Expr, source: pa.DataType, target: pa.DataType, *, strict: bool
) -> exp.Expr | None:
    """Build the cast of DataFusion's own parts; None if they do not make it."""
    match (kind(source), kind(target)):
        case ("boolean" | "integer" | "float", "boolean"):
            return convert(operand, target)
        case ("decimal", "boolean"):
            return snippet("x <> z", x=operand, z=literal(0, pa.int64()))
        case ("boolean", "decimal"):
            return convert(convert(operand, pa.int64()), target, strict=strict)
        case ("integer", "float") if target == pa.float32():
            return convert(convert(operand, pa.float64()), target)
        case ("float", "float") if target == pa.float32():
            return _narrow(operand, strict=strict)
        case ("boolean" | "integer" | "float", "integer" | "float"):
            return convert(operand, target, strict=strict)
        case ("float", "decimal"):
            return convert(convert(operand, pa.float64()), target, strict=strict)
        case ("decimal", "integer"):
            return convert(operand, target, strict=strict)
        case ("integer" | "decimal", "decimal"):
            return convert(operand, target, strict=strict)
        case ("decimal", "float"):
            double = _decimal_to_double(operand, source)
            return double if target == pa.float64() else _narrow(double, strict=strict)
        case ("string", "integer" | "float" | "decimal" | "boolean" | "date"):
            if target == pa.float32():
                return _narrow(
                    convert(_guard(operand, target), pa.float64(), strict=strict), strict=strict
                )
            return convert(_guard(operand, target), target, strict=strict)
        case ("string", "binary"):
            return convert(operand, target)
        case ("binary", "string"):
            return convert(operand, target, strict=strict)
        case ("boolean" | "integer" | "date", "string"):
            return convert(operand, target)
        case ("float", "string") if source == pa.float64():
            return snippet(
                "CASE WHEN abs(x) BETWEEN 0.0001 AND 999999999999999.0 THEN t ELSE s END",
                x=operand,
                t=convert(operand.copy(), target),
                s=call_cast(source, target, operand.copy(), strict=strict),
            )
        case ("date", "timestamp") if target.tz is None and target.unit != "ns":
            return convert(operand, target)
        case ("timestamp", "date" | "time") if source.tz is None:
            return convert(operand, target)
    return None


def _narrow(double: exp.Expr, *, strict: bool) -> exp.Expr:
    """Make a float32 of a float64; Arrow makes infinity of what is too large."""
    narrow = convert(double, pa.float32())
    return snippet(
        "CASE WHEN abs(n) = i AND abs(x) < i THEN slow ELSE n END",
        x=double.copy(),
        n=narrow,
        i=literal(float("inf"), pa.float64()),
        slow=call_cast(pa.float64(), pa.float32(), double.copy(), strict=strict),
    )


def _decimal_to_double(operand: exp.Expr, source: pa.DataType) -> exp.Expr:
    """Divide two whole numbers, which rounds once if both are floats exactly; else read the text."""
    quick = convert(operand, pa.float64())
    slow = convert(convert(operand.copy(), pa.string()), pa.float64())
    if source.scale > _EXACT_SCALE:
        return slow
    if source.precision <= _EXACT_DIGITS:
        return quick
    limit = decimal.Decimal(_EXACT).scaleb(-source.scale)
    bound = literal(limit, pa.decimal128(38, source.scale)).sql("postgres")
    return snippet(
        f"CASE WHEN abs(x) > {bound} THEN s ELSE q END", x=operand.copy(), s=slow, q=quick
    )


def _guard(operand: exp.Expr, target: pa.DataType) -> exp.Expr:
    """Let only the plan's syntax pass to DataFusion's parsers; other text becomes what none reads."""
    return snippet(
        "CASE WHEN regexp_like(x, p) THEN x ELSE m || x END",
        x=operand,
        p=literal(f"^(?:{text_pattern(target)})$", pa.string()),
        m=literal(f"no {type_name(target)}: ", pa.string()),
    )


__all__ = ["cast", "refuse_cast"]

"""Numbers in the catalogue: the types of operations on them, and exact or IEEE arithmetic."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from umbel.plan.casting import integer_bounds, to_decimal
from umbel.plan.errors import EvaluationError
from umbel.plan.functions.row import ResolveType, refuse
from umbel.plan.types import (
    DURATION,
    FLOAT64,
    INT64,
    MAX_DECIMAL_PRECISION,
    decimal_of_integer,
    is_decimal,
    is_float,
    is_integer,
    is_numeric,
    type_name,
)

UINT64 = pa.uint64()

#: Gives the result for a pair of decimal types.
OfDecimals = Callable[[str, pa.DataType, pa.DataType], pa.DataType]


def fill_null(types: Sequence[pa.DataType]) -> tuple[pa.DataType, pa.DataType]:
    """Give a pair of types in which null counts as the other type."""
    left, right = types
    if pa.types.is_null(left):
        return right, right
    return left, left if pa.types.is_null(right) else right


def number_type(
    name: str, left: pa.DataType, right: pa.DataType, of_decimals: OfDecimals
) -> pa.DataType:
    """Give the type of an operation on two numbers.

    Args:
        name: the function, for errors.
        left: the first argument's type.
        right: the second argument's type.
        of_decimals: gives the result for decimals.
    """
    if not (is_numeric(left) and is_numeric(right)):
        raise refuse(name, [left, right], "two numbers")
    if is_float(left) or is_float(right):
        return FLOAT64
    if is_integer(left) and is_integer(right):
        unsigned = [pa.types.is_unsigned_integer(dtype) for dtype in (left, right)]
        if UINT64 not in (left, right):
            return INT64
        if all(unsigned):
            return UINT64
    return of_decimals(name, exact_type(left), exact_type(right))


def exact_type(dtype: pa.DataType) -> pa.DataType:
    """Give the decimal type that holds all values of an integer or decimal type.

    >>> exact_type(pa.int8())
    Decimal128Type(decimal128(3, 0))
    """
    return decimal_of_integer(dtype) if is_integer(dtype) else dtype


def sum_of_decimals(name: str, left: pa.DataType, right: pa.DataType) -> pa.DataType:
    """Give the decimal type of a sum or difference: one more digit before the point."""
    scale = max(left.scale, right.scale)
    whole = max(left.precision - left.scale, right.precision - right.scale)
    return pa.decimal128(min(whole + scale + 1, MAX_DECIMAL_PRECISION), scale)


def product_of_decimals(name: str, left: pa.DataType, right: pa.DataType) -> pa.DataType:
    """Give the decimal type of a product: digits and scales add up."""
    scale = left.scale + right.scale
    if scale > MAX_DECIMAL_PRECISION:
        raise refuse(name, [left, right], "decimals whose scales add up to at most 38")
    return pa.decimal128(min(left.precision + right.precision, MAX_DECIMAL_PRECISION), scale)


def quotient_of_decimals(name: str, left: pa.DataType, right: pa.DataType) -> pa.DataType:
    """Give the decimal type of a whole quotient, which holds the greatest over the least."""
    digits = left.precision - left.scale + right.scale + 1
    return pa.decimal128(min(digits, MAX_DECIMAL_PRECISION), 0)


def rest_of_decimals(name: str, left: pa.DataType, right: pa.DataType) -> pa.DataType:
    """Give the decimal type of a remainder, which is less than the divisor."""
    scale = max(left.scale, right.scale)
    whole = right.precision - right.scale
    return pa.decimal128(min(max(whole + scale, 1), MAX_DECIMAL_PRECISION), scale)


def signed_type(name: str) -> Callable[[Sequence[pa.DataType]], pa.DataType]:
    """Make the result type of negation and absolute value."""

    def result(types: Sequence[pa.DataType]) -> pa.DataType:
        (dtype,) = types
        if pa.types.is_null(dtype):
            return dtype
        if pa.types.is_duration(dtype):
            return DURATION
        if not is_numeric(dtype):
            raise refuse(name, types, "a number or a duration")
        if is_float(dtype):
            return FLOAT64
        if is_decimal(dtype):
            return dtype
        if dtype == UINT64:
            return UINT64 if name == "abs" else decimal_of_integer(dtype)
        return INT64

    return result


def narrow_constants(
    result: Callable[[Sequence[pa.DataType]], pa.DataType],
) -> ResolveType:
    """Let an integer constant beside a decimal count with the digits that it has.

    Without it, `1 - discount` would be as wide as any int64, and products of such terms would
    not fit into 38 digits.
    """

    def resolve(types: Sequence[pa.DataType], values: Sequence[Any]) -> pa.DataType:
        return result(operand_types(types, values))

    return resolve


def operand_types(types: Sequence[pa.DataType], values: Sequence[Any]) -> list[pa.DataType]:
    """Give the types that arguments count as: a constant integer beside a decimal is narrow.

    >>> operand_types([pa.decimal128(15, 2), pa.int64()], [None, 100])
    [Decimal128Type(decimal128(15, 2)), Decimal128Type(decimal128(3, 0))]
    """
    if not any(is_decimal(dtype) for dtype in types):
        return list(types)
    return [
        pa.decimal128(len(str(abs(value))), 0)
        if is_integer(dtype) and isinstance(value, int)
        else dtype
        for dtype, value in zip(types, values, strict=True)
    ]


def in_range(value: int, dtype: pa.DataType) -> int:
    """Give an integer back, or fail the run if its type does not hold it."""
    least, most = integer_bounds(dtype)
    if not least <= value <= most:
        raise EvaluationError(
            f"{value} does not fit into {type_name(dtype)}",
            hint="cast the operands to float64 or to a decimal",
        )
    return value


def as_decimal(value: Any, dtype: pa.DataType) -> Decimal:
    """Bring an exact number to a decimal type; fails the run if it does not fit."""
    try:
        return to_decimal(Decimal(value), dtype)
    except ValueError:
        raise EvaluationError(f"{value} does not fit into {type_name(dtype)}") from None


def ieee_divide(left: float, right: float) -> float:
    """Divide floats as IEEE 754 does, where Python raises.

    >>> ieee_divide(-1.0, 0.0), ieee_divide(0.0, 0.0)
    (-inf, nan)
    """
    if right != 0.0:
        return left / right
    if left == 0.0 or math.isnan(left):
        return math.nan
    return math.copysign(math.inf, left) * math.copysign(1.0, right)


def whole_quotient(left: Decimal, right: Decimal, *, floor: bool) -> int:
    """Divide decimals exactly and round to an integer."""
    top, bottom = left.as_integer_ratio()
    other_top, other_bottom = right.as_integer_ratio()
    numerator, denominator = top * other_bottom, bottom * other_top
    floored = numerator // denominator
    if not floor and floored < 0 and floored * denominator != numerator:
        floored += 1
    return floored


def power(base: Any, exponent: Any) -> float:
    """Raise to a power as C's `pow` does, where Python raises."""
    base, exponent = float(base), float(exponent)
    try:
        return math.pow(base, exponent)
    except OverflowError:
        odd = exponent % 2.0 == 1.0
        return math.copysign(math.inf, base) if odd else math.inf
    except ValueError:
        if base != 0.0:
            return math.nan
        odd = exponent % 2.0 == 1.0
        return math.copysign(math.inf, base) if odd else math.inf

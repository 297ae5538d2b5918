"""Rows of the catalogue: rounding, roots, logarithms, angles and bits.

Outside its domain a function on floats gives what IEEE 754 says, NaN or an infinity, and never
fails. Functions marked so may differ between engines in the last bits of a float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import Any

import pyarrow as pa

from umbel.plan.casting import EXACT, integer_bounds, round_away
from umbel.plan.errors import EvaluationError, PlanError
from umbel.plan.functions.numbers import UINT64, as_decimal, ieee_divide, in_range, signed_type
from umbel.plan.functions.row import Function, Kind, ResolveType, ResultType, refuse
from umbel.plan.types import (
    FLOAT64,
    INT64,
    MAX_DECIMAL_PRECISION,
    is_decimal,
    is_float,
    is_integer,
    is_numeric,
)

_LAST_BITS = "The last bits may differ between engines."

#: Beyond these many digits rounding a float or an integer changes nothing or leaves zero.
MAX_DIGITS = 38


def _floats(name: str) -> ResultType:
    def result(types: Sequence[pa.DataType]) -> pa.DataType:
        if not all(is_numeric(dtype) or pa.types.is_null(dtype) for dtype in types):
            raise refuse(name, types, "numbers")
        return FLOAT64

    return result


def _whole(name: str) -> ResultType:
    """The type of floor and ceil: the number's own, widened, without a fraction."""

    def result(types: Sequence[pa.DataType]) -> pa.DataType:
        (dtype,) = types
        if is_decimal(dtype):
            digits = dtype.precision - dtype.scale + 1
            return pa.decimal128(min(digits, MAX_DECIMAL_PRECISION), 0)
        return _widened(name)(types)

    return result


def _widened(name: str) -> ResultType:
    def result(types: Sequence[pa.DataType]) -> pa.DataType:
        dtype = types[0]
        if pa.types.is_null(dtype):
            return dtype
        if not is_numeric(dtype):
            raise refuse(name, types, "a number")
        if is_float(dtype):
            return FLOAT64
        if is_decimal(dtype):
            return dtype
        return UINT64 if dtype == UINT64 else INT64

    return result


def _rounded(name: str) -> ResultType:
    """The type of rounding to digits: decimals keep their scale and get room for a carry."""

    def result(types: Sequence[pa.DataType]) -> pa.DataType:
        dtype = _widened(name)(types[:1])
        if len(types) > 1 and not (is_integer(types[1]) or pa.types.is_null(types[1])):
            raise refuse(name, types, "a number and an integer")
        if is_decimal(dtype) and name != "truncate":
            return pa.decimal128(min(dtype.precision + 1, MAX_DECIMAL_PRECISION), dtype.scale)
        return dtype

    return result


def _check_digits(name: str) -> ResolveType:
    result = _rounded(name)

    def resolve(types: Sequence[pa.DataType], values: Sequence[Any]) -> pa.DataType:
        dtype = result(types)
        if len(values) > 1:
            digits = values[1]
            if digits is None or abs(digits) > MAX_DIGITS:
                raise PlanError(
                    f"function {name!r} rounds to -{MAX_DIGITS} to {MAX_DIGITS} digits, "
                    f"not {digits}"
                )
        return dtype

    return resolve


# --- references -----------------------------------------------------------------------------


def _safe(function: Callable[..., float], overflow: float = math.inf) -> Callable[..., float]:
    """Give NaN outside the domain and an infinity past the range, where Python raises."""

    def call(*values: Any) -> float:
        try:
            return function(*map(float, values))
        except ValueError:
            return math.nan
        except OverflowError:
            return overflow

    return call


def _logarithm(function: Callable[[float], float]) -> Callable[[Any], float]:
    def call(value: Any) -> float:
        number = float(value)
        if number <= 0.0:
            return -math.inf if number == 0.0 else math.nan
        return function(number)

    return call


_ln = _logarithm(math.log)


def _log(value: Any, base: Any) -> float:
    return ieee_divide(_ln(value), _ln(base))


def _sinh(value: Any) -> float:
    return _safe(math.sinh, math.copysign(math.inf, float(value)))(value)


def _abs(value: Any, *, dtype: pa.DataType) -> Any:
    return in_range(abs(value), dtype) if isinstance(value, int) else _copy_abs(value)


def _copy_abs(value: Any) -> Any:
    return value.copy_abs() if isinstance(value, Decimal) else abs(value)


def _sign(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isnan(value) or value == 0.0 else math.copysign(1.0, value)
    return (value > 0) - (value < 0)


def _sign_type(types: Sequence[pa.DataType]) -> pa.DataType:
    dtype = _widened("sign")(types)
    return dtype if is_float(dtype) or pa.types.is_null(dtype) else INT64


def _to_whole(rounding: str, function: Callable[[float], int]) -> Callable[..., Any]:
    def whole(value: Any, *, dtype: pa.DataType) -> Any:
        if isinstance(value, float):
            return math.copysign(float(function(value)), value) if math.isfinite(value) else value
        if isinstance(value, Decimal):
            return as_decimal(value.quantize(Decimal(1), rounding, EXACT_QUIET), dtype)
        return value

    return whole


EXACT_QUIET = EXACT.copy()
EXACT_QUIET.clear_traps()


def _to_digits(rounding: str, nearest: Callable[[float], float]) -> Callable[..., Any]:
    """Round to digits after the point, or before it if negative.

    Floats are multiplied by the power of ten in float64, rounded, and divided again.
    """

    def rounded(value: Any, digits: int = 0, *, dtype: pa.DataType) -> Any:
        if isinstance(value, float):
            return _float_digits(value, digits, nearest)
        if digits >= (dtype.scale if is_decimal(dtype) else 0):
            return value
        unit = Decimal((0, (1,), -digits))
        exact = Decimal(value).quantize(unit, rounding, EXACT_QUIET)
        return as_decimal(exact, dtype) if is_decimal(dtype) else in_range(int(exact), dtype)

    return rounded


def _float_digits(value: float, digits: int, nearest: Callable[[float], float]) -> float:
    power = float(f"1e{abs(digits)}")
    if digits < 0:
        return nearest(value / power) * power
    scaled = value * power
    return nearest(scaled) / power if math.isfinite(scaled) else value


def _half_even(number: float) -> float:
    return math.copysign(float(round(number)), number) if math.isfinite(number) else number


def _toward_zero(number: float) -> float:
    return math.copysign(float(math.trunc(number)), number) if math.isfinite(number) else number


def _bits(name: str) -> ResultType:
    def result(types: Sequence[pa.DataType]) -> pa.DataType:
        given = [dtype for dtype in types if not pa.types.is_null(dtype)]
        if not all(map(is_integer, given)):
            raise refuse(name, types, "integers")
        if not given:
            return types[0]
        unsigned = [pa.types.is_unsigned_integer(dtype) for dtype in given]
        if UINT64 not in given:
            return INT64
        if not all(unsigned):
            raise refuse(name, types, "integers that int64 or uint64 holds")
        return UINT64

    return result


def _shift_type(name: str) -> ResultType:
    def result(types: Sequence[pa.DataType]) -> pa.DataType:
        if not (is_integer(types[1]) or pa.types.is_null(types[1])):
            raise refuse(name, types, "integers")
        return _bits(name)(types[:1])

    return result


def _check_shift(name: str) -> ResolveType:
    result = _shift_type(name)

    def resolve(types: Sequence[pa.DataType], values: Sequence[Any]) -> pa.DataType:
        found = result(types)
        if values[1] is None or values[1] < 0:
            raise PlanError(f"function {name!r} shifts by 0 or more bits, not {values[1]}")
        return found

    return resolve


def _bit_not(value: int, *, dtype: pa.DataType) -> int:
    return ~value if dtype != UINT64 else integer_bounds(UINT64)[1] - value


def _shift_left(value: int, bits: int, *, dtype: pa.DataType) -> int:
    if value and bits > 64:
        raise EvaluationError(f"{value} shifted by {bits} bits does not fit into 64 bits")
    return in_range(value << min(bits, 64), dtype)


# --- rows -----------------------------------------------------------------------------------

_Examples = tuple[tuple[tuple[Any, ...], Any], ...]


def _real(
    name: str,
    semantics: str,
    reference: Callable[..., float],
    examples: _Examples,
    *,
    arity: int = 1,
    exact: bool = False,
) -> Function:
    """A row of a function of real numbers, taken and given as float64."""
    return Function(
        name=name,
        kind=Kind.SCALAR,
        arity=(arity, arity),
        result=_floats(name),
        semantics=f"{semantics} In float64." + ("" if exact else f" {_LAST_BITS}"),
        reference=reference,
        examples=examples,
    )


def _rounding(
    name: str, semantics: str, reference: Callable[..., Any], examples: _Examples
) -> Function:
    return Function(
        name=name,
        kind=Kind.SCALAR,
        arity=(1, 2),
        result=_rounded(name),
        resolve=_check_digits(name),
        constant=(1,),
        semantics=f"{semantics} The second argument, 0 if missing, counts digits after the point, "
        "or before it if negative. Integers give int64 (uint64 stays), decimals keep their scale. "
        "Floats give float64: multiplied by the power of ten, rounded and divided in float64.",
        reference=reference,
        examples=examples,
        typed=True,
    )


def _integer(
    name: str, semantics: str, reference: Callable[..., Any], examples: _Examples
) -> Function:
    return Function(
        name=name,
        kind=Kind.SCALAR,
        arity=(2, 2),
        result=_bits(name),
        semantics=f"{semantics} As int64 in two's complement, or uint64 if all are unsigned and "
        "one is uint64.",
        reference=reference,
        examples=examples,
    )


def _shift(
    name: str, semantics: str, reference: Callable[..., Any], examples: _Examples, *, typed: bool
) -> Function:
    return Function(
        name=name,
        kind=Kind.SCALAR,
        arity=(2, 2),
        result=_shift_type(name),
        resolve=_check_shift(name),
        constant=(1,),
        semantics=f"{semantics} Integers give int64, uint64 stays.",
        reference=reference,
        examples=examples,
        typed=typed,
    )


ROWS: tuple[Function, ...] = (
    Function(
        name="abs",
        kind=Kind.SCALAR,
        arity=(1, 1),
        result=signed_type("abs"),
        semantics="The absolute value of a number or duration. Integers give int64 (uint64 "
        "stays); the least int64, which has none, fails the run.",
        reference=_abs,
        examples=(((-5,), 5), ((-0.5,), 0.5), ((Decimal("-1.5"),), Decimal("1.5"))),
        typed=True,
    ),
    Function(
        name="sign",
        kind=Kind.SCALAR,
        arity=(1, 1),
        result=_sign_type,
        semantics="-1, 0 or 1 by the sign; int64 for exact numbers, float64 for floats, where NaN "
        "and zeros give themselves.",
        reference=_sign,
        examples=(((-5,), -1), ((0,), 0), ((2.5,), 1.0), ((math.nan,), math.nan)),
    ),
    Function(
        name="ceil",
        kind=Kind.SCALAR,
        arity=(1, 1),
        result=_whole("ceil"),
        semantics="The least whole number not below: float64 for floats (NaN and infinities stay), "
        "a decimal without fraction for decimals, int64 for integers.",
        reference=_to_whole(ROUND_CEILING, math.ceil),
        examples=(((1.2,), 2.0), ((-1.2,), -1.0), ((Decimal("1.2"),), Decimal(2)), ((3,), 3)),
        typed=True,
    ),
    Function(
        name="floor",
        kind=Kind.SCALAR,
        arity=(1, 1),
        result=_whole("floor"),
        semantics="The greatest whole number not above: float64 for floats (NaN and infinities "
        "stay), a decimal without fraction for decimals, int64 for integers.",
        reference=_to_whole(ROUND_FLOOR, math.floor),
        examples=(((1.7,), 1.0), ((-1.2,), -2.0), ((Decimal("-1.2"),), Decimal(-2)), ((3,), 3)),
        typed=True,
    ),
    _rounding(
        "round",
        "The nearest number of so many digits, halves away from zero.",
        _to_digits(ROUND_HALF_UP, round_away),
        (
            ((2.5,), 3.0),
            ((-2.5,), -3.0),
            ((2.675, 2), 2.68),  # 2.675 * 100 is 267.5 in float64
            ((Decimal("1.25"), 1), Decimal("1.30")),
            ((15, -1), 20),
        ),
    ),
    _rounding(
        "round_half_even",
        "The nearest number of so many digits, halves to the even one; without digits as Python's "
        "`round`, but a float stays one.",
        _to_digits(ROUND_HALF_EVEN, _half_even),
        (((2.5,), 2.0), ((3.5,), 4.0), ((Decimal("1.25"), 1), Decimal("1.20")), ((15, -1), 20)),
    ),
    _rounding(
        "truncate",
        "The number cut to so many digits, toward zero.",
        _to_digits(ROUND_DOWN, _toward_zero),
        (((2.7,), 2.0), ((-2.7,), -2.0), ((Decimal("-1.29"), 1), Decimal("-1.20")), ((19, -1), 10)),
    ),
    _real(
        "sqrt",
        "The square root; NaN for negative numbers.",
        _safe(math.sqrt),
        (((9,), 3.0), ((-1,), math.nan)),
        exact=True,
    ),
    _real("cbrt", "The cube root, also of negative numbers.", _safe(math.cbrt), (((-8,), -2.0),)),
    _real("exp", "e to the power; infinity past the range.", _safe(math.exp), (((0,), 1.0),)),
    _real(
        "ln",
        "The natural logarithm; of zero minus infinity, of negative numbers NaN.",
        _ln,
        (((1,), 0.0), ((0,), -math.inf), ((-1,), math.nan)),
    ),
    _real(
        "log10",
        "The logarithm to base 10, as `ln` at and below zero.",
        _logarithm(math.log10),
        (((1000,), 3.0), ((0,), -math.inf)),
    ),
    _real(
        "log2",
        "The logarithm to base 2, as `ln` at and below zero.",
        _logarithm(math.log2),
        (((8,), 3.0), ((-1,), math.nan)),
    ),
    _real(
        "log",
        "The logarithm of the first to the base of the second: `ln(x) / ln(base)`.",
        _log,
        (((8, 2), 3.0), ((0, 2), -math.inf), ((2, 1), math.inf)),
        arity=2,
    ),
    _real("sin", "The sine of radians; NaN for infinities.", _safe(math.sin), (((0,), 0.0),)),
    _real("cos", "The cosine of radians; NaN for infinities.", _safe(math.cos), (((0,), 1.0),)),
    _real("tan", "The tangent of radians; NaN for infinities.", _safe(math.tan), (((0,), 0.0),)),
    _real(
        "asin",
        "The arc sine in radians; NaN outside -1 to 1.",
        _safe(math.asin),
        (((1,), math.pi / 2), ((2,), math.nan)),
    ),
    _real(
        "acos",
        "The arc cosine in radians; NaN outside -1 to 1.",
        _safe(math.acos),
        (((1,), 0.0), ((2,), math.nan)),
    ),
    _real("atan", "The arc tangent in radians.", _safe(math.atan), (((math.inf,), math.pi / 2),)),
    _real(
        "atan2",
        "The angle of the point (x, y) in radians, for y first and x second.",
        _safe(math.atan2),
        (((1, 0), math.pi / 2), ((0.0, -1.0), math.pi)),
        arity=2,
    ),
    _real("sinh", "The hyperbolic sine.", _sinh, (((0,), 0.0), ((-1000,), -math.inf))),
    _real("cosh", "The hyperbolic cosine.", _safe(math.cosh), (((0,), 1.0), ((-1000,), math.inf))),
    _real("tanh", "The hyperbolic tangent.", _safe(math.tanh), (((math.inf,), 1.0),)),
    _real("degrees", "Radians to degrees.", _safe(math.degrees), (((math.pi,), 180.0),)),
    _real("radians", "Degrees to radians.", _safe(math.radians), (((180,), math.pi),)),
    _real(
        "pi",
        "The ratio of a circle's circumference to its diameter.",
        lambda: math.pi,
        (((), math.pi),),
        arity=0,
        exact=True,
    ),
    _real(
        "e", "The base of natural logarithms.", lambda: math.e, (((), math.e),), arity=0, exact=True
    ),
    _integer("bitwise_and", "The bits that both have.", lambda a, b: a & b, (((12, 10), 8),)),
    _integer("bitwise_or", "The bits that either has.", lambda a, b: a | b, (((12, 10), 14),)),
    _integer("bitwise_xor", "The bits that one of both has.", lambda a, b: a ^ b, (((12, 10), 6),)),
    Function(
        name="bitwise_not",
        kind=Kind.SCALAR,
        arity=(1, 1),
        result=_bits("bitwise_not"),
        semantics="All bits turned over: `-x - 1` as int64; uint64 stays.",
        reference=_bit_not,
        examples=(((5,), -6), ((-1,), 0)),
        typed=True,
    ),
    _shift(
        "shift_left",
        "The number times two to the power of the second, a constant; fails the run if that does "
        "not fit.",
        _shift_left,
        (((5, 2), 20), ((-1, 3), -8)),
        typed=True,
    ),
    _shift(
        "shift_right",
        "The number divided by two to the power of the second, a constant, rounded down.",
        lambda value, bits: value >> bits,
        (((20, 2), 5), ((-1, 3), -1)),
        typed=False,
    ),
)

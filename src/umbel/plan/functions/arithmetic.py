"""Rows of the catalogue: arithmetic on numbers, dates, timestamps and durations.

Integers give int64 (uint64 among unsigned ones), anything with a float float64, decimals and
uint64 with a signed integer an exact decimal. A result that its type does not hold fails the run.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from umbel.plan.casting import EXACT, integer_bounds
from umbel.plan.errors import EvaluationError
from umbel.plan.functions.numbers import (
    UINT64,
    OfDecimals,
    as_decimal,
    fill_null,
    ieee_divide,
    in_range,
    narrow_constants,
    number_type,
    power,
    product_of_decimals,
    quotient_of_decimals,
    rest_of_decimals,
    signed_type,
    sum_of_decimals,
    whole_quotient,
)
from umbel.plan.functions.row import Function, Kind, Nulls, refuse
from umbel.plan.types import DURATION, FLOAT64, INT64, is_decimal, is_float, is_integer, is_numeric

_LEAST, _MOST = integer_bounds(INT64)
_MICROSECOND = datetime.timedelta(microseconds=1)


def _is_moment(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_date(dtype) or pa.types.is_timestamp(dtype))


def _moved(moment: pa.DataType) -> pa.DataType:
    """The type of a date or timestamp with a duration added."""
    if pa.types.is_date(moment):
        return pa.timestamp("us")
    return pa.timestamp("ns" if moment.unit == "ns" else "us", moment.tz)


def _add_type(types: Sequence[pa.DataType]) -> pa.DataType:
    left, right = fill_null(types)
    durations = [pa.types.is_duration(dtype) for dtype in (left, right)]
    if all(durations):
        return DURATION
    if durations[1] and _is_moment(left):
        return _moved(left)
    if durations[0] and _is_moment(right):
        return _moved(right)
    if pa.types.is_null(left):
        return left
    if not (is_numeric(left) and is_numeric(right)):
        raise refuse("add", types, "two numbers, two durations, or a time and a duration")
    return number_type("add", left, right, sum_of_decimals)


def _subtract_type(types: Sequence[pa.DataType]) -> pa.DataType:
    left, right = types[0], types[1]
    if pa.types.is_duration(right) and (_is_moment(left) or pa.types.is_duration(left)):
        return _moved(left) if _is_moment(left) else DURATION
    left, right = fill_null(types)
    if pa.types.is_duration(left) and pa.types.is_duration(right):
        return DURATION
    if _is_moment(left) and _is_moment(right):
        zoned = [pa.types.is_timestamp(dtype) and dtype.tz is not None for dtype in (left, right)]
        if zoned[0] == zoned[1]:
            return DURATION
    if pa.types.is_null(left):
        return left
    if not (is_numeric(left) and is_numeric(right)):
        wanted = "two numbers, two times of one kind, or a time or duration and a duration"
        raise refuse("subtract", types, wanted)
    return number_type("subtract", left, right, sum_of_decimals)


def _multiply_type(types: Sequence[pa.DataType]) -> pa.DataType:
    left, right = types
    if pa.types.is_duration(left) or pa.types.is_duration(right):
        factor = right if pa.types.is_duration(left) else left
        if (is_integer(factor) and factor != UINT64) or pa.types.is_null(factor):
            return DURATION
        raise refuse("multiply", types, "two numbers, or a duration and a signed integer")
    left, right = fill_null(types)
    if pa.types.is_null(left):
        return left
    return number_type("multiply", left, right, product_of_decimals)


def _numbers(name: str, of_decimals: OfDecimals) -> Callable[[Sequence[pa.DataType]], pa.DataType]:
    def result(types: Sequence[pa.DataType]) -> pa.DataType:
        left, right = fill_null(types)
        if pa.types.is_null(left):
            return left
        return number_type(name, left, right, of_decimals)

    return result


def _divide_type(types: Sequence[pa.DataType]) -> pa.DataType:
    left, right = fill_null(types)
    if pa.types.is_duration(left) and pa.types.is_duration(right):
        return FLOAT64
    return _floats("divide")(types)


def _floats(name: str) -> Callable[[Sequence[pa.DataType]], pa.DataType]:
    def result(types: Sequence[pa.DataType]) -> pa.DataType:
        if not all(is_numeric(dtype) or pa.types.is_null(dtype) for dtype in types):
            raise refuse(name, types, "numbers")
        return FLOAT64

    return result


def to_utc(moment: datetime.date) -> datetime.datetime:
    """Give the instant of a date or timestamp; without a zone its clock is taken as UTC's."""
    if not isinstance(moment, datetime.datetime):
        return datetime.datetime(moment.year, moment.month, moment.day, tzinfo=datetime.UTC)
    if moment.tzinfo is None:
        return moment.replace(tzinfo=datetime.UTC)
    return moment.astimezone(datetime.UTC)


def _move(moment: datetime.date, duration: datetime.timedelta) -> datetime.datetime:
    zone = moment.tzinfo if isinstance(moment, datetime.datetime) else None
    try:
        moved = to_utc(moment) + duration
        return moved.replace(tzinfo=None) if zone is None else moved.astimezone(zone)
    except OverflowError:
        raise EvaluationError(
            f"{moment.isoformat()} and {duration} is outside the years 1 to 9999"
        ) from None


def _duration(ticks: int) -> datetime.timedelta:
    return datetime.timedelta(microseconds=in_range(ticks, INT64))


def _add(left: Any, right: Any, *, dtype: pa.DataType) -> Any:
    if dtype is INT64:
        total = left + right
        return total if _LEAST <= total <= _MOST else in_range(total, dtype)
    if isinstance(right, datetime.timedelta):
        if isinstance(left, datetime.timedelta):
            return _duration(left // _MICROSECOND + right // _MICROSECOND)
        return _move(left, right)
    if isinstance(left, datetime.timedelta):
        return _move(right, left)
    if is_float(dtype):
        return float(left) + float(right)
    if is_decimal(dtype):
        return as_decimal(EXACT.add(as_decimal(left, dtype), as_decimal(right, dtype)), dtype)
    return in_range(left + right, dtype)


def _subtract(left: Any, right: Any, *, dtype: pa.DataType) -> Any:
    if dtype is INT64:
        rest = left - right
        return rest if _LEAST <= rest <= _MOST else in_range(rest, dtype)
    if isinstance(right, datetime.timedelta):
        if isinstance(left, datetime.timedelta):
            return _duration(left // _MICROSECOND - right // _MICROSECOND)
        return _move(left, -right)
    if isinstance(left, datetime.date):
        return to_utc(left) - to_utc(right)
    if is_float(dtype):
        return float(left) - float(right)
    if is_decimal(dtype):
        return as_decimal(EXACT.subtract(as_decimal(left, dtype), as_decimal(right, dtype)), dtype)
    return in_range(left - right, dtype)


def _multiply(left: Any, right: Any, *, dtype: pa.DataType) -> Any:
    if dtype is INT64:
        product = left * right
        return product if _LEAST <= product <= _MOST else in_range(product, dtype)
    if pa.types.is_duration(dtype):
        duration, factor = (left, right) if isinstance(left, datetime.timedelta) else (right, left)
        return _duration(duration // _MICROSECOND * factor)
    if is_float(dtype):
        return float(left) * float(right)
    if is_decimal(dtype):
        return as_decimal(EXACT.multiply(Decimal(left), Decimal(right)), dtype)
    return in_range(left * right, dtype)


def _divide(left: Any, right: Any) -> float:
    if isinstance(left, datetime.timedelta):
        left, right = left // _MICROSECOND, right // _MICROSECOND
    return ieee_divide(float(left), float(right))


def _quotient(*, floor: bool) -> Callable[..., Any]:
    def quotient(left: Any, right: Any, *, dtype: pa.DataType) -> Any:
        if is_float(dtype):
            left, right = float(left), float(right)
            if floor and right != 0.0:
                return left // right
            whole = ieee_divide(left, right)
            return float(math.trunc(whole)) if math.isfinite(whole) and not floor else whole
        if right == 0:
            return None
        if is_decimal(dtype):
            whole = whole_quotient(Decimal(left), Decimal(right), floor=floor)
            return as_decimal(whole, dtype)
        floored = left // right
        if not floor and floored < 0 and floored * right != left:
            floored += 1
        return in_range(floored, dtype)

    return quotient


def _rest(*, floor: bool) -> Callable[..., Any]:
    def rest(left: Any, right: Any, *, dtype: pa.DataType) -> Any:
        if is_float(dtype):
            left, right = float(left), float(right)
            if right == 0.0 or math.isinf(left):
                return math.nan
            return left % right if floor else math.fmod(left, right)
        if right == 0:
            return None
        if is_decimal(dtype):
            left, right = Decimal(left), Decimal(right)
            whole = whole_quotient(left, right, floor=floor)
            return as_decimal(EXACT.subtract(left, EXACT.multiply(Decimal(whole), right)), dtype)
        if floor:
            return left % right
        return left - right * (abs(left) // abs(right)) * (1 if (left < 0) == (right < 0) else -1)

    return rest


def _negate(value: Any, *, dtype: pa.DataType) -> Any:
    if isinstance(value, datetime.timedelta):
        return _duration(-(value // _MICROSECOND))
    if is_decimal(dtype):
        return Decimal(value).copy_negate()
    return in_range(-value, dtype) if isinstance(value, int) else -value


_WIDTHS = (
    "Integers give int64 (uint64 if all are unsigned and one is uint64), floats float64, decimals "
    "and uint64 with a signed integer a decimal; a result that does not fit fails the run."
)
_DAY = datetime.timedelta(days=1)
_NEW_YEAR = datetime.datetime.fromisoformat("2020-01-01")


def _binary(
    name: str,
    result: Callable[[Sequence[pa.DataType]], pa.DataType],
    reference: Callable[..., Any],
    semantics: str,
    examples: tuple[tuple[tuple[Any, ...], Any], ...],
    *,
    nulls: Nulls = Nulls.STRICT,
    typed: bool = True,
) -> Function:
    return Function(
        name=name,
        kind=Kind.SCALAR,
        arity=(2, 2),
        result=result,
        resolve=narrow_constants(result) if typed else None,
        semantics=semantics,
        reference=reference,
        nulls=nulls,
        examples=examples,
        typed=typed,
    )


ROWS: tuple[Function, ...] = (
    _binary(
        "add",
        _add_type,
        _add,
        f"The sum. {_WIDTHS} Decimals have the greater scale, to which both are brought first. A "
        "date or timestamp and a duration give a timestamp, two durations a duration, both in "
        "microseconds (nanoseconds stay); with a time zone, elapsed time is added, not clock time.",
        (
            ((1, 2), 3),
            ((1, 0.5), 1.5),
            ((Decimal("1.5"), 1), Decimal("2.5")),
            ((datetime.date(2019, 12, 31), _DAY), _NEW_YEAR),
            ((None, 1), None),
        ),
    ),
    _binary(
        "subtract",
        _subtract_type,
        _subtract,
        f"The difference. {_WIDTHS} Decimals as in `add`. Dates and timestamps give the elapsed "
        "time as a duration in microseconds; a duration taken from them gives a timestamp.",
        (
            ((1, 2), -1),
            ((Decimal("1.5"), Decimal("0.25")), Decimal("1.25")),
            ((datetime.date(2020, 1, 2), datetime.date(2020, 1, 1)), _DAY),
            ((_NEW_YEAR + _DAY, _DAY), _NEW_YEAR),
        ),
    ),
    _binary(
        "multiply",
        _multiply_type,
        _multiply,
        f"The product. {_WIDTHS} Scales of decimals add up, so that nothing is rounded; more than "
        "38 digits behind the point are a type clash. A duration may be multiplied by an integer.",
        (
            ((3, -2), -6),
            ((Decimal("1.23"), Decimal("1.23")), Decimal("1.5129")),
            ((_DAY, 2), 2 * _DAY),
        ),
    ),
    _binary(
        "divide",
        _divide_type,
        _divide,
        "The quotient of both numbers taken as float64, always float64, also for integers and "
        "decimals. By zero as IEEE 754: infinity, or NaN for 0/0. Two durations give their ratio.",
        (
            ((7, 2), 3.5),
            ((1, 0), math.inf),
            ((-1.0, 0.0), -math.inf),
            ((0, 0), math.nan),
            ((Decimal("1.00"), Decimal("8.0")), 0.125),
            ((_DAY, 2 * _DAY), 0.5),
        ),
        typed=False,
    ),
    _binary(
        "floor_divide",
        _numbers("floor_divide", quotient_of_decimals),
        _quotient(floor=True),
        f"The quotient rounded down, as Python's `//`. {_WIDTHS} Integers and decimals by zero "
        "give null, floats by zero what `divide` gives; decimals give a whole decimal.",
        (((7, 2), 3), ((-7, 2), -4), ((7, -2), -4), ((1, 0), None), ((-7.5, 2.0), -4.0)),
        nulls=Nulls.PARTIAL,
    ),
    _binary(
        "modulo",
        _numbers("modulo", rest_of_decimals),
        _rest(floor=True),
        "What `floor_divide` leaves, with the divisor's sign, as Python's `%`. Integers and "
        "decimals by zero give null, floats by zero NaN. Types as in `floor_divide`, but decimals "
        "have the greater scale.",
        (((7, 3), 1), ((-7, 3), 2), ((7, -3), -2), ((1, 0), None), ((-7.5, 2.0), 0.5)),
        nulls=Nulls.PARTIAL,
    ),
    _binary(
        "truncate_divide",
        _numbers("truncate_divide", quotient_of_decimals),
        _quotient(floor=False),
        f"The quotient rounded toward zero, as SQL's integer division. {_WIDTHS} Integers and "
        "decimals by zero give null; floats give the float64 quotient without its fraction.",
        (((7, 2), 3), ((-7, 2), -3), ((7, -2), -3), ((1, 0), None), ((-7.5, 2.0), -3.0)),
        nulls=Nulls.PARTIAL,
    ),
    _binary(
        "remainder",
        _numbers("remainder", rest_of_decimals),
        _rest(floor=False),
        "What `truncate_divide` leaves, with the dividend's sign, as SQL's `%` and C's `fmod`. "
        "Integers and decimals by zero give null, floats by zero NaN.",
        (((7, 3), 1), ((-7, 3), -1), ((7, -3), 1), ((1, 0), None), ((-7.5, 2.0), -1.5)),
        nulls=Nulls.PARTIAL,
    ),
    Function(
        name="negate",
        kind=Kind.SCALAR,
        arity=(1, 1),
        result=signed_type("negate"),
        semantics="The number or duration with the other sign. Integers give int64 (uint64 a "
        "decimal), and the least int64, which has no counterpart, fails the run.",
        reference=_negate,
        examples=(((5,), -5), ((-0.5,), 0.5), ((_DAY,), -_DAY)),
        typed=True,
    ),
    _binary(
        "power",
        _floats("power"),
        power,
        "The first number to the power of the second, in float64, as C's `pow`: 0 to a negative "
        "power is infinity, a negative number to a fraction NaN, any number to 0 one. The last "
        "bits may differ between engines.",
        (((2, 10), 1024.0), ((4, 0.5), 2.0), ((0, -1), math.inf), ((-8, 0.5), math.nan)),
        typed=False,
    ),
)

"""What a cast means: the reference semantics of `Cast`, value by value.

A value that has no form in the target type fails the run, or gives null where the cast is not
strict. Which pairs of types have a cast at all says `refuse_cast`.

- number to integer: truncates toward zero; NaN, infinities and values out of range have no form.
- number to decimal: rounds half away from zero; floats are scaled in float64 first.
- to float32: rounds to the nearest by way of float64; finite values too large have no form.
- string to integer: an optional sign and digits 0-9, nothing else, no white space.
- string to float: sign, digits, point and exponent, or `nan`, `inf`, `infinity` in any case.
- string to decimal: sign, digits and point; rounds half away from zero.
- string to boolean: `true` or `false` in any case.
- string to date: `2020-12-31`; to time: `23:59` with optional seconds and up to six decimals; to
  timestamp: a date, or date and time with `T` or a space between; with a time zone the offset
  (`Z` or `+01:00`) is required, without one it is not allowed.
- number to string: Python's `repr` for floats (float32 as the float64 that it equals), digits
  with all decimals for decimals.
- boolean to string: `true`, `false`; temporal to string: ISO 8601 with `T`, six decimals of the
  second only where they are not zero, and the offset if there is a time zone.
- number to boolean: whether it is not zero (NaN is true); boolean to number: 1 or 0.
- timestamp to timestamp: rounds down to the unit; with a time zone to without: the wall clock.
- binary and string: UTF-8; bytes that are no UTF-8 have no form.
- lists and structs: element by element; an element without a form is null if not strict.
"""

from __future__ import annotations

import datetime
import math
import re
import struct
from collections.abc import Callable
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact
from functools import lru_cache
from typing import Any

import pyarrow as pa

from umbel.plan.errors import EvaluationError, TypeClashError
from umbel.plan.types import is_decimal, is_float, is_integer, is_list, is_object, type_name

#: Exact arithmetic on decimals of up to 38 digits and their products.
EXACT = Context(prec=160, rounding=ROUND_HALF_UP, Emin=-999999, Emax=999999, traps=[Inexact])
_ROUNDING = Context(prec=160, rounding=ROUND_HALF_UP, Emin=-999999, Emax=999999, traps=[])

INTEGER_TEXT = r"[+-]?[0-9]+"
FLOAT_TEXT = (
    r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?"
    r"|[+-]?[iI][nN][fF]([iI][nN][iI][tT][yY])?|[nN][aA][nN]"
)
DECIMAL_TEXT = r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)"
BOOL_TEXT = r"[tT][rR][uU][eE]|[fF][aA][lL][sS][eE]"
_YEAR = r"(000[1-9]|00[1-9][0-9]|0[1-9][0-9][0-9]|[1-9][0-9][0-9][0-9])"
DATE_TEXT = _YEAR + r"-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
TIME_TEXT = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
OFFSET_TEXT = r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
TIMESTAMP_TEXT = rf"{DATE_TEXT}([T ]{TIME_TEXT})?"
ZONED_TEXT = rf"{DATE_TEXT}[T ]{TIME_TEXT}{OFFSET_TEXT}"

_UNITS = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}

Convert = Callable[[Any], Any]


class _NoFormError(ValueError):
    """A value that has no form in the target type."""


def text_pattern(target: pa.DataType) -> str:
    """Give the pattern that a string must match whole to be cast to a type.

    Within the syntax that Python, RE2 and Rust's regular expressions share.
    """
    if is_integer(target):
        return INTEGER_TEXT
    if is_float(target):
        return FLOAT_TEXT
    if is_decimal(target):
        return DECIMAL_TEXT
    if pa.types.is_boolean(target):
        return BOOL_TEXT
    if pa.types.is_date(target):
        return DATE_TEXT
    if pa.types.is_time(target):
        return TIME_TEXT
    return ZONED_TEXT if target.tz else TIMESTAMP_TEXT


def kind(dtype: pa.DataType) -> str:
    """Name the family of a type, as casts tell them apart.

    >>> kind(pa.uint8()), kind(pa.timestamp("us", "UTC"))
    ('integer', 'timestamp')
    """
    for name, test in _KINDS:
        if test(dtype):
            return name
    return str(dtype)


_KINDS: tuple[tuple[str, Callable[[pa.DataType], bool]], ...] = (
    ("null", pa.types.is_null),
    ("boolean", pa.types.is_boolean),
    ("integer", is_integer),
    ("float", is_float),
    ("decimal", is_decimal),
    ("string", pa.types.is_string),
    ("binary", pa.types.is_binary),
    ("date", pa.types.is_date),
    ("time", pa.types.is_time),
    ("timestamp", pa.types.is_timestamp),
    ("duration", pa.types.is_duration),
    ("object", is_object),
    ("list", is_list),
    ("struct", pa.types.is_struct),
)

_NUMBERS = ("integer", "float", "decimal")
_PAIRS = frozenset(
    [(a, b) for a in (*_NUMBERS, "boolean") for b in (*_NUMBERS, "boolean", "string")]
    + [("string", b) for b in (*_NUMBERS, "boolean", "string", "binary")]
    + [("string", b) for b in ("date", "time", "timestamp")]
    + [(a, "string") for a in ("date", "time", "timestamp", "binary")]
    + [("date", "date"), ("date", "timestamp"), ("time", "time"), ("duration", "duration")]
    + [("timestamp", b) for b in ("date", "time", "timestamp")]
    + [("binary", "binary")]
)


def refuse_cast(source: pa.DataType, target: pa.DataType) -> str | None:
    """Say why there is no cast from one type to another; None if there is.

    >>> refuse_cast(pa.int64(), pa.date32())
    'there is no cast from int64 to date'
    """
    pair = (kind(source), kind(target))
    if pair[0] == "null" or source == target:
        return None
    if pair == ("list", "list"):
        return refuse_cast(source.value_type, target.value_type)
    if pair == ("struct", "struct") and [f.name for f in source] == [f.name for f in target]:
        for old, new in zip(source, target, strict=True):
            reason = refuse_cast(old.type, new.type)
            if reason is not None:
                return reason
        return None
    if pair not in _PAIRS:
        return f"there is no cast from {type_name(source)} to {type_name(target)}"
    if pair == ("timestamp", "timestamp") and source.tz is None and target.tz not in (None, "UTC"):
        return (
            f"a cast from {type_name(source)} to {type_name(target)} would have to guess at hours "
            "that the zone skips or repeats"
        )
    if pair == ("date", "timestamp") and target.tz not in (None, "UTC"):
        return f"there is no cast from date to {type_name(target)}"
    return None


def cast_value(value: Any, source: pa.DataType, target: pa.DataType, *, strict: bool) -> Any:
    """Convert a value between types.

    Args:
        value: as `pyarrow.Scalar.as_py` gives it; None stays None.
        source: the value's type.
        target: the type wanted.
        strict: fail if the value has no form there, instead of giving None.

    Raises:
        EvaluationError: the value has no form in `target`, and the cast is strict.

    >>> cast_value(-2.7, pa.float64(), pa.int8(), strict=True)
    -2
    >>> cast_value(" 1", pa.string(), pa.int64(), strict=False) is None
    True
    """
    if value is None:
        return None
    try:
        return _converter(source, target, strict)(value)
    except (ValueError, OverflowError) as error:
        if strict:
            raise EvaluationError(f"cannot cast {value!r} to {type_name(target)}") from error
        return None


@lru_cache(maxsize=4096)
def _converter(source: pa.DataType, target: pa.DataType, strict: bool) -> Convert:
    if source == target:
        return lambda value: value
    reason = refuse_cast(source, target)
    if reason is not None:
        raise TypeClashError(reason)
    match kind(target):
        case "integer":
            return _to_integer(source, target)
        case "float":
            return _to_float(source, target)
        case "decimal":
            return _to_decimal(source, target)
        case "boolean":
            return _to_boolean(source)
        case "string":
            return _to_string(source)
        case "binary":
            return lambda value: value.encode()
        case "date":
            return _to_date(source)
        case "time":
            return _to_time(source)
        case "timestamp":
            return _to_timestamp(source, target)
        case "duration":
            unit = datetime.timedelta(microseconds=_UNITS[target.unit])
            return lambda value: value // unit * unit
        case "list":
            inner_source, inner_target = source.value_type, target.value_type
            return lambda value: [
                cast_value(item, inner_source, inner_target, strict=strict) for item in value
            ]
    fields = [(f.name, f.type, target.field(f.name).type) for f in source]
    return lambda value: {
        name: cast_value(value[name], old, new, strict=strict) for name, old, new in fields
    }


def _matched(text: str, target_pattern: str) -> str:
    if re.fullmatch(target_pattern, text) is None:
        raise _NoFormError(text)
    return text


def integer_bounds(dtype: pa.DataType) -> tuple[int, int]:
    """Give the least and the greatest value of an integer type.

    >>> integer_bounds(pa.int8())
    (-128, 127)
    """
    width = dtype.bit_width
    if pa.types.is_unsigned_integer(dtype):
        return 0, 2**width - 1
    return -(2 ** (width - 1)), 2 ** (width - 1) - 1


def _to_integer(source: pa.DataType, target: pa.DataType) -> Convert:
    least, most = integer_bounds(target)

    def convert(value: Any) -> int:
        number = int(_matched(value, INTEGER_TEXT)) if isinstance(value, str) else math.trunc(value)
        if not least <= number <= most:
            raise _NoFormError(number)
        return number

    return convert


def _to_float(source: pa.DataType, target: pa.DataType) -> Convert:
    def convert(value: Any) -> float:
        number = float(_matched(value, FLOAT_TEXT) if isinstance(value, str) else value)
        if target == pa.float64():
            return number
        if math.isfinite(number):
            return to_float32(number)
        return number

    return convert


def to_float32(number: float) -> float:
    """Round a finite number to the nearest float32; `OverflowError` if it is too large.

    >>> to_float32(0.1)
    0.10000000149011612
    """
    rounded: float = struct.unpack("<f", struct.pack("<f", number))[0]
    return rounded


def to_decimal(value: Decimal, dtype: pa.DataType) -> Decimal:
    """Round half away from zero to a decimal type's scale; `ValueError` if it does not fit.

    >>> to_decimal(Decimal("-1.25"), pa.decimal128(3, 1))
    Decimal('-1.3')
    """
    rounded = value.quantize(Decimal((0, (1,), -dtype.scale)), context=_ROUNDING)
    if not rounded.is_finite() or (
        rounded and rounded.adjusted() + 1 + dtype.scale > dtype.precision
    ):
        raise _NoFormError(f"{value} does not fit into {type_name(dtype)}")
    return rounded


def round_away(number: float) -> float:
    """Round to the nearest whole number, halves away from zero; keeps the sign of zero.

    >>> round_away(2.5), round_away(-2.5), round_away(0.49999999999999994)
    (3.0, -3.0, 0.0)
    """
    if not math.isfinite(number):
        return number
    size = abs(number)
    whole = math.floor(size)
    return math.copysign(float(whole + (size - whole >= 0.5)), number)


def _to_decimal(source: pa.DataType, target: pa.DataType) -> Convert:
    if is_float(source):
        power = float(f"1e{target.scale}")

        def from_float(value: float) -> Decimal:
            scaled = round_away(value * power)
            if not abs(scaled) < 10**target.precision:  # NaN too
                raise _NoFormError(value)
            return to_decimal(Decimal(int(scaled)).scaleb(-target.scale, EXACT), target)

        return from_float

    def convert(value: Any) -> Decimal:
        return to_decimal(
            Decimal(_matched(value, DECIMAL_TEXT) if isinstance(value, str) else value), target
        )

    return convert


def _to_boolean(source: pa.DataType) -> Convert:
    if kind(source) == "string":
        return lambda value: _matched(value, BOOL_TEXT).lower() == "true"
    return lambda value: bool(value != 0)


def _to_string(source: pa.DataType) -> Convert:
    match kind(source):
        case "boolean":
            return lambda value: "true" if value else "false"
        case "integer":
            return str
        case "float":
            return repr
        case "decimal":
            return lambda value: format(value, f".{source.scale}f")
        case "binary":
            return lambda value: value.decode()
    return lambda value: value.isoformat()


def _to_date(source: pa.DataType) -> Convert:
    if kind(source) == "string":
        return lambda value: datetime.date.fromisoformat(_matched(value, DATE_TEXT))
    return lambda value: value.date()


def _to_time(source: pa.DataType) -> Convert:
    if kind(source) == "string":
        return lambda value: datetime.time.fromisoformat(_full_time(_matched(value, TIME_TEXT)))
    return lambda value: value.time()


def _full_time(text: str) -> str:
    """Fill the decimals of a second up to six, which is what `fromisoformat` reads."""
    head, point, decimals = text.partition(".")
    return f"{head}.{decimals:0<6}" if point else head


def _to_timestamp(source: pa.DataType, target: pa.DataType) -> Convert:
    zone = pa.lib.string_to_tzinfo(target.tz) if target.tz else None
    unit = _UNITS[target.unit]

    def round_down(moment: datetime.datetime) -> datetime.datetime:
        return moment.replace(microsecond=moment.microsecond // unit * unit if unit < 10**6 else 0)

    match kind(source):
        case "string":
            pattern = text_pattern(target)

            def parse(value: str) -> datetime.datetime:
                text = _matched(value, pattern)
                if zone is None:
                    return round_down(datetime.datetime.fromisoformat(_full_time(text)))
                clock, offset = (text[:-1], "+00:00") if text[-1] == "Z" else (text[:-6], text[-6:])
                moment = datetime.datetime.fromisoformat(_full_time(clock) + offset)
                return round_down(moment.astimezone(zone))

            return parse
        case "date":
            return lambda value: datetime.datetime(value.year, value.month, value.day, tzinfo=zone)
    if zone is None:
        return lambda value: round_down(value.replace(tzinfo=None))
    if source.tz is None:
        return lambda value: round_down(value.replace(tzinfo=zone))
    return lambda value: round_down(value.astimezone(zone))

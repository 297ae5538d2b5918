"""Constants of every Arrow type, exactly, in JSON: what a `Literal` of a plan file holds.

JSON has no NaN, no decimals, no dates, and many readers lose digits of numbers beyond 2**53. Each
type therefore has one form: numbers where they are safe, texts where they are not.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import math
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa

from umbel.plan.errors import PlanFormatError
from umbel.plan.types import is_decimal, is_list, type_name

#: Integers beyond this are written as text: JavaScript and many JSON readers would round them.
SAFE_INTEGER = 2**53 - 1

_FRACTION_DIGITS = {"s": 0, "ms": 3, "us": 6, "ns": 9}
_EPOCH = datetime.datetime(1970, 1, 1)  # noqa: DTZ001  (ticks count from here in every zone)
_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{3}|\d{6}|\d{9}))?(Z?)", re.ASCII)
_INTEGER = re.compile(r"-?\d{1,20}", re.ASCII)
_DECIMAL = re.compile(r"-?\d{1,80}(\.\d{1,80})?(E[+-]\d{1,3})?", re.ASCII)
_SPECIAL_FLOATS = ("nan", "inf", "-inf")


def value_to_json(value: Any, dtype: pa.DataType) -> Any:
    """Give a constant's JSON form.

    Raises:
        PlanFormatError: the value is not one of the type.

    >>> value_to_json(float("nan"), pa.float64()), value_to_json(2**60, pa.int64())
    ('nan', '1152921504606846976')
    >>> value_to_json(datetime.datetime(2024, 5, 1, 12), pa.timestamp("us"))
    '2024-05-01T12:00:00.000000'
    """
    try:
        return _to_json(value, dtype)
    except (pa.ArrowException, TypeError, ValueError, KeyError, OverflowError) as error:
        raise PlanFormatError(
            f"the constant {str(value)[:80]!r} is not a value of type {type_name(dtype)}: {error}"
        ) from error


def value_from_json(data: Any, dtype: pa.DataType) -> Any:
    """Read a constant's JSON form back.

    Raises:
        PlanFormatError: the form is not one of the type.

    >>> value_from_json("1.50", pa.decimal128(5, 2))
    Decimal('1.50')
    """
    try:
        value = _from_json(data, dtype)
        if value is not None:
            pa.scalar(value, dtype)  # refuses what does not fit, such as 300 for int8
    except (pa.ArrowException, TypeError, ValueError, OverflowError, InvalidOperation) as error:
        raise PlanFormatError(
            f"{str(data)[:80]!r} is not a constant of type {type_name(dtype)}: {error}"
        ) from error
    return value


def _to_json(value: Any, dtype: pa.DataType) -> Any:
    if value is None:
        return None
    if is_list(dtype):
        return [_to_json(item, dtype.value_type) for item in value]
    if pa.types.is_struct(dtype):
        if set(value) != {f.name for f in dtype} or len(set(value)) != dtype.num_fields:
            raise ValueError("it has other fields")
        return {f.name: _to_json(value[f.name], f.type) for f in dtype}
    pa.scalar(value, dtype)
    if pa.types.is_boolean(dtype):
        return bool(value)
    if pa.types.is_integer(dtype):
        return value if abs(value) <= SAFE_INTEGER else str(value)
    if pa.types.is_floating(dtype):
        if math.isfinite(value):
            return float(value)
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if is_decimal(dtype):
        return str(value)
    if pa.types.is_binary(dtype):
        return base64.b64encode(value).decode("ascii")
    if pa.types.is_timestamp(dtype):
        return _timestamp_to_text(pa.scalar(value, dtype).value, dtype)
    if pa.types.is_duration(dtype):
        ticks = pa.scalar(value, dtype).value
        return ticks if abs(ticks) <= SAFE_INTEGER else str(ticks)
    if pa.types.is_date(dtype) or pa.types.is_time(dtype):
        return value.isoformat()
    if pa.types.is_string(dtype):
        return str(value)
    raise ValueError("constants of this type cannot be written")


def _from_json(data: Any, dtype: pa.DataType) -> Any:
    if data is None:
        return None
    if is_list(dtype):
        return [_from_json(item, dtype.value_type) for item in _checked(data, list)]
    if pa.types.is_struct(dtype):
        if set(_checked(data, dict)) != {f.name for f in dtype} or len(data) != dtype.num_fields:
            raise ValueError("it has other fields")
        return {f.name: _from_json(data[f.name], f.type) for f in dtype}
    for belongs, read in _READERS:
        if belongs(dtype):
            return read(data, dtype)
    raise ValueError("constants of this type cannot be read")


def _checked(data: Any, wanted: type) -> Any:
    if type(data) is not wanted:
        raise ValueError(f"expected {wanted.__name__}, not {type(data).__name__}")
    return data


def _matched(data: Any, pattern: re.Pattern[str]) -> str:
    text: str = _checked(data, str)
    if pattern.fullmatch(text) is None:
        raise ValueError("it is not in the form that a plan uses")
    return text


def _integer(data: Any, _: pa.DataType) -> int:
    return data if type(data) is int else int(_matched(data, _INTEGER))


def _float(data: Any, _: pa.DataType) -> float:
    if type(data) is str and data in _SPECIAL_FLOATS:
        return float(data)
    if type(data) is int and abs(data) <= SAFE_INTEGER:  # JavaScript writes 1.0 as 1
        return float(data)
    return float(_checked(data, float))


def _duration(data: Any, dtype: pa.DataType) -> Any:
    return pa.scalar(_integer(data, dtype), pa.int64()).cast(dtype).as_py()


def _binary(data: Any, _: pa.DataType) -> bytes:
    try:
        return base64.b64decode(_checked(data, str), validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error


def _timestamp(data: Any, dtype: pa.DataType) -> Any:
    match = _TIMESTAMP.fullmatch(_checked(data, str))
    digits = _FRACTION_DIGITS[dtype.unit]
    if match is None or len(match[2] or "") != digits or bool(match[3]) != bool(dtype.tz):
        raise ValueError(f"expected YYYY-MM-DDTHH:MM:SS, {digits} digits, Z for a zone's time")
    whole = datetime.datetime.fromisoformat(match[1]) - _EPOCH
    seconds = whole.days * 86_400 + whole.seconds
    ticks = seconds * 10**digits + int(match[2] or 0)
    return pa.scalar(ticks, pa.int64()).cast(dtype).as_py()


def _timestamp_to_text(ticks: int, dtype: pa.DataType) -> str:
    digits = _FRACTION_DIGITS[dtype.unit]
    seconds, fraction = divmod(ticks, 10**digits)
    text = (_EPOCH + datetime.timedelta(seconds=seconds)).isoformat()
    return text + (f".{fraction:0{digits}}" if digits else "") + ("Z" if dtype.tz else "")


def _iso(data: Any, wanted: type[datetime.date] | type[datetime.time]) -> Any:
    value = wanted.fromisoformat(_checked(data, str))
    if value.isoformat() != data:  # Python also takes weeks, days of the year and other forms
        raise ValueError("it is not in the form that a plan uses")
    return value


_READERS: tuple[tuple[Callable[[pa.DataType], bool], Callable[[Any, pa.DataType], Any]], ...] = (
    (pa.types.is_boolean, lambda data, _: _checked(data, bool)),
    (pa.types.is_integer, _integer),
    (pa.types.is_floating, _float),
    (is_decimal, lambda data, _: Decimal(_matched(data, _DECIMAL))),
    (pa.types.is_string, lambda data, _: _checked(data, str)),
    (pa.types.is_binary, _binary),
    (pa.types.is_timestamp, _timestamp),
    (pa.types.is_duration, _duration),
    (pa.types.is_date, lambda data, _: _iso(data, datetime.date)),
    (pa.types.is_time, lambda data, _: _iso(data, datetime.time)),
)

__all__ = ["SAFE_INTEGER", "value_from_json", "value_to_json"]

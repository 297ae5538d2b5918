"""Values that break engines, for each Arrow type, as lists and as hypothesis strategies."""

from __future__ import annotations

import datetime
import itertools
import math
import random
from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
from hypothesis import strategies as st

from umbel.plan.casting import integer_bounds, to_float32
from umbel.plan.types import is_decimal, is_float, is_integer, is_list

FLOATS = (
    0.0,
    -0.0,
    1.0,
    -1.0,
    0.5,
    -0.5,
    1.5,
    2.5,
    -2.5,
    0.1,
    2.675,
    1.005,
    0.49999999999999994,
    7.0,
    -7.0,
    3.0,
    1e-5,
    123456.789,
    1e15,
    1e16,
    float(2**53),
    float(2**63),
    -float(2**63),
    1e300,
    -1e300,
    5e-324,
    1.7976931348623157e308,
    math.inf,
    -math.inf,
    math.nan,
)

STRINGS = (
    "",
    " ",
    "a",
    "A",
    "abc",
    "Hello, World",
    "  padded\t",
    "a b  c",
    "a,b,,c",
    "%_\\",
    'it\'s "quoted"',
    "line\nbreak\r\n",
    "nul\0inside",
    "ÄÖÜ straße",
    "ẞß",
    "İIıi",
    "ΑΣ ΣΑΣ",
    "e\u0301 é",  # combining accent beside the composed letter
    "ﬁ ﬂ",
    "日本語",
    "👩‍👩‍👧 🇩🇪",
    "\u00a0no-break\u00a0",
    "\u2003em\u3000wide\u2028line\x85next\x1fsep",
    "\u200bzero width",
    "x" * 300,
    "1",
    "-1",
    "+1",
    " 1",
    "1 ",
    "01",
    "1_0",
    "1.0",
    "1.",
    ".5",
    ".",
    "1e5",
    "1e400",
    "0x10",
    "-0",
    "+",
    "--1",
    "1e",
    "e5",
    "+.5e-3",
    "-nan",
    "INF",
    "0" * 60 + "7",
    "１",
    "٣",
    "nan",
    "-inf",
    "Infinity",
    "true",
    "TRUE",
    "t",
    "127",
    "128",
    "-129",
    "9223372036854775807",
    "9223372036854775808",
    "1.255",
    "-1.245",
    "2020-01-01",
    "2020-1-1",
    "2020-02-30",
    "0000-01-01",
    "2020-01-01T01:02",
    "2020-01-01 01:02:03.5",
    "2020-01-01T01:02:03.123456",
    "2020-01-01T24:00:00",
    "2020-01-01T01:02:03Z",
    "2020-01-01T01:02:03+05:30",
    "01:02",
    "23:59:59.999999",
)

DATES = (
    datetime.date(1, 1, 1),
    datetime.date(1582, 10, 15),
    datetime.date(1900, 2, 28),
    datetime.date(1969, 12, 31),
    datetime.date(1970, 1, 1),
    datetime.date(2000, 2, 29),
    datetime.date(2020, 12, 31),
    datetime.date(2021, 1, 3),
    datetime.date(2024, 2, 29),
    datetime.date(9999, 12, 31),
)

TIMES = (
    datetime.time(0, 0),
    datetime.time(0, 0, 0, 1),
    datetime.time(12, 34, 56, 500000),
    datetime.time(23, 59, 59, 999999),
)

TIMESTAMPS = (
    datetime.datetime(1, 1, 1, 0, 0, 0),
    datetime.datetime(1969, 12, 31, 23, 59, 59, 999999),
    datetime.datetime(1970, 1, 1),
    datetime.datetime(2000, 2, 29, 12, 0, 0, 500000),
    datetime.datetime(2020, 3, 29, 1, 30),  # the hour that Berlin skips begins
    datetime.datetime(2020, 10, 25, 0, 30),  # the hour that Berlin repeats begins
    datetime.datetime(2021, 1, 3, 23, 59, 59, 1),
    datetime.datetime(2024, 12, 30, 7, 8, 9, 123000),
    datetime.datetime(9999, 12, 30, 23, 59, 59, 999999),
)

DURATIONS = (
    datetime.timedelta(0),
    datetime.timedelta(microseconds=1),
    datetime.timedelta(microseconds=-1),
    datetime.timedelta(milliseconds=1500),
    datetime.timedelta(days=1),
    datetime.timedelta(days=-3, seconds=5),
    datetime.timedelta(days=36500),
)

_WIDE = Context(prec=80)


def hostile(dtype: pa.DataType, *, nulls: bool = True) -> list[Any]:
    """List hostile values of a type, null last."""
    values = list(_hostile(dtype))
    return [*values, None] if nulls else values


def _hostile(dtype: pa.DataType) -> Any:
    if pa.types.is_null(dtype):
        return []
    if pa.types.is_boolean(dtype):
        return [True, False]
    if is_integer(dtype):
        least, most = integer_bounds(dtype)
        near = (0, 1, -1, 2, -2, 3, 5, 7, -7, 10, 15, 25, -25, 2**31, 2**53 + 1, -(2**53) - 1)
        edges = (least, least + 1, most - 1, most)
        return list(dict.fromkeys(v for v in (*near, *edges) if least <= v <= most))
    if dtype == pa.float32():
        return [
            to_float32(v) if math.isfinite(v) else v
            for v in FLOATS
            if not math.isfinite(v) or abs(v) < 3.4e38
        ]
    if is_float(dtype):
        return FLOATS
    if is_decimal(dtype):
        return _decimals(dtype)
    if pa.types.is_string(dtype):
        return STRINGS
    if pa.types.is_binary(dtype):
        return [b"", b"a", b"\0", b"\xff\xfe", "é".encode(), b"x" * 100]
    if pa.types.is_date(dtype):
        return DATES
    if pa.types.is_time(dtype):
        return TIMES
    if pa.types.is_timestamp(dtype):
        return _timestamps(dtype)
    if pa.types.is_duration(dtype):
        unit = datetime.timedelta(microseconds={"s": 10**6, "ms": 10**3}.get(dtype.unit, 1))
        return list(dict.fromkeys(value // unit * unit for value in DURATIONS))
    if is_list(dtype):
        items = hostile(dtype.value_type)
        return [[], [None], items[:1], items, items[::-1], items[:1] * 3]
    if pa.types.is_struct(dtype):
        columns = [itertools.cycle(hostile(field.type)) for field in dtype]
        names = [field.name for field in dtype]
        return [dict(zip(names, map(next, columns), strict=True)) for _ in range(8)]
    raise TypeError(f"no hostile values for {dtype}")


def _decimals(dtype: pa.DataType) -> list[Decimal]:
    most = 10**dtype.precision - 1
    one = 10**dtype.scale
    digits: tuple[int, ...] = (
        0,
        1,
        5,
        15,
        25,
        35,
        45,
        49,
        50,
        51,
        one,
        2 * one,
        5 * one // 2,
        7 * one,
    )
    digits = (*digits, most, most // 2, most - 1)
    signed = dict.fromkeys(sign * d for d in digits for sign in (1, -1) if d <= most)
    return [Decimal(d).scaleb(-dtype.scale, _WIDE) for d in signed]


def _timestamps(dtype: pa.DataType) -> list[datetime.datetime]:
    step = {"s": 10**6, "ms": 10**3}.get(dtype.unit, 1)
    moments = [t.replace(microsecond=t.microsecond // step * step) for t in TIMESTAMPS]
    if dtype.unit == "ns":
        moments = [t for t in moments if 1700 < t.year < 2200]
    if dtype.tz is None:
        return moments
    utc = [t.replace(tzinfo=datetime.UTC) for t in moments if 1 < t.year < 9999]
    return [t.astimezone(ZoneInfo(dtype.tz)) for t in utc]


def array(dtype: pa.DataType, *, nulls: bool = True) -> pa.Array:
    """All hostile values of a type as a column."""
    return pa.array(hostile(dtype, nulls=nulls), type=dtype)


def cross(types: Mapping[str, pa.DataType], *, limit: int = 3000) -> dict[str, pa.Array]:
    """Columns in which hostile values of all types meet: every combination, or `limit` of them."""
    lists = [hostile(dtype) for dtype in types.values()]
    size = math.prod(map(len, lists))
    if size <= limit:
        rows = list(itertools.product(*lists))
    else:
        chosen = random.Random(7).sample(range(size), limit)
        rows = [_combination(lists, index) for index in chosen]
    columns = zip(*rows, strict=True)
    return {
        name: pa.array(list(column), type=dtype)
        for (name, dtype), column in zip(types.items(), columns, strict=True)
    }


def _combination(lists: list[list[Any]], index: int) -> tuple[Any, ...]:
    row = []
    for values in lists:
        index, position = divmod(index, len(values))
        row.append(values[position])
    return tuple(row)


def values(dtype: pa.DataType, *, nulls: bool = True) -> st.SearchStrategy[Any]:
    """Draw values of a type: hostile ones often, others of the whole range too."""
    drawn = st.sampled_from(list(_hostile(dtype))) | _any_value(dtype)
    return st.none() | drawn if nulls else drawn


def _any_value(dtype: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_boolean(dtype):
        return st.booleans()
    if is_integer(dtype):
        least, most = integer_bounds(dtype)
        small = st.integers(max(least, -100), min(most, 100))
        return small | st.integers(least, most)
    if is_float(dtype):
        whole_range = st.floats(width=32) if dtype == pa.float32() else st.floats()
        return whole_range | st.floats(-1e6, 1e6, width=32)
    if is_decimal(dtype):
        most = 10**dtype.precision - 1
        return st.integers(-most, most).map(lambda d: Decimal(d).scaleb(-dtype.scale, _WIDE))
    if pa.types.is_string(dtype):
        return st.text(max_size=12) | st.text("aAbB ,.-%_\\\t\n01é", max_size=12)
    if pa.types.is_binary(dtype):
        return st.binary(max_size=12)
    if pa.types.is_date(dtype):
        return st.dates()
    if pa.types.is_time(dtype):
        return st.times()
    if pa.types.is_list(dtype):
        return st.lists(values(dtype.value_type), max_size=5)
    if pa.types.is_struct(dtype):
        return st.fixed_dictionaries({field.name: values(field.type) for field in dtype})
    return st.sampled_from(list(_hostile(dtype)))


def tables(types: Mapping[str, pa.DataType], *, max_rows: int = 20) -> st.SearchStrategy[Any]:
    """Draw tables as a dict of columns of one length, for `check`."""

    def build(rows: list[tuple[Any, ...]]) -> dict[str, pa.Array]:
        return {
            name: pa.array([row[i] for row in rows], type=dtype)
            for i, (name, dtype) in enumerate(types.items())
        }

    row = st.tuples(*map(values, types.values()))
    return st.lists(row, min_size=1, max_size=max_rows).map(build)

"""Dates and times: every function on every engine."""

from __future__ import annotations

import calendar
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from tests.conformance.functions.check import Raises, call, check, check_examples, constant
from tests.conformance.functions.values import STRINGS, array, hostile
from umbel.plan.errors import PlanError
from umbel.plan.expressions import Call, Literal
from umbel.plan.functions import temporal
from umbel.plan.functions.formats import format_time
from umbel.plan.functions.temporal import CALENDAR_UNITS, UNITS
from umbel.plan.typing import infer_type

DATE, TIME = pa.date32(), pa.time64("us")
LOCAL, BERLIN = pa.timestamp("us"), pa.timestamp("us", "Europe/Berlin")
KINDS = [DATE, LOCAL, pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us", "UTC"), BERLIN]
IN_UTC = [DATE, LOCAL, pa.timestamp("s"), pa.timestamp("us", "UTC")]

PARTS = ["year", "quarter", "month", "week", "iso_year", "day", "weekday", "day_of_year"]
CLOCK = ["hour", "minute", "second", "millisecond", "microsecond"]
WHOLE = ["epoch", "epoch_us", "to_date", "last_day", "days_in_month", "is_leap_year"]


def text(value: str) -> Literal:
    """A constant text."""
    return constant(value, pa.string())


def named(dtype: pa.DataType) -> str:
    """A readable test id."""
    return str(dtype)


@pytest.mark.parametrize("row", temporal.ROWS, ids=lambda row: row.name)
def test_the_reference_gives_the_examples(row: Any) -> None:
    check_examples(row.name)


@pytest.mark.parametrize("dtype", KINDS, ids=named)
@pytest.mark.parametrize("name", [*PARTS, *WHOLE])
def test_parts_of_dates(name: str, dtype: pa.DataType) -> None:
    check(call(name, "x"), {"x": array(dtype)})


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_every_day_around_the_turn_of_years(name: str) -> None:
    days = [date(year, 12, 22) + timedelta(days=n) for year in range(1995, 2030) for n in range(20)]
    check(call(name, "x"), {"x": pa.array(days)})


@pytest.mark.parametrize("dtype", [TIME, *KINDS[1:]], ids=named)
@pytest.mark.parametrize("name", CLOCK)
def test_parts_of_times(name: str, dtype: pa.DataType) -> None:
    check(call(name, "x"), {"x": array(dtype)})


@pytest.mark.parametrize("dtype", IN_UTC, ids=named)
@pytest.mark.parametrize("unit", UNITS)
def test_truncation(unit: str, dtype: pa.DataType) -> None:
    if dtype == DATE and unit not in CALENDAR_UNITS:
        return
    check(call("date_trunc", text(unit), "x"), {"x": array(dtype)})


@pytest.mark.parametrize("dtype", IN_UTC, ids=named)
@pytest.mark.parametrize("unit", UNITS)
def test_addition(unit: str, dtype: pa.DataType) -> None:
    if dtype == DATE and unit not in CALENDAR_UNITS:
        return
    middle = [v for v in hostile(dtype) if v is None or 1000 < v.year < 9000]
    counts = [-25, -12, -1, 0, 1, 2, 11, 1000, None]
    rows = [(value, count) for value in middle for count in counts]
    columns = {
        "x": pa.array([value for value, _ in rows], dtype),
        "n": pa.array([count for _, count in rows], pa.int64()),
    }
    check(call("date_add", text(unit), "x", "n"), columns)
    for count in counts[:-1]:
        check(call("date_add", text(unit), "x", constant(count)), {"x": columns["x"]})


def test_months_are_clipped_to_their_end() -> None:
    ends = [date(year, month, calendar.monthrange(year, month)[1])
            for year in (1900, 1999, 2000, 2023, 2024) for month in range(1, 13)]  # fmt: skip
    values = check(call("date_add", text("month"), "x", constant(1)), {"x": pa.array(ends)})
    for end, value in zip(ends, values, strict=True):
        following = end + timedelta(days=1)
        last = calendar.monthrange(following.year, following.month)[1]
        assert value == following.replace(day=min(end.day, last))


@pytest.mark.parametrize("dtype", IN_UTC, ids=named)
@pytest.mark.parametrize("unit", UNITS)
def test_difference(unit: str, dtype: pa.DataType) -> None:
    if dtype == DATE and unit not in CALENDAR_UNITS:
        return
    values = hostile(dtype)
    rows = [(a, b) for a in values for b in values]
    columns = {
        "a": pa.array([a for a, _ in rows], dtype),
        "b": pa.array([b for _, b in rows], dtype),
    }
    check(call("date_diff", text(unit), "a", "b"), columns)


def test_difference_counts_borders() -> None:
    days = [date(2023, 12, 1) + timedelta(days=n) for n in range(100)]
    start = constant(days[0])
    values = check(call("date_diff", text("week"), start, "x"), {"x": pa.array(days)})
    mondays = 0
    for day, value in zip(days, values, strict=True):
        mondays += day.isoweekday() == 1
        assert value == mondays


def test_making_dates() -> None:
    rows = [(2024, 2, 29), (2023, 2, 29), (1, 1, 1), (9999, 12, 31), (0, 1, 1), (-1, 1, 1),
            (10000, 1, 1), (2024, 13, 1), (2024, 0, 1), (2024, 1, 0), (2024, 1, 32),
            (2**40, 1, 1), (None, 1, 1), (2024, None, 1)]  # fmt: skip
    columns = {
        n: pa.array(v, pa.int64()) for n, v in zip("ymd", zip(*rows, strict=True), strict=True)
    }
    values = check(call("make_date", "y", "m", "d"), columns)
    assert sum(isinstance(value, Raises) for value in values) == 9


def test_making_timestamps() -> None:
    good = (2024, 2, 29, 23, 59, 59, 999999)
    rows: list[tuple[int | None, ...]] = [
        good,
        (1, 1, 1, 0, 0, 0, 0),
        (9999, 12, 31, 23, 59, 59, 1),
    ]
    for place, wrong in enumerate((0, 13, 30, 24, 60, 60, 10**6)):
        rows.append((*good[:place], wrong, *good[place + 1 :]))
        rows.append((*good[:place], -1, *good[place + 1 :]))
        rows.append((*good[:place], None, *good[place + 1 :]))
    names = ("y", "mo", "d", "h", "mi", "s", "us")
    columns = {
        n: pa.array(v, pa.int64()) for n, v in zip(names, zip(*rows, strict=True), strict=True)
    }
    check(call("make_timestamp", *names), columns)
    check(call("make_timestamp", *names[:6]), columns)


FORMATS = ["%Y-%m-%d %H:%M:%S.%f", "%d %b %Y", "%a %A %B %j %y", "%I:%M %p", "100%% {x} é '%Y'",
           "no directive", "%%Y%Y", "%H"]  # fmt: skip


@pytest.mark.parametrize("dtype", KINDS, ids=named)
@pytest.mark.parametrize("pattern", FORMATS)
def test_writing(pattern: str, dtype: pa.DataType) -> None:
    check(call("strftime", "x", text(pattern)), {"x": array(dtype)})


def test_writing_every_day_and_hour() -> None:
    moments = [datetime(2024, 1, 1) + timedelta(hours=31 * n) for n in range(400)]
    check(call("strftime", "x", text("%j %a %A %b %B %d %I %p %H %y")), {"x": pa.array(moments)})


READ = {
    "%Y-%m-%d": ["2024-02-29", "0001-01-01", "9999-12-31", "2023-02-29", "0000-01-01", "2024-13-01",
                 "2024-2-29", " 2024-02-29", "2024-02-29 ", "2024-02-29x", "+024-02-29", "2024-04-31",
                 "２０２４-02-29", ""],
    "%d.%m.%Y %H:%M:%S": ["29.02.2024 23:59:59", "29.02.2024 24:00:00", "01.01.2024 00:00:60"],
    "%Y%m%d %H": ["20240229 23", "20240229 7", "20240230 23"],
    "%Y-%m-%dT%H:%M:%S.%f": ["2024-02-29T01:02:03.000004", "2024-02-29T01:02:03.4"],
    "%d %b %Y": ["03 Jan 2021", "03 jan 2021", "03 January 2021", "31 Nov 2021", "03 Mai 2021"],
    "%d %B %Y %I %p": ["03 May 2021 12 AM", "03 May 2021 12 PM", "03 May 2021 11 pm",
                       "03 June 2021 00 AM", "03 June 2021 13 PM", "03 July 2021 01 PM"],
    "%d/%m/%Y %M": ["29/02/2024 07"],
    "%d/%m/%Y %S %%": ["29/02/2024 07 %"],
}  # fmt: skip


@pytest.mark.parametrize("pattern", READ)
def test_reading(pattern: str) -> None:
    column = {"x": pa.array([*READ[pattern], *STRINGS, None])}
    values = check(call("try_strptime", "x", text(pattern)), column)
    assert values[0] is not None
    check(call("strptime", "x", text(pattern)), column)


def test_reading_gives_what_was_written() -> None:
    moments = [value for value in hostile(LOCAL) if value is not None]
    for pattern in ("%Y-%m-%d %H:%M:%S.%f", "%f %S %M %p %I %B %d %Y"):
        written = [format_time(moment, pattern) for moment in moments]
        values = check(call("strptime", "x", text(pattern)), {"x": pa.array(written)})
        assert values == moments


def test_epochs_back() -> None:
    seconds = pa.array([0, -1, 1, 86400, 2**33, -62135596800, 253402300799, None], pa.int64())
    check(call("from_epoch", "n"), {"n": seconds})
    micros = pa.array([0, -1, 1_000_005, 2**52, -62135596800000000, None], pa.int64())
    check(call("from_epoch_us", "n"), {"n": micros})
    check(call("from_epoch", "n"), {"n": pa.array([1, -1, None], pa.int8())})


ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia"]


@pytest.mark.parametrize("zone", ZONES)
def test_zones(zone: str) -> None:
    hours = [datetime(2020, 3, 28, tzinfo=UTC) + timedelta(minutes=30 * n) for n in range(200)]
    hours += [datetime(2020, 10, 24, tzinfo=UTC) + timedelta(minutes=30 * n) for n in range(200)]
    hours += [datetime(1930, 1, 1, tzinfo=UTC), datetime(2011, 12, 30, 12, tzinfo=UTC)]
    local = [h.astimezone(ZoneInfo(zone)) for h in hours]
    column = {"x": pa.array([*local, None], pa.timestamp("us", zone))}
    for name in ("local_time", "hour", "day", "to_date", "epoch_us", "weekday"):
        check(call(name, "x"), column)
    check(call("strftime", "x", text("%Y-%m-%d %H:%M")), column)
    check(call("convert_time_zone", "x", text("Asia/Tokyo")), column)
    naive = [h.replace(tzinfo=None) for h in hours]
    check(call("at_time_zone", "x", text(zone)), {"x": pa.array([*naive, None], LOCAL)})


SCHEMA = pa.schema(
    [("d", DATE), ("t", LOCAL), ("z", BERLIN), ("s", pa.string()), ("n", pa.int64())]
)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (call("date_trunc", text("fortnight"), "d"), "unknown unit 'fortnight'"),
        (call("date_trunc", text("hour"), "d"), "a date has no hours"),
        (call("date_trunc", text("day"), "z"), "use local_time"),
        (call("date_diff", text("day"), "d", "t"), "two dates or two timestamps"),
        (call("date_add", text("day"), "d", "s"), "takes"),
        (call("strftime", "t", text("%c")), "'%c' is not one that engines agree on"),
        (call("strftime", "t", text("")), "is empty"),
        (call("strftime", "t", text("%")), "'%' is not one"),
        (call("strptime", "s", text("%H:%M")), "must have one year"),
        (call("strptime", "s", text("%Y %m %b %d")), "must have one month"),
        (call("strptime", "s", text("%Y-%m-%d %I")), "%I and %p need each other"),
        (call("strptime", "s", text("%Y-%m-%d %H %H")), "twice"),
        (call("strptime", "s", text("%j %Y %m %d")), "%j can be written but not read"),
        (call("at_time_zone", "t", text("Mars/Base")), "unknown time zone 'Mars/Base'"),
        (call("at_time_zone", "z", text("UTC")), "takes"),
        (call("hour", "d"), "takes"),
    ],
)
def test_wrong_arguments_are_refused_when_the_plan_is_built(expression: Call, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        infer_type(expression, SCHEMA)

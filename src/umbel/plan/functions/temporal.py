"""Rows of the catalogue: dates and times.

Functions on timestamps with a zone work on the local time of their zone. Dates and times lie in
the years 1 to 9999, as in Python. Weeks are those of ISO 8601: they begin on Monday.
"""

# ruff: noqa: DTZ001 (local times, without a zone, are what most of this is about)

from __future__ import annotations

import calendar
import zoneinfo
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pyarrow as pa

from umbel.plan.errors import EvaluationError, PlanError
from umbel.plan.functions.formats import check_format, check_parsable, format_time, parse_time
from umbel.plan.functions.row import Function, Kind, Nulls, ResultType, refuse
from umbel.plan.functions.signatures import checked, signature
from umbel.plan.types import BOOL, DATE, FLOAT64, INT64, STRING, TIMESTAMP

#: Units that are whole days or longer.
CALENDAR_UNITS = ("year", "quarter", "month", "week", "day")

#: Units of a fixed number of microseconds, below the day.
CLOCK_UNITS = {
    "hour": 3_600_000_000,
    "minute": 60_000_000,
    "second": 1_000_000,
    "millisecond": 1_000,
    "microsecond": 1,
}
UNITS = (*CALENDAR_UNITS, *CLOCK_UNITS)

_DAY = 86_400_000_000
_EPOCH = datetime(1970, 1, 1)


def months_of(unit: str) -> int:
    """How many months a unit has; 0 if it is shorter.

    >>> months_of("quarter")
    3
    """
    return {"year": 12, "quarter": 3, "month": 1}.get(unit, 0)


def microseconds_of(unit: str) -> int:
    """How many microseconds a unit of fixed length has.

    >>> microseconds_of("second")
    1000000
    """
    return {"week": 7 * _DAY, "day": _DAY, **CLOCK_UNITS}[unit]


def _microseconds(moment: date | datetime) -> int:
    """Microseconds since 1970, in UTC for moments with a zone and local time for others."""
    if not isinstance(moment, datetime):
        return (moment - _EPOCH.date()).days * _DAY
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _local_date(moment: date | datetime) -> date:
    return moment.date() if isinstance(moment, datetime) else moment


def _ordinal(unit: str, moment: date | datetime) -> int:
    """Number the periods of a unit so that neighbours differ by one."""
    if unit in CLOCK_UNITS:
        return _microseconds(moment) // CLOCK_UNITS[unit]
    months = months_of(unit)
    if months:
        return (moment.year * 12 + moment.month - 1) // months
    day = _local_date(moment).toordinal() - 1
    return day // 7 if unit == "week" else day  # 0001-01-01 was a Monday


def _date_trunc(unit: str, moment: date | datetime) -> date | datetime:
    if unit in CLOCK_UNITS and isinstance(moment, datetime):
        rest = _microseconds(moment) % CLOCK_UNITS[unit]
        return moment - timedelta(microseconds=rest)
    day = _local_date(moment)
    months = months_of(unit)
    if months:
        day = date(day.year, (day.month - 1) // months * months + 1, 1)
    elif unit == "week":
        day -= timedelta(days=day.weekday())
    if not isinstance(moment, datetime):
        return day
    return datetime.combine(day, time(), moment.tzinfo)


def _date_add(unit: str, moment: date | datetime, count: int) -> date | datetime:
    months = months_of(unit)
    try:
        if not months:
            return moment + timedelta(microseconds=microseconds_of(unit) * count)
        index = moment.year * 12 + moment.month - 1 + months * count
        year, month = index // 12, index % 12 + 1
        day = min(moment.day, calendar.monthrange(year, month)[1])
        return moment.replace(year=year, month=month, day=day)
    except (OverflowError, ValueError) as error:
        raise EvaluationError(f"{moment} plus {count} {unit}s lies outside years 1-9999") from error


def _date_diff(unit: str, start: date | datetime, end: date | datetime) -> int:
    return _ordinal(unit, end) - _ordinal(unit, start)


def _make_date(year: int, month: int, day: int) -> date:
    try:
        return date(year, month, day)
    except (ValueError, OverflowError) as error:
        raise EvaluationError(f"no date {year}-{month}-{day}: {error}") from error


def _make_timestamp(
    year: int, month: int, day: int, hour: int, minute: int, second: int, microsecond: int = 0
) -> datetime:
    try:
        return datetime(year, month, day, hour, minute, second, microsecond)
    except (ValueError, OverflowError) as error:
        shown = f"{year}-{month}-{day} {hour}:{minute}:{second}"
        raise EvaluationError(f"no time {shown}: {error}") from error


def _from_epoch(seconds: int) -> datetime:
    return _from_epoch_us(seconds * 1_000_000)


def _from_epoch_us(count: int) -> datetime:
    try:
        return _EPOCH + timedelta(microseconds=count)
    except OverflowError as error:
        raise EvaluationError(f"{count} microseconds lie outside years 1-9999") from error


def _strptime(text: str, pattern: str) -> datetime:
    parsed = parse_time(text, pattern)
    if parsed is None:
        raise EvaluationError(f"{text!r} is no time of the format {pattern!r}")
    return parsed


def _last_day(moment: date) -> date:
    return date(moment.year, moment.month, calendar.monthrange(moment.year, moment.month)[1])


def _check_unit(values: Sequence[Any]) -> None:
    if values[0] not in UNITS:
        raise PlanError(f"unknown unit {values[0]!r}", hint=f"units are {', '.join(UNITS)}")


def _with_unit(name: str, *families: str, returns: ResultType | pa.DataType) -> dict[str, Any]:
    """Signature and checks of a function whose first argument is a unit."""
    result = signature(name, "string", *families, returns=returns)

    def by_types(types: Sequence[pa.DataType]) -> pa.DataType:
        dtype = result(types)
        zone = types[1].tz if pa.types.is_timestamp(types[1]) else None
        if zone not in (None, "UTC"):
            raise PlanError(
                f"function {name!r} takes local times and UTC, not times of {zone}, where some "
                f"local times come twice or never",
                hint="use local_time(...) first",
            )
        return dtype

    def by_values(types: Sequence[pa.DataType], values: Sequence[Any]) -> pa.DataType:
        dtype = checked(name, by_types, _check_unit, 0)(types, values)
        if values[0] in CLOCK_UNITS and pa.types.is_date(types[1]):
            raise PlanError(
                f"function {name!r}: a date has no {values[0]}s", hint="cast it to a timestamp"
            )
        return dtype

    return {"result": by_types, "resolve": by_values, "constant": (0,)}


def _moment(types: Sequence[pa.DataType]) -> pa.DataType:
    """The second argument's type, timestamps in microseconds."""
    return types[1] if pa.types.is_date(types[1]) else pa.timestamp("us", types[1].tz)


def _count(types: Sequence[pa.DataType]) -> pa.DataType:
    date_and_date = all(pa.types.is_date(dtype) for dtype in types[1:])
    zones = {dtype.tz for dtype in types[1:] if pa.types.is_timestamp(dtype)}
    if not date_and_date and (any(map(pa.types.is_date, types)) or len(zones) > 1):
        raise refuse("date_diff", types, "two dates or two timestamps of one zone")
    return INT64


def _row(
    name: str,
    families: tuple[str, ...],
    returns: pa.DataType | ResultType,
    semantics: str,
    reference: Callable[..., Any],
    examples: tuple[tuple[tuple[Any, ...], Any], ...],
    *,
    least: int | None = None,
    nulls: Nulls = Nulls.STRICT,
    **more: Any,
) -> Function:
    return Function(
        name=name,
        kind=Kind.SCALAR,
        arity=(len(families) if least is None else least, len(families)),
        semantics=semantics,
        reference=reference,
        nulls=nulls,
        examples=examples,
        **{"result": signature(name, *families, returns=returns), **more},
    )


def _part(name: str, semantics: str, reference: Callable[..., Any], example: int) -> Function:
    family = "timestamp or time" if name in CLOCK_UNITS else "date or timestamp"
    return _row(name, (family,), INT64, semantics, reference, (((_SAMPLE,), example),))


_SAMPLE = datetime(2021, 1, 3, 4, 5, 6, 789012)  # a Sunday of the last ISO week of 2020


def _zone_of(values: Sequence[Any]) -> str:
    try:
        return zoneinfo.ZoneInfo(values[1]).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise PlanError(f"unknown time zone {values[1]!r}", hint="as in 'Europe/Berlin'") from error


def _zoned(name: str, family: str) -> dict[str, Any]:
    """Signature of a function whose second argument names the zone of the result."""

    def by_values(types: Sequence[pa.DataType], values: Sequence[Any]) -> pa.DataType:
        signature(name, family, "string", returns=TIMESTAMP)(types)
        if not values[1]:
            raise PlanError(f"function {name!r} needs the name of a time zone")
        return pa.timestamp("us", _zone_of(values))

    return {"resolve": by_values, "constant": (1,)}


ROWS: tuple[Function, ...] = (
    _part("year", "The year.", lambda moment: moment.year, 2021),
    _part("quarter", "The quarter, 1 to 4.", lambda moment: (moment.month + 2) // 3, 1),
    _part("month", "The month, 1 to 12.", lambda moment: moment.month, 1),
    _part("week", "The ISO week, 1 to 53.", lambda moment: moment.isocalendar().week, 53),
    _part("iso_year", "The year that the ISO week belongs to.",
          lambda moment: moment.isocalendar().year, 2020),
    _part("day", "The day of the month, 1 to 31.", lambda moment: moment.day, 3),
    _part("weekday", "The day of the week, from Monday = 1 to Sunday = 7.",
          lambda moment: moment.isoweekday(), 7),
    _part("day_of_year", "The day of the year, 1 to 366.",
          lambda moment: moment.timetuple().tm_yday, 3),
    _part("hour", "The hour, 0 to 23.", lambda moment: moment.hour, 4),
    _part("minute", "The minute, 0 to 59.", lambda moment: moment.minute, 5),
    _part("second", "The whole seconds, 0 to 59.", lambda moment: moment.second, 6),
    _part("millisecond", "The whole milliseconds of the second, 0 to 999.",
          lambda moment: moment.microsecond // 1000, 789),
    _part("microsecond", "The microseconds of the second, 0 to 999999.",
          lambda moment: moment.microsecond, 789012),
    _row("date_trunc", ("string", "date or timestamp"), _moment,
         "The start of the period of a constant unit (year, quarter, month, week, day, hour, "
         "minute, second, millisecond, microsecond) in which a date or timestamp lies. Dates "
         "take units from the day up.",
         _date_trunc,
         ((("month", date(2024, 2, 29)), date(2024, 2, 1)),
          (("week", _SAMPLE), datetime(2020, 12, 28)),
          (("hour", datetime(1969, 12, 31, 23, 59)), datetime(1969, 12, 31, 23))),
         **_with_unit("date_trunc", "date or timestamp", returns=_moment)),
    _row("date_add", ("string", "date or timestamp", "integer"), _moment,
         "A number of units (constant, as in date_trunc) later, or earlier if negative. Months, "
         "quarters and years keep the day, clipped to the end of the month. What lies outside the "
         "years 1 to 9999 fails, at the latest when Python reads it.",
         _date_add,
         ((("month", date(2024, 1, 31), 1), date(2024, 2, 29)),
          (("year", datetime(2024, 2, 29, 12), -1), datetime(2023, 2, 28, 12)),
          (("hour", datetime(2024, 1, 1), -1), datetime(2023, 12, 31, 23))),
         **_with_unit("date_add", "date or timestamp", "integer", returns=_moment)),
    _row("date_diff", ("string", "date or timestamp", "date or timestamp"), _count,
         "How many borders of a constant unit (as in date_trunc) lie between the second argument "
         "and the third; negative if the third is earlier.",
         _date_diff,
         ((("month", date(2024, 1, 31), date(2024, 2, 1)), 1),
          (("week", date(2024, 1, 8), date(2024, 1, 7)), -1),
          (("hour", datetime(2024, 1, 1, 0, 59), datetime(2024, 1, 1, 2)), 2)),
         **_with_unit("date_diff", "date or timestamp", "date or timestamp", returns=_count)),
    _row("make_date", ("integer", "integer", "integer"), DATE,
         "The date of a year, a month and a day; fails if there is none.",
         _make_date, (((2024, 2, 29), date(2024, 2, 29)),)),
    _row("make_timestamp", ("integer",) * 7, TIMESTAMP,
         "The timestamp of a year, month, day, hour, minute, second and, if given, microsecond; "
         "fails if there is none.",
         _make_timestamp,
         (((2024, 2, 29, 1, 2, 3), datetime(2024, 2, 29, 1, 2, 3)),
          ((2024, 2, 29, 1, 2, 3, 4), datetime(2024, 2, 29, 1, 2, 3, 4))), least=6),
    _row("strftime", ("date or timestamp", "string"), STRING,
         "Written in a constant format of %Y %m %d %H %M %S %f %j %y %b %B %a %A %p %I %%; names "
         "in English, %Y with four digits, %f with six.",
         format_time,
         (((_SAMPLE, "%a %d %b %Y, %I %p"), "Sun 03 Jan 2021, 04 AM"),
          ((date(99, 1, 2), "%Y%j%%"), "0099002%")),
         constant=(1,),
         resolve=checked("strftime", signature("strftime", "date or timestamp", "string",
                                               returns=STRING), check_format, 1)),
    _row("strptime", ("string", "string"), TIMESTAMP,
         "The timestamp that a text shows in a constant format of %Y %m %d %H %M %S %f %b %B %p "
         "%I %% with year, month and day. Every number has all its digits (four for %Y, six for "
         "%f, two for others), names are English in their usual case, nothing is skipped. Fails "
         "for other texts.",
         _strptime,
         ((("2024-02-29 13", "%Y-%m-%d %H"), datetime(2024, 2, 29, 13)),),
         constant=(1,),
         resolve=checked("strptime", signature("strptime", "string", "string",
                                               returns=TIMESTAMP), check_parsable, 1)),
    _row("try_strptime", ("string", "string"), TIMESTAMP,
         "As strptime, but null for texts that are not in the format.",
         parse_time,
         ((("29.02.2024", "%d.%m.%Y"), datetime(2024, 2, 29)), (("2024-2-9", "%Y-%m-%d"), None),
          (("30.02.2024", "%d.%m.%Y"), None)),
         nulls=Nulls.PARTIAL, constant=(1,),
         resolve=checked("try_strptime", signature("try_strptime", "string", "string",
                                                   returns=TIMESTAMP), check_parsable, 1)),
    _row("epoch", ("date or timestamp",), FLOAT64,
         "Seconds since 1970-01-01 00:00 (UTC if it has a zone), with the fraction.",
         lambda moment: _microseconds(moment) / 1e6,
         (((datetime(1969, 12, 31, 23, 59, 59, 500000),), -0.5), ((date(1970, 1, 2),), 86400.0))),
    _row("epoch_us", ("date or timestamp",), INT64,
         "Microseconds since 1970-01-01 00:00 (UTC if it has a zone).",
         _microseconds, (((datetime(1970, 1, 1, 0, 0, 1, 5),), 1_000_005),)),
    _row("from_epoch", ("integer",), TIMESTAMP,
         "The local timestamp a number of seconds after 1970-01-01 00:00.",
         _from_epoch, (((86400,), datetime(1970, 1, 2)), ((-1,), datetime(1969, 12, 31, 23, 59, 59)))),
    _row("from_epoch_us", ("integer",), TIMESTAMP,
         "The local timestamp a number of microseconds after 1970-01-01 00:00.",
         _from_epoch_us, (((1_000_005,), datetime(1970, 1, 1, 0, 0, 1, 5)),)),
    _row("to_date", ("date or timestamp",), DATE, "The date, without the time of day.",
         _local_date, (((_SAMPLE,), date(2021, 1, 3)),)),
    _row("last_day", ("date or timestamp",), DATE, "The last date of the month.",
         _last_day, (((date(2024, 2, 3),), date(2024, 2, 29)),)),
    _row("days_in_month", ("date or timestamp",), INT64, "How many days the month has.",
         lambda moment: _last_day(moment).day, (((date(2023, 2, 3),), 28),)),
    _row("is_leap_year", ("date or timestamp",), BOOL, "Whether the year has a 29 February.",
         lambda moment: calendar.isleap(moment.year),
         (((date(2000, 1, 1),), True), ((date(1900, 1, 1),), False))),
    _row("local_time", ("zoned timestamp",), TIMESTAMP,
         "What a clock in the timestamp's zone shows, as a timestamp without a zone.",
         lambda moment: moment.replace(tzinfo=None),
         (((datetime(2024, 7, 1, 12, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin")),),
           datetime(2024, 7, 1, 12)),)),
    _row("convert_time_zone", ("zoned timestamp", "string"), TIMESTAMP,
         "The same instant in another, constant time zone.",
         lambda moment, zone: moment.astimezone(zoneinfo.ZoneInfo(zone)),
         (((datetime(2024, 7, 1, 12, tzinfo=UTC), "Europe/Berlin"),
           datetime(2024, 7, 1, 14, tzinfo=zoneinfo.ZoneInfo("Europe/Berlin"))),),
         **_zoned("convert_time_zone", "zoned timestamp")),
    _row("at_time_zone", ("local timestamp", "string"), TIMESTAMP,
         "The instant at which a clock in a constant time zone shows a local time; the first of "
         "two; where clocks jumped over it, as late as if they had not.",
         lambda moment, zone: moment.replace(tzinfo=zoneinfo.ZoneInfo(zone)),
         (((datetime(2024, 7, 1, 14), "Europe/Berlin"),
           datetime(2024, 7, 1, 12, tzinfo=UTC)),),
         **_zoned("at_time_zone", "local timestamp")),
)  # fmt: skip

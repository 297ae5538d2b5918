"""Forms on Polars of the catalogue's theme temporal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.formats import format_regex, parse_format
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.functions.temporal import CLOCK_UNITS, microseconds_of, months_of
from umbel.platforms.polars.functions.strings import Call, fallback, native

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")


_POLARS_UNITS = {
    "year": "1y",
    "quarter": "1q",
    "month": "1mo",
    "week": "1w",
    "day": "1d",
    "hour": "1h",
    "minute": "1m",
    "second": "1s",
    "millisecond": "1ms",
    "microsecond": "1us",
}

#: Counts that lead outside the years 1 to 9999 from any date, and yet can be added.
_FAR_US = 4 * 10**17
_FAR_MONTHS = 200_000


def _part(method: str) -> Form[pl.Expr]:
    return native(lambda moment: getattr(moment.dt, method)().cast(pl.Int64))


def _moment(call: Call, position: int) -> pl.Expr:
    """An argument, timestamps in microseconds."""
    argument = call.arguments[position]
    if pa.types.is_timestamp(call.types[position]):
        return argument.dt.cast_time_unit("us")
    return argument


def _date_trunc(call: Call) -> pl.Expr:
    return _moment(call, 1).dt.truncate(_POLARS_UNITS[call.constant(0)])


def _date_add(call: Call) -> pl.Expr:
    unit, moment = call.constant(0), _moment(call, 1)
    count = call.arguments[2].cast(pl.Int64)
    months = months_of(unit)
    if months:
        total = count.clip(-_FAR_MONTHS, _FAR_MONTHS) * months
        return moment.dt.offset_by(pl.format("{}mo", total))
    step = microseconds_of(unit)
    limit = _FAR_US // step
    count = count.clip(-limit, limit)
    if pa.types.is_date(call.types[1]):
        return (moment.cast(pl.Int64) + count * (step // microseconds_of("day"))).cast(pl.Date)
    return (moment.cast(pl.Int64) + count * step).cast(pl.Datetime("us", call.types[1].tz))


def _ordinal(call: Call, position: int) -> pl.Expr:
    """Number the periods of the call's unit so that neighbours differ by one."""
    unit, moment = call.constant(0), _moment(call, position)
    if unit in CLOCK_UNITS:
        return moment.dt.epoch("us") // CLOCK_UNITS[unit]
    months = months_of(unit)
    if months:
        return (moment.dt.year().cast(pl.Int64) * 12 + moment.dt.month() - 1) // months
    day = moment.dt.epoch("us") // microseconds_of("day")
    return day if unit == "day" else (day + 3) // 7  # 1970-01-01 was a Thursday


def _bounded(part: pl.Expr, least: int, most: int) -> pl.Expr:
    """A part of a time, or what no part can be, so that Polars fails, if it is out of bounds."""
    part = part.cast(pl.Int64)
    return pl.when(part.is_between(least, most)).then(part).when(part.is_not_null()).then(99)


def _date_parts(year: pl.Expr, month: pl.Expr, day: pl.Expr) -> tuple[pl.Expr, pl.Expr, pl.Expr]:
    in_range = year.is_null() | year.is_between(1, 9999)
    known_month = pl.when(in_range).then(_bounded(month, 1, 12)).otherwise(99)
    return year.cast(pl.Int64).clip(1, 9999), known_month, _bounded(day, 1, 31)


def _make_date(year: pl.Expr, month: pl.Expr, day: pl.Expr) -> pl.Expr:
    return pl.date(*_date_parts(year, month, day))


def _make_timestamp(
    year: pl.Expr,
    month: pl.Expr,
    day: pl.Expr,
    hour: pl.Expr,
    minute: pl.Expr,
    second: pl.Expr,
    microsecond: pl.Expr | None = None,
) -> pl.Expr:
    seconds, micros = _bounded(second, 0, 59), pl.lit(0)
    if microsecond is not None:
        micros = microsecond.cast(pl.Int64).clip(0, 999_999)
        fits = microsecond.is_null() | microsecond.is_between(0, 999_999)
        seconds = pl.when(fits).then(seconds).otherwise(99)
    known_year, known_month, known_day = _date_parts(year, month, day)
    return pl.datetime(
        known_year,
        known_month,
        known_day,
        _bounded(hour, 0, 23),
        _bounded(minute, 0, 59),
        seconds,
        micros,
        time_unit="us",
    )


def _strftime(call: Call) -> pl.Expr:
    letters = "".join(
        (f"%{'6f' if text == 'f' else text}" if is_directive else text.replace("%", "%%"))
        for text, is_directive in parse_format(call.constant(1))
    )
    moment = call.arguments[0]
    if pa.types.is_date(call.types[0]):
        moment = moment.cast(pl.Datetime("us"))
    return moment.dt.strftime(letters)


def _strptime(call: Call, *, strict: bool) -> pl.Expr:
    text, pattern = call.arguments[0], call.constant(1)
    parts = parse_format(pattern)
    given = {part for part, is_directive in parts if is_directive}
    # Polars wants hours, minutes and seconds all or none.
    if given & set("HIMSf"):
        missing = [x for x in "HMS" if x not in given and not (x == "H" and "I" in given)]
    else:
        missing = []
    chrono = "".join(
        (f"%{'6f' if part == 'f' else part}" if is_directive else part.replace("%", "%%"))
        for part, is_directive in parts
    )
    whole_text = pl.concat_str([text, pl.lit("".join(" 00" for _ in missing))])
    # Strictly read, what is not in the format must fail in the next step.
    other = pl.concat_str([pl.lit("not a time: "), text])
    checked = (
        pl.when(text.str.contains(format_regex(pattern)))
        .then(whole_text)
        .otherwise(other if strict else pl.lit(None, dtype=pl.String))
    )
    return checked.str.to_datetime(
        chrono + "".join(f" %{letter}" for letter in missing), time_unit="us", strict=strict
    )


FORMS: dict[str, Form[pl.Expr] | Absent] = {
    "year": _part("year"),
    "quarter": _part("quarter"),
    "month": _part("month"),
    "week": _part("week"),
    "iso_year": _part("iso_year"),
    "day": _part("day"),
    "weekday": _part("weekday"),
    "day_of_year": _part("ordinal_day"),
    "hour": _part("hour"),
    "minute": _part("minute"),
    "second": _part("second"),
    "millisecond": native(lambda moment: moment.dt.nanosecond().cast(pl.Int64) // 1_000_000),
    "microsecond": native(lambda moment: moment.dt.nanosecond().cast(pl.Int64) // 1_000),
    "date_trunc": Form(_date_trunc),
    "date_add": Form(_date_add),
    "date_diff": Form(lambda call: _ordinal(call, 2) - _ordinal(call, 1)),
    "make_date": native(_make_date),
    "make_timestamp": native(_make_timestamp),
    "strftime": Form(_strftime),
    "strptime": Form(lambda call: _strptime(call, strict=True)),
    "try_strptime": Form(lambda call: _strptime(call, strict=False)),
    "epoch": native(lambda moment: moment.dt.epoch("us").cast(pl.Float64) / 1e6),
    "epoch_us": native(lambda moment: moment.dt.epoch("us")),
    "from_epoch": native(
        lambda count: (count.cast(pl.Int64).clip(-_FAR_US // 10**6, _FAR_US // 10**6) * 10**6).cast(
            pl.Datetime("us")
        )
    ),
    "from_epoch_us": native(lambda count: count.cast(pl.Int64).cast(pl.Datetime("us"))),
    "to_date": native(lambda moment: moment.dt.date()),
    "last_day": native(lambda moment: moment.dt.date().dt.month_end()),
    "days_in_month": _part("days_in_month"),
    "is_leap_year": native(lambda moment: moment.dt.is_leap_year()),
    "local_time": native(lambda moment: moment.dt.cast_time_unit("us").dt.replace_time_zone(None)),
    "convert_time_zone": Form(lambda call: _moment(call, 0).dt.convert_time_zone(call.constant(1))),
    "at_time_zone": Form(fallback),
}

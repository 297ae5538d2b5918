"""The namespace `.dt`: functions of dates and timestamps, named as in Polars.

Functions of a timestamp with a time zone work on what a clock in the zone shows.
"""

from __future__ import annotations

import datetime
import re
from typing import TYPE_CHECKING, Any

from umbel.api.located import located_methods
from umbel.api.namespace import Namespace
from umbel.plan.errors import PlanError, UnknownNameError

if TYPE_CHECKING:
    from umbel.api.expressions import Expr

UNITS = {
    "y": "year",
    "q": "quarter",
    "mo": "month",
    "w": "week",
    "d": "day",
    "h": "hour",
    "m": "minute",
    "s": "second",
    "ms": "millisecond",
    "us": "microsecond",
}


def parse_interval(text: str) -> tuple[int, str]:
    """Read a number and a unit, such as "3mo" or "-1 week".

    >>> parse_interval("-3mo"), parse_interval("day"), parse_interval("2 weeks")
    ((-3, 'month'), (1, 'day'), (2, 'week'))
    """
    match = re.fullmatch(r"\s*([+-]?\d+)?\s*([a-z]+)\s*", text)
    unit = "" if match is None else match[2]
    name = UNITS.get(unit, unit.removesuffix("s") if len(unit) > 2 else unit)
    if match is None or name not in UNITS.values():
        raise UnknownNameError("unit", text, [*UNITS, *UNITS.values()])
    return int(match[1] or 1), name


@located_methods
class DateTimeMethods(Namespace):
    """Functions of dates, timestamps and times."""

    # --- parts --------------------------------------------------------------------------------

    def year(self) -> Expr:
        """The year."""
        return self._call("year")

    def iso_year(self) -> Expr:
        """The year that the ISO week belongs to."""
        return self._call("iso_year")

    def quarter(self) -> Expr:
        """The quarter, 1 to 4."""
        return self._call("quarter")

    def month(self) -> Expr:
        """The month, 1 to 12."""
        return self._call("month")

    def week(self) -> Expr:
        """The ISO week, 1 to 53."""
        return self._call("week")

    def weekday(self) -> Expr:
        """The day of the week, from Monday = 1 to Sunday = 7."""
        return self._call("weekday")

    def day(self) -> Expr:
        """The day of the month."""
        return self._call("day")

    def ordinal_day(self) -> Expr:
        """The day of the year, 1 to 366."""
        return self._call("day_of_year")

    def hour(self) -> Expr:
        """The hour, 0 to 23."""
        return self._call("hour")

    def minute(self) -> Expr:
        """The minute."""
        return self._call("minute")

    def second(self) -> Expr:
        """The whole seconds."""
        return self._call("second")

    def millisecond(self) -> Expr:
        """The whole milliseconds of the second."""
        return self._call("millisecond")

    def microsecond(self) -> Expr:
        """The microseconds of the second."""
        return self._call("microsecond")

    def date(self) -> Expr:
        """The date, without the time of day."""
        return self._call("to_date")

    def is_leap_year(self) -> Expr:
        """Whether the year has a 29 February."""
        return self._call("is_leap_year")

    def days_in_month(self) -> Expr:
        """How many days the month has."""
        return self._call("days_in_month")

    def last_day(self) -> Expr:
        """The last date of the month."""
        return self._call("last_day")

    def month_start(self) -> Expr:
        """The start of the month."""
        return self.truncate("month")

    # --- arithmetic ---------------------------------------------------------------------------

    def truncate(self, every: str) -> Expr:
        """The start of the period in which the value lies.

        Args:
            every: one unit, such as "1mo" or "month": y, q, mo, w, d, h, m, s, ms or us.

        >>> from umbel import col
        >>> col("t").dt.truncate("1mo")
        date_trunc('month', t)
        """
        count, unit = parse_interval(every)
        if count != 1:
            raise PlanError(f"truncate takes one unit, not {every!r}")
        return self._arguments_first("date_trunc", (unit,))

    def offset_by(self, by: str | int | Expr, unit: str | None = None) -> Expr:
        """The value some units later, or earlier if negative; months keep the day if they can.

        Args:
            by: a number of units, such as "3mo" or "-1w"; with `unit`, a number or an
                expression.
            unit: the unit, if it does not stand in `by`.

        >>> from umbel import col
        >>> col("t").dt.offset_by("-1w"), col("t").dt.offset_by(col("n"), "day")
        (date_add('week', t, -1), date_add('day', t, n))
        """
        if unit is None:
            if not isinstance(by, str):
                raise PlanError(
                    f"offset_by({by!r}) needs a unit", hint='write "3mo", or unit="month"'
                )
            count, unit = parse_interval(by)
            return self._arguments_first("date_add", (unit,), count)
        return self._arguments_first("date_add", (parse_interval(unit)[1],), by)

    def diff_to(self, end: Any, unit: str) -> Expr:
        """How many borders of a unit lie between the value and a later one.

        Args:
            end: the later value; text names a column.
            unit: such as "month".
        """
        return self._arguments_first("date_diff", (parse_interval(unit)[1],), self._column(end))

    def epoch(self, time_unit: str = "us") -> Expr:
        """The whole days ("d"), "s", "ms" or "us" since 1970-01-01 (UTC if there is a zone)."""
        per = {"us": 1, "ms": 1_000, "s": 1_000_000, "d": 86_400_000_000}
        if time_unit not in per:
            raise UnknownNameError("time unit", time_unit, per)
        micros = self._call("epoch_us")
        return micros if time_unit == "us" else micros // per[time_unit]

    def timestamp(self, time_unit: str = "us") -> Expr:
        """As `epoch`."""
        return self.epoch(time_unit)

    def epoch_seconds(self) -> Expr:
        """The seconds since 1970-01-01 with their fraction, as a float."""
        return self._call("epoch")

    # --- durations ----------------------------------------------------------------------------

    def _total(self, unit: datetime.timedelta) -> Expr:
        return (self._expression / unit).truncate().cast("int64")

    def total_days(self) -> Expr:
        """The whole days of a duration."""
        return self._total(datetime.timedelta(days=1))

    def total_hours(self) -> Expr:
        """The whole hours of a duration."""
        return self._total(datetime.timedelta(hours=1))

    def total_minutes(self) -> Expr:
        """The whole minutes of a duration."""
        return self._total(datetime.timedelta(minutes=1))

    def total_seconds(self) -> Expr:
        """The whole seconds of a duration."""
        return self._total(datetime.timedelta(seconds=1))

    def total_milliseconds(self) -> Expr:
        """The whole milliseconds of a duration."""
        return self._total(datetime.timedelta(milliseconds=1))

    def total_microseconds(self) -> Expr:
        """The microseconds of a duration; exact up to 285 years."""
        return self._total(datetime.timedelta(microseconds=1))

    # --- text and zones -----------------------------------------------------------------------

    def strftime(self, format: str) -> Expr:  # noqa: A002
        """The value as text in a format such as "%Y-%m-%d"."""
        return self._call("strftime", format)

    def to_string(self, format: str) -> Expr:  # noqa: A002
        """As `strftime`."""
        return self.strftime(format)

    def convert_time_zone(self, time_zone: str) -> Expr:
        """The same instant in another time zone."""
        return self._call("convert_time_zone", time_zone)

    def replace_time_zone(self, time_zone: str | None) -> Expr:
        """What the clock shows, in another time zone, or without one."""
        if time_zone is None:
            return self._call("local_time")
        return self._call("at_time_zone", time_zone)

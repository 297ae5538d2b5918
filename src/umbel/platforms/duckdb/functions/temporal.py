"""Forms on DuckDB of the catalogue's theme temporal.

DuckDB's timestamps with a zone have no zone of their own; the zone of the plan's type is written
into the call, so that the session's zone does not matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.formats import format_regex
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.functions.temporal import microseconds_of, months_of
from umbel.platforms.duckdb.functions.snippets import snippet
from umbel.platforms.duckdb.functions.strings import Call, fallback, native, text
from umbel.platforms.duckdb.types import convert, literal
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


def _local(call: Call, position: int = 0) -> exp.Expr:
    """A date or time argument, without a zone and in microseconds."""
    argument, dtype = call.arguments[position].copy(), call.types[position]
    if not pa.types.is_timestamp(dtype):
        return argument
    if dtype.tz is not None:
        return function("timezone", text(dtype.tz), argument)
    return argument if dtype.unit == "us" else convert(argument, "TIMESTAMP")


def _part(template: str) -> Form[exp.Expr]:
    return Form(lambda call: snippet(template, x=_local(call)))


def _in_type(call: Call, built: exp.Expr) -> exp.Expr:
    """Give a local timestamp back the type of the call's result."""
    if pa.types.is_date(call.dtype):
        return convert(built, "DATE")
    return built if call.dtype.tz is None else function("timezone", text(call.dtype.tz), built)


def _date_trunc(call: Call) -> exp.Expr:
    unit = text(call.constant(0))
    return _in_type(call, function("date_trunc", unit, _local(call, 1)))


def _date_add(call: Call) -> exp.Expr:
    unit = call.constant(0)
    months = months_of(unit)
    if months:
        template, step = "x + to_months(CAST(n * step AS INTEGER))", months
    elif unit in ("week", "day"):
        template, step = "x + to_days(CAST(n * step AS INTEGER))", 7 if unit == "week" else 1
    else:
        template, step = "x + to_microseconds(n * step)", microseconds_of(unit)
    return _in_type(
        call,
        snippet(
            template,
            x=_local(call, 1),
            n=convert(call.arguments[2], "BIGINT"),
            step=literal(step, pa.int64()),
        ),
    )


def _date_diff(call: Call) -> exp.Expr:
    unit = call.constant(0)
    start, end = _local(call, 1), _local(call, 2)
    if unit == "week":  # DuckDB counts weeks from another day
        return snippet(
            "date_diff('day', date_trunc('week', a), date_trunc('week', b)) // 7", a=start, b=end
        )
    return function("date_diff", text(unit), start, end)


def _make_timestamp(call: Call) -> exp.Expr:
    names = ("y", "mo", "d", "h", "mi", "s", "us")
    arguments = [convert(argument, "BIGINT") for argument in call.arguments]
    if len(arguments) == 6:
        arguments.append(literal(0, pa.int64()))
    return snippet(
        """CASE WHEN s NOT BETWEEN 0 AND 59 OR us NOT BETWEEN 0 AND 999999 OR h > 23 OR mi > 59
            OR y NOT BETWEEN 1 AND 9999
            THEN CAST(error('no such time: second ' || s || ', hour ' || h) AS TIMESTAMP)
            ELSE make_timestamp(y, mo, d, h, mi, CAST(s AS DOUBLE)) + to_microseconds(us) END""",
        **dict(zip(names, arguments, strict=True)),
    )


def _strptime(call: Call) -> exp.Expr:
    return snippet(
        """CASE WHEN regexp_matches(x, p) THEN strptime(x, f)
            WHEN x IS NOT NULL THEN CAST(error('not a time: ' || x) AS TIMESTAMP) END""",
        x=call.arguments[0],
        p=text(format_regex(call.constant(1))),
        f=call.arguments[1],
    )


def _try_strptime(call: Call) -> exp.Expr:
    return snippet(
        "CASE WHEN regexp_matches(x, p) THEN try_strptime(x, f) END",
        x=call.arguments[0],
        p=text(format_regex(call.constant(1))),
        f=call.arguments[1],
    )


def _epoch_us(call: Call) -> exp.Expr:
    zoned = pa.types.is_timestamp(call.types[0]) and call.types[0].tz is not None
    return function("epoch_us", call.arguments[0] if zoned else _local(call))


FORMS: dict[str, Form[exp.Expr] | Absent] = {
    "year": _part("year(x)"),
    "quarter": _part("quarter(x)"),
    "month": _part("month(x)"),
    "week": _part("weekofyear(x)"),
    "iso_year": _part("isoyear(x)"),
    "day": _part("day(x)"),
    "weekday": _part("isodow(x)"),
    "day_of_year": _part("dayofyear(x)"),
    "hour": _part("hour(x)"),
    "minute": _part("minute(x)"),
    "second": _part("second(x)"),
    "millisecond": _part("millisecond(x) % 1000"),
    "microsecond": _part("microsecond(x) % 1000000"),
    "date_trunc": Form(_date_trunc),
    "date_add": Form(_date_add),
    "date_diff": Form(_date_diff),
    "make_date": native(
        """CASE WHEN y NOT BETWEEN 1 AND 9999 THEN CAST(error('no such year: ' || y) AS DATE)
            ELSE make_date(y, m, d) END""",
        "y",
        "m",
        "d",
    ),
    "make_timestamp": Form(_make_timestamp),
    "strftime": Form(lambda call: function("strftime", _local(call), call.arguments[1])),
    "strptime": Form(_strptime),
    "try_strptime": Form(_try_strptime),
    "epoch": Form(
        lambda call: snippet("CAST(n AS DOUBLE) / CAST(1000000 AS DOUBLE)", n=_epoch_us(call))
    ),
    "epoch_us": Form(_epoch_us),
    "from_epoch": native("make_timestamp(CAST(n AS BIGINT) * CAST(1000000 AS BIGINT))", "n"),
    "from_epoch_us": native("make_timestamp(CAST(n AS BIGINT))", "n"),
    "to_date": Form(lambda call: convert(_local(call), "DATE")),
    "last_day": _part("last_day(x)"),
    "days_in_month": _part("day(last_day(x))"),
    "is_leap_year": _part("year(x) % 4 = 0 AND (year(x) % 100 <> 0 OR year(x) % 400 = 0)"),
    "local_time": Form(_local),
    "convert_time_zone": Form(lambda call: call.arguments[0]),
    "at_time_zone": Form(fallback),
}

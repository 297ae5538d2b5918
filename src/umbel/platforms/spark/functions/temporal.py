"""Forms on Spark of the catalogue's theme temporal.

The session is in UTC; the zone of the plan's type is written into each call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.formats import format_regex, parse_format
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.functions.temporal import microseconds_of, months_of
from umbel.platforms.spark.casts import local_time
from umbel.platforms.spark.functions.arithmetic import moment_of, ticks
from umbel.platforms.spark.functions.snippets import Call, fail, native, snippet, text, typed
from umbel.platforms.spark.types import convert, literal, type_text
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: Python's directives as Spark writes them.
_PATTERNS = {
    "Y": "yyyy", "m": "MM", "d": "dd", "H": "HH", "M": "mm", "S": "ss", "f": "SSSSSS",
    "j": "DDD", "y": "yy", "b": "MMM", "B": "MMMM", "a": "EEE", "A": "EEEE", "p": "a", "I": "hh",
}  # fmt: skip


def _local(call: Call, position: int = 0) -> exp.Expr:
    """A date, or a timestamp as a clock in its zone shows it."""
    argument, dtype = call.arguments[position].copy(), call.types[position]
    return local_time(argument, dtype) if pa.types.is_timestamp(dtype) else argument


def _micros(call: Call, position: int = 0) -> exp.Expr:
    """Microseconds of a local timestamp, a date or a time of day."""
    dtype = call.types[position]
    wall = pa.timestamp("us") if pa.types.is_timestamp(dtype) else dtype
    return ticks(_local(call, position), wall)


def _part(template: str) -> Form[exp.Expr]:
    return Form(lambda call: typed(call, snippet(template, x=_local(call))))


def _fraction(template: str) -> Form[exp.Expr]:
    return Form(lambda call: typed(call, snippet(template, n=_micros(call))))


def at_zone(clock: exp.Expr, zone: str) -> exp.Expr:
    """The instant at which a clock in a zone shows a time; the first of two."""
    if zone != "UTC":
        clock = function("convert_timezone", text(zone), text("UTC"), clock)
    return convert(clock, "TIMESTAMP_LTZ")


def _in_type(call: Call, local: exp.Expr) -> exp.Expr:
    """Give a local timestamp the type of the call's result."""
    if pa.types.is_timestamp(call.dtype) and call.dtype.tz is not None:
        return at_zone(convert(local, "TIMESTAMP_NTZ"), call.dtype.tz)
    return convert(local, type_text(call.dtype))


def _date_trunc(call: Call) -> exp.Expr:
    unit = text(call.constant(0).upper())
    return _in_type(call, function("date_trunc", unit, convert(_local(call, 1), "TIMESTAMP_NTZ")))


def _date_add(call: Call) -> exp.Expr:
    unit = call.constant(0)
    count = convert(call.arguments[2], "BIGINT")
    months = months_of(unit)
    if months:
        moved = snippet(
            "x + make_ym_interval(0, CAST(n * step AS INT))",
            x=_local(call, 1),
            n=count,
            step=literal(months, pa.int64()),
        )
        return _in_type(call, moved)
    days = {"week": 7, "day": 1}.get(unit)
    if pa.types.is_date(call.types[1]) and pa.types.is_date(call.dtype):
        step = literal(days or 0, pa.int64())
        return function("date_add", _local(call, 1), snippet("CAST(n * s AS INT)", n=count, s=step))
    micros = 86_400_000_000 * days if days else microseconds_of(unit)
    total = snippet("m + n * s", m=_micros(call, 1), n=count, s=literal(micros, pa.int64()))
    return _in_type(call, moment_of(total, pa.timestamp("us")))


def _date_diff(call: Call) -> exp.Expr:
    unit = call.constant(0)
    start, end = _local(call, 1), _local(call, 2)
    months = months_of(unit)
    if months:
        counted = "(year(b) * 12 + month(b) - 1) DIV p - (year(a) * 12 + month(a) - 1) DIV p"
        return typed(call, snippet(counted, a=start, b=end, p=literal(months, pa.int32())))
    if unit == "week":
        return typed(
            call,
            snippet(
                "datediff(date_sub(CAST(b AS DATE), weekday(b)), date_sub(CAST(a AS DATE), weekday(a))) DIV 7",
                a=start,
                b=end,
            ),
        )
    if unit == "day":
        return typed(call, snippet("datediff(CAST(b AS DATE), CAST(a AS DATE))", a=start, b=end))
    return typed(
        call,
        snippet(
            "(n - pmod(n, s)) DIV s - (m - pmod(m, s)) DIV s",
            m=_micros(call, 1),
            n=_micros(call, 2),
            s=literal(microseconds_of(unit), pa.int64()),
        ),
    )


def _make_timestamp(call: Call) -> exp.Expr:
    names = ("y", "mo", "d", "h", "mi", "s", "us")
    arguments = [convert(argument, "BIGINT") for argument in call.arguments]
    if len(arguments) == 6:
        arguments.append(literal(0, pa.int64()))
    return snippet(
        """CASE WHEN y NOT BETWEEN 1 AND 9999 OR mo NOT BETWEEN 1 AND 12
            OR d NOT BETWEEN 1 AND 31 OR h NOT BETWEEN 0 AND 23 OR mi NOT BETWEEN 0 AND 59
            OR s NOT BETWEEN 0 AND 59 OR us NOT BETWEEN 0 AND 999999 THEN e
            ELSE make_timestamp_ntz(CAST(y AS INT), CAST(mo AS INT), CAST(d AS INT), CAST(h AS INT),
                CAST(mi AS INT), CAST(CAST(s * 1000000 + us AS DECIMAL(16, 0))
                / CAST(1000000 AS DECIMAL(7, 0)) AS DECIMAL(16, 6))) END""",
        e=fail("no such time"),
        **dict(zip(names, arguments, strict=True)),
    )


def java_format(pattern: str) -> str:
    """Write a format as Spark's date functions take it.

    >>> java_format("%d.%m.%Y at %H")
    "dd'.'MM'.'yyyy' at 'HH"
    """
    written, plain = "", ""
    for part, is_directive in (*parse_format(pattern), ("", True)):
        if not is_directive:
            plain += part.replace("'", "''")
            continue
        # Texts side by side stand in one pair of quotes: two quotes in a row are one.
        written += (f"'{plain}'" if plain else "") + _PATTERNS.get(part, "")
        plain = ""
    return written


def _strftime(call: Call) -> exp.Expr:
    moment = convert(_local(call), "TIMESTAMP_NTZ")
    return function("date_format", moment, text(java_format(call.constant(1))))


def _strptime(name: str, *, strict: bool) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        pattern = format_regex(call.constant(1))
        read = function(name, call.arguments[0].copy(), text(java_format(call.constant(1))))
        return snippet(
            "CASE WHEN x RLIKE p THEN read WHEN x IS NOT NULL THEN e END",
            x=call.arguments[0],
            p=text(pattern),
            read=convert(read, "TIMESTAMP_NTZ"),
            e=fail("not a time in the format") if strict else exp.Null(),
        )

    return Form(build)


FORMS: dict[str, Form[exp.Expr] | Absent] = {
    "year": _part("year(x)"),
    "quarter": _part("quarter(x)"),
    "month": _part("month(x)"),
    "week": _part("weekofyear(x)"),
    "iso_year": _part("extract(YEAROFWEEK FROM x)"),
    "day": _part("dayofmonth(x)"),
    "weekday": _part("weekday(x) + 1"),
    "day_of_year": _part("dayofyear(x)"),
    "hour": _fraction("pmod(n, CAST(86400000000 AS BIGINT)) DIV CAST(3600000000 AS BIGINT)"),
    "minute": _fraction("pmod(n, CAST(3600000000 AS BIGINT)) DIV 60000000"),
    "second": _fraction("pmod(n, 60000000) DIV 1000000"),
    "millisecond": _fraction("pmod(n, 1000000) DIV 1000"),
    "microsecond": _fraction("pmod(n, 1000000)"),
    "date_trunc": Form(_date_trunc),
    "date_add": Form(_date_add),
    "date_diff": Form(_date_diff),
    "make_date": native(
        """CASE WHEN y NOT BETWEEN 1 AND 9999 OR m NOT BETWEEN 1 AND 12 OR d NOT BETWEEN 1 AND 31
            THEN raise_error('no such date')
            ELSE make_date(CAST(y AS INT), CAST(m AS INT), CAST(d AS INT)) END""",
        "y",
        "m",
        "d",
    ),
    "make_timestamp": Form(_make_timestamp),
    "strftime": Form(_strftime),
    "strptime": _strptime("to_timestamp_ntz", strict=True),
    "try_strptime": _strptime("try_to_timestamp", strict=False),
    "epoch": Form(
        lambda call: snippet(
            "CAST(n AS DOUBLE) / CAST(1000000 AS DOUBLE)",
            n=ticks(call.arguments[0], call.types[0]),
        )
    ),
    "epoch_us": Form(lambda call: ticks(call.arguments[0], call.types[0])),
    "from_epoch": Form(
        lambda call: moment_of(
            snippet("CAST(n AS BIGINT) * 1000000", n=call.arguments[0]), call.dtype
        )
    ),
    "from_epoch_us": Form(
        lambda call: moment_of(snippet("CAST(n AS BIGINT)", n=call.arguments[0]), call.dtype)
    ),
    "to_date": Form(lambda call: convert(_local(call), "DATE")),
    "last_day": _part("last_day(CAST(x AS DATE))"),
    "days_in_month": _part("dayofmonth(last_day(CAST(x AS DATE)))"),
    "is_leap_year": _part("year(x) % 4 = 0 AND (year(x) % 100 <> 0 OR year(x) % 400 = 0)"),
    "local_time": Form(_local),
    "convert_time_zone": Form(lambda call: call.arguments[0]),
    "at_time_zone": Form(lambda call: at_zone(call.arguments[0], call.constant(1))),
}

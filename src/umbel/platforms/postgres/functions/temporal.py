"""Forms on PostgreSQL of the catalogue's theme temporal.

The zone of the plan's type is written into each call, and the session's zone is UTC, so that the
server's own does not matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.formats import MONTHS, format_regex, parse_format
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.functions.temporal import microseconds_of, months_of
from umbel.platforms.postgres.casts import local, zone
from umbel.platforms.postgres.functions.arithmetic import moment, ticks
from umbel.platforms.postgres.functions.calls import Call, text
from umbel.platforms.postgres.snippets import error, once, snippet
from umbel.platforms.postgres.types import convert, literal

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


def _local(call: Call, index: int = 0) -> exp.Expr:
    """A date or time argument, without a zone."""
    return local(call.arguments[index].copy(), call.types[index])


def _part(template: str) -> Form[exp.Expr]:
    return Form(lambda call: convert(once(template, x=_local(call)), "BIGINT"))


def _field(name: str) -> Form[exp.Expr]:
    return _part(f"EXTRACT({name} FROM x)")


def _in_zone(clock: exp.Expr, name: str) -> exp.Expr:
    """The instant at which a clock shows a time: the first of two, as Python has it.

    PostgreSQL takes the second. The first has the offset of the day before.
    """
    return once(
        """CASE WHEN ((x - ((x AT TIME ZONE z - INTERVAL '1 day') AT TIME ZONE z
            - (x AT TIME ZONE z - INTERVAL '1 day') AT TIME ZONE 'UTC')) AT TIME ZONE 'UTC')
            AT TIME ZONE z = x
        THEN (x - ((x AT TIME ZONE z - INTERVAL '1 day') AT TIME ZONE z
            - (x AT TIME ZONE z - INTERVAL '1 day') AT TIME ZONE 'UTC')) AT TIME ZONE 'UTC'
        ELSE x AT TIME ZONE z END""",
        x=clock,
        z=zone(name),
    )


def _in_type(call: Call, built: exp.Expr) -> exp.Expr:
    """Give a local timestamp the type of the call's result."""
    if pa.types.is_date(call.dtype):
        return convert(built, "DATE")
    return built if call.dtype.tz is None else _in_zone(built, call.dtype.tz)


def _date_trunc(call: Call) -> exp.Expr:
    unit = call.constant(0)
    if unit == "microsecond":
        return call.arguments[1]
    spelled = {"millisecond": "milliseconds"}.get(unit, unit)
    cut = snippet(f"date_trunc('{spelled}', x)", x=convert(_local(call, 1), "TIMESTAMP"))
    return _in_type(call, cut)


def _date_add(call: Call) -> exp.Expr:
    unit, count = call.constant(0), convert(call.arguments[2], "BIGINT")
    months = months_of(unit)
    clock = _local(call, 1)
    if months:
        moved = snippet(
            f"x + make_interval(months => CAST(n * {months} AS INTEGER))",
            x=convert(clock, "TIMESTAMP"),
            n=count,
        )
    else:
        total = snippet(
            f"x + n * {microseconds_of(unit)}",
            x=ticks(convert(clock, "TIMESTAMP"), pa.timestamp("us")),
            n=count,
        )
        moved = moment(total, pa.timestamp("us"))
    failure = error("a time is outside the years 1 to 9999", pa.timestamp("us")).sql("postgres")
    moved = once(
        f"""CASE WHEN x >= TIMESTAMP '0001-01-01' AND x < TIMESTAMP '9999-12-31' + INTERVAL '1 day'
        THEN x WHEN NOT x IS NULL THEN {failure} END""",
        x=moved,
    )
    return _in_type(call, moved)


def _date_diff(call: Call) -> exp.Expr:
    unit = call.constant(0)
    start, end = (convert(_local(call, i), "TIMESTAMP") for i in (1, 2))
    months = months_of(unit)
    if months:
        number = once(
            f"""CAST(floor((EXTRACT(YEAR FROM x) * 12 + EXTRACT(MONTH FROM x) - 1) / {months})
            AS BIGINT)""",
            x=exp.column("x"),
        ).sql("postgres")
    elif unit in ("week", "day"):
        days = 7 if unit == "week" else 1
        number = f"floor(CAST(CAST(x AS DATE) - DATE '0001-01-01' AS NUMERIC) / {days})"  # a Monday
    else:
        start, end = (
            ticks(call.arguments[i], call.types[i]) if _zoned(call, i) else ticks(x, _CLOCK)
            for i, x in ((1, start), (2, end))
        )
        number = f"floor(CAST(x AS NUMERIC) / {microseconds_of(unit)})"
    first, last = snippet(number, x=start), snippet(number, x=end)
    return convert(snippet("x - y", x=last, y=first), "BIGINT")


_CLOCK = pa.timestamp("us")


def _zoned(call: Call, index: int) -> bool:
    dtype = call.types[index]
    return pa.types.is_timestamp(dtype) and dtype.tz is not None


def _make_timestamp(call: Call) -> exp.Expr:
    names = ("y", "mo", "d", "h", "mi", "s", "us")
    arguments = [convert(argument, "BIGINT") for argument in call.arguments]
    if len(arguments) == 6:
        arguments.append(literal(0, pa.int64()))
    failure = error("no such time", pa.timestamp("us")).sql("postgres")
    return once(
        f"""CASE WHEN s NOT BETWEEN 0 AND 59 OR us NOT BETWEEN 0 AND 999999
            OR h NOT BETWEEN 0 AND 23 OR mi NOT BETWEEN 0 AND 59 OR y NOT BETWEEN 1 AND 9999
        THEN {failure} ELSE make_timestamp(CAST(y AS INTEGER), CAST(mo AS INTEGER),
            CAST(d AS INTEGER), CAST(h AS INTEGER), CAST(mi AS INTEGER),
            CAST(s AS DOUBLE PRECISION)) + us * INTERVAL '1 microsecond' END""",
        **dict(zip(names, arguments, strict=True)),
    )


_WRITTEN = {
    "Y": "YYYY", "y": "YY", "m": "MM", "d": "DD", "j": "DDD", "b": "Mon", "B": "FMMonth",
    "a": "Dy", "A": "FMDay", "H": "HH24", "I": "HH12", "M": "MI", "S": "SS", "f": "US", "p": "AM",
}  # fmt: skip


def _strftime(call: Call) -> exp.Expr:
    clock = convert(_local(call), "TIMESTAMP")
    parts = [
        f"to_char(x, '{_WRITTEN[part]}')" if is_directive else text(part).sql("postgres")
        for part, is_directive in parse_format(call.constant(1))
    ]
    written = " || ".join(parts)
    return once(f"CASE WHEN NOT x IS NULL THEN {written} END", x=clock)


def _strptime(call: Call, *, strict: bool) -> exp.Expr:
    pattern = call.constant(1)
    letters = [part for part, is_directive in parse_format(pattern) if is_directive]
    fields = {letter: f"m[{number}]" for number, letter in enumerate(letters, 1)}

    def whole(letter: str, default: str = "0") -> str:
        return f"CAST({fields[letter]} AS INTEGER)" if letter in fields else default

    hour = whole("H")
    if "I" in fields:
        hour = f"{whole('I')} % 12 + CASE WHEN {fields['p']} = 'PM' THEN 12 ELSE 0 END"
    month = whole("m")
    for letter, names in (("b", [name[:3] for name in MONTHS]), ("B", list(MONTHS))):
        if letter in fields:
            listed = ", ".join(f"'{name}'" for name in names)
            month = f"array_position(ARRAY[{listed}], {fields[letter]})"
    first = f"make_timestamp({whole('Y')}, {month}, 1, 0, 0, 0.0)"
    day = whole("d")
    made = f"""make_timestamp({whole("Y")}, {month}, {day}, {hour}, {whole("M")},
        CAST({whole("S")} AS DOUBLE PRECISION)) + {whole("f")} * INTERVAL '1 microsecond'"""
    valid = f"""{day} <= EXTRACT(DAY FROM {first} + INTERVAL '1 month' - INTERVAL '1 day')"""
    otherwise = "NULL"
    if strict:
        otherwise = error("not a time: ", pa.timestamp("us"), exp.column("x")).sql("postgres")
    groups = snippet(
        "regexp_match(x, p)", x=exp.column("x"), p=text(format_regex(pattern)[:-1] + "Z")
    ).sql("postgres")
    return once(
        f"""CASE WHEN NOT x IS NULL THEN (SELECT CASE WHEN m IS NULL THEN {otherwise}
        WHEN {valid} THEN {made} ELSE {otherwise} END FROM (SELECT {groups} AS m OFFSET 0) AS g)
        END""",
        x=call.arguments[0],
    )


def _epoch_us(call: Call) -> exp.Expr:
    return ticks(call.arguments[0], call.types[0])


_LAST_DAY = "date_trunc('month', CAST(x AS TIMESTAMP)) + INTERVAL '1 month' - INTERVAL '1 day'"
_MICROS = "CAST(EXTRACT(MICROSECONDS FROM x) AS BIGINT)"

FORMS: dict[str, Form[Any] | Absent] = {
    "year": _field("YEAR"),
    "quarter": _field("QUARTER"),
    "month": _field("MONTH"),
    "week": _field("WEEK"),
    "iso_year": _field("ISOYEAR"),
    "day": _field("DAY"),
    "weekday": _field("ISODOW"),
    "day_of_year": _field("DOY"),
    "hour": _field("HOUR"),
    "minute": _field("MINUTE"),
    "second": _part("floor(EXTRACT(SECOND FROM x))"),
    "millisecond": _part(f"{_MICROS} / 1000 % 1000"),
    "microsecond": _part(f"{_MICROS} % 1000000"),
    "date_trunc": Form(_date_trunc),
    "date_add": Form(_date_add),
    "date_diff": Form(_date_diff),
    "make_date": Form(
        lambda call: once(
            f"""CASE WHEN y NOT BETWEEN 1 AND 9999
            THEN {error("no such year", pa.date32()).sql("postgres")}
            ELSE make_date(CAST(y AS INTEGER), CAST(m AS INTEGER), CAST(d AS INTEGER)) END""",
            **dict(zip("ymd", call.arguments, strict=True)),
        )
    ),
    "make_timestamp": Form(_make_timestamp),
    "strftime": Form(_strftime),
    "strptime": Form(lambda call: _strptime(call, strict=True)),
    "try_strptime": Form(lambda call: _strptime(call, strict=False)),
    "epoch": Form(
        lambda call: snippet(
            "CAST(n AS DOUBLE PRECISION) / CAST(1000000 AS DOUBLE PRECISION)", n=_epoch_us(call)
        )
    ),
    "epoch_us": Form(_epoch_us),
    "from_epoch": Form(
        lambda call: moment(
            snippet("CAST(n AS BIGINT) * 1000000", n=call.arguments[0]), pa.timestamp("us")
        )
    ),
    "from_epoch_us": Form(
        lambda call: moment(convert(call.arguments[0], "BIGINT"), pa.timestamp("us"))
    ),
    "to_date": Form(lambda call: convert(_local(call), "DATE")),
    "last_day": Form(lambda call: convert(snippet(_LAST_DAY, x=_local(call)), "DATE")),
    "days_in_month": _part(f"EXTRACT(DAY FROM {_LAST_DAY})"),
    "is_leap_year": Form(
        lambda call: once(
            "y % 4 = 0 AND (y % 100 <> 0 OR y % 400 = 0)",
            y=snippet("EXTRACT(YEAR FROM x)", x=_local(call)),
        )
    ),
    "local_time": Form(_local),
    "convert_time_zone": Form(lambda call: call.arguments[0]),
    "at_time_zone": Form(lambda call: _in_zone(call.arguments[0], call.dtype.tz)),
}

"""Dates and times in SQL: parts, truncation, intervals and what they do to dates."""

from __future__ import annotations

import datetime
import re

import pyarrow as pa
from sqlglot import expressions as exp

from umbel.plan.errors import PlanError, UnknownNameError
from umbel.plan.expressions import Literal
from umbel.plan.functions import CATALOGUE
from umbel.plan.functions.temporal import microseconds_of, months_of
from umbel.plan.types import DATE, DURATION, INT64, STRING, TIMESTAMP, is_string, type_name
from umbel.sql.reading.binder import Binder
from umbel.sql.reading.names import Scope
from umbel.sql.reading.registry import binds
from umbel.sql.reading.syntax import Syntax, reading
from umbel.sql.reading.values import Value, call, cast, constant, integer

#: Names of units as people write them, in the singular.
_UNITS = {
    "year": "year", "yr": "year", "y": "year",
    "quarter": "quarter",
    "month": "month", "mon": "month",
    "week": "week", "w": "week",
    "day": "day", "d": "day",
    "hour": "hour", "hr": "hour", "h": "hour",
    "minute": "minute", "min": "minute", "m": "minute",
    "second": "second", "sec": "second", "s": "second",
    "millisecond": "millisecond", "msec": "millisecond", "ms": "millisecond",
    "microsecond": "microsecond", "usec": "microsecond", "us": "microsecond",
}  # fmt: skip
#: How many of another unit these are.
_MULTIPLES = {"decade": ("year", 10), "century": ("year", 100), "millennium": ("year", 1000)}

Steps = list[tuple[Value, str]]


def unit_of(word: str) -> str:
    """Read a unit of time.

    >>> unit_of("DAYS")
    'day'
    """
    lowered = word.lower()
    for form in (lowered, lowered.removesuffix("s")):
        if form in _UNITS:
            return _UNITS[form]
    raise UnknownNameError("unit of time", word, set(_UNITS.values()))


def moved(binder: Binder, syntax: Syntax, scope: Scope) -> Value | None:
    """Bind `date + INTERVAL …` and `date - INTERVAL …`; None if there is no interval."""
    left, right = syntax["this"], syntax["expression"]
    if isinstance(syntax.node, exp.Mul):
        return None
    if _is_interval(right):
        value, steps = binder.value(left, scope), _steps(binder, right, scope)
        return shift(value, steps, back=isinstance(syntax.node, exp.Sub))
    if _is_interval(left) and isinstance(syntax.node, exp.Add):
        return shift(binder.value(right, scope), _steps(binder, left, scope))
    return None


def _is_interval(node: exp.Expr) -> bool:
    inner = node
    while isinstance(inner, exp.Paren | exp.Neg):
        inner = inner.this
    if isinstance(inner, exp.Mul | exp.Add | exp.Sub):
        return _is_interval(inner.this) or _is_interval(inner.expression)
    return isinstance(inner, exp.Interval)


def _steps(binder: Binder, node: exp.Expr, scope: Scope) -> Steps:
    """Read an interval as numbers of units, which are added one after another."""
    with reading(node) as syntax:
        if isinstance(node, exp.Paren):
            return _steps(binder, syntax["this"], scope)
        if isinstance(node, exp.Neg):
            return [(_negative(n), unit) for n, unit in _steps(binder, syntax["this"], scope)]
        if isinstance(node, exp.Add | exp.Sub):
            left = _steps(binder, syntax["this"], scope)
            right = _steps(binder, syntax["expression"], scope)
            back = isinstance(node, exp.Sub)
            return [*left, *((_negative(n) if back else n, unit) for n, unit in right)]
        if isinstance(node, exp.Mul):
            sides = [syntax["this"], syntax["expression"]]
            if not _is_interval(sides[0]):
                sides.reverse()
            factor = _whole(binder.value(sides[1], scope))
            return [(_times(n, factor), unit) for n, unit in _steps(binder, sides[0], scope)]
        if isinstance(node, exp.Interval):
            return _interval(binder, syntax, scope)
    raise PlanError("not an interval", hint="write INTERVAL '3 days'")


def _interval(binder: Binder, syntax: Syntax, scope: Scope) -> Steps:
    amount, unit = syntax["this"], syntax["unit"]
    if unit is not None:
        word = unit.name
        factor = 1
        if word.lower() in _MULTIPLES:
            word, factor = _MULTIPLES[word.lower()]
        value = binder.value(amount, scope)
        if isinstance(value.node, Literal) and is_string(value.dtype):
            return _written(f"{value.node.value} {unit.name}")
        return [(_times(_whole(value), integer(factor)), unit_of(word))]
    value = binder.value(amount, scope)
    if not isinstance(value.node, Literal) or not is_string(value.dtype):
        raise PlanError("an interval without a unit must be a text constant")
    return _written(str(value.node.value))


_PIECE = re.compile(r"\s*([+-]?[0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*,?")


def _written(text: str) -> Steps:
    """Read an interval as text.

    >>> [(str(n.node), unit) for n, unit in _written("1 year 2 days")]
    [('1', 'year'), ('2', 'day')]
    """
    steps, at = [], 0
    for piece in _PIECE.finditer(text):
        if piece.start() != at:
            break
        at = piece.end()
        word, factor = piece[2], 1
        if word.lower().removesuffix("s") in ("decade", "millennium", "century", "centurie"):
            word, factor = _MULTIPLES[_plural(word)]
        steps += _split(piece[1], unit_of(word), factor)
    if not steps or text[at:].strip():
        raise PlanError(f"{text!r} is no interval", hint="write it like '1 year 2 days'")
    return steps


def _plural(word: str) -> str:
    lowered = word.lower()
    return {"centuries": "century"}.get(lowered, lowered.removesuffix("s"))


def _split(number: str, unit: str, factor: int) -> Steps:
    if "." not in number:
        return [(integer(int(number) * factor), unit)]
    micros = {"week": 604_800_000_000, "day": 86_400_000_000, "hour": 3_600_000_000,
              "minute": 60_000_000, "second": 1_000_000, "millisecond": 1000}  # fmt: skip
    if unit not in micros:
        raise PlanError(f"an interval of {number} {unit}s is not a whole number")
    return [(integer(round(float(number) * micros[unit])), "microsecond")]


def _negative(value: Value) -> Value:
    if isinstance(value.node, Literal):
        return integer(-value.node.value)
    return call("negate", value)


def _times(value: Value, factor: Value) -> Value:
    if isinstance(value.node, Literal) and isinstance(factor.node, Literal):
        return integer(value.node.value * factor.node.value)
    if isinstance(factor.node, Literal) and factor.node.value == 1:
        return value
    return call("multiply", value, factor)


def _whole(value: Value) -> Value:
    if not pa.types.is_integer(value.dtype):
        raise PlanError(f"an interval takes a whole number, not {type_name(value.dtype)}")
    return value


def shift(value: Value, steps: Steps, *, back: bool = False) -> Value:
    """Move a date or timestamp; a date becomes a timestamp, as in DuckDB and PostgreSQL."""
    if value.untyped:
        value = cast(value, TIMESTAMP)
    if pa.types.is_date(value.dtype):
        value = cast(value, TIMESTAMP)
    if not pa.types.is_timestamp(value.dtype):
        raise PlanError(
            f"an interval is added to a date or timestamp, not {type_name(value.dtype)}"
        )
    for amount, unit in _summed(steps):
        count = cast(_negative(amount) if back else amount, INT64)
        value = folded("date_add", constant(unit, STRING), value, count)
    return value


def _summed(steps: Steps) -> Steps:
    """Add up constant steps: months first, then days, then what is shorter, as intervals do."""
    if not all(isinstance(amount.node, Literal) for amount, _ in steps):
        return steps
    totals = {"month": 0, "day": 0, "microsecond": 0}
    for amount, unit in steps:
        number = amount.node.value  # type: ignore[attr-defined]
        if months_of(unit):
            totals["month"] += number * months_of(unit)
        elif unit in ("week", "day"):
            totals["day"] += number * (7 if unit == "week" else 1)
        else:
            totals["microsecond"] += number * microseconds_of(unit)
    return [(constant(n, INT64), unit) for unit, n in totals.items() if n]


def folded(name: str, *values: Value) -> Value:
    """Apply a function, right away if all arguments are constants."""
    applied = call(name, *values)
    if all(isinstance(v.node, Literal) and v.node.value is not None for v in values):
        nodes = [v.node.value for v in values if isinstance(v.node, Literal)]
        row = CATALOGUE[name]
        result = row.reference(*nodes, dtype=applied.dtype) if row.typed else row.reference(*nodes)
        return constant(result, applied.dtype)
    return applied


@binds(exp.Interval)
def _lonely(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    steps = _summed(_interval(binder, syntax, scope))
    days = {"day": 86_400_000_000, "microsecond": 1}
    if all(unit in days and isinstance(amount.node, Literal) for amount, unit in steps):
        # Without months an interval is a length of time, as the difference of timestamps is.
        micros = sum(amount.node.value * days[unit] for amount, unit in steps)  # type: ignore[attr-defined]
        return constant(datetime.timedelta(microseconds=micros), DURATION)
    raise PlanError("an interval of months stands only beside a date: d + INTERVAL '1 month'")


def moment(value: Value) -> Value:
    """Give an untyped constant the type timestamp."""
    return cast(value, TIMESTAMP) if value.untyped else value


_PARTS = {
    "year": "year", "years": "year", "quarter": "quarter", "month": "month", "week": "week",
    "day": "day", "dayofmonth": "day", "hour": "hour", "minute": "minute",
    "isoyear": "iso_year", "isodow": "weekday", "doy": "day_of_year", "dayofyear": "day_of_year",
    "epoch": "epoch",
}  # fmt: skip


def part(word: str, value: Value, binder: Binder) -> Value:
    """Take a part of a date or timestamp, as EXTRACT does."""
    value, name = moment(value), word.lower()
    if name in ("dow", "dayofweek", "weekday"):
        return call("remainder", call("weekday", value), integer(7))
    if name in ("second", "seconds"):
        if binder.dialect == "postgres":
            micros = call("add", call("multiply", call("second", value), integer(1_000_000)),
                          call("microsecond", value))  # fmt: skip
            return call("divide", micros, integer(1_000_000))
        return call("second", value)
    if name in ("millisecond", "milliseconds", "microsecond", "microseconds"):
        factor = 1_000_000 if name.startswith("micro") else 1000
        unit = "microsecond" if name.startswith("micro") else "millisecond"
        return call("add", call("multiply", call("second", value), integer(factor)),
                    call(unit, value))  # fmt: skip
    if name in ("decade", "century", "millennium"):
        if name == "decade":
            return call("floor_divide", call("year", value), integer(10))
        size = 100 if name == "century" else 1000
        before = call("subtract", call("year", value), integer(1))
        return call("add", call("floor_divide", before, integer(size)), integer(1))
    if name not in _PARTS:
        raise UnknownNameError("part of a date", word, [*_PARTS, "dow", "second"])
    return call(_PARTS[name], value)


@binds(exp.Extract)
def _extract(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    return part(syntax["this"].name, binder.value(syntax["expression"], scope), binder)


_PART_NODES: dict[type[exp.Expr], str] = {
    exp.Year: "year",
    exp.Quarter: "quarter",
    exp.Month: "month",
    exp.Week: "week",
    exp.Day: "day",
    exp.DayOfMonth: "day",
    exp.DayOfYear: "doy",
    exp.DayOfWeekIso: "isodow",
    exp.Hour: "hour",
    exp.Minute: "minute",
    exp.Second: "second",
    exp.DayOfWeek: "dow",
    exp.TimeToUnix: "epoch",
}


@binds(*_PART_NODES)
def _part(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    _ = syntax.node.args.get("mode") and syntax["mode"]
    return part(_PART_NODES[type(syntax.node)], binder.value(syntax["this"], scope), binder)


@binds(exp.TimestampTrunc, exp.DateTrunc)
def _trunc(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    if syntax["zone"] is not None:
        raise PlanError("date_trunc with a zone is not supported", hint="use AT TIME ZONE")
    _ = syntax.node.args.get("input_type_preserved") and syntax["input_type_preserved"]
    unit = unit_of(syntax["unit"].name)
    value = moment(binder.value(syntax["this"], scope))
    if pa.types.is_date(value.dtype) and (
        binder.dialect == "postgres" or unit not in ("year", "quarter", "month", "week", "day")
    ):
        value = cast(value, TIMESTAMP)
    return call("date_trunc", constant(unit, STRING), value)


@binds(exp.DateAdd, exp.TsOrDsAdd, exp.DateSub)
def _date_add(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    value, amount, unit = binder.value(syntax["this"], scope), syntax["expression"], syntax["unit"]
    if _is_interval(amount):
        steps = _steps(binder, amount, scope)
    else:
        steps = [(_whole(binder.value(amount, scope)), unit_of(unit.name if unit else "day"))]
    return shift(value, steps, back=isinstance(syntax.node, exp.DateSub))


@binds(exp.DateDiff)
def _date_diff(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    _ = syntax["date_part_boundary"]  # what date_diff counts: borders of the unit
    unit = unit_of(syntax["unit"].name) if syntax["unit"] is not None else "day"
    end = moment(binder.value(syntax["this"], scope))
    start = moment(binder.value(syntax["expression"], scope))
    if unit not in ("year", "quarter", "month", "week", "day"):
        start, end = (cast(v, TIMESTAMP) if v.dtype == DATE else v for v in (start, end))
    return call("date_diff", constant(unit, STRING), start, end)


@binds(exp.LastDay)
def _last_day(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    return call("last_day", moment(binder.value(syntax["this"], scope)))


@binds(exp.TimeToStr)
def _time_to_str(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    value = moment(binder.value(syntax["this"], scope))
    return call("strftime", value, cast(binder.value(syntax["format"], scope), STRING))


@binds(exp.StrToTime)
def _str_to_time(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    form = cast(binder.value(syntax["format"], scope), STRING)
    name = "try_strptime" if syntax["safe"] else "strptime"
    return call(name, cast(binder.value(syntax["this"], scope), STRING), form)


@binds(exp.Date, exp.TsOrDsToDate)
def _date(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    value = binder.value(syntax["this"], scope)
    return cast(value, DATE)


@binds(exp.DateFromParts)
def _make_date(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    parts = [binder.value(syntax[key], scope) for key in ("year", "month", "day")]
    return call("make_date", *parts)


@binds(exp.TimestampFromParts)
def _make_timestamp(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    keys = ("year", "month", "day", "hour", "min", "sec")
    return call("make_timestamp", *(binder.value(syntax[key], scope) for key in keys))


@binds(exp.AtTimeZone)
def _at_time_zone(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    value, zone = moment(binder.value(syntax["this"], scope)), syntax["zone"]
    name = cast(binder.value(zone, scope), STRING)
    if value.dtype.tz is None:
        return call("at_time_zone", value, name)
    return call("local_time", call("convert_time_zone", value, name))


@binds(exp.CurrentDate, exp.CurrentTimestamp, exp.CurrentTime)
def _now(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    raise PlanError(
        "the current date and time are not part of a plan, which gives the same answer each time",
        hint="write the date: DATE '2020-12-31'",
    )

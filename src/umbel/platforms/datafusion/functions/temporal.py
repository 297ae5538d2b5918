"""Forms on DataFusion of the catalogue's theme temporal.

DataFusion counts in nanoseconds where it cuts and moves times, so that it fails outside the years
1677 to 2262; a CASE hands such rows to the reference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Literal
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.functions.temporal import CLOCK_UNITS, months_of
from umbel.plan.types import FLOAT64, INT64
from umbel.platforms.datafusion.casts import cast
from umbel.platforms.datafusion.functions.arithmetic import ticks
from umbel.platforms.datafusion.functions.calls import Call, fallback, text
from umbel.platforms.datafusion.operators import snippet
from umbel.platforms.datafusion.types import convert, literal
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: Microseconds of 1700 and 2200, between which nanoseconds have room for all that is done here.
_FROM, _TO = -8_520_336_000_000_000, 7_258_118_400_000_000
#: Months that a date may be moved there, so that it stays where nanoseconds reach.
_MOST_MONTHS = 240


def _field(name: str) -> Form[exp.Expr]:
    """A part of a date or time; of one with a zone as a clock in that zone shows it."""
    return Form(lambda call: convert(_part(name, call.arguments[0]), INT64))


def _part(name: str, node: exp.Expr) -> exp.Expr:
    return function("date_part", text(name), node)


def _below_second(template: str) -> Form[exp.Expr]:
    """A part of what is below a second, which is the same in every zone."""

    def build(call: Call) -> exp.Expr:
        if getattr(call.types[0], "unit", "us") != "us":
            return call.fallback()
        return snippet(template, n=convert(call.arguments[0], INT64))

    return Form(build)


def _is_clock(dtype: pa.DataType) -> bool:
    """Whether values are dates, or timestamps in microseconds and without a zone."""
    return bool(pa.types.is_date(dtype)) or dtype == pa.timestamp("us")


def _near(node: exp.Expr, dtype: pa.DataType, near: exp.Expr, far: exp.Expr) -> exp.Expr:
    """Choose by whether a time is one that nanoseconds can tell."""
    scale = 86_400_000_000 if pa.types.is_date(dtype) else 1
    count = (
        convert(convert(node.copy(), pa.int32()), INT64)
        if scale > 1
        else convert(node.copy(), INT64)
    )
    return snippet(
        f"CASE WHEN n BETWEEN {_FROM // scale} AND {_TO // scale} THEN near ELSE far END",
        n=count,
        near=near,
        far=far,
    )


def _date_trunc(call: Call) -> exp.Expr:
    unit, dtype = call.constant(0), call.types[1]
    if not _is_clock(dtype) or unit in ("millisecond", "microsecond"):
        return call.fallback()
    if pa.types.is_date(dtype) and unit in CLOCK_UNITS:
        return call.arguments[1]
    node = call.arguments[1]
    clock = convert(node, pa.timestamp("us")) if pa.types.is_date(dtype) else node
    cut = convert(function("date_trunc", text(unit), clock), call.dtype)
    return _near(node, dtype, cut, call.fallback())


def _date_add(call: Call) -> exp.Expr:
    unit, dtype, count = call.constant(0), call.types[1], call.nodes[2]
    months = months_of(unit)
    node = call.arguments[1]
    if not (_is_clock(dtype) and isinstance(count, Literal) and count.value is not None):
        return call.fallback()
    step = months or {"week": 7, "day": 1}.get(unit, 0)
    moved = step * count.value
    if step == 0 or abs(moved) > _MOST_MONTHS:
        return call.fallback()
    name = "months" if months else "days"
    interval = function(
        "arrow_cast", exp.Literal.string(f"{moved} {name}"), text("Interval(MonthDayNano)")
    )
    return _near(
        node, dtype, convert(snippet("x + i", x=node, i=interval), call.dtype), call.fallback()
    )


def _date_diff(call: Call) -> exp.Expr:
    if call.constant(0) != "day" or not all(map(pa.types.is_date, call.types[1:])):
        return call.fallback()
    first, last = (convert(convert(call.arguments[i], pa.int32()), INT64) for i in (1, 2))
    return snippet("b - a", a=first, b=last)


def _epoch_us(call: Call) -> exp.Expr:
    if getattr(call.types[0], "unit", "us") == "ns":
        return call.fallback()
    return ticks(call.arguments[0], call.types[0])


def _epoch(call: Call) -> exp.Expr:
    if getattr(call.types[0], "unit", "us") == "ns":
        return call.fallback()
    micros = convert(ticks(call.arguments[0], call.types[0]), FLOAT64)
    return snippet("n / d", n=micros, d=literal(1e6, FLOAT64))


def _to_date(call: Call) -> exp.Expr:
    dtype = call.types[0]
    if pa.types.is_date(dtype):
        return call.arguments[0]
    return cast(call.arguments[0], dtype, call.dtype) if _is_clock(dtype) else call.fallback()


def _leap_year(call: Call) -> exp.Expr:
    return snippet(
        "y % 4 = 0 AND (y % 100 <> 0 OR y % 400 = 0)", y=_part("year", call.arguments[0])
    )


def _local_time(call: Call) -> exp.Expr:
    return call.arguments[0] if call.types[0] == call.dtype else call.fallback()


FORMS: dict[str, Form[Any] | Absent] = {
    "year": _field("year"),
    "quarter": _field("quarter"),
    "month": _field("month"),
    "week": _field("week"),
    "iso_year": _field("isoyear"),
    "day": _field("day"),
    "weekday": Form(
        lambda call: snippet(
            "CASE WHEN d = 0 THEN 7 ELSE d END",
            d=convert(_part("dow", call.arguments[0]), INT64),
        )
    ),
    "day_of_year": _field("doy"),
    "hour": _field("hour"),
    "minute": _field("minute"),
    "second": _field("second"),
    "millisecond": _below_second("((n % 1000000) + 1000000) % 1000000 / 1000"),
    "microsecond": _below_second("((n % 1000000) + 1000000) % 1000000"),
    "date_trunc": Form(_date_trunc),
    "date_add": Form(_date_add),
    "date_diff": Form(_date_diff),
    "make_date": Form(fallback),
    "make_timestamp": Form(fallback),
    "strftime": Form(fallback),
    "strptime": Form(fallback),
    "try_strptime": Form(fallback),
    "epoch": Form(_epoch),
    "epoch_us": Form(_epoch_us),
    "from_epoch": Form(fallback),
    "from_epoch_us": Form(fallback),
    "to_date": Form(_to_date),
    "last_day": Form(fallback),
    "days_in_month": Form(fallback),
    "is_leap_year": Form(_leap_year),
    "local_time": Form(_local_time),
    "convert_time_zone": Form(fallback),
    "at_time_zone": Form(fallback),
}

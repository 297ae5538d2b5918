"""Forms on DataFusion of the catalogue's aggregates, over groups and over windows alike.

DataFusion's sums of integers wrap around, so the upper and the lower halves of 64 bits are summed
apart, and put together once a group. Sums of long decimals are kept in 256 bits.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import AggregateCall, Frame, WindowCall
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.types import FLOAT64, INT64, STRING, is_decimal, is_float, is_integer
from umbel.platforms.datafusion.casts import cast
from umbel.platforms.datafusion.functions.calls import Call, cast_all
from umbel.platforms.datafusion.operators import key, snippet
from umbel.platforms.datafusion.types import convert, literal
from umbel.platforms.refusal import REFUSE_NTH, REFUSE_SEPARATOR
from umbel.sql.expressions import function
from umbel.sql.nodes import number

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: A sum of fewer digits cannot leave 38 digits with any number of rows that a machine holds.
_SAFE_DIGITS = 26
_WIDE = 66
_WHOLE = pa.decimal128(38, 0)

#: What stands over a frame that loses rows as it moves on; the others only ever take rows in.
_SLIDING = frozenset({"sum", "mean", "count", "len", "min", "max", "first", "last", "nth"})
#: Aggregates of groups only: they sort their rows by something else than the window does.
_GROUPS_ONLY = frozenset(
    {"min_by", "max_by", "n_unique", "first_non_null", "last_non_null", "median", "quantile",
     "any_value", "correlation", "join_strings", "list"}
)  # fmt: skip
#: What may have DISTINCT.
_DISTINCT = frozenset({"sum", "mean", "count", "n_unique", "min", "max", "any", "all", "len"})


def refuse_aggregate(call: AggregateCall) -> str | None:
    """Say why an aggregate cannot have DISTINCT; None if it can."""
    if call.distinct and call.function not in _DISTINCT:
        return f"function {call.function!r}: DataFusion has it without DISTINCT only"
    return None


def refuse_window(call: WindowCall, types: Sequence[pa.DataType], *, aggregate: bool) -> str | None:
    """Say why an aggregate cannot stand over a window; None if it can."""
    name = call.function
    if not aggregate:
        return None
    if name in _GROUPS_ONLY:
        return f"function {name!r}: DataFusion has it for groups only, not over windows"
    frame = call.frame or Frame("range", None, 0 if call.order_by else None)
    if frame.start is None and frame.end is None:
        return None
    # A frame that begins with the first row loses rows too: where the rows come in the opposite
    # order, DataFusion turns the frame round instead of sorting.
    if name not in _SLIDING:
        return f"function {name!r}: DataFusion has it over whole partitions only"
    if name in ("sum", "mean") and is_float(types[0]):
        return (
            f"function {name!r}: DataFusion takes floats out of a sum again, which a NaN stays in"
        )
    return None


def _simple(name: str) -> Form[exp.Expr]:
    """DataFusion's function of that name, which gives the catalogue's type."""
    return Form(lambda call: call.wrap(function(name, *call.arguments)))


def _over_floats(name: str) -> Form[exp.Expr]:
    return Form(lambda call: call.wrap(function(name, *cast_all(call, FLOAT64))))


def _where(node: exp.Expr, condition: exp.Expr) -> exp.Expr:
    """Add a condition to an aggregate's FILTER."""
    if isinstance(node, exp.Filter):
        where = node.expression
        where.set("this", exp.and_(where.this, condition, copy=False))
        return node
    return exp.Filter(this=node, expression=exp.Where(this=condition))


def _present(node: exp.Expr, value: exp.Expr) -> exp.Expr:
    """Add to an aggregate's FILTER that a value is not null."""
    return _where(node, snippet("x IS NOT NULL", x=value.copy()))


def _exact_total(call: Call) -> exp.Expr:
    """The sum of integers or decimals, as a decimal or an int64 that it surely fits into."""
    node, dtype = call.arguments[0], call.types[0]
    if is_decimal(dtype):
        if dtype.precision <= _SAFE_DIGITS:
            return call.wrap(function("sum", node))
        wide = convert(node, pa.decimal256(_WIDE, dtype.scale))
        return call.wrap(function("sum", wide))
    if pa.types.is_boolean(dtype) or (is_integer(dtype) and dtype.bit_width <= 32):
        return call.wrap(function("sum", convert(node, INT64)))
    if dtype != INT64 or call.distinct:
        return call.wrap(function("sum", convert(node, pa.decimal128(20, 0))))
    upper = call.wrap(function("sum", snippet("x >> 32", x=node.copy())))
    lower = call.wrap(function("sum", snippet("x & 4294967295", x=node.copy())))
    return snippet("u * 4294967296 + l", u=convert(upper, _WHOLE), l=lower)


def _sum(call: Call) -> exp.Expr:
    if is_float(call.dtype):
        return call.wrap(function("sum", _addend(call)))
    return convert(_exact_total(call), call.dtype)


def _addend(call: Call) -> exp.Expr:
    """A float to be added; DISTINCT takes equal ones for one."""
    value = cast_all(call, FLOAT64)[0]
    return key(value, FLOAT64) if call.distinct else value


def _mean(call: Call) -> exp.Expr:
    dtype = call.types[0]
    if is_float(dtype):
        return call.wrap(function("avg", _addend(call)))
    exact = pa.decimal128(38, dtype.scale) if is_decimal(dtype) else _WHOLE
    total = convert(_exact_total(call), exact)
    return snippet(
        "t / nullif(n, 0)",
        t=cast(total, exact, FLOAT64),
        n=convert(call.wrap(function("count", call.arguments[0].copy())), FLOAT64),
    )


def _extreme(name: str, of_booleans: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        node, dtype = call.arguments[0], call.types[0]
        if call.window:
            return call.wrap(function(name, key(node, dtype)))
        if pa.types.is_boolean(dtype):
            return call.wrap(function(of_booleans, node))
        if is_float(dtype):
            return _extreme_float(call, name, node, dtype)
        return call.wrap(function(name, node))

    return Form(build)


def _extreme_float(call: Call, name: str, value: exp.Expr, dtype: pa.DataType) -> exp.Expr:
    """The least or greatest float of a group.

    DataFusion begins with the greatest (or least) finite one, so that it finds no infinite one,
    and does not find its way past a NaN.
    """
    sign = 1.0 if name == "min" else -1.0
    infinity, nan = literal(sign * math.inf, dtype), literal(math.nan, dtype)

    def holds(test: exp.Expr) -> exp.Expr:
        return call.wrap(function("bool_or", test))

    finite = call.wrap(function(name, value.copy()))
    inside = "abs(x) < top OR x = other"
    top, other = literal(math.inf, dtype), literal(-sign * math.inf, dtype)
    finite = _where(finite, snippet(inside, x=value.copy(), top=top, other=other))
    infinite = holds(snippet("x = i", x=value.copy(), i=infinity.copy()))
    undefined = holds(function("isnan", value.copy()))
    template = """CASE WHEN f IS NOT NULL THEN f WHEN i THEN infinity WHEN n THEN nan END"""
    if name == "max":
        template = """CASE WHEN n THEN nan WHEN f IS NOT NULL THEN f WHEN i THEN infinity END"""
    return snippet(template, f=finite, i=infinite, n=undefined, infinity=infinity, nan=nan)


def _by(*, descending: bool) -> Form[exp.Expr]:
    """The value beside the least or greatest one: the first when sorted."""

    def build(call: Call) -> exp.Expr:
        value, by = call.arguments
        term = exp.Ordered(this=key(by, call.types[1]), desc=descending, nulls_first=False)
        first = function("first_value", exp.Order(this=value, expressions=[term]))
        return _present(call.wrap(first), by)

    return Form(build)


def _count(call: Call) -> exp.Expr:
    node = call.arguments[0]
    return call.wrap(function("count", key(node, call.types[0]) if call.distinct else node))


def _distinct_count(call: Call) -> exp.Expr:
    value = key(call.arguments[0], call.types[0])
    return call.wrap(function("count", exp.Distinct(expressions=[value])))


def _edge_of_present(name: str) -> Form[exp.Expr]:
    return Form(
        lambda call: _present(call.wrap(function(name, call.arguments[0])), call.arguments[0])
    )


def _nth(call: Call) -> exp.Expr:
    return call.wrap(function("nth_value", call.arguments[0], number(int(call.constant(1)))))


def _median(call: Call) -> exp.Expr:
    return call.wrap(function("median", key(cast_all(call, FLOAT64)[0], FLOAT64)))


def _population(name: str) -> Form[exp.Expr]:
    """Of a single value the moment is zero, also if that is infinite."""

    def build(call: Call) -> exp.Expr:
        return snippet(
            "CASE WHEN n = 1 THEN z ELSE m END",
            n=call.wrap(function("count", call.arguments[0].copy())),
            z=literal(0.0, FLOAT64),
            m=call.wrap(function(name, *cast_all(call, FLOAT64))),
        )

    return Form(build)


def _correlation(call: Call) -> exp.Expr:
    """DataFusion gives something near NaN where a side is constant but for rounding."""
    x, y = cast_all(call, FLOAT64)

    def extreme(name: str, value: exp.Expr, other: exp.Expr) -> exp.Expr:
        paired = snippet("CASE WHEN o IS NOT NULL THEN v END", o=other.copy(), v=value.copy())
        return _extreme_float(call, name, paired, FLOAT64)

    return snippet(
        "CASE WHEN a < b AND c < d THEN coalesce(r, nan) END",
        a=extreme("min", x, y),
        b=extreme("max", x, y),
        c=extreme("min", y, x),
        d=extreme("max", y, x),
        r=call.wrap(function("corr", x, y)),
        nan=literal(math.nan, FLOAT64),  # of which DataFusion makes null
    )


def _join_strings(call: Call) -> exp.Expr:
    return convert(call.wrap(function("string_agg", *call.arguments)), STRING)


_NOT_SO = "DataFusion interpolates otherwise"

FORMS: dict[str, Form[Any] | Absent] = {
    "sum": Form(_sum),
    "mean": Form(_mean),
    "product": Absent("DataFusion has no product of all values"),
    "min": _extreme("min", "bool_and"),
    "max": _extreme("max", "bool_or"),
    "min_by": _by(descending=False),
    "max_by": _by(descending=True),
    "count": Form(_count),
    "len": Form(lambda call: call.wrap(exp.Count(this=exp.Star()))),
    "n_unique": Form(_distinct_count),
    "any_value": _edge_of_present("first_value"),
    "first": _simple("first_value"),
    "last": _simple("last_value"),
    "first_non_null": _edge_of_present("first_value"),
    "last_non_null": _edge_of_present("last_value"),
    "nth": Form(_nth, REFUSE_NTH),
    "median": Form(_median),
    "quantile": Absent(_NOT_SO),
    "quantile_discrete": Absent("DataFusion has interpolated quantiles only"),
    "var_sample": _over_floats("var_samp"),
    "std_sample": _over_floats("stddev_samp"),
    "var_population": _population("var_pop"),
    "std_population": _population("stddev_pop"),
    "covariance_sample": _over_floats("covar_samp"),
    "covariance_population": _over_floats("covar_pop"),
    "correlation": Form(_correlation),
    "any": _simple("bool_or"),
    "all": _simple("bool_and"),
    "bit_and": _simple("bit_and"),
    "bit_or": _simple("bit_or"),
    "bit_xor": _simple("bit_xor"),
    "join_strings": Form(_join_strings, REFUSE_SEPARATOR),
    "list": _simple("array_agg"),
}

"""Forms on PostgreSQL of the catalogue's aggregates, over groups and over windows alike.

Over a window PostgreSQL takes neither DISTINCT nor ORDER BY inside an aggregate, nor those that sort
their rows; `refuse_over_window` names them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Expression
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.types import FLOAT64, INT64, is_decimal, is_float, is_integer, is_list
from umbel.platforms.postgres.casts import cast
from umbel.platforms.postgres.functions.calls import Call
from umbel.platforms.postgres.functions.comparison import ordered
from umbel.platforms.postgres.snippets import snippet
from umbel.platforms.postgres.types import convert, literal, type_text
from umbel.platforms.refusal import REFUSE_FRACTION, REFUSE_SEPARATOR, refuse_constant
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: Aggregates that cannot stand over a window, or only by sorting each frame.
_NOT_OVER_WINDOWS = frozenset(
    {"min_by", "max_by", "n_unique", "first_non_null", "last_non_null", "median", "quantile",
     "quantile_discrete"}
)  # fmt: skip
#: Aggregates that sort by themselves, and take no DISTINCT.
_NOT_DISTINCT = frozenset({"median", "quantile", "quantile_discrete", "min_by", "max_by", "nth",
                           "first", "last", "first_non_null", "last_non_null"})  # fmt: skip


def refuse_over_window(name: str) -> str | None:
    """Say why an aggregate cannot stand over a window; None if it can."""
    if name in _NOT_OVER_WINDOWS:
        return f"function {name!r}: PostgreSQL has it for groups only, not over windows"
    return None


def refuse_modifiers(name: str, *, distinct: bool, order: bool) -> str | None:
    """Say why an aggregate cannot have DISTINCT or ORDER BY; None if it can."""
    if distinct and (name in _NOT_DISTINCT or order):
        return f"function {name!r}: PostgreSQL sorts its rows otherwise than DISTINCT does"
    return None


def _simple(name: str) -> Form[exp.Expr]:
    """PostgreSQL's function of that name, which gives the catalogue's type."""
    return Form(lambda call: call.wrap(function(name, *call.arguments)))


def _over_floats(name: str) -> Form[exp.Expr]:
    return Form(lambda call: call.wrap(function(name, *_doubles(call))))


def _population(name: str) -> Form[exp.Expr]:
    """Of a single value the moment is zero, also if that is infinite."""

    def build(call: Call) -> exp.Expr:
        count = call.wrap(function("count", call.arguments[0].copy()))
        moment = call.wrap(function(name, *_doubles(call)))
        return snippet(
            "CASE WHEN n = 1 THEN CAST(0 AS DOUBLE PRECISION) ELSE m END", n=count, m=moment
        )

    return Form(build)


def _doubles(call: Call) -> list[exp.Expr]:
    return [
        cast(argument, dtype, FLOAT64)
        for argument, dtype in zip(call.arguments, call.types, strict=True)
    ]


def _number(call: Call) -> exp.Expr:
    """The first argument; booleans and integers as BIGINT, floats as DOUBLE PRECISION."""
    node, dtype = call.arguments[0], call.types[0]
    if pa.types.is_boolean(dtype) or is_integer(dtype):
        return cast(node, dtype, INT64)
    return cast(node, dtype, FLOAT64) if is_float(dtype) else node


def _sum(call: Call) -> exp.Expr:
    total = call.wrap(function("sum", _number(call)))
    # The server adds integers as decimals of any length: only the total may not fit.
    return total if is_float(call.dtype) else convert(total, type_text(call.dtype))


def _mean(call: Call) -> exp.Expr:
    if is_float(call.types[0]):
        return call.wrap(function("avg", _number(call)))
    total = call.wrap(function("sum", _number(call)))
    count = call.wrap(function("count", call.arguments[0].copy()))
    if is_decimal(call.types[0]):
        total = convert(total, f"NUMERIC(38, {call.types[0].scale})")
    return snippet(
        "CAST(t AS DOUBLE PRECISION) / nullif(CAST(n AS DOUBLE PRECISION), 0)", t=total, n=count
    )


def _extreme(name: str, of_booleans: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        node, dtype = call.arguments[0], call.types[0]
        if pa.types.is_boolean(dtype):
            return call.wrap(function(of_booleans, node))
        if pa.types.is_null(dtype):
            return call.wrap(function(name, convert(node, "TEXT")))
        return call.wrap(function(name, ordered(node, dtype)))

    return Form(build, _refuse_bytes)


def _refuse_bytes(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    if pa.types.is_binary(types[0]):
        return "PostgreSQL before 18 finds no least and greatest bytes"
    return _refuse_lists(nodes, types)


def _refuse_lists(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    if any(is_list(dtype) or pa.types.is_null(dtype) for dtype in types[:1]):
        return "PostgreSQL gathers no arrays in arrays"
    if pa.types.is_duration(types[0]):
        return "PostgreSQL gives arrays of durations no Arrow form"
    return None


def _by(direction: str) -> Form[exp.Expr]:
    """The value beside the least or greatest one: the first when sorted."""

    def build(call: Call) -> exp.Expr:
        value, key = call.arguments
        order = exp.Ordered(
            this=ordered(key, call.types[1]), desc=direction == "DESC", nulls_first=False
        )
        gathered = call.wrap(function("array_agg", exp.Order(this=value, expressions=[order])))
        return _item(_where_present(gathered, key), exp.Literal.number(1))

    return Form(build, _refuse_lists)


def _where_present(node: exp.Expr, value: exp.Expr) -> exp.Expr:
    """Add to an aggregate's FILTER that a value is not null."""
    present = snippet("NOT x IS NULL", x=value.copy())
    if isinstance(node, exp.Filter):
        where = node.expression
        where.set("this", exp.and_(where.this, present, copy=False))
        return node
    return exp.Filter(this=node, expression=exp.Where(this=present))


def _item(items: exp.Expr, number: exp.Expr) -> exp.Expr:
    return exp.Bracket(this=exp.Paren(this=items), expressions=[number], offset=1)


def _last_item(items: exp.Expr) -> exp.Expr:
    # PostgreSQL computes equal aggregates once.
    return _item(items, function("cardinality", items.copy()))


def _gathered(call: Call) -> exp.Expr:
    return call.wrap(function("array_agg", call.arguments[0]))


def _first(call: Call) -> exp.Expr:
    if call.window:
        return call.wrap(function("first_value", call.arguments[0]))
    return _item(_gathered(call), exp.Literal.number(1))


def _last(call: Call) -> exp.Expr:
    if call.window:
        return call.wrap(function("last_value", call.arguments[0]))
    return _last_item(_gathered(call))


def _first_non_null(call: Call) -> exp.Expr:
    return _item(_where_present(_gathered(call), call.arguments[0]), exp.Literal.number(1))


def _last_non_null(call: Call) -> exp.Expr:
    return _last_item(_where_present(_gathered(call), call.arguments[0]))


def _nth(call: Call) -> exp.Expr:
    n = exp.Literal.number(call.constant(1))
    if call.window:
        return call.wrap(function("nth_value", call.arguments[0], n))
    return _item(_gathered(call), n)


def _refuse_nth(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    return _REFUSE_FAR(nodes, types) or _refuse_lists(nodes, types)


_REFUSE_FAR = refuse_constant(
    1, lambda n: 0 < n < 2**31, "rows are counted from 1, to 2**31 at most"
)


def _quantile(name: str, fraction: Callable[[Call], float], *, floats: bool) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        value = _doubles(call)[0] if floats else ordered(call.arguments[0], call.types[0])
        order = exp.Order(expressions=[exp.Ordered(this=value, desc=False, nulls_first=False)])
        # The server multiplies by the number of rows and rounds up: a product that is a whole
        # number but for its last bit must not count as more.
        part = float(fraction(call)) * (1.0 if floats else 1 - 1e-14)
        within = exp.WithinGroup(this=function(name, literal(part, FLOAT64)), expression=order)
        return call.wrap(within)

    return Form(build, _refuse_interpolation if floats else REFUSE_FRACTION)


def _refuse_interpolation(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    if is_float(types[0]):
        return "PostgreSQL interpolates beside infinite values otherwise"
    return REFUSE_FRACTION(nodes, types)


def _correlation(call: Call) -> exp.Expr:
    """PostgreSQL gives something near NaN where a side is constant but for rounding."""
    x, y = _doubles(call)

    def extreme(name: str, value: exp.Expr, other: exp.Expr) -> exp.Expr:
        paired = snippet("CASE WHEN NOT o IS NULL THEN v END", o=other.copy(), v=value.copy())
        return call.wrap(function(name, paired))

    return snippet(
        "CASE WHEN a < b AND c < d THEN r END",
        a=extreme("min", x, y),
        b=extreme("max", x, y),
        c=extreme("min", y, x),
        d=extreme("max", y, x),
        r=call.wrap(function("corr", x, y)),
    )


def _join_strings(call: Call) -> exp.Expr:
    return call.wrap(function("string_agg", *call.arguments))


FORMS: dict[str, Form[Any] | Absent] = {
    "sum": Form(_sum),
    "mean": Form(_mean),
    "product": Absent("PostgreSQL has no product of all values"),
    "min": _extreme("min", "bool_and"),
    "max": _extreme("max", "bool_or"),
    "min_by": _by("ASC"),
    "max_by": _by("DESC"),
    "count": _simple("count"),
    "len": Form(lambda call: call.wrap(exp.Count(this=exp.Star()))),
    "n_unique": Form(
        lambda call: call.wrap(function("count", exp.Distinct(expressions=[call.arguments[0]])))
    ),
    "any_value": _extreme("min", "bool_and"),
    "first": Form(_first, _refuse_lists),
    "last": Form(_last, _refuse_lists),
    "first_non_null": Form(_first_non_null, _refuse_lists),
    "last_non_null": Form(_last_non_null, _refuse_lists),
    "nth": Form(_nth, _refuse_nth),
    "median": _quantile("percentile_cont", lambda call: 0.5, floats=True),
    "quantile": _quantile("percentile_cont", lambda call: call.constant(1), floats=True),
    "quantile_discrete": _quantile("percentile_disc", lambda call: call.constant(1), floats=False),
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
    "list": Form(_gathered, _refuse_lists),
}

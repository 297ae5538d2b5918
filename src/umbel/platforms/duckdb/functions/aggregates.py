"""Forms on DuckDB of the catalogue's aggregates, over groups and over windows alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Expression
from umbel.plan.functions.forms import Absent, Form, TypedCall
from umbel.plan.types import FLOAT64, INT64, is_decimal
from umbel.platforms.refusal import REFUSE_FRACTION, REFUSE_NTH, REFUSE_SEPARATOR
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


Call: TypeAlias = "TypedCall[exp.Expr]"

#: A sum of fewer digits cannot leave 38 digits with any number of rows that a machine holds.
_SAFE_DIGITS = 26


def _simple(name: str) -> Form[exp.Expr]:
    """DuckDB's function of that name, which gives the catalogue's type."""
    return Form(lambda call: call.wrap(function(name, *call.arguments)))


def _over_floats(name: str) -> Form[exp.Expr]:
    """DuckDB's function of that name, over doubles."""

    def build(call: Call) -> exp.Expr:
        return call.wrap(function(name, *_doubles(call)))

    return Form(build)


def _doubles(call: Call) -> list[exp.Expr]:
    return [
        argument if dtype == FLOAT64 else exp.cast(argument, "double")
        for argument, dtype in zip(call.arguments, call.types, strict=True)
    ]


def _number(call: Call) -> exp.Expr:
    """The first argument, booleans as integers."""
    boolean = pa.types.is_boolean(call.types[0])
    return exp.cast(call.arguments[0], "int") if boolean else call.arguments[0]


def _sum(call: Call) -> exp.Expr:
    total = call.wrap(function("sum", _number(call)))
    if call.dtype == INT64:
        return exp.cast(total, "bigint")  # from hugeint, so no partial sum overflows
    if is_decimal(call.dtype) and call.types[0].precision > _SAFE_DIGITS:
        return _within_digits(total, call.dtype)
    return total


def _within_digits(total: exp.Expr, dtype: pa.DataType) -> exp.Expr:
    """DuckDB lets a sum of decimals grow to 127 bits, which are more than 38 digits."""
    greatest = "9" * (38 - dtype.scale) + ("." + "9" * dtype.scale if dtype.scale else "")
    limits = [
        exp.cast(exp.Literal.string(sign + greatest), f"decimal(38, {dtype.scale})")
        for sign in ("-", "")
    ]
    message = exp.Literal.string(f"the sum does not fit into decimal(38,{dtype.scale})")
    inside = exp.Between(this=total.copy(), low=limits[0], high=limits[1])
    return (
        exp.Case()
        .when(exp.Not(this=exp.Paren(this=inside)), function("error", message), copy=False)
        .else_(total, copy=False)
    )


def _count_rows(call: Call) -> exp.Expr:
    return call.wrap(exp.Count(this=exp.Star()))


def _distinct_count(call: Call) -> exp.Expr:
    return call.wrap(function("count", exp.Distinct(expressions=[call.arguments[0]])))


def _edge(of_group: str, of_window: str) -> Form[exp.Expr]:
    """The first or last row; DuckDB has own functions for windows, which are faster."""

    def build(call: Call) -> exp.Expr:
        if call.window:
            return call.wrap(getattr(exp, of_window)(this=call.arguments[0]))
        return call.wrap(function(of_group, call.arguments[0]))

    return Form(build)


def _non_null_edge(of_group: str, of_window: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        value = call.arguments[0]
        if call.window:
            return call.wrap(exp.IgnoreNulls(this=getattr(exp, of_window)(this=value)))
        present = exp.Not(this=exp.Is(this=value.copy(), expression=exp.Null()))
        node = call.wrap(function(of_group, value))
        if isinstance(node, exp.Filter):
            where = node.expression
            where.set("this", exp.and_(where.this, present, copy=False))
            return node
        return exp.Filter(this=node, expression=exp.Where(this=present))

    return Form(build)


def _nth(call: Call) -> exp.Expr:
    n = exp.Literal.number(call.constant(1))
    if call.window:
        return call.wrap(function("nth_value", call.arguments[0], n))
    return function("list_extract", call.wrap(function("list", call.arguments[0])), n)


def _median(call: Call) -> exp.Expr:
    return call.wrap(function("median", *_doubles(call)))


def _quantile(name: str, *, floats: bool) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        value = _doubles(call)[0] if floats else call.arguments[0]
        fraction = exp.cast(exp.Literal.number(repr(float(call.constant(1)))), "double")
        return call.wrap(function(name, value, fraction))

    return Form(build, REFUSE_FRACTION)


def _correlation(call: Call) -> exp.Expr:
    """DuckDB gives NaN where a side is constant, or something near by rounding."""
    x, y = _doubles(call)
    spread: list[exp.Expr] = []
    for value, other in ((x, y), (y, x)):
        present = exp.Not(this=exp.Is(this=other.copy(), expression=exp.Null()))

        def extreme(name: str, value: exp.Expr = value, present: exp.Expr = present) -> exp.Expr:
            paired = exp.Case().when(present.copy(), value.copy(), copy=False)
            return call.wrap(function(name, paired))

        spread.append(exp.LT(this=extreme("min"), expression=extreme("max")))
    return exp.Case().when(
        exp.and_(*spread, copy=False), call.wrap(function("corr", x, y)), copy=False
    )


def _join_strings(call: Call) -> exp.Expr:
    return call.wrap(function("string_agg", *call.arguments))


def _refuse_durations(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    if pa.types.is_duration(types[0]):
        return "DuckDB hands out lists of intervals in a form that is no duration"
    return None


def _form(build: Callable[[Call], exp.Expr]) -> Form[exp.Expr]:
    return Form(build)


FORMS: dict[str, Form[Any] | Absent] = {
    "sum": _form(_sum),
    "mean": _form(lambda call: call.wrap(function("avg", _number(call)))),
    "product": _over_floats("product"),
    "min": _simple("min"),
    "max": _simple("max"),
    "min_by": _simple("arg_min_null"),
    "max_by": _simple("arg_max_null"),
    "count": _simple("count"),
    "len": _form(_count_rows),
    "n_unique": _form(_distinct_count),
    "any_value": _simple("any_value"),
    "first": _edge("first", "FirstValue"),
    "last": _edge("last", "LastValue"),
    "first_non_null": _non_null_edge("first", "FirstValue"),
    "last_non_null": _non_null_edge("last", "LastValue"),
    "nth": Form(_nth, REFUSE_NTH),
    "median": _form(_median),
    "quantile": _quantile("quantile_cont", floats=True),
    "quantile_discrete": _quantile("quantile_disc", floats=False),
    "var_sample": _over_floats("var_samp"),
    "std_sample": _over_floats("stddev_samp"),
    "var_population": _over_floats("var_pop"),
    "std_population": _over_floats("stddev_pop"),
    "covariance_sample": _over_floats("covar_samp"),
    "covariance_population": _over_floats("covar_pop"),
    "correlation": _form(_correlation),
    "any": _simple("bool_or"),
    "all": _simple("bool_and"),
    "bit_and": _simple("bit_and"),
    "bit_or": _simple("bit_or"),
    "bit_xor": _simple("bit_xor"),
    "join_strings": Form(_join_strings, REFUSE_SEPARATOR),
    "list": Form(_simple("list").build, _refuse_durations),
}

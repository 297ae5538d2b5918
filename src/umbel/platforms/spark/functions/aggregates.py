"""Forms on Spark of the catalogue's aggregates, over groups and over windows alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Expression, Literal
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.types import INT64, is_decimal, is_float, is_integer
from umbel.platforms.spark.functions.snippets import Call, snippet, text, typed
from umbel.platforms.spark.types import convert, literal, type_text
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


def _simple(name: str) -> Form[exp.Expr]:
    """Spark's function of that name."""
    return Form(lambda call: typed(call, call.wrap(function(name, *call.arguments))))


def _doubles(call: Call) -> list[exp.Expr]:
    return [
        convert(convert(argument, "INT") if pa.types.is_boolean(dtype) else argument, "DOUBLE")
        for argument, dtype in zip(call.arguments, call.types, strict=True)
    ]


def _exact_sum(call: Call) -> exp.Expr:
    """The sum of exact numbers as a decimal, in which no sum of some of the rows overflows."""
    argument, dtype = call.arguments[0], call.types[0]
    if not is_decimal(dtype):
        argument = convert(argument, "DECIMAL(20, 0)")
    return call.wrap(function("sum", argument))


def _sum(call: Call) -> exp.Expr:
    if is_float(call.dtype):
        return call.wrap(function("sum", *_doubles(call)))
    if call.dtype == INT64 and not _is_wide(call.types[0]):
        return call.wrap(function("sum", convert(call.arguments[0], "BIGINT")))
    return typed(call, _exact_sum(call))


def _is_wide(dtype: pa.DataType) -> bool:
    """Whether so many values as a machine holds could overflow a BIGINT."""
    return bool(is_integer(dtype) and dtype.bit_width == 64)


def _mean(call: Call) -> exp.Expr:
    if is_float(call.types[0]):
        return call.wrap(function("avg", *_doubles(call)))
    return snippet(
        "CAST(total AS DOUBLE) / nullif(n, 0)",
        total=_exact_sum(call),
        n=call.wrap(function("count", call.arguments[0].copy())),
    )


def _count_rows(call: Call) -> exp.Expr:
    return call.wrap(exp.Count(this=exp.Star()))


def _distinct_count(call: Call) -> exp.Expr:
    return call.wrap(function("count", exp.Distinct(expressions=[call.arguments[0]])))


def _edge(name: str, *, nulls: bool) -> Form[exp.Expr]:
    """The first or last row."""

    def build(call: Call) -> exp.Expr:
        arguments = [call.arguments[0]] if nulls else [call.arguments[0], exp.true()]
        return call.wrap(function(name, *arguments))

    return Form(build)


def _nth(call: Call) -> exp.Expr:
    return call.wrap(
        function("nth_value", call.arguments[0], literal(call.constant(1), pa.int32()))
    )


def _refuse_nth(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    node = nodes[1]
    if isinstance(node, Literal) and (node.value is None or node.value < 1):
        return "rows are counted from 1"
    return None


def _quantile(call: Call) -> exp.Expr:
    fraction = call.constant(1) if len(call.nodes) > 1 else 0.5
    value = _doubles(call)[0]
    return call.wrap(function("percentile", value, literal(float(fraction), pa.float64())))


def _refuse_fraction(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    node = nodes[1]
    if isinstance(node, Literal) and (node.value is None or not 0 <= node.value <= 1):
        return "the fraction lies between 0 and 1"
    return None


def _spread(name: str) -> Form[exp.Expr]:
    """A population's variance: of a single value, even one that is not finite, it is zero."""

    def build(call: Call) -> exp.Expr:
        (value,) = _doubles(call)
        return snippet(
            "CASE WHEN n = 1 THEN CAST(0 AS DOUBLE) ELSE v END",
            n=call.wrap(function("count", value.copy())),
            v=call.wrap(function(name, value)),
        )

    return Form(build)


def _over_floats(name: str) -> Form[exp.Expr]:
    return Form(lambda call: call.wrap(function(name, *_doubles(call))))


def _correlation(call: Call) -> exp.Expr:
    """Null where a side is constant, which rounding may hide."""
    x, y = _doubles(call)

    def extreme(name: str, value: exp.Expr, other: exp.Expr) -> exp.Expr:
        paired = snippet("CASE WHEN o IS NOT NULL THEN v END", o=other.copy(), v=value.copy())
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
    return call.wrap(function("listagg", *call.arguments))


def _refuse_separator(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    node = nodes[1]
    return "the separator is null" if isinstance(node, Literal) and node.value is None else None


def _list(call: Call) -> exp.Expr:
    """Spark's collect_list leaves out nulls, so each value is put in a struct."""
    boxed = function("named_struct", text("v"), call.arguments[0])
    items = call.wrap(function("collect_list", boxed))
    return convert(
        snippet("CASE WHEN size(l) > 0 THEN transform(l, s -> s.v) END", l=items),
        type_text(call.dtype),
    )


def _form(build: Callable[[Call], exp.Expr]) -> Form[exp.Expr]:
    return Form(build)


FORMS: dict[str, Form[Any] | Absent] = {
    "sum": _form(_sum),
    "mean": _form(_mean),
    "product": Absent("Spark has no product of a column"),
    "min": _simple("min"),
    "max": _simple("max"),
    "min_by": _simple("min_by"),
    "max_by": _simple("max_by"),
    "count": _simple("count"),
    "len": _form(_count_rows),
    "n_unique": _form(_distinct_count),
    "any_value": _edge("first", nulls=False),
    "first": _edge("first", nulls=True),
    "last": _edge("last", nulls=True),
    "first_non_null": _edge("first", nulls=False),
    "last_non_null": _edge("last", nulls=False),
    "nth": Form(_nth, _refuse_nth),
    "median": _form(_quantile),
    "quantile": Form(_quantile, _refuse_fraction),
    "quantile_discrete": Absent("Spark turns the values into doubles"),
    "var_sample": _over_floats("var_samp"),
    "std_sample": _over_floats("stddev_samp"),
    "var_population": _spread("var_pop"),
    "std_population": _spread("stddev_pop"),
    "covariance_sample": _over_floats("covar_samp"),
    "covariance_population": _over_floats("covar_pop"),
    "correlation": _form(_correlation),
    "any": _simple("bool_or"),
    "all": _simple("bool_and"),
    "bit_and": _simple("bit_and"),
    "bit_or": _simple("bit_or"),
    "bit_xor": _simple("bit_xor"),
    "join_strings": Form(_join_strings, _refuse_separator),
    "list": _form(_list),
}

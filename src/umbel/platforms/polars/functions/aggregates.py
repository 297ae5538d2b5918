"""Forms on Polars of the catalogue's aggregates.

The arguments come filtered, ordered and made distinct; a form only folds them. Polars is imported
when a form is built, so that asking what it refuses does not load it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.plan.expressions import Expression, Literal
from umbel.plan.functions.forms import Absent, Form, TypedCall
from umbel.plan.types import FLOAT64, INT64, is_decimal, is_float

if TYPE_CHECKING:
    import polars as pl

Call = TypedCall["pl.Expr"]
Build = Callable[[Call], "pl.Expr"]

#: A sum of fewer digits cannot leave 38 digits with any number of rows that a machine holds.
SAFE_DIGITS = 26


def widened(value: pl.Expr, dtype: pa.DataType) -> pl.Expr:
    """Cast numbers or booleans to the type in which their sums are exact or a float's."""
    import polars as pl

    if is_float(dtype):
        return value if dtype == FLOAT64 else value.cast(pl.Float64)
    if is_decimal(dtype):
        return value
    # 2^32 rows of 31 bits and a sign fit into 64 bits; Polars would wrap around silently.
    narrow = pa.types.is_boolean(dtype) or (
        dtype.bit_width < 32 or (dtype.bit_width == 32 and pa.types.is_signed_integer(dtype))
    )
    return value.cast(pl.Int64 if narrow else pl.Int128)


def narrowed(total: pl.Expr, dtype: pa.DataType) -> pl.Expr:
    """Cast a sum of `widened` values to the catalogue's type, failing if it does not fit."""
    import polars as pl

    return total.cast(pl.Int64, strict=True) if dtype == INT64 else total


def total_of(value: pl.Expr, dtype: pa.DataType) -> pl.Expr:
    """The sum of `widened` values, null for none; fails where decimals leave 38 digits."""
    import polars as pl

    total, present = value.sum(), value.count() > 0
    if is_decimal(dtype) and dtype.precision > SAFE_DIGITS:
        # Polars checks 38 digits when it adds columns, but groups wrap around 127 bits. A sum that
        # wrapped is far from its estimate; adding zero finds one of 39 digits that did not.
        estimate = value.cast(pl.Float64).sum().abs()
        message = f"the sum does not fit into decimal(38,{dtype.scale})"
        wrapped = estimate > 1.2 * 10.0 ** (38 - dtype.scale)
        present = present & pl.when(wrapped).then(pl.lit(message)).cast(pl.Int64).is_null()
        total = total + pl.lit(Decimal(0))
    return pl.when(present).then(total)


def _sum(call: Call) -> pl.Expr:
    dtype = call.types[0]
    return narrowed(total_of(widened(call.arguments[0], dtype), dtype), call.dtype)


def _mean(call: Call) -> pl.Expr:
    import polars as pl

    value, dtype = widened(call.arguments[0], call.types[0]), call.types[0]
    if is_float(dtype):
        return value.mean()
    return total_of(value, dtype).cast(pl.Float64) / value.count()


def _product(call: Call) -> pl.Expr:
    import polars as pl

    value = call.arguments[0].cast(pl.Float64)
    return pl.when(value.count() > 0).then(value.product())


def _max(call: Call) -> pl.Expr:
    value = call.arguments[0]
    return value.nan_max() if is_float(call.types[0]) else value.max()


def _by(*, descending: bool) -> Form[Any]:
    def build(call: Call) -> pl.Expr:
        value, key = call.arguments
        present = key.is_not_null()
        keys = key.filter(present)
        return value.filter(present).sort_by(keys, descending=descending).first()

    return Form(build)


def _count(call: Call) -> pl.Expr:
    import polars as pl

    return call.arguments[0].count().cast(pl.Int64)


def _count_rows(call: Call) -> pl.Expr:
    import polars as pl

    # A filtered call comes with its condition as argument.
    count = call.arguments[0].sum() if call.arguments else pl.len()
    return count.cast(pl.Int64)


def _distinct_count(call: Call) -> pl.Expr:
    import polars as pl

    value = call.arguments[0]
    return value.n_unique().cast(pl.Int64) - (value.null_count() > 0).cast(pl.Int64)


def _nth(call: Call) -> pl.Expr:
    return call.arguments[0].get(call.constant(1) - 1, null_on_oob=True)


def _refuse_nth(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    node = nodes[1]
    if isinstance(node, Literal) and (node.value is None or node.value < 1):
        return "rows are counted from 1"
    return None


def _quantile(value: pl.Expr, fraction: float) -> pl.Expr:
    import polars as pl

    # Polars' own interpolation gives NaN between an infinity and a number.
    value = value.cast(pl.Float64)
    position = (value.count().cast(pl.Float64) - 1.0) * fraction
    weight = position - position.floor()
    low, high = value.quantile(fraction, "lower"), value.quantile(fraction, "higher")
    return pl.when(weight == 0.0).then(low).otherwise(low * (1.0 - weight) + high * weight)


def _discrete_quantile(call: Call) -> pl.Expr:
    import polars as pl

    value, fraction = call.arguments[0].drop_nulls(), float(call.constant(1))
    count = value.len().cast(pl.Float64)
    rank = (count - (count - count * fraction).floor()).clip(lower_bound=1.0)
    return value.sort().get(rank.cast(pl.Int64) - 1, null_on_oob=True)


def _refuse_fraction(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    node = nodes[1]
    if isinstance(node, Literal) and (node.value is None or not 0 <= node.value <= 1):
        return "the fraction lies between 0 and 1"
    return None


def _moment(name: str, ddof: int) -> Form[Any]:
    def build(call: Call) -> pl.Expr:
        import polars as pl

        value = call.arguments[0].cast(pl.Float64)
        moment: pl.Expr = getattr(value, name)(ddof=ddof)
        if ddof:
            return moment
        # Polars gives 0.0 for a single null, and NaN for a single infinity.
        zero = pl.when(value.count() == 1).then(pl.lit(0.0))
        return pl.when(value.count() > 1).then(moment).otherwise(zero)

    return Form(build)


def _pairs(call: Call) -> tuple[pl.Expr, pl.Expr]:
    """Both arguments as floats, null wherever one of them is."""
    import polars as pl

    x, y = (argument.cast(pl.Float64) for argument in call.arguments)
    return pl.when(y.is_not_null()).then(x), pl.when(x.is_not_null()).then(y)


def _covariance(ddof: int) -> Form[Any]:
    def build(call: Call) -> pl.Expr:
        import polars as pl

        x, y = _pairs(call)
        products = ((x - x.mean()) * (y - y.mean())).sum()
        count = x.count().cast(pl.Int64)
        return pl.when(count > ddof).then(products / (count - ddof))

    return Form(build)


def _correlation(call: Call) -> pl.Expr:
    import polars as pl

    x, y = _pairs(call)
    dx, dy = x - x.mean(), y - y.mean()
    ratio = (dx * dy).sum() / ((dx * dx).sum().sqrt() * (dy * dy).sum().sqrt())
    return pl.when((x.min() < x.nan_max()) & (y.min() < y.nan_max())).then(ratio)


def _join_strings(call: Call) -> pl.Expr:
    import polars as pl

    value = call.arguments[0].drop_nulls()
    return pl.when(value.len() > 0).then(value.str.join(call.constant(1)))


def _refuse_separator(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    node = nodes[1]
    return "the separator is null" if isinstance(node, Literal) and node.value is None else None


def _list(call: Call) -> pl.Expr:
    import polars as pl

    value = call.arguments[0]
    return pl.when(value.len() > 0).then(value.implode())


def _method(fold: Callable[[pl.Expr], pl.Expr]) -> Form[Any]:
    return Form(lambda call: fold(call.arguments[0]))


def _form(build: Build) -> Form[Any]:
    return Form(build)


FORMS: dict[str, Form[Any] | Absent] = {
    "sum": _form(_sum),
    "mean": _form(_mean),
    "product": _form(_product),
    "min": _method(lambda value: value.min()),
    "max": _form(_max),
    "min_by": _by(descending=False),
    "max_by": _by(descending=True),
    "count": _form(_count),
    "len": _form(_count_rows),
    "n_unique": _form(_distinct_count),
    "any_value": _method(lambda value: value.drop_nulls().first()),
    "first": _method(lambda value: value.first()),
    "last": _method(lambda value: value.last()),
    "first_non_null": _method(lambda value: value.drop_nulls().first()),
    "last_non_null": _method(lambda value: value.drop_nulls().last()),
    "nth": Form(_nth, _refuse_nth),
    "median": _method(lambda value: _quantile(value, 0.5)),
    "quantile": Form(
        lambda call: _quantile(call.arguments[0], float(call.constant(1))), _refuse_fraction
    ),
    "quantile_discrete": Form(_discrete_quantile, _refuse_fraction),
    "var_sample": _moment("var", 1),
    "std_sample": _moment("std", 1),
    "var_population": _moment("var", 0),
    "std_population": _moment("std", 0),
    "covariance_sample": _covariance(1),
    "covariance_population": _covariance(0),
    "correlation": _form(_correlation),
    "any": _method(lambda value: value.max()),
    "all": _method(lambda value: value.min()),
    "bit_and": _method(lambda value: value.bitwise_and()),
    "bit_or": _method(lambda value: value.bitwise_or()),
    "bit_xor": _method(lambda value: value.bitwise_xor()),
    "join_strings": Form(_join_strings, _refuse_separator),
    "list": _form(_list),
}

"""Python inside Polars: the catalogue's references, and checks that Polars does not make itself.

All of it is elementwise, so that Polars may run it batch by batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.errors import EvaluationError
from umbel.plan.functions import Function, Nulls
from umbel.plan.types import type_name
from umbel.platforms.polars.types import polars_type

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")


def call_reference(
    row: Function,
    exprs: Sequence[pl.Expr],
    types: Sequence[pa.DataType],
    dtype: pa.DataType,
) -> pl.Expr:
    """Build the expression that calls a function's Python reference for every row.

    Args:
        row: the function.
        exprs: its arguments.
        types: the arguments' types.
        dtype: the result's type.
    """
    reference = partial(row.reference, dtype=dtype) if row.typed else row.reference
    skip_nulls = row.nulls in (Nulls.STRICT, Nulls.PARTIAL)
    return each_row(reference, exprs, dtype, skip_nulls=skip_nulls)


def each_row(
    function: Callable[..., Any],
    exprs: Sequence[pl.Expr],
    dtype: pa.DataType,
    *,
    skip_nulls: bool = True,
) -> pl.Expr:
    """Build the expression that calls a Python function for every row.

    Args:
        function: takes one value per expression.
        exprs: the arguments.
        dtype: the type of what it gives.
        skip_nulls: a null among the arguments gives null, without a call.
    """
    if not exprs:
        return each_batch(lambda batch: _column([function()], dtype), [pl.lit(0)], dtype)

    def run(*batch: pl.Series) -> pl.Series:
        return map_rows(function, batch, dtype, skip_nulls=skip_nulls)

    return each_batch(run, exprs, dtype)


def each_batch(
    function: Callable[..., pl.Series], exprs: Sequence[pl.Expr], dtype: pa.DataType
) -> pl.Expr:
    """Build the expression that calls a function of whole Series, one per argument.

    Constants come as Series of one value beside longer ones; Polars' own operations on Series
    broadcast them.
    """
    return pl.map_batches(
        list(exprs),
        lambda batch: function(*batch),
        return_dtype=polars_type(dtype),
        is_elementwise=True,
    )


def map_rows(
    function: Callable[..., Any],
    batch: Sequence[pl.Series],
    dtype: pa.DataType,
    *,
    skip_nulls: bool = True,
) -> pl.Series:
    """Call a Python function for every row of Series; one value stands for all rows.

    >>> map_rows(lambda a, b: a + b, [pl.Series([1, None]), pl.Series([5])], pa.int64()).to_list()
    [6, None]
    """
    lengths = {len(series) for series in batch}
    count = 0 if 0 in lengths else max(lengths)
    columns = [series.to_list() * (count if len(series) == 1 else 1) for series in batch]
    if not count:
        values: list[Any] = []
    elif not skip_nulls:
        values = list(map(function, *columns))
    elif len(columns) == 1:
        values = [None if value is None else function(value) for value in columns[0]]
    else:
        values = [
            None if any(value is None for value in row) else function(*row)
            for row in zip(*columns, strict=True)
        ]
    return _column(values, dtype)


def patch_rows(
    native: pl.Series,
    wrong: pl.Series,
    function: Callable[..., Any],
    batch: Sequence[pl.Series],
    dtype: pa.DataType,
) -> pl.Series:
    """Replace the rows where Polars' own result is not the plan's by what Python gives.

    Args:
        native: Polars' result.
        wrong: true where it does not hold; null counts as false.
        function: gives the value for a row.
        batch: the function's arguments, each as long as `native`.
        dtype: the result's type.
    """
    rows = wrong.arg_true()
    if rows.is_empty():
        return native
    values = map_rows(function, [series.gather(rows) for series in batch], dtype)
    return native.scatter(rows, values)


def _column(values: list[Any], dtype: pa.DataType) -> pl.Series:
    try:
        column = pa.array(values, type=dtype)
    except (pa.ArrowInvalid, OverflowError) as error:
        raise EvaluationError(f"a result is no {type_name(dtype)}: {error}") from error
    return from_arrow(column, dtype)


def from_arrow(column: pa.Array, dtype: pa.DataType) -> pl.Series:
    """Make a Series of exactly the Polars type of a plan type."""
    series = pl.from_arrow(column)
    if not isinstance(series, pl.Series):
        raise TypeError(f"not a column: {column.type}")
    wanted = polars_type(dtype)
    return series if series.dtype == wanted else series.cast(wanted)

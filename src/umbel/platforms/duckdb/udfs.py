"""Python functions inside DuckDB."""

from __future__ import annotations

import datetime
import inspect
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from umbel.platforms.duckdb.types import type_text
from umbel.sql.python_functions import PythonFunction, evaluator, to_array


def register(connection: Any, described: PythonFunction) -> None:
    """Make a function known to the database of a DuckDB connection."""
    connection.create_function(
        described.name,
        _runner(described),
        [type_text(dtype) for dtype in described.types],
        type_text(described.dtype),
        type="arrow",
        null_handling="special",
        exception_handling="default",
    )


def _runner(described: PythonFunction) -> Callable[..., pa.Array]:
    """Build the function of Arrow columns that DuckDB calls."""
    types, dtype = described.types, described.dtype
    evaluate = evaluator(described)

    def run(*columns: Any) -> pa.Array:
        values = evaluate([to_values(column, t) for column, t in zip(columns, types, strict=True)])
        return _to_column(values, dtype)

    # DuckDB counts the parameters before it takes the function.
    run.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [
            inspect.Parameter(f"column_{i}", inspect.Parameter.POSITIONAL_ONLY)
            for i in range(len(types))
        ]
    )
    return run


def to_values(column: Any, dtype: pa.DataType) -> list[Any]:
    """Give the plan's Python values of a column that came out of DuckDB.

    >>> to_values(pa.array([1, None]), pa.int64())
    [1, None]
    """
    if pa.types.is_null(dtype):
        return [None] * len(column)
    if pa.types.is_duration(dtype):
        return [None if value is None else _timedelta(value) for value in column.to_pylist()]
    if column.type != dtype:
        column = column.cast(dtype)
    values: list[Any] = column.to_pylist()
    return values


def _timedelta(interval: Any) -> datetime.timedelta:
    """A duration from DuckDB's intervals, which count days apart; 30 days are a month."""
    days = interval.months * 30 + interval.days
    return datetime.timedelta(days=days, microseconds=interval.nanoseconds // 1000)


def _to_column(values: list[Any], dtype: pa.DataType) -> pa.Array:
    if pa.types.is_null(dtype):
        return pa.nulls(len(values), pa.int32())
    return to_array(values, pa.duration("us") if pa.types.is_duration(dtype) else dtype)

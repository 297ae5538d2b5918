"""Answers of umbel and of an engine that runs the same SQL text by itself, compared."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa

from tests.conformance.compare import rows_of, sort_rows

#: Relative difference allowed between numbers: decimals are doubles in places where DuckDB has
#: decimals, and sums of doubles depend on the order.
RELATIVE = 1e-9


def plain(value: Any) -> Any:
    """A value without the difference between kinds of numbers, and dates at midnight as dates."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float | Decimal):
        return float(value)
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return value.date()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return value


def same(left: Any, right: Any, relative: float = RELATIVE) -> bool:
    """Whether two plain values mean the same."""
    if isinstance(left, float) and isinstance(right, float):
        if math.isnan(left) or math.isnan(right):
            return math.isnan(left) and math.isnan(right)
        return math.isclose(left, right, rel_tol=relative, abs_tol=1e-9)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(
            same(a, b, relative) for a, b in zip(left, right, strict=True)
        )
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[k], right[k], relative) for k in left)
    return bool(left == right)


def assert_same_answer(
    actual: pa.Table,
    expected: duckdb.DuckDBPyConnection | Sequence[Sequence[Any]],
    *,
    ordered: bool = False,
    context: str = "",
    relative: float = RELATIVE,
) -> None:
    """Fail unless both hold the same rows; in the same order, if asked."""
    wanted = expected.fetchall() if isinstance(expected, duckdb.DuckDBPyConnection) else expected
    left: list[Any] = [[plain(value) for value in row] for row in rows_of(actual)]
    right: list[Any] = [[plain(value) for value in row] for row in wanted]
    if not ordered:
        left, right = sort_rows(left), sort_rows(right)
    shown = f"{context}\nactual   {left[:8]}\nexpected {right[:8]}"
    assert len(left) == len(right), f"{len(left)} rows, not {len(right)}\n{shown}"
    for a, b in zip(left, right, strict=True):
        assert same(list(a), list(b), relative), f"{a}\nis not {b}\n{shown}"

"""Compare results of engines as bags of rows, the way the plan's semantics do.

NaN equals NaN, -0.0 equals 0.0, floats may differ in the last bits where an aggregate adds them
in another order, and the order of rows counts only where asked.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

#: Sums of floats in another order differ by a few units in the last place.
RELATIVE = 1e-9


def rows_of(table: pa.Table) -> list[tuple[Any, ...]]:
    """The rows of a table as tuples of Python values."""
    columns = [column.to_pylist() for column in table.columns]
    return list(zip(*columns, strict=True)) if columns else [()] * table.num_rows


def same_value(left: Any, right: Any) -> bool:
    """Whether two values mean the same."""
    if left is None or right is None:
        return left is right
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, float) and isinstance(right, float):
        if math.isnan(left) or math.isnan(right):
            return math.isnan(left) and math.isnan(right)
        return left == right or math.isclose(left, right, rel_tol=RELATIVE, abs_tol=1e-300)
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_value(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same_value, left, right))
    return type(left) is type(right) and bool(left == right)


def _key(value: Any) -> Any:
    """A total order over values of mixed types, coarse for floats."""
    if value is None:
        return (0,)
    if isinstance(value, bool):
        return (1, value)
    if isinstance(value, float):
        if math.isnan(value):
            return (2, 1, 0.0)
        return (2, 0, float(f"{value:.6e}") + 0.0 if math.isfinite(value) else value)
    if isinstance(value, int | Decimal):
        return (3, value)
    if isinstance(value, dict):
        return (4, tuple((k, _key(v)) for k, v in value.items()))
    if isinstance(value, list | tuple):
        return (5, tuple(map(_key, value)))
    if isinstance(value, datetime.datetime):
        return (6, value.isoformat())
    return (7, type(value).__name__, repr(value))


def sort_rows(rows: Iterable[Sequence[Any]]) -> list[Sequence[Any]]:
    """Rows in an order that depends only on their values."""
    return sorted(rows, key=lambda row: tuple(map(_key, row)))


def assert_same_rows(
    actual: pa.Table | Sequence[Sequence[Any]],
    expected: pa.Table | Sequence[Sequence[Any]],
    *,
    ordered: bool = False,
    context: str = "",
) -> None:
    """Fail unless both hold the same rows; types of columns must match if both are tables."""
    if isinstance(actual, pa.Table) and isinstance(expected, pa.Table):
        assert actual.schema.names == expected.schema.names, context
        assert actual.schema.types == expected.schema.types, (
            f"{context}: {actual.schema} instead of {expected.schema}"
        )
    left = rows_of(actual) if isinstance(actual, pa.Table) else [tuple(r) for r in actual]
    right = rows_of(expected) if isinstance(expected, pa.Table) else [tuple(r) for r in expected]
    assert len(left) == len(right), f"{context}: {len(left)} rows instead of {len(right)}"
    if not ordered:
        left, right = sort_rows(left), sort_rows(right)  # type: ignore[assignment]
    for index, (a, b) in enumerate(zip(left, right, strict=True)):
        assert all(map(same_value, a, b)), f"{context}: row {index} is {a!r} instead of {b!r}"

"""What Spark's own optimizer knows of tables and queries, read from what it explains.

`EXPLAIN COST` runs nothing. It tells bytes always, and rows of tables that were analyzed; of these
`DESCRIBE` tells bounds, nulls and distinct values by column, where they were analyzed too.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pyarrow as pa

from umbel.catalog.statistics import ColumnStatistics, Interval, TableStatistics
from umbel.plan.types import is_decimal, type_width

#: Rows of what Spark knows nothing of, at most.
_MOST = 1e12
#: Bytes of Spark's guess where it knows nothing: the largest number.
_UNKNOWN = 1e18
#: A byte on disk may be so many rows' worth of bytes in memory: Parquet compresses.
_PACKED = 20.0
#: Columns that are asked for; each is a round trip.
MOST_COLUMNS = 40

_UNITS = {"B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40, "PiB": 50, "EiB": 60}
_STATISTICS = re.compile(
    r"Statistics\(sizeInBytes=([0-9.E+]+) ([KMGTPE]?i?B)(?:, rowCount=([0-9.E+]+))?"
)


def of_explained(text: str, schema: pa.Schema) -> TableStatistics:
    """Read what `EXPLAIN COST` says of its outermost operator.

    >>> told = "Relation t[a#1] parquet, Statistics(sizeInBytes=2.0 KiB, rowCount=1.00E+2)"
    >>> known = of_explained(told, pa.schema([("a", pa.int64())]))
    >>> known.bytes, known.rows.low < 100 < known.rows.high
    (2048, True)
    """
    width = sum((type_width(field.type) for field in schema), 0.0) or 1.0
    found = _STATISTICS.search(text)
    size = float(found[1]) * 2 ** _UNITS[found[2]] if found else _UNKNOWN
    if size >= _UNKNOWN:
        return TableStatistics(Interval(0.0, _MOST, 0.5), 0, width)
    if found is not None and found[3] is not None:
        rows = float(found[3])
        # As of the last ANALYZE, in three digits.
        return TableStatistics(Interval(rows / 1.1, rows * 1.1, 0.9), int(size), width)
    return TableStatistics(
        Interval(size / width / 4, max(1.0, size / width * _PACKED), 0.6), int(size), width
    )


def is_analyzed(text: str) -> bool:
    """Whether Spark knows the rows of what it explains.

    >>> is_analyzed("Relation t, Statistics(sizeInBytes=2.0 KiB)")
    False
    """
    found = _STATISTICS.search(text)
    return found is not None and found[3] is not None


def of_described(told: Mapping[str, str], dtype: pa.DataType, rows: float) -> ColumnStatistics:
    """Read what `DESCRIBE TABLE EXTENDED … column` says.

    >>> of_described(
    ...     {"min": "1", "max": "9", "num_nulls": "5", "distinct_count": "3"}, pa.int64(), 10.0
    ... )
    ColumnStatistics(low=1, high=9, nulls=0.5, distinct=3.0)
    """
    nulls, distinct = _number(told.get("num_nulls")), _number(told.get("distinct_count"))
    return ColumnStatistics(
        low=_value(told.get("min"), dtype),
        high=_value(told.get("max"), dtype),
        nulls=None if nulls is None or rows <= 0 else min(1.0, nulls / rows),
        distinct=distinct,
    )


def _number(text: str | None) -> float | None:
    return None if text is None or text == "NULL" else float(text)


def _value(text: str | None, dtype: pa.DataType) -> Any:
    """A bound as Python's value; None for types of which Spark keeps none."""
    if text is None or text == "NULL":
        return None
    # What cannot be read is not known: Spark may write values as it likes.
    with suppress(ValueError, ArithmeticError):
        if pa.types.is_integer(dtype):
            return int(text)
        if pa.types.is_floating(dtype):
            return float(text)
        if is_decimal(dtype):
            return Decimal(text)
        if pa.types.is_date(dtype):
            return datetime.date.fromisoformat(text)
    return None

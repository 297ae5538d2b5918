"""Estimates: what is reckoned of operators' outputs and of their columns, and how to reckon with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from functools import cached_property
from typing import Any

import pyarrow as pa

from umbel.catalog.statistics import Interval
from umbel.dataclass import dataclass
from umbel.plan.types import type_width


@dataclass(frozen=True)
class ColumnEstimate:
    """What is reckoned of one column; None where nothing is known.

    Attributes:
        distinct: number of distinct values.
        low, high: bounds of its values.
        nulls: fraction of nulls.
        items: mean number of items, for a list.
        different_items: number of different items in all lists.
    """

    distinct: float | None = None
    low: Any = None
    high: Any = None
    nulls: float | None = None
    items: float | None = None
    different_items: float | None = None


@dataclass(frozen=True)
class Estimate:
    """What is reckoned of an operator's output.

    Attributes:
        rows: an interval that holds the number of rows with some confidence.
        width: mean bytes per row.
        columns: what is known of columns, by name.
        words: mean number of words in a value, for text.
        vocabulary: number of different words in all values, for text.
        measured: the rows were counted by an earlier run.
        by: the platform that reckoned the rows, if it is not our estimate.
        source_rows: rows of the source whose columns these are, before any were taken away; None
            if they come from several sources, or are computed.
    """

    rows: Interval
    width: float
    columns: Mapping[str, ColumnEstimate] = field(default_factory=dict)
    words: float | None = None
    vocabulary: float | None = None
    measured: bool = False
    by: str = ""
    source_rows: float | None = None

    @cached_property
    def expected(self) -> float:
        """The number of rows to reckon with: the geometric mean of the bounds."""
        return expected(self.rows)

    @cached_property
    def size(self) -> float:
        """Bytes to reckon with."""
        return self.expected * self.width

    @property
    def whole(self) -> float:
        """The rows of the source, or if there is none those to reckon with."""
        return self.expected if self.source_rows is None else self.source_rows

    def distinct(self, name: str) -> float:
        """How many different values a column has; what is not known is reckoned as a key.

        Of the source: filters leave rows out, but what is left still refers to one row in so many.
        """
        return self.columns.get(name, ColumnEstimate()).distinct or max(1.0, self.whole)


def expected(rows: Interval) -> float:
    """The geometric mean of an interval's bounds; 0 only for the interval [0, 0].

    >>> expected(Interval(10, 1000, 0.5))
    100.0
    """
    if rows.high <= 0:
        return 0.0
    return float((max(rows.low, 0.5) * max(rows.high, 0.5)) ** 0.5)


def exactly(rows: float) -> Interval:
    """An interval of one certain number."""
    return Interval(rows, rows, 1.0)


def scale(rows: Interval, low: float, high: float, confidence: float) -> Interval:
    """Multiply an interval by a factor that lies between two bounds."""
    return Interval(rows.low * low, rows.high * high, rows.confidence * confidence)


def spread(rows: Interval, value: float, factor: float, confidence: float) -> Interval:
    """An interval around `value`, `factor` times less and more."""
    return Interval(value / factor, value * factor, rows.confidence * confidence)


def at_most(rows: Interval, count: float) -> Interval:
    """An interval cut off above."""
    return Interval(min(rows.low, count), min(rows.high, count), rows.confidence)


def at_least(rows: Interval, count: float) -> Interval:
    """An interval cut off below."""
    return Interval(max(rows.low, count), max(rows.high, count), rows.confidence)


def schema_width(schema: pa.Schema) -> float:
    """Mean bytes of one row of a schema, without knowing the data."""
    return sum(type_width(f.type) for f in schema) or 1.0


def position(value: Any, low: Any, high: Any) -> float | None:
    """Where a value lies between two bounds, from 0 to 1; None if that cannot be said."""
    if value is None or low is None or high is None or isinstance(value, str | bytes | bool):
        return None
    try:
        width = high - low
        return None if not width else min(1.0, max(0.0, float((value - low) / width)))
    except TypeError:  # a date against a timestamp, a decimal against a float
        return None


__all__ = [
    "ColumnEstimate",
    "Estimate",
    "at_least",
    "at_most",
    "exactly",
    "expected",
    "position",
    "scale",
    "schema_width",
    "spread",
]

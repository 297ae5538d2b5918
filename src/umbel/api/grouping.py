"""Groups of a DataFrame's rows, which wait for their aggregates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from umbel.api.binding import Named, bind, extract_aggregates, extract_windows, project
from umbel.api.expressions import Expr, col
from umbel.api.located import here, located_methods
from umbel.plan.errors import PlanError
from umbel.plan.types import is_numeric

if TYPE_CHECKING:
    from umbel.api.dataframe import DataFrame


@located_methods
class GroupBy:
    """What `DataFrame.group_by` gives: call `agg`, or one of the aggregates of all columns."""

    def __init__(self, frame: DataFrame, keys: Sequence[Named]) -> None:
        self._frame = frame
        self._keys = tuple(keys)

    def agg(self, *aggs: Any, **named_aggs: Any) -> DataFrame:
        """Compute one row for each group: its keys, and the given expressions.

        Columns stand inside aggregates, or are keys; aggregates may stand inside expressions.
        Without expressions the result is the distinct keys.

        Args:
            *aggs: expressions such as `ub.col("x").sum()`.
            **named_aggs: expressions by the name of the result.
        """
        frame, origin = self._frame, here()
        pairs = bind(aggs, named_aggs, frame.schema)
        # A key may be a window or an aggregate over the frame; it is a column from here on.
        keys, below = extract_windows(self._keys, frame.plan, origin)
        rebuilt, aggregate = extract_aggregates(keys, pairs, below, origin)
        return frame._then(project(rebuilt, aggregate, origin))

    def _all(self, aggregate: str, columns: Sequence[str]) -> DataFrame:
        if not columns:
            raise PlanError(f"group_by(...).{aggregate}() finds no column to aggregate")
        expressions: list[Expr] = [getattr(col(name), aggregate)() for name in columns]
        return self.agg(expressions)

    @property
    def _others(self) -> list[str]:
        keys = {name for name, _ in self._keys}
        return [name for name in self._frame.columns if name not in keys]

    @property
    def _numbers(self) -> list[str]:
        schema = self._frame.schema
        return [name for name in self._others if is_numeric(schema.field(name).type)]

    def len(self, name: str = "len") -> DataFrame:
        """The number of rows of each group."""
        from umbel.api.functions import count_rows

        return self.agg(count_rows().alias(name))

    def count(self, name: str = "count") -> DataFrame:
        """As `len`, under another name."""
        return self.len(name)

    def sum(self) -> DataFrame:
        """The sum of every numeric column."""
        return self._all("sum", self._numbers)

    def mean(self) -> DataFrame:
        """The mean of every numeric column."""
        return self._all("mean", self._numbers)

    def median(self) -> DataFrame:
        """The median of every numeric column."""
        return self._all("median", self._numbers)

    def min(self) -> DataFrame:
        """The least value of every column."""
        return self._all("min", self._others)

    def max(self) -> DataFrame:
        """The greatest value of every column."""
        return self._all("max", self._others)

    def n_unique(self) -> DataFrame:
        """The number of distinct values of every column."""
        return self._all("n_unique", self._others)

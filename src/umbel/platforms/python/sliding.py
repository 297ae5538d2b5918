"""Aggregates over frames that slide along a partition, in time that grows with its rows only.

A frame is kept as two parts. Of the older one the total of every suffix is known, so that rows
leave it at no cost; the newer one has a running total. When the older part is used up, the newer
one takes its place. Each row is combined three times at most, and nothing is ever subtracted, so
that an infinity or a large float leaves no trace once its row has left the frame.

Source: Tangwongsan, Hirzel, Schneider, "Low-Latency Sliding-Window Aggregation in Worst-Case
Constant Time", DEBS 2017, section 2 (two stacks).
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.plan.functions.accumulators import EXACT, Mean, sum_of


@dataclass(frozen=True)
class Sliding:
    """An aggregate as totals of which any two neighbouring ones can be combined.

    Attributes:
        lift: a row's arguments as a total; None if the row does not count.
        combine: two totals as one, the first over earlier rows; neither is None.
        finish: a total, or None for no rows, as the result.
    """

    lift: Callable[..., Any]
    combine: Callable[[Any, Any], Any]
    finish: Callable[[Any], Any]


def slide(
    aggregate: Sliding,
    rows: Sequence[tuple[Any, ...]],
    lows: Sequence[int],
    highs: Sequence[int],
) -> list[Any]:
    """Give the aggregate over rows `low` to `high` (exclusive) for each pair of bounds.

    Args:
        aggregate: what is computed.
        rows: the arguments in the rows of a partition.
        lows: the first row of each frame; never decreases.
        highs: the row after the last of each frame; never decreases.

    >>> counts = sliding("count", pa.int64())
    >>> slide(counts, [(1,), (None,), (3,)], [0, 0, 1], [1, 2, 3])
    [1, 1, 1]
    """
    combine, finish = aggregate.combine, aggregate.finish
    items = [aggregate.lift(*arguments) for arguments in rows]
    values = []
    suffixes: list[Any] = []  # totals of the rows from `base` on up to `turn`
    base = turn = end = 0
    newer = None  # the total of the rows from `turn` to `end`
    for low, high in zip(lows, highs, strict=True):
        while end < high:
            item = items[end]
            end += 1
            if item is not None:
                newer = item if newer is None else combine(newer, item)
        if low >= high:
            values.append(finish(None))
            continue
        if low > turn:
            suffixes = _suffixes(combine, items[low:end])
            base, turn, newer = low, end, None
        older = suffixes[low - base] if low < turn else None
        if older is None or newer is None:
            values.append(finish(newer if older is None else older))
        else:
            values.append(finish(combine(older, newer)))
    return values


def _suffixes(combine: Callable[[Any, Any], Any], items: Sequence[Any]) -> list[Any]:
    totals = []
    total = None
    for item in reversed(items):
        if item is not None:
            total = item if total is None else combine(item, total)
        totals.append(total)
    totals.reverse()
    return totals


def sliding(function: str, dtype: pa.DataType) -> Sliding | None:
    """Give an aggregate of the catalogue in this form; None if it has none.

    Left out are those whose totals would grow with the frame (lists, quantiles) or lose digits
    when combined (variances).

    Args:
        function: its name.
        dtype: the type of its result.
    """
    if function in ("sum", "mean"):
        return _SUMMING[function](dtype)
    return _ALIKE.get(function)


def _same(value: Any) -> Any:
    return value


def _one(value: Any) -> Any:
    return None if value is None else (value,)


def _bare(total: Any) -> Any:
    return None if total is None else total[0]


def _add(left: Any, right: Any) -> Any:
    # Decimal's own plus rounds to the context's precision.
    return EXACT.add(left, right) if isinstance(left, Decimal) else left + right


def _sum(dtype: pa.DataType) -> Sliding:
    def finish(total: Any) -> Any:
        state: Any = sum_of(dtype)
        state.total = int(total) if isinstance(total, bool) else total
        return state.result()

    return Sliding(_same, _add, finish)


def _mean(dtype: pa.DataType) -> Sliding:
    def finish(total: Any) -> Any:
        state = Mean()
        if total is not None:
            state.total, state.count = total
        return state.result()

    return Sliding(
        lambda value: None if value is None else (value, 1),
        lambda left, right: (_add(left[0], right[0]), left[1] + right[1]),
        finish,
    )


def _least(left: Any, right: Any) -> Any:
    # NaN is greater than any number; of equal values the first stays.
    return right if right < left or left != left else left


def _greatest(left: Any, right: Any) -> Any:
    if left != left:
        return left
    return right if right > left or right != right else left


def _pair(value: Any, key: Any) -> Any:
    return None if key is None else (value, key)


def _least_by(left: Any, right: Any) -> Any:
    (_, old), (_, new) = left, right
    return right if new < old or (old != old and new == new) else left


def _greatest_by(left: Any, right: Any) -> Any:
    (_, old), (_, new) = left, right
    return right if new > old or (new != new and old == old) else left


def _first(left: Any, right: Any) -> Any:
    return left


def _last(left: Any, right: Any) -> Any:
    return right


def _count(total: Any) -> int:
    return total or 0


_SUMMING: Mapping[str, Callable[[pa.DataType], Sliding]] = {"sum": _sum, "mean": _mean}

_ALIKE: Mapping[str, Sliding] = {
    "product": Sliding(lambda v: None if v is None else float(v), operator.mul, _same),
    "min": Sliding(_same, _least, _same),
    "max": Sliding(_same, _greatest, _same),
    "min_by": Sliding(_pair, _least_by, _bare),
    "max_by": Sliding(_pair, _greatest_by, _bare),
    "count": Sliding(lambda value: None if value is None else 1, operator.add, _count),
    "len": Sliding(lambda: 1, operator.add, _count),
    # Any value, null or not, in a tuple of its own: None is no row.
    "first": Sliding(lambda value: (value,), _first, _bare),
    "last": Sliding(lambda value: (value,), _last, _bare),
    "first_non_null": Sliding(_one, _first, _bare),
    "last_non_null": Sliding(_one, _last, _bare),
    "any_value": Sliding(_one, _first, _bare),
    "any": Sliding(_same, operator.or_, _same),
    "all": Sliding(_same, operator.and_, _same),
    "bit_and": Sliding(_same, operator.and_, _same),
    "bit_or": Sliding(_same, operator.or_, _same),
    "bit_xor": Sliding(_same, operator.xor, _same),
}


__all__ = ["Sliding", "slide", "sliding"]

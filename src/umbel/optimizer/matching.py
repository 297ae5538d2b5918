"""How many different keys a join has, and which part of a side's rows find a partner."""

from __future__ import annotations

from collections.abc import Sequence

from umbel.optimizer.estimates import ColumnEstimate, Estimate, position

#: A key's values cover at least this part of the range of the references to it.
_COVERS = 0.8


def key_distinct(left: Estimate, right: Estimate, on: Sequence[tuple[str, str]]) -> float:
    """How many different keys a join has: of so many pairs of rows one matches.

    That is the greater number of the two sides (Selinger et al.), but for a foreign key. Its
    different values are often known only as "no more than there are rows"; yet they are no more
    than those of the key that they refer to.
    """
    sides = [_keys(left, [a for a, _ in on]), _keys(right, [b for _, b in on])]
    (a, a_is_full), (b, b_is_full) = sides
    if a_is_full and b_is_full and _refers(left, right, on):
        return min(a, b)
    return max(a, b)


def matching_share(left: Estimate, right: Estimate, on: Sequence[tuple[str, str]]) -> float:
    """The fraction of the left rows whose keys are among those of the right rows."""
    present = right.expected
    product = 1.0
    for _, name in on:
        product *= max(1.0, right.distinct(name))
    return min(1.0, min(present, product) / max(1.0, key_distinct(left, right, on)))


def _keys(side: Estimate, names: Sequence[str]) -> tuple[float, bool]:
    """Different keys of a side, and whether there may be as many as rows.

    Several columns together have no more different values than there are rows. (What was joined
    before may have fewer rows than its columns have values at their sources.)
    """
    product = 1.0
    for name in names:
        product *= max(1.0, side.distinct(name))
    bounded = product if side.source_rows is None else min(product, side.whole)
    return bounded, product >= side.whole


def _refers(left: Estimate, right: Estimate, on: Sequence[tuple[str, str]]) -> bool:
    """Whether the keys of the side with more rows may be references to those of the other.

    They are not if they spread over values that the other side has not.
    """
    if len(on) > 1:
        return True
    columns = [
        side.columns.get(name, ColumnEstimate())
        for side, name in ((left, on[0][0]), (right, on[0][1]))
    ]
    few, many = columns if left.whole <= right.whole else reversed(columns)
    if many.distinct is None:
        return True
    start = position(few.low, many.low, many.high)
    end = position(few.high, many.low, many.high)
    return start is not None and end is not None and end - start > _COVERS


__all__ = ["key_distinct", "matching_share"]

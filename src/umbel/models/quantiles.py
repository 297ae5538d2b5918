"""Where to cut the numbers of all parts into bins of about as many rows, by counts alone.

Each round counts rows between some cuts; the next cuts are where the counts so far put the
quantiles, between two cuts by interpolation. This narrows down on all quantiles of all columns at
once, and no row's value leaves. (Aggarwal, Mishra and Pinkas, "Secure computation of the median",
Journal of Cryptology 23, 2010, so find one, halving the range.)
"""

from __future__ import annotations

import numpy as np

from umbel.dataclass import dataclass
from umbel.models.layout import Array

#: How often cuts are moved.
REFINEMENTS = 6
#: The first cuts lie within so many standard deviations.
_WIDE = 3.0


@dataclass(frozen=True)
class Counted:
    """How many rows lie below some points, of each column.

    Attributes:
        points: rising, a row for each column.
        below: rows below each point.
    """

    points: Array
    below: Array

    def with_counts(self, edges: Array, counts: Array) -> Counted:
        """Add what was counted between edges."""
        below = np.cumsum(counts, axis=1)[:, :-1]
        points = np.concatenate([self.points, edges], axis=1)
        known = np.concatenate([self.below, below], axis=1)
        order = np.argsort(points, axis=1, kind="stable")
        # Parts may join cells of few rows, so counts of two rounds may differ by as many.
        rising = np.maximum.accumulate(np.take_along_axis(known, order, axis=1), axis=1)
        return Counted(np.take_along_axis(points, order, axis=1), rising)


def first_edges(mean: Array, spread: Array, bins: int) -> Array:
    """Cuts that are evenly spaced about the mean; a row for each column."""
    steps = np.linspace(-_WIDE, _WIDE, bins - 1)
    found: Array = mean[:, None] + np.where(spread > 0, spread, 1.0)[:, None] * steps
    return found


def next_edges(known: Counted, rows: int, bins: int) -> Array:
    """Cuts where the quantiles are, as far as it is known.

    >>> known = Counted(np.array([[0.0, 10.0]]), np.array([[0.0, 100.0]]))
    >>> next_edges(known, 100, 4).tolist()
    [[2.5, 5.0, 7.5]]
    """
    wanted = np.arange(1, bins) / bins * rows
    found = np.empty((len(known.points), bins - 1))
    for i, (points, below) in enumerate(zip(known.points, known.below, strict=True)):
        reach = 2 * (points[-1] - points[0]) + 1e-12
        values = np.concatenate([[points[0] - reach], points, [points[-1] + reach]])
        shares = np.concatenate([[min(0.0, below[0])], below, [max(rows, below[-1])]])
        found[i] = np.interp(wanted, shares, values)
    return found


def places(x: Array, edges: Array) -> np.ndarray:
    """The bin of each number; bins hold their lower edge."""
    found = np.empty(x.shape, dtype=np.int64)
    for column in range(x.shape[1]):
        found[:, column] = np.searchsorted(edges[column], x[:, column], side="right")
    return found


def joined_with(counts: np.ndarray, least: int) -> np.ndarray:
    """Join neighbouring bins until each has enough individuals, or none.

    Args:
        counts: of individuals in each bin; a row for each histogram.
        least: so many are enough.

    Returns:
        For each bin the one that its rows are counted in.

    >>> joined_with(np.array([[3, 0, 2, 7, 1]]), 5).tolist()
    [[2, 2, 2, 3, 3]]
    """
    lines, bins = counts.shape
    target = np.empty_like(counts)
    start = np.zeros(lines, dtype=np.int64)
    last = np.full(lines, -1)
    waiting = np.zeros(lines, dtype=np.int64)
    position = np.arange(bins)
    for i in range(bins):
        waiting += counts[:, i]
        enough = waiting >= least
        inside = enough[:, None] & (position >= start[:, None]) & (position <= i)
        target[inside] = i
        last[enough] = i
        start[enough] = i + 1
        waiting[enough] = 0
    # What is left at the end is too little for a bin of its own.
    rest = position >= start[:, None]
    end = np.where(last >= 0, last, bins - 1)
    target[rest] = np.broadcast_to(end[:, None], counts.shape)[rest]
    return target


__all__ = [
    "REFINEMENTS",
    "Counted",
    "first_edges",
    "joined_with",
    "next_edges",
    "places",
]

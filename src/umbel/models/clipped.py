"""Slopes of single individuals, each made no longer than a bound, and summed.

Whatever one individual's rows are, they move such a sum by the bound at most: that is what noise is
measured against in differentially private gradient descent.

Source: Abadi et al., "Deep Learning with Differential Privacy", CCS 2016, algorithm 1.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from umbel.models.examples import Examples
from umbel.models.layout import Array
from umbel.models.solvers import mathematics_of
from umbel.plan.errors import PlanError
from umbel.plan.models import Design

#: Numbers of slopes that are held at a time, about.
_PIECE = 1 << 22


@runtime_checkable
class RowWise(Protocol):
    """A kind of model whose loss is a sum over rows, each of which has a slope of its own."""

    def row_slopes(self, design: Design, state: Array, examples: Examples) -> Array:
        """Give the slope of each row's loss, without penalties; a row for each."""


def row_wise(design: Design) -> RowWise:
    """Find the mathematics of a model that has slopes of rows.

    Raises:
        PlanError: it has none, or a penalty, which is no row's.
    """
    found = mathematics_of(design)
    kind = type(design.algorithm).__name__
    if not isinstance(found, RowWise):
        raise PlanError(
            f"{kind} has no slopes of single rows, which differential privacy of rows clips",
            hint="take a regression or a network, or Private(of='sites')",
        )
    if getattr(design.algorithm, "l2", 0.0):
        raise PlanError(
            f"{kind} has a penalty, which belongs to no row that could be clipped",
            hint="leave l2 at 0: the noise keeps coefficients small enough, as do few rounds",
        )
    return found


def clipped_slope(
    design: Design, state: Array, examples: Examples, whose: np.ndarray | None, clip: float
) -> Array:
    """Sum the slopes of individuals, each shortened to a bound.

    Args:
        design: the model.
        state: its numbers.
        examples: the rows.
        whose: a number for each row that says whom it is about; None if each is about another one.
        clip: the bound.
    """
    mathematics = row_wise(design)
    total = np.zeros(len(state))
    count = len(examples)
    order = np.arange(count) if whose is None else np.argsort(whose, kind="stable")
    sorted_ids = order if whose is None else whose[order]
    starts = np.flatnonzero(np.r_[True, sorted_ids[1:] != sorted_ids[:-1]]) if count else order
    most = max(1, _PIECE // max(1, len(state)))
    first = 0
    while first < count:
        # Up to the last individual that fits, and one at least: none is cut.
        after = int(np.searchsorted(starts, first + most, side="right")) - 1
        end = count if first + most >= count else int(starts[after])
        if end <= first:
            later = starts[starts > first]
            end = int(later[0]) if len(later) else count
        slopes = mathematics.row_slopes(design, state, examples.taken(order[first:end]))
        own = starts[(starts >= first) & (starts < end)] - first
        summed = np.add.reduceat(slopes, own, axis=0)
        norms = np.sqrt(np.einsum("ij,ij->i", summed, summed))
        total += (summed * (clip / np.maximum(norms, clip))[:, None]).sum(axis=0)
        first = end
    return total


__all__ = ["RowWise", "clipped_slope", "row_wise"]

"""Krum and Multi-Krum: the updates that lie closest to most others.

Source: Blanchard et al., "Machine Learning with Adversaries: Byzantine Tolerant Gradient Descent",
NeurIPS 2017, section 4.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from umbel.dataclass import dataclass
from umbel.learning.state import State, Vector
from umbel.learning.strategies.base import AggregationError, Memory, Settings, Updates
from umbel.learning.strategies.robust import Robust

COLUMNS = 1 << 14
"""So many columns of the updates are compared at once: that stays in a processor's cache."""


@dataclass(frozen=True)
class Krum(Robust):
    """Of n updates, the `keep` with the least distance to their n - byzantine - 2 nearest.

    Attributes:
        byzantine: how many sites may send anything.
        keep: how many updates are averaged; 1 is Krum, more is Multi-Krum.
    """

    keep: int = 1

    def aggregate(
        self, memory: Memory, state: State, updates: Updates, settings: Settings
    ) -> tuple[State, Memory]:
        """Add the mean of the chosen updates."""
        n, f = len(updates), self.byzantine
        if n < 2 * f + 3:
            raise AggregationError(
                f"Krum against {f} false sites takes {2 * f + 3} updates; there are {n}."
            )
        if not 1 <= self.keep <= n - f:
            raise AggregationError(
                f"Krum can keep 1 to {n - f} of {n} updates if {f} may be false, not {self.keep}."
            )
        scores = krum_scores(squared_distances(updates.deltas), n - f - 2)
        chosen = np.sort(np.argsort(scores, kind="stable")[: self.keep])
        return state + updates.deltas[chosen].mean(axis=0), memory


def squared_distances(rows: Vector) -> npt.NDArray[np.float64]:
    """The square of the distance between each two rows.

    By differences, not by products: close rows far from zero would lose all their digits.

    >>> squared_distances(np.array([[1e9, 0.0], [1e9, 0.5]])).tolist()
    [[0.0, 0.25], [0.25, 0.0]]
    """
    n, width = rows.shape
    result = np.zeros((n, n))
    for begin in range(0, width, COLUMNS):
        part = rows[:, begin : begin + COLUMNS].astype(np.float64)
        for i in range(n - 1):
            apart = part[i + 1 :] - part[i]
            with np.errstate(over="ignore"):  # infinitely far is far enough
                result[i, i + 1 :] += np.einsum("ij,ij->i", apart, apart)
    return result + result.T


def krum_scores(distances: npt.NDArray[np.float64], neighbours: int) -> npt.NDArray[Any]:
    """For each row, the sum of the squared distances to its nearest neighbours."""
    # The nearest of all is the row itself, at distance zero.
    return np.sort(distances, axis=1)[:, : neighbours + 1].sum(axis=1)

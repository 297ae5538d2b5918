"""Bulyan: Krum chooses, then each parameter takes the mean around its median.

Krum alone lets through an update that is close to the others but far off in one parameter.

Source: El Mhamdi, Guerraoui and Rouault, "The Hidden Vulnerability of Distributed Learning in
Byzantium", ICML 2018, section 4.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from umbel.dataclass import dataclass
from umbel.learning.state import State
from umbel.learning.strategies.base import AggregationError, Memory, Settings, Updates
from umbel.learning.strategies.krum import krum_scores, squared_distances
from umbel.learning.strategies.robust import Robust


@dataclass(frozen=True)
class Bulyan(Robust):
    """Of n updates, n - 2f are chosen by Krum; of those, the n - 4f nearest to the median count.

    Attributes:
        byzantine: how many sites may send anything (f).
    """

    def aggregate(
        self, memory: Memory, state: State, updates: Updates, settings: Settings
    ) -> tuple[State, Memory]:
        """Add, for each parameter, the mean of what lies nearest to its median."""
        n, f = len(updates), self.byzantine
        if n < 4 * f + 3:
            raise AggregationError(
                f"Bulyan against {f} false sites takes {4 * f + 3} updates; there are {n}."
            )
        rows = updates.deltas[self.choose(squared_distances(updates.deltas), n - 2 * f)]
        far = np.abs(rows - np.median(rows, axis=0))
        nearest = np.argsort(far, axis=0, kind="stable")[: n - 4 * f]
        return state + np.take_along_axis(rows, nearest, axis=0).mean(axis=0), memory

    def choose(self, distances: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.int64]:
        """Take the best update by Krum, then the best of those left, and so on."""
        left = np.arange(len(distances))
        chosen: list[int] = []
        while len(chosen) < count:
            neighbours = max(len(left) - self.byzantine - 2, 1)
            scores = krum_scores(distances[np.ix_(left, left)], neighbours)
            best = int(np.argmin(scores))
            chosen.append(int(left[best]))
            left = np.delete(left, best)
        return np.array(sorted(chosen))

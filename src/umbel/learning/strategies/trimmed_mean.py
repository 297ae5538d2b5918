"""The mean of each parameter without the smallest and largest updates.

Source: Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates",
ICML 2018, algorithm 1, option II.
"""

from __future__ import annotations

import numpy as np

from umbel.dataclass import dataclass
from umbel.learning.state import State
from umbel.learning.strategies.base import AggregationError, Memory, Settings, Updates
from umbel.learning.strategies.robust import Robust


@dataclass(frozen=True)
class TrimmedMean(Robust):
    """Of each parameter, the `byzantine` smallest and largest updates are left out.

    Attributes:
        byzantine: how many sites may send anything.
    """

    def aggregate(
        self, memory: Memory, state: State, updates: Updates, settings: Settings
    ) -> tuple[State, Memory]:
        """Add the means of what is left."""
        n, cut = len(updates), self.byzantine
        if n <= 2 * cut:
            raise AggregationError(
                f"{n} updates are too few to leave out {cut} at each end; "
                f"it takes at least {2 * cut + 1}."
            )
        ordered = np.sort(updates.deltas, axis=0)
        return state + ordered[cut : n - cut].mean(axis=0), memory

"""The median of each parameter: up to half of the sites may send anything.

Source: Yin et al., "Byzantine-Robust Distributed Learning: Towards Optimal Statistical Rates",
ICML 2018, algorithm 1, option I.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from umbel.dataclass import dataclass
from umbel.learning.state import State
from umbel.learning.strategies.base import Averaging, Memory, Sees, Settings, Updates


@dataclass(frozen=True)
class CoordinateMedian(Averaging):
    """Each parameter moves by the median of its updates; weights, being claims, do not count."""

    sees: ClassVar[Sees] = "each"

    def aggregate(
        self, memory: Memory, state: State, updates: Updates, settings: Settings
    ) -> tuple[State, Memory]:
        """Add the medians."""
        return state + np.median(updates.deltas, axis=0), memory

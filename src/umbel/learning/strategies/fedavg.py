"""Federated averaging: the mean of the updates by their weights.

Source: McMahan et al., "Communication-Efficient Learning of Deep Networks from Decentralized
Data", AISTATS 2017, algorithm 1.
"""

from __future__ import annotations

from umbel.dataclass import dataclass
from umbel.learning.state import State
from umbel.learning.strategies.base import Averaging, Memory, Settings, Updates


@dataclass(frozen=True)
class FedAvg(Averaging):
    """The next state is the mean of what the sites trained, weighted by their rows.

    Attributes:
        server_rate: how far to go in the direction of the mean; 1 is the paper's algorithm.
    """

    server_rate: float = 1.0

    def aggregate(
        self, memory: Memory, state: State, updates: Updates, settings: Settings
    ) -> tuple[State, Memory]:
        """Add the mean update."""
        return state + self.server_rate * updates.mean(), memory

"""FedAvgM: averaging with momentum at the server.

Source: Hsu, Qi and Brown, "Measuring the Effects of Non-Identical Data Distribution for Federated
Visual Classification", 2019, section 4.
"""

from __future__ import annotations

import numpy as np

from umbel.dataclass import dataclass
from umbel.learning.state import State
from umbel.learning.strategies.base import Averaging, Memory, Settings, Updates


@dataclass(frozen=True)
class FedAvgM(Averaging):
    """With the mean update d: v becomes `momentum * v + d`, and the state moves by v.

    Attributes:
        momentum: how much of earlier rounds stays.
        server_rate: how far to go in the direction of v.
    """

    momentum: float = 0.9
    server_rate: float = 1.0

    def start(self, state: State) -> Memory:
        """A velocity of zero."""
        return {"velocity": np.zeros_like(state.vector)}

    def aggregate(
        self, memory: Memory, state: State, updates: Updates, settings: Settings
    ) -> tuple[State, Memory]:
        """Add the velocity."""
        velocity = self.momentum * memory["velocity"] + updates.mean()
        return state + self.server_rate * velocity, {"velocity": velocity}

"""What FedAdagrad, FedAdam and FedYogi share: an optimiser at the server, which differs in one line.

Source: Reddi et al., "Adaptive Federated Optimization", ICLR 2021, algorithm 2.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from umbel.dataclass import dataclass
from umbel.learning.state import State, Vector
from umbel.learning.strategies.base import Averaging, Memory, Settings, Updates


@dataclass(frozen=True)
class AdaptiveOptimizer(Averaging):
    """Moves each parameter by its first moment over the root of its second.

    Attributes:
        server_rate: the step of the server's optimiser.
        beta1: how much of the first moment stays.
        tau: how adaptive it is: the smaller, the more. The second moment begins at its square.
    """

    server_rate: float = 0.1
    beta1: float = 0.9
    tau: float = 1e-3

    def start(self, state: State) -> Memory:
        """The moments: zero, and the square of tau."""
        return {
            "first": np.zeros_like(state.vector),
            "second": np.full_like(state.vector, self.tau**2),
        }

    @abstractmethod
    def second_moment(self, second: Vector, squares: Vector) -> Vector:
        """The next second moment, of the last one and the squares of the mean update."""

    def aggregate(
        self, memory: Memory, state: State, updates: Updates, settings: Settings
    ) -> tuple[State, Memory]:
        """Take one step of the optimiser; the mean update stands for the gradient."""
        mean = updates.mean()
        first = self.beta1 * memory["first"] + (1 - self.beta1) * mean
        second = self.second_moment(memory["second"], mean**2)
        moved = state + self.server_rate * first / (np.sqrt(second) + self.tau)
        return moved, {"first": first, "second": second}

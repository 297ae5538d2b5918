"""FedAdam: Adam at the server.

Source: Reddi et al., "Adaptive Federated Optimization", ICLR 2021, algorithm 2.
"""

from __future__ import annotations

from umbel.dataclass import dataclass
from umbel.learning.state import Vector
from umbel.learning.strategies.adaptive import AdaptiveOptimizer


@dataclass(frozen=True)
class FedAdam(AdaptiveOptimizer):
    """The second moment is a running mean of squares.

    Attributes:
        beta2: how much of the second moment stays.
    """

    beta2: float = 0.99

    def second_moment(self, second: Vector, squares: Vector) -> Vector:
        """A running mean of the squares."""
        return self.beta2 * second + (1 - self.beta2) * squares

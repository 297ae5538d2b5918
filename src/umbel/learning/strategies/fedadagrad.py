"""FedAdagrad: Adagrad at the server, whose steps only shrink.

Source: Reddi et al., "Adaptive Federated Optimization", ICLR 2021, algorithm 2.
"""

from __future__ import annotations

from umbel.dataclass import dataclass
from umbel.learning.state import Vector
from umbel.learning.strategies.adaptive import AdaptiveOptimizer


@dataclass(frozen=True)
class FedAdagrad(AdaptiveOptimizer):
    """The second moment is the sum of all squares.

    The paper sets `beta1` to 0 for it.
    """

    beta1: float = 0.0

    def second_moment(self, second: Vector, squares: Vector) -> Vector:
        """The sum of all squares."""
        return second + squares

"""FedYogi: Yogi at the server, whose second moment shrinks slowly.

Source: Reddi et al., "Adaptive Federated Optimization", ICLR 2021, algorithm 2.
"""

from __future__ import annotations

import numpy as np

from umbel.dataclass import dataclass
from umbel.learning.state import Vector
from umbel.learning.strategies.adaptive import AdaptiveOptimizer


@dataclass(frozen=True)
class FedYogi(AdaptiveOptimizer):
    """The second moment moves additively, so it forgets slowly what was large.

    Attributes:
        beta2: how much of the second moment stays.
    """

    beta2: float = 0.99

    def second_moment(self, second: Vector, squares: Vector) -> Vector:
        """Steps towards the squares, of a size that does not depend on how far they are."""
        return second - (1 - self.beta2) * squares * np.sign(second - squares)

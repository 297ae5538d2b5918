"""Noise for differentially private answers: the discrete Laplace mechanism of OpenDP.

Values are whole numbers of a unit, and so is the noise: what a floating-point sampler gives away in
its last bits (Mironov, On significance of the least significant bits for differential privacy, CCS
2012) is not there. OpenDP samples exactly, with the randomness of the operating system (Canonne,
Kamath and Steinke, The discrete Gaussian for differential privacy, NeurIPS 2020, section 5), and
says itself what its answer costs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from umbel.federation.errors import FederationError
from umbel.federation.noise import CONFIDENCE


class Laplace:
    """Discrete Laplace noise that hides a change of some whole numbers.

    >>> noise = Laplace(sensitivity=1, epsilon=0.5)
    >>> noise.scale, noise.half_width()
    (2.0, 6)
    """

    def __init__(self, sensitivity: int, epsilon: float) -> None:
        """Prepare.

        Args:
            sensitivity: by how much one individual changes the values, added up over all of them.
            epsilon: what all values together may cost.
        """
        self.sensitivity = sensitivity
        self.epsilon = epsilon
        self.scale = sensitivity / epsilon

    def add(self, values: Sequence[int]) -> list[int]:
        """Give the values with noise, each its own.

        Raises:
            FederationError: OpenDP is not installed, or reckons more than may be spent.
        """
        try:
            import opendp.prelude as dp
        except ImportError:
            raise FederationError(
                "this site has no OpenDP, and so no noise for private answers",
                hint="its owner has to install it: pip install 'umbel[privacy]'",
            ) from None
        dp.enable_features("contrib")
        space = dp.vector_domain(dp.atom_domain(T="i64")), dp.l1_distance(T="i64")
        scale = self.scale
        # The quotient is rounded, so that its cost may come out a last bit too high.
        for _ in range(8):
            mechanism: Any = dp.m.make_laplace(*space, scale=scale)
            if mechanism.map(self.sensitivity) <= self.epsilon:
                self.scale = scale
                return list(mechanism(list(values)))
            scale *= 1 + 1e-12
        raise FederationError(f"no noise costs epsilon {self.epsilon} at most")

    def half_width(self, confidence: float = CONFIDENCE) -> int:
        """The least number that the noise does not exceed, up or down, with some confidence.

        P(|X| > t) = 2 q^(t+1) / (1 + q) with q = exp(-1 / scale).
        """
        q = math.exp(-1 / self.scale)
        return max(0, math.ceil(self.scale * math.log(2 / ((1 - confidence) * (1 + q))) - 1))

    def threshold(self, delta: float) -> int:
        """The least number that one with noise reaches with probability delta at most.

        P(X >= t) = q^t / (1 + q) for t >= 1.
        """
        q = math.exp(-1 / self.scale)
        return 1 + max(1, math.ceil(self.scale * math.log(1 / (delta * (1 + q)))))


__all__ = ["Laplace"]

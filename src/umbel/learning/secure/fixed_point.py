"""Real numbers as numbers modulo 2^32, which masks can be added to and sums stay exact.

As long as the true sum fits, it comes out whatever wraps around on the way. A vector takes the
bytes that it would take as float32.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from umbel.learning.secure.masks import Numbers
from umbel.learning.state import Vector


@dataclass(frozen=True)
class FixedPoint:
    """How finely real numbers are kept.

    Attributes:
        bound: no number of any site is larger than this, nor smaller than its negative.
        sites: so many vectors can be summed, at most.

    >>> code = FixedPoint(bound=1.0, sites=3)
    >>> total = code.encode(np.array([0.5, -1.0])) + code.encode(np.array([0.25, -1.0]))
    >>> code.decode(total).round(6).tolist()
    [0.75, -2.0]
    """

    bound: float
    sites: int

    def __post_init__(self) -> None:
        if not (np.isfinite(self.bound) and self.bound > 0):
            raise ValueError(f"bound must be above 0 and finite, not {self.bound}.")
        if not 1 <= self.sites < 1 << 24:
            raise ValueError(f"sites must lie between 1 and 2^24, not {self.sites}.")

    @property
    def scale(self) -> float:
        """How many steps there are in 1.0; rounded down, so that no sum runs over."""
        return ((1 << 31) // self.sites - 1) / self.bound

    def encode(self, vector: Vector) -> Numbers:
        """Round to the nearest step.

        Raises:
            ValueError: a number is larger than the bound, or none.
        """
        largest = float(np.abs(vector).max(initial=0.0))
        if not largest <= self.bound:  # NaN too
            raise ValueError(
                f"A vector holds {largest:g}; secure aggregation was set up for numbers up to "
                f"{self.bound:g}. Clip it before, or raise the bound."
            )
        steps = np.rint(vector.astype(np.float64, copy=False) * self.scale)
        return steps.astype(np.int64).astype(np.uint32)

    def decode(self, total: Numbers) -> npt.NDArray[np.float64]:
        """The sum that numbers stand for."""
        return total.view(np.int32).astype(np.float64) / self.scale

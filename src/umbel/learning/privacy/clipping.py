"""How long an update may be: a fixed bound, or one that follows the updates.

Source of the latter: Andrew et al., "Differentially Private Learning with Adaptive Clipping",
NeurIPS 2021.
"""

from __future__ import annotations

import math

from umbel.dataclass import dataclass


@dataclass(frozen=True)
class FixedClip:
    """Every update is shortened to the same bound."""

    bound: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.bound) and self.bound > 0):
            raise ValueError(f"bound must be above 0 and finite, not {self.bound}.")


@dataclass(frozen=True)
class AdaptiveClip:
    """The bound goes to the norm that a given share of the updates does not exceed.

    Attributes:
        quantile: that share.
        bound: where it begins.
        rate: how quickly it moves.
        count_noise: standard deviation of the noise of the number of updates within the bound;
            part of the privacy that is spent. None is a twentieth of the sites expected.
    """

    quantile: float = 0.5
    bound: float = 1.0
    rate: float = 0.2
    count_noise: float | None = None

    def __post_init__(self) -> None:
        FixedClip(self.bound)
        if not 0 < self.quantile < 1:
            raise ValueError(f"quantile must lie between 0 and 1, not {self.quantile}.")
        if not self.rate > 0:
            raise ValueError(f"rate must be above 0, not {self.rate}.")

    def moved(self, bound: float, within: float) -> float:
        """The next bound, of the share of updates that were within the last one.

        More within than wanted: the bound is too large, and shrinks.

        >>> AdaptiveClip(0.5).moved(1.0, within=0.9) < 1.0 < AdaptiveClip(0.5).moved(
        ...     1.0, within=0.1
        ... )
        True
        """
        return bound * math.exp(-self.rate * (within - self.quantile))


def noise_of_updates(noise: float, count_noise: float) -> float:
    """The noise that updates need so that they and the noisy count cost as much as `noise` alone.

    Source: theorem 1 of the paper.

    Raises:
        ValueError: the count alone would cost more.
    """
    left = noise**-2 - (2 * count_noise) ** -2
    if left <= 0:
        raise ValueError(
            f"count_noise must be above {noise / 2:g}, half of the noise, not {count_noise:g}: "
            "the count alone would cost all."
        )
    return float(left**-0.5)

"""FedNova: updates are divided by the local steps that they took, so that none counts double.

Source: Wang et al., "Tackling the Objective Inconsistency Problem in Heterogeneous Federated
Optimization", NeurIPS 2020, equation 7 and section 4.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from umbel.dataclass import dataclass
from umbel.learning.state import State
from umbel.learning.strategies.base import (
    AggregationError,
    Averaging,
    Memory,
    Sees,
    Settings,
    Updates,
    combine,
)


@dataclass(frozen=True)
class FedNova(Averaging):
    """The mean of the updates per step, times the mean number of steps.

    Attributes:
        server_rate: how far to go in the direction of the mean.
    """

    server_rate: float = 1.0
    sees: ClassVar[Sees] = "each"

    def aggregate(
        self, memory: Memory, state: State, updates: Updates, settings: Settings
    ) -> tuple[State, Memory]:
        """Add the normalised mean."""
        lengths = accumulation(updates.steps, settings)
        shares = updates.shares
        effective = float(np.sum(shares * lengths))
        mean = combine(shares * effective / lengths, updates.deltas)
        return state + self.server_rate * mean, memory


def accumulation(steps: npt.NDArray[np.int64], settings: Settings) -> npt.NDArray[Any]:
    """How many gradients of full weight lie in an update of so many local steps: |a_i|_1.

    >>> accumulation(np.array([1, 3]), Settings(momentum=0.5)).tolist()
    [1.0, 4.25]
    """
    if settings.momentum and settings.proximal:
        raise AggregationError(
            "FedNova's weights are known for momentum and for the proximal term, not for both."
        )
    if settings.momentum:
        kept = settings.momentum
        return (steps - kept * (1 - kept**steps) / (1 - kept)) / (1 - kept)
    if settings.proximal:
        pull = settings.learning_rate * settings.proximal
        return (1 - (1 - pull) ** steps) / pull
    return steps.astype(np.float64)

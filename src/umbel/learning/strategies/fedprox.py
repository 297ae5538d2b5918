"""FedProx: sites are held near the global state, so that unlike sites drift less apart.

Source: Li et al., "Federated Optimization in Heterogeneous Networks", MLSys 2020, algorithm 2.
"""

from __future__ import annotations

from dataclasses import replace

from umbel.dataclass import dataclass
from umbel.learning.state import State
from umbel.learning.strategies.base import Memory, Settings
from umbel.learning.strategies.fedavg import FedAvg


@dataclass(frozen=True)
class FedProx(FedAvg):
    """Each local loss gets the term `mu / 2 * |w - w0|^2`; the server takes the mean.

    Attributes:
        mu: how strongly sites are held back; 0 is FedAvg.
    """

    mu: float = 0.01

    def configure(
        self, memory: Memory, state: State, settings: Settings, site: str
    ) -> tuple[State, Settings]:
        """The global state; the settings with the proximal term."""
        return state, replace(settings, proximal=self.mu)

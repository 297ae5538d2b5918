"""FedBN and personal heads: some tensors of the model belong to each site alone.

Sources: Li et al., "FedBN: Federated Learning on Non-IID Features via Local Batch Normalization",
ICLR 2021; Arivazhagan et al., "Federated Learning with Personalization Layers", 2019.
"""

from __future__ import annotations

from dataclasses import field, replace
from fnmatch import fnmatchcase
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from umbel.dataclass import dataclass
from umbel.learning.state import Layout, State, StateError
from umbel.learning.strategies.base import Memory, Sees, Settings, Strategy, Updates
from umbel.learning.strategies.fedavg import FedAvg


@dataclass(frozen=True)
class Personal:
    """Tensors that are never averaged: each site goes on from its own.

    The server keeps them for the sites, which need no memory. What the model of a site is, for
    scoring, `configure` says.

    Attributes:
        tensors: names, or patterns such as `bn*` or `head.*`.
        base: what becomes of all other tensors.
    """

    tensors: tuple[str, ...]
    base: Strategy = field(default_factory=FedAvg)
    sees: ClassVar[Sees] = "each"

    @property
    def name(self) -> str:
        """The base's name, and that tensors are personal."""
        return f"{self.base.name} with personal {', '.join(self.tensors)}"

    def mask(self, layout: Layout) -> npt.NDArray[np.bool_]:
        """Which numbers of the vector are personal.

        Raises:
            StateError: a pattern fits no tensor.
        """
        mask = np.zeros(layout.size, bool)
        for pattern in self.tensors:
            spans = [span for name, (span, _) in layout.spans.items() if fnmatchcase(name, pattern)]
            if not spans:
                raise StateError(
                    f"No tensor is called {pattern!r}; there are {', '.join(layout.spans)}."
                )
            for span in spans:
                mask[span] = True
        return mask

    def start(self, state: State) -> Memory:
        """What the base remembers; personal tensors come with the sites' first updates."""
        self.mask(state.layout)
        return self.base.start(state)

    def configure(
        self, memory: Memory, state: State, settings: Settings, site: str
    ) -> tuple[State, Settings]:
        """The base's state with the site's own tensors in it."""
        state, settings = self.base.configure(memory, state, settings, site)
        own = memory.get(f"personal/{site}")
        if own is None:
            return state, settings
        vector = state.vector.copy()
        vector[self.mask(state.layout)] = own
        return state.with_vector(vector), settings

    def aggregate(
        self, memory: Memory, state: State, updates: Updates, settings: Settings
    ) -> tuple[State, Memory]:
        """Let the base aggregate the shared tensors, and keep the others by site."""
        mask = self.mask(state.layout)
        kept = {name: own for name, own in memory.items() if name.startswith("personal/")}
        own = {
            f"personal/{site}": memory.get(f"personal/{site}", state.vector[mask]) + row
            for site, row in zip(updates.sites, updates.deltas[:, mask], strict=True)
        }
        shared = replace(updates, deltas=np.where(mask, 0.0, updates.deltas))
        new, memory = self.base.aggregate(memory, state, shared, settings)
        # A base with momentum would move them still.
        vector = np.where(mask, state.vector, new.vector)
        return state.with_vector(vector), {**memory, **kept, **own}

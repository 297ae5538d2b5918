"""SCAFFOLD: control variates take the drift of unlike sites out of their gradients.

Source: Karimireddy et al., "SCAFFOLD: Stochastic Controlled Averaging for Federated Learning",
ICML 2020, algorithm 1 with option II.
"""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from umbel.dataclass import dataclass
from umbel.learning.state import State
from umbel.learning.strategies.base import (
    AggregationError,
    Averaging,
    Memory,
    Sees,
    Settings,
    Updates,
)


@dataclass(frozen=True)
class Scaffold(Averaging):
    """Each site adds `c - c_i` to its gradients: where all go, less where it goes itself.

    A site's control variate follows from its update, its steps and its learning rate. So the
    server keeps it for the site, which needs no memory of its own and may forget everything.

    Attributes:
        population: how many sites there are, whether or not all take part in each round.
        server_rate: how far to go in the direction of the mean.
    """

    population: int
    server_rate: float = 1.0
    sees: ClassVar[Sees] = "each"

    def __post_init__(self) -> None:
        if self.population < 1:
            raise ValueError(f"population must be at least 1, not {self.population}.")

    def start(self, state: State) -> Memory:
        """The global control variate, zero; those of sites come with their first update."""
        return {"control": np.zeros_like(state.vector)}

    def configure(
        self, memory: Memory, state: State, settings: Settings, site: str
    ) -> tuple[State, Settings]:
        """The global state; the settings with the site's correction."""
        if settings.momentum or settings.proximal:
            raise AggregationError(
                "SCAFFOLD reads a site's mean gradient from its update, which holds for plain "
                "steps alone: set momentum and proximal to 0."
            )
        own = memory.get(f"control/{site}", 0.0)
        return state, replace(settings, correction=memory["control"] - own)

    def aggregate(
        self, memory: Memory, state: State, updates: Updates, settings: Settings
    ) -> tuple[State, Memory]:
        """Add the plain mean of the updates, and move the control variates."""
        n = len(updates)
        if n > self.population:
            raise AggregationError(
                f"{n} sites gave updates; SCAFFOLD was told of {self.population}."
            )
        control = memory["control"]
        gradients = -updates.deltas / (updates.steps[:, None] * settings.learning_rate)
        gradients = gradients.astype(state.vector.dtype)
        # What was added to the gradients is taken off again: c_i - c + (x - y_i) / (K rate).
        before = np.stack(
            [memory.get(f"control/{site}", np.zeros_like(control)) for site in updates.sites]
        )
        after = before - control + gradients
        moved = (after - before).sum(axis=0) / self.population
        mean = updates.deltas.mean(axis=0)
        new = {f"control/{site}": row for site, row in zip(updates.sites, after, strict=True)}
        return state + self.server_rate * mean, {**memory, **new, "control": control + moved}

"""Norm bounding: no update may be longer than a bound.

Source: Sun et al., "Can You Really Backdoor Federated Learning?", 2019, section 3.
"""

from __future__ import annotations

from dataclasses import field, replace
from typing import ClassVar

import numpy as np

from umbel.dataclass import dataclass
from umbel.learning.state import State, Vector
from umbel.learning.strategies.base import Memory, Sees, Settings, Strategy, Updates
from umbel.learning.strategies.fedavg import FedAvg


@dataclass(frozen=True)
class NormBounding:
    """Longer updates are shortened to the bound, and all sites count the same.

    A site that may claim any weight would not be bounded by the norm of its update.

    Attributes:
        bound: the largest Euclidean norm of an update.
        base: what becomes of the bounded updates.
    """

    bound: float
    base: Strategy = field(default_factory=FedAvg)
    sees: ClassVar[Sees] = "each"

    def __post_init__(self) -> None:
        if not self.bound > 0:
            raise ValueError(f"bound must be above 0, not {self.bound}.")

    @property
    def name(self) -> str:
        """The base's name, and the bound."""
        return f"{self.base.name} with norms up to {self.bound:g}"

    def start(self, state: State) -> Memory:
        """What the base remembers."""
        return self.base.start(state)

    def configure(
        self, memory: Memory, state: State, settings: Settings, site: str
    ) -> tuple[State, Settings]:
        """As the base does."""
        return self.base.configure(memory, state, settings, site)

    def aggregate(
        self, memory: Memory, state: State, updates: Updates, settings: Settings
    ) -> tuple[State, Memory]:
        """Shorten what is too long; the base does the rest."""
        bounded = replace(
            updates,
            deltas=shorten(updates.deltas, self.bound),
            weights=np.ones(len(updates)),
        )
        return self.base.aggregate(memory, state, bounded, settings)


def norms(rows: Vector) -> Vector:
    """The Euclidean norm of each row, also where squares would overflow.

    >>> norms(np.array([[2e200, 0.0], [0.0, 0.0]])).tolist()
    [2e+200, 0.0]
    """
    wide = rows.astype(np.float64, copy=False)
    largest = np.abs(wide).max(axis=1, initial=0.0)
    scale = np.where(largest > 0, largest, 1.0)
    unit = wide / scale[:, None]
    lengths: Vector = scale * np.sqrt(np.einsum("ij,ij->i", unit, unit))
    return lengths


def shorten(rows: Vector, bound: float) -> Vector:
    """Rows, each no longer than the bound; those that are shorter stay as they are."""
    lengths = norms(rows)
    # Division by what is at least the bound: an update of zeros has no direction, and needs none.
    factors = bound / np.maximum(lengths, bound)
    shortened: Vector = (rows * factors[:, None]).astype(rows.dtype)
    return shortened

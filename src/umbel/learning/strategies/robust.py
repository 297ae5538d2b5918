"""What strategies share that expect false updates."""

from __future__ import annotations

from typing import ClassVar

from umbel.dataclass import dataclass
from umbel.learning.strategies.base import Averaging, Sees


@dataclass(frozen=True)
class Robust(Averaging):
    """Bears a number of sites that may send anything; weights, being claims, do not count.

    Attributes:
        byzantine: how many sites may send anything.
    """

    byzantine: int
    sees: ClassVar[Sees] = "each"

    def __post_init__(self) -> None:
        if self.byzantine < 0:
            raise ValueError(f"byzantine must be at least 0, not {self.byzantine}.")

"""Going down a slope over the rows of one part: the state in the form in which steps are taken.

Most kinds of models are a slope, and nothing else. A network of PyTorch keeps more while it is
trained: a graph over its tensors, drawn dropouts, means over batches.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Protocol, Self, runtime_checkable

import numpy as np

from umbel.models.base import Mathematics
from umbel.models.examples import Examples
from umbel.models.layout import Array
from umbel.models.optimizers import Floats
from umbel.models.solvers import mathematics_of
from umbel.plan.models import Design, Training


class Walk(Protocol):
    """One part's training in a round.

    Attributes:
        now: the state; whoever takes steps changes it in place.
    """

    now: Floats

    def __enter__(self) -> Self:
        """Begin."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""

    def loss(self) -> float:
        """The loss of all rows at the state, summed."""

    def slope(self, rows: np.ndarray | None) -> Floats | None:
        """The slope of the mean loss of some rows, or of all; None if there is none of so few."""

    def settle(self) -> None:
        """Put right what no step may have moved."""


@runtime_checkable
class Walking(Protocol):
    """Mathematics that keeps more than a state while it is trained."""

    def walk(self, design: Design, start: Array, examples: Examples, training: Training) -> Walk:
        """Begin to train at a state."""


@runtime_checkable
class Advancing(Protocol):
    """Mathematics that takes its steps itself, on batches of rows."""

    def loss(self, design: Design, state: Array, examples: Examples) -> float:
        """Give the loss of all rows, summed."""

    def advance(
        self,
        design: Design,
        start: Array,
        examples: Examples,
        training: Training,
        batches: Iterable[np.ndarray],
    ) -> tuple[Array, int]:
        """Train on the rows at some positions after the other; give the state, and the steps taken."""


class _Plain:
    """The walk of a kind of model that is a slope, and nothing else."""

    def __init__(
        self, mathematics: Mathematics, design: Design, start: Array, examples: Examples
    ) -> None:
        self.now: Floats = start.copy()
        self._mathematics, self._design, self._examples = mathematics, design, examples

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def loss(self) -> float:
        return self._mathematics.slope(self._design, self.now, self._examples)[1]

    def slope(self, rows: np.ndarray | None) -> Floats | None:
        batch = self._examples if rows is None else self._examples.taken(rows)
        return self._mathematics.slope(self._design, self.now, batch)[0]

    def settle(self) -> None:
        pass


def walk_of(design: Design, start: Array, examples: Examples, training: Training) -> Walk:
    """Begin to train a model at a state."""
    mathematics = mathematics_of(design)
    if isinstance(mathematics, Walking):
        return mathematics.walk(design, start, examples, training)
    return _Plain(mathematics, design, start, examples)


__all__ = ["Advancing", "Walk", "Walking", "walk_of"]

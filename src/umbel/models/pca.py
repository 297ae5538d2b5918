"""Principal components: the directions in which rows vary most, of sums over rows, exactly.

Two rounds, as of naive Bayes (`umbel.models.bayes`): the first finds the mean, the second the
covariance around it, whose eigenvectors the directions are (Jolliffe, "Principal Component
Analysis", 2002, chapter 1). The sign of a direction means nothing; its largest number is positive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from umbel.models.base import DivergedError, FoundAtOnce, Memory, Step
from umbel.models.examples import Examples
from umbel.models.layout import Array, Layout
from umbel.plan.models import PCA, Design


class PCASolver(FoundAtOnce):
    """The solver of PCA."""

    def state(self, design: Design) -> Layout:
        """The mean; and the directions, with the variance of rows along each."""
        width, kept = len(design.names), _kept(design)
        return Layout((("mean", (width,)), ("components", (kept, width)), ("variance", (kept,))))

    def sums(self, design: Design) -> Layout:
        """Differences from the mean, and their products."""
        width = len(design.names)
        return Layout((("apart", (width,)), ("products", (width, width)), ("loss", ())))

    def initial(self, design: Design, seed: int) -> Array:
        """No direction is known."""
        return np.zeros(self.state(design).size)

    def contribute(
        self, design: Design, state: Array, pieces: Iterable[Examples], least: int = 0
    ) -> Array:
        """Sum around the mean of a state."""
        tensors, layout = self.state(design).split(state), self.sums(design)
        total = np.zeros(layout.size)
        into = layout.split(total)
        for piece in pieces:
            apart = piece.x - tensors["mean"]
            into["apart"] += apart.sum(axis=0)
            into["products"] += apart.T @ apart
            into["loss"] += np.sum(apart**2) - np.sum((apart @ tensors["components"].T) ** 2)
        return total

    def solve(
        self, design: Design, state: Array, sums: Array, rows: int, memory: Memory | None
    ) -> Step:
        """Find the mean, and then the directions."""
        found, layout = self.sums(design).split(sums), self.state(design)
        following = state.copy()
        tensors = layout.split(following)
        shift = found["apart"] / rows
        tensors["mean"][...] += shift
        if memory is None:
            loss = float(found["loss"])
            return Step(following, loss, False, Memory(state, loss, following - state))
        if rows < 2:
            raise DivergedError("one row does not vary: PCA needs two or more")
        covariance = (found["products"] - rows * np.outer(shift, shift)) / (rows - 1)
        total = float(np.trace(covariance))
        if not total > 0:
            raise DivergedError("all rows are alike, so that they vary in no direction")
        values, vectors = np.linalg.eigh(covariance)
        kept = np.argsort(-values, kind="stable")[: _kept(design)]
        components = vectors[:, kept].T
        largest = np.abs(components).argmax(axis=1)
        components = components * np.sign(components[np.arange(len(kept)), largest])[:, None]
        tensors["components"][...] = components
        tensors["variance"][...] = np.maximum(values[kept], 0)
        loss = (rows - 1) * (total - float(tensors["variance"].sum()))
        details = {"explained_variance_ratio": tensors["variance"] / total}
        return Step(following, max(loss, 0.0), True, None, details)

    def scores(self, design: Design, state: Array, x: Array) -> Array:
        """How far rows lie along each direction."""
        tensors = self.state(design).split(state)
        found: Array = (x - tensors["mean"]) @ tensors["components"].T
        return found

    def measured(self, design: Design) -> Layout:
        """The squares of distances from the mean, and of what the directions leave of them."""
        return Layout((("squares", ()), ("left", ())))

    def measure(
        self, design: Design, state: Array, piece: Examples, into: Mapping[str, Array]
    ) -> None:
        """Add up the squares."""
        squares = float(np.sum((piece.x - self.state(design).split(state)["mean"]) ** 2))
        into["squares"][...] += squares
        into["left"][...] += squares - float(np.sum(self.scores(design, state, piece.x) ** 2))

    def measures(self, found: Mapping[str, Array], rows: int) -> dict[str, float]:
        """The share of the variance that the directions explain, and what they leave of a row."""
        squares, left = float(found["squares"]), max(0.0, float(found["left"]))
        return {
            "explained": 1 - left / squares if squares else float("nan"),
            "rmse": float(np.sqrt(left / rows)),
        }


def _kept(design: Design) -> int:
    if not isinstance(design.algorithm, PCA):
        raise TypeError(f"no PCA: {design.algorithm}")
    return design.algorithm.components


__all__ = ["PCASolver"]

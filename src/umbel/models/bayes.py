"""Naive Bayes with normal distributions: counts, means and variances of each class, exactly.

Two rounds: sums of squares around 0 lose the digits of a variance that is small against the mean
(Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American Statistician
37, 1983), so the second round sums around the means that the first one found.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from umbel.models.base import FoundAtOnce, Memory, Step
from umbel.models.examples import Examples
from umbel.models.layout import Array, Layout
from umbel.models.softmax import check_classes
from umbel.plan.models import Design, NaiveBayes


class NaiveBayesSolver(FoundAtOnce):
    """The solver of NaiveBayes."""

    def state(self, design: Design) -> Layout:
        """The share of each class, and the mean and variance of each feature in it."""
        shape = (len(design.classes), len(design.names))
        return Layout((("share", shape[:1]), ("mean", shape), ("variance", shape)))

    def sums(self, design: Design) -> Layout:
        """Rows, differences from the means, and their squares, of each class; and the loss."""
        shape = (len(design.classes), len(design.names))
        return Layout((("rows", shape[:1]), ("apart", shape), ("squares", shape), ("loss", ())))

    def initial(self, design: Design, seed: int) -> Array:
        """All classes are alike."""
        classes = len(design.classes)
        return self.state(design).join(
            {
                "share": np.full(classes, 1 / classes),
                "mean": np.float64(0),
                "variance": np.float64(1),
            }
        )

    def contribute(
        self, design: Design, state: Array, pieces: Iterable[Examples], least: int = 0
    ) -> Array:
        """Sum around the means of a state."""
        means = self.state(design).split(state)["mean"]
        layout = self.sums(design)
        total = np.zeros(layout.size)
        into = layout.split(total)
        for piece in pieces:
            place = piece.y.astype(np.int64)
            for i in range(len(design.classes)):
                apart = piece.x[place == i] - means[i]
                into["rows"][i] += len(apart)
                into["apart"][i] += apart.sum(axis=0)
                into["squares"][i] += (apart**2).sum(axis=0)
            logs = self._logs(design, state, piece.x)
            into["loss"] -= logs[np.arange(len(place)), place].sum()
        return total

    def solve(
        self, design: Design, state: Array, sums: Array, rows: int, memory: Memory | None
    ) -> Step:
        """Find shares, means and variances."""
        found, before = self.sums(design).split(sums), self.state(design).split(state)
        check_classes(design, found["rows"])
        counts = found["rows"][:, None]
        shift = found["apart"] / counts
        mean = before["mean"] + shift
        variance = np.maximum(found["squares"] / counts - shift**2, 0)
        share = found["rows"] / rows
        # The variance over all rows: within classes, and between their means.
        centre = share @ mean
        whole = share @ (variance + (mean - centre) ** 2)
        smoothing = design.algorithm.smoothing if isinstance(design.algorithm, NaiveBayes) else 0.0
        added = smoothing * float(whole.max()) or smoothing
        following = self.state(design).join(
            {"share": share, "mean": mean, "variance": variance + added}
        )
        loss = float(found["loss"])
        kept = Memory(state, loss, following - state)
        return Step(following, loss, memory is not None, kept)

    def scores(self, design: Design, state: Array, x: Array) -> Array:
        """The probability of each class."""
        found: Array = np.exp(self._logs(design, state, x))
        return found

    def _logs(self, design: Design, state: Array, x: Array) -> Array:
        tensors = self.state(design).split(state)
        linear = np.empty((len(x), len(design.classes)))
        for i in range(len(design.classes)):
            mean, variance = tensors["mean"][i], tensors["variance"][i]
            spread = np.log(2 * np.pi * variance).sum() + ((x - mean) ** 2 / variance).sum(axis=1)
            linear[:, i] = np.log(tensors["share"][i]) - spread / 2
        linear -= linear.max(axis=1, keepdims=True)
        found: Array = linear - np.log(np.exp(linear).sum(axis=1, keepdims=True))
        return found


__all__ = ["NaiveBayesSolver"]

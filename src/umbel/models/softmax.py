"""Logistic and multinomial regression: the probabilities of classes, each against the first."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from umbel.models.base import DivergedError, Memory, Step
from umbel.models.examples import Examples
from umbel.models.layout import Array, Layout
from umbel.models.newton import newton, penalised
from umbel.models.regression import fined, l2_of
from umbel.plan.models import Design, value_text

#: Loss per row below which the model is certain of every row: the classes are separated.
_CERTAIN = 1e-6


class SoftmaxSolver:
    """Newton's method; with two classes it is logistic regression."""

    def state(self, design: Design) -> Layout:
        """The coefficients of every class but the first, whose are 0."""
        return Layout((("coefficients", (len(design.classes) - 1, len(design.names))),))

    def sums(self, design: Design) -> Layout:
        """The negative log-likelihood and its derivatives; and the rows of each class."""
        size = (len(design.classes) - 1) * len(design.names)
        return Layout(
            (
                ("gradient", (size,)),
                ("curvature", (size, size)),
                ("loss", ()),
                ("rows", (len(design.classes),)),
            )
        )

    def initial(self, design: Design, seed: int) -> Array:
        """All classes are as probable."""
        return np.zeros(self.state(design).size)

    def contribute(
        self, design: Design, state: Array, pieces: Iterable[Examples], least: int = 0
    ) -> Array:
        """Sum up the loss and its derivatives."""
        layout = self.sums(design)
        total = np.zeros(layout.size)
        into = layout.split(total)
        classes, width = len(design.classes), len(design.names)
        gradient = into["gradient"].reshape(classes - 1, width)
        curvature = into["curvature"].reshape(classes - 1, width, classes - 1, width)
        for piece in pieces:
            x, place = piece.x, piece.y.astype(np.int64)
            logs = _log_probabilities(self.state(design).split(state)["coefficients"], x)
            shares = np.exp(logs)
            for i in range(1, classes):
                gradient[i - 1] += x.T @ (shares[:, i] - (place == i))
                for j in range(i, classes):
                    weight = shares[:, i] * ((i == j) - shares[:, j])
                    block = x.T @ (x * weight[:, None])
                    curvature[i - 1, :, j - 1, :] += block
                    if j > i:
                        curvature[j - 1, :, i - 1, :] += block
            into["loss"] -= logs[np.arange(len(x)), place].sum()
            into["rows"] += np.bincount(place, minlength=classes)
        return total

    def slope(self, design: Design, state: Array, examples: Examples) -> tuple[Array, float]:
        """For each class `X' (share - is it)`."""
        place = examples.y.astype(np.int64)
        coefficients = self.state(design).split(state)["coefficients"]
        logs = _log_probabilities(coefficients, examples.x)
        apart = np.exp(logs)
        apart[np.arange(len(place)), place] -= 1
        found = apart[:, 1:].T @ examples.x + l2_of(design) * fined(design) * coefficients
        own = logs[np.arange(len(place)), place]
        return found.ravel() / len(examples), -float(own.sum())

    def row_slopes(self, design: Design, state: Array, examples: Examples) -> Array:
        """For each class `(share - is it) x` of each row."""
        place = examples.y.astype(np.int64)
        apart = self.scores(design, state, examples.x)
        apart[np.arange(len(place)), place] -= 1
        found = apart[:, 1:, None] * examples.x[:, None, :]
        return found.reshape(len(place), -1)

    def groups(self, design: Design, examples: Examples) -> Array | None:
        """All rows are summed up together."""
        return None

    def weights(self, design: Design, state: Array, examples: Examples) -> Array | None:
        """How undecided the model is of each row."""
        shares = self.scores(design, state, examples.x)
        found: Array = 1 - np.sum(shares**2, axis=1)
        return found

    def solve(
        self, design: Design, state: Array, sums: Array, rows: int, memory: Memory | None
    ) -> Step:
        """Take a step of Newton's method."""
        found = self.sums(design).split(sums)
        check_classes(design, found["rows"])
        l2 = l2_of(design)
        loss = float(found["loss"])
        if not l2 and memory is not None and loss < _CERTAIN * rows:
            raise DivergedError(
                f"the features separate the classes of {design.label!r} perfectly, so the best "
                "coefficients are infinite",
                hint="give l2 a small value, such as 1.0; or leave the feature out that says the label",
            )
        times = len(design.classes) - 1
        gradient, curvature, loss = penalised(
            l2, np.tile(fined(design), times), found["gradient"], found["curvature"], loss, state
        )
        names = list(design.names)
        if times > 1:
            names = [f"{n} of {value_text(c)}" for c in design.classes[1:] for n in design.names]
        return newton(state, gradient, curvature, loss, names, memory)

    def scores(self, design: Design, state: Array, x: Array) -> Array:
        """The probability of each class."""
        found: Array = np.exp(
            _log_probabilities(self.state(design).split(state)["coefficients"], x)
        )
        return found


def check_classes(design: Design, rows: Array) -> None:
    """Raise `DivergedError` unless every class has rows."""
    absent = [value_text(v) for v, count in zip(design.classes, rows, strict=True) if not count]
    if absent:
        raise DivergedError(
            f"no row of label {design.label!r} is {' or '.join(map(repr, absent))}: there is "
            "nothing to tell apart",
            hint="give the classes that occur: classes=[…]",
        )


def _log_probabilities(coefficients: Array, x: Array) -> Array:
    linear = np.zeros((len(x), len(coefficients) + 1))
    linear[:, 1:] = x @ coefficients.T
    linear -= linear.max(axis=1, keepdims=True)
    found: Array = linear - np.log(np.exp(linear).sum(axis=1, keepdims=True))
    return found


__all__ = ["SoftmaxSolver", "check_classes"]

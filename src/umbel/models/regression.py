"""Linear and Poisson regression: generalised linear models of one number."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from umbel.models.base import Memory, Step
from umbel.models.examples import Examples
from umbel.models.layout import Array, Layout
from umbel.models.newton import newton, penalised
from umbel.plan.models import Design, PoissonRegression, Regression

#: The logarithm of a mean beyond which it is cut off; a step that leads here is halved.
_MOST = 300.0


class RegressionSolver:
    """Newton's method for a label whose distribution is given by its mean.

    The loss of LinearRegression is half the squared error, that of PoissonRegression the negative
    log-likelihood without what does not depend on the coefficients.
    """

    def state(self, design: Design) -> Layout:
        """The coefficients."""
        return Layout((("coefficients", (len(design.names),)),))

    def sums(self, design: Design) -> Layout:
        """The loss and its derivatives; and the label's sums, for measures."""
        width = len(design.names)
        return Layout(
            (
                ("gradient", (width,)),
                ("curvature", (width, width)),
                ("loss", ()),
                ("label", ()),
                ("squares", ()),
            )
        )

    def initial(self, design: Design, seed: int) -> Array:
        """No feature counts."""
        return np.zeros(len(design.names))

    def contribute(
        self, design: Design, state: Array, pieces: Iterable[Examples], least: int = 0
    ) -> Array:
        """Sum up the loss and its derivatives."""
        layout = self.sums(design)
        total = np.zeros(layout.size)
        into = layout.split(total)
        for piece in pieces:
            x, y = piece.x, piece.y
            mean, weight, loss = _terms(design, state, piece)
            into["gradient"] += x.T @ (mean - y)
            into["curvature"] += x.T @ (x * weight[:, None])
            into["loss"] += loss
            into["label"] += y.sum()
            into["squares"] += y @ y
        return total

    def slope(self, design: Design, state: Array, examples: Examples) -> tuple[Array, float]:
        """`X' (mean - y)`: the canonical link's."""
        mean, _, loss = _terms(design, state, examples)
        found = examples.x.T @ (mean - examples.y) + l2_of(design) * fined(design) * state
        return found / len(examples), loss

    def row_slopes(self, design: Design, state: Array, examples: Examples) -> Array:
        """`(mean - y) x` of each row."""
        mean, _, _ = _terms(design, state, examples)
        found: Array = examples.x * (mean - examples.y)[:, None]
        return found

    def groups(self, design: Design, examples: Examples) -> Array | None:
        """All rows are summed up together."""
        return None

    def weights(self, design: Design, state: Array, examples: Examples) -> Array | None:
        """A Poisson mean is the weight of its row."""
        if not isinstance(design.algorithm, PoissonRegression):
            return None
        return _terms(design, state, examples)[1]

    def solve(
        self, design: Design, state: Array, sums: Array, rows: int, memory: Memory | None
    ) -> Step:
        """Take a step of Newton's method."""
        found = self.sums(design).split(sums)
        gradient, curvature, loss = penalised(
            l2_of(design),
            fined(design),
            found["gradient"],
            found["curvature"],
            float(found["loss"]),
            state,
        )
        return newton(state, gradient, curvature, loss, design.names, memory)

    def scores(self, design: Design, state: Array, x: Array) -> Array:
        """The mean."""
        linear = x @ state
        return np.exp(linear) if isinstance(design.algorithm, PoissonRegression) else linear


def _terms(design: Design, state: Array, piece: Examples) -> tuple[Array, Array, float]:
    """For each row the mean and its derivative; and the loss of all."""
    linear, y = piece.x @ state, piece.y
    if not isinstance(design.algorithm, PoissonRegression):
        return linear, np.ones(len(y)), float(0.5 * np.sum((y - linear) ** 2))
    linear = np.minimum(linear, _MOST)
    mean = np.exp(linear)
    return mean, mean, float(np.sum(mean - y * linear))


def fined(design: Design) -> Array:
    """For each coefficient 1, for the constant 0: it is never fined."""
    free = np.ones(len(design.names))
    free[: int(design.algorithm.constant)] = 0
    return free


def l2_of(design: Design) -> float:
    """The weight of the penalty."""
    return design.algorithm.l2 if isinstance(design.algorithm, Regression) else 0.0


__all__ = ["RegressionSolver", "fined", "l2_of"]

"""Newton's method on sums: the step that regressions share.

Only the gradient, the matrix of second derivatives and the loss are needed, all of which are sums
over rows; so the coefficients are those of all rows together. Iteratively reweighted least squares
is this method (McCullagh and Nelder, "Generalized Linear Models", 1989, section 2.5); summing over
sites as DataSHIELD does (Jones et al., "DataSHIELD - shared individual-level analysis without
sharing the data", Norsk Epidemiologi 21, 2012).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from umbel.models.base import DivergedError, Memory, Step
from umbel.models.layout import Array

#: A step this small is the last one: the error behind it goes by its square.
_SMALL = 1e-7
#: A loss may grow by this much against itself: numbers are added up in some order.
_NOISE = 1e-12
#: A direction whose curvature is this small against the largest cannot be told from none.
_FLAT = 1e-13
_MOST_HALVINGS = 40
#: Coefficients beyond this, in units in which curvatures are 1, belong to no likelihood's maximum.
_FAR = 1e8


def newton(
    state: Array,
    gradient: Array,
    curvature: Array,
    loss: float,
    names: Sequence[str],
    memory: Memory | None,
) -> Step:
    """Find the next coefficients.

    Args:
        state: the coefficients that the others belong to.
        gradient: of the loss, penalties included.
        curvature: the matrix of second derivatives of the loss.
        loss: what is to become small.
        names: of the coefficients, for errors.
        memory: of the last step.

    Raises:
        DivergedError: coefficients cannot be told apart, or grow without bound.
    """
    if memory is not None and not loss <= memory.loss + _NOISE * (abs(memory.loss) + 1):
        if memory.halvings >= _MOST_HALVINGS:
            # No step improves on it: numbers are exhausted, and the last state was the best.
            return Step(memory.state, memory.loss, converged=True)
        step = memory.step / 2
        halved = Memory(memory.state, memory.loss, step, memory.halvings + 1)
        return Step(memory.state + step, memory.loss, converged=False, memory=halved)
    scale = np.sqrt(np.maximum(np.diag(curvature), 0))
    if not scale.all():
        name = names[int(np.argmin(scale))]
        raise DivergedError(
            f"coefficient {name!r} cannot be found: its feature is 0 in all rows, or the model "
            "is certain of all rows",
            hint="leave the feature out, or give l2 a small value",
        )
    scaled = curvature / np.outer(scale, scale)
    values, vectors = np.linalg.eigh(scaled)
    if values[0] <= _FLAT * values[-1]:
        direction = np.abs(vectors[:, 0])
        some = [names[i] for i in np.argsort(-direction) if direction[i] > 0.1 * direction.max()]
        raise DivergedError(
            f"the coefficients of {', '.join(map(repr, some[:6]))} cannot be told apart: one "
            "feature follows from the others",
            hint="leave one of them out, or give l2 a small value",
        )
    inverse = (vectors / values) @ vectors.T / np.outer(scale, scale)
    step = -inverse @ gradient
    next_state = state + step
    if np.abs(next_state * scale).max() > _FAR * max(1.0, float(scale.max())):
        raise DivergedError("the coefficients grow without bound", hint="give l2 a small value")
    small = np.abs(step * scale).max() <= _SMALL * max(1.0, float(np.abs(next_state * scale).max()))
    return Step(next_state, loss, bool(small), Memory(state, loss, step), {"covariance": inverse})


def penalised(
    design_l2: float, free: Array, gradient: Array, curvature: Array, loss: float, state: Array
) -> tuple[Array, Array, float]:
    """Add the penalty on squares to a loss and its derivatives; `free` is 0 for what is not fined."""
    fine = design_l2 * free
    total = loss + float(0.5 * np.sum(fine * state**2))
    return gradient + fine * state, curvature + np.diag(fine), total


__all__ = ["newton", "penalised"]

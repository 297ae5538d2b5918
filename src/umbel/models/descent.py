"""Training by steps: how far one part of the data moves a state in a round.

The local work of federated averaging (McMahan et al., AISTATS 2017, algorithm 1), with a momentum,
the proximal term of FedProx (Li et al., MLSys 2020) and the corrections of SCAFFOLD (Karimireddy et
al., ICML 2020), for whatever model has a slope.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from umbel.models.clipped import clipped_slope
from umbel.models.examples import Examples
from umbel.models.layout import Array, Layout
from umbel.models.optimizers import Stepping
from umbel.models.solvers import mathematics_of
from umbel.models.walks import Advancing, walk_of
from umbel.plan.models import Design, Training


def update_layout(design: Design) -> Layout:
    """What a part gives: how far it went, the loss of its rows before, and the steps that it took."""
    return Layout((*mathematics_of(design).state(design).parts, ("loss", ()), ("steps", ())))


def descend(
    design: Design,
    start: Array,
    examples: Examples,
    training: Training,
    correction: Array | None,
    whose: np.ndarray | None = None,
) -> Array:
    """Train from a state on, over all rows of one part.

    Args:
        design: the model.
        start: the state.
        examples: the rows.
        training: how.
        correction: is added to the slope of each step.
        whose: for each row a number that says whom it is about, for training that clips; None if
            each is about another one.

    Returns:
        The numbers of `update_layout`. Where training diverges they are not finite, which whoever
        puts updates together refuses.
    """
    mathematics, layout = mathematics_of(design), update_layout(design)
    count = len(examples)
    if not count:
        return np.zeros(layout.size)
    if training.clip:
        # Not a mean: of the sum it is known how far one individual moves it.
        with np.errstate(all="ignore"):
            loss = mathematics.slope(design, start, examples)[1]
            total = clipped_slope(design, start, examples, whose, training.clip)
        return np.concatenate([-training.rate * total, [loss, 1.0]])
    if isinstance(mathematics, Advancing):
        with np.errstate(all="ignore"):
            loss = mathematics.loss(design, start, examples)
            batches = (np.arange(count) if b is None else b for b in _batches(training, count))
            moved, steps = mathematics.advance(design, start, examples, training, batches)
            return np.concatenate([moved - start, [loss, float(steps)]])
    walk = walk_of(design, start, examples, training)
    now = walk.now
    begin = now.copy()
    pull = None if correction is None else correction.astype(now.dtype)
    optimizer, steps = Stepping(training, len(now), now.dtype), 0
    with np.errstate(all="ignore"), walk:
        loss = walk.loss()
        for rows in _batches(training, count):
            slope = walk.slope(rows)
            if slope is None:
                continue
            if training.proximal:
                slope = slope + training.proximal * (now - begin)
            if pull is not None:
                slope = slope + pull
            optimizer.take(now, slope)
            walk.settle()
            steps += 1
        return np.concatenate([now.astype(np.float64) - start, [loss, float(steps)]])


def _batches(training: Training, count: int) -> Iterator[np.ndarray | None]:
    """The rows of each step, by position; None for all."""
    draw = np.random.Generator(np.random.Philox(key=training.seed))
    width = training.batch or count
    for _ in range(training.epochs):
        if width >= count:
            yield None
            continue
        order = draw.permutation(count)
        for first in range(0, count, width):
            yield order[first : first + width]


__all__ = ["descend", "update_layout"]

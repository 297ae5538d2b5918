"""Measures of a model, of sums over rows: each part gives its own, and they add up.

The area under the ROC curve needs the order of all rows by score, which no sum gives. It is found
of a histogram of scores for each class: two rows of one cell count as a tie, so with 200 cells it is
off by some thousandths at most (Fawcett, "An introduction to ROC analysis", Pattern Recognition
Letters 27, 2006, section 8, on ties).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from umbel.models.base import Measuring
from umbel.models.examples import Examples
from umbel.models.layout import Array, Layout
from umbel.models.solvers import mathematics_of
from umbel.plan.models import Design

#: Cells of the histogram of scores.
CELLS = 200
#: Probabilities are at least this, so that a loss stays finite.
_LEAST = 1e-15


def layout(design: Design) -> Layout:
    """What one part of the data gives."""
    own = mathematics_of(design)
    if isinstance(own, Measuring):
        return own.measured(design)
    if not design.classes:
        names = ("squared", "absolute", "label", "squares")
        return Layout(tuple((name, ()) for name in names))
    parts: list[tuple[str, tuple[int, ...]]] = [("right", ()), ("loss", ()), ("brier", ())]
    parts.append(("rows", (len(design.classes),)))
    if len(design.classes) == 2:
        parts.append(("scores", (2, CELLS)))
    return Layout(tuple(parts))


def contribute(design: Design, state: Array, pieces: Iterable[Examples], least: int = 0) -> Array:
    """Sum up one part's measures.

    Args:
        design: the model.
        state: its numbers.
        pieces: the rows.
        least: neighbouring cells of the histogram are joined until each has so many rows.
    """
    made = layout(design)
    total = np.zeros(made.size)
    into = made.split(total)
    solver = mathematics_of(design)
    for piece in pieces:
        if isinstance(solver, Measuring):
            solver.measure(design, state, piece, into)
            continue
        scores, y = solver.scores(design, state, piece.x), piece.y
        if not design.classes:
            into["squared"] += np.sum((scores - y) ** 2)
            into["absolute"] += np.sum(np.abs(scores - y))
            into["label"] += y.sum()
            into["squares"] += y @ y
            continue
        place = y.astype(np.int64)
        own = scores[np.arange(len(y)), place]
        into["right"] += np.sum(scores.argmax(axis=1) == place)
        into["loss"] -= np.sum(np.log(np.maximum(own, _LEAST)))
        into["brier"] += np.sum(scores**2) + np.sum(1 - 2 * own)
        into["rows"] += np.bincount(place, minlength=len(design.classes))
        if "scores" in into:
            cell = np.minimum((scores[:, 1] * CELLS).astype(np.int64), CELLS - 1)
            for i in range(2):
                into["scores"][i] += np.bincount(cell[place == i], minlength=CELLS)
    if least and "scores" in into:
        into["scores"][...] = joined(into["scores"], least)
    return total


def joined(cells: Array, least: int) -> Array:
    """Join neighbouring cells of a histogram, both classes alike, until each has enough rows.

    >>> joined(np.array([[1.0, 0, 2, 0], [0, 3, 0, 1]]), 4).tolist()
    [[0.0, 3.0, 0.0, 0.0], [0.0, 4.0, 0.0, 0.0]]
    """
    made = np.zeros_like(cells)
    waiting = np.zeros(len(cells))
    last = -1
    for i in range(cells.shape[1]):
        waiting += cells[:, i]
        if 0 < waiting.sum() < least:
            continue
        if waiting.sum():
            made[:, i], last = waiting, i
            waiting = np.zeros(len(cells))
    if waiting.sum():
        # What is left at the end is too little for a cell of its own.
        made[:, last if last >= 0 else cells.shape[1] - 1] += waiting
    return made


def measures(design: Design, sums: Array, rows: int) -> dict[str, float]:
    """Find the measures of the sums of all parts.

    Returns:
        For classifiers the accuracy, the log loss, the Brier score, and with two classes the area
        under the ROC curve; else the root of the mean squared error, the mean absolute error, and
        the share of the variance that is explained; or what the kind of model has of its own. NaN
        where they are not defined.
    """
    found = layout(design).split(sums)
    if not rows:
        return {}
    own = mathematics_of(design)
    if isinstance(own, Measuring):
        return own.measures(found, rows)
    if not design.classes:
        spread = float(found["squares"] - found["label"] ** 2 / rows)
        explained = 1 - float(found["squared"]) / spread if spread > 0 else float("nan")
        return {
            "rmse": float(np.sqrt(found["squared"] / rows)),
            "mae": float(found["absolute"] / rows),
            "r2": explained,
        }
    made = {
        "accuracy": float(found["right"] / rows),
        "log_loss": float(found["loss"] / rows),
        "brier": float(found["brier"] / rows),
    }
    if "scores" in found:
        made["auc"] = area(found["scores"])
    return made


def area(cells: Array) -> float:
    """The area under the ROC curve, of how many rows of each class have a score in each cell.

    >>> area(np.array([[2.0, 1, 0], [0, 1, 2]]))
    0.9444444444444444
    """
    negative, positive = cells
    if not negative.sum() or not positive.sum():
        return float("nan")
    below = np.cumsum(negative) - negative
    pairs = np.sum(positive * (below + negative / 2))
    return float(pairs / (negative.sum() * positive.sum()))


__all__ = ["CELLS", "area", "contribute", "joined", "layout", "measures"]

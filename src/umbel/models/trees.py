"""Boosted trees: each split of the sums of slopes and curvatures in bins of every feature.

Chen and Guestrin, "XGBoost: A scalable tree boosting system", KDD 2016, sections 2 and 3.3, with
histograms as LightGBM's (Ke et al., NeurIPS 2017). Sums of bins over all parts of the data are those
of all rows, so the trees are the ones that all rows together give. A round adds a level.

Trees are full: node `i` of a level has the children `2i` and `2i + 1` in the next. A node that is not
split passes all rows on to the first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from umbel.dataclass import dataclass
from umbel.models.base import DivergedError, FoundAtOnce, Memory, Step
from umbel.models.examples import Examples, counted
from umbel.models.layout import Array, Layout
from umbel.models.quantiles import (
    REFINEMENTS,
    Counted,
    first_edges,
    joined_with,
    next_edges,
    places,
)
from umbel.models.softmax import check_classes
from umbel.plan.models import BoostedTrees, Design

#: A split that gains less is none; XGBoost's.
_GAIN = 1e-6
#: Curvatures are at least this.
_LEAST = 1e-16
#: A margin is at most this.
_MOST = 500.0


@dataclass(frozen=True)
class _Search(Memory):
    """What is known of the quantiles."""

    known: Counted | None = None


class BoostedTreesSolver(FoundAtOnce):
    """The solver of BoostedTrees: finds the bins, and then a level of trees in each round."""

    def state(self, design: Design) -> Layout:
        """How far it is; the bins; and of each tree its splits and leaves."""
        model, width = _algorithm(design), len(design.names)
        trees, nodes = model.trees * _outputs(design), 2**model.depth
        return Layout(
            (
                ("stage", ()),
                ("base", (_outputs(design),)),
                ("edges", (width, model.bins - 1)),
                ("feature", (trees, nodes - 1)),
                ("threshold", (trees, nodes - 1)),
                ("leaf", (trees, nodes)),
            )
        )

    def sums(self, design: Design) -> Layout:
        """At first spreads of features and counts of bins; then slopes and curvatures of bins."""
        model, width = _algorithm(design), len(design.names)
        level = (_outputs(design), 2 ** (model.depth - 1), width, model.bins)
        return Layout(
            (
                ("label", (len(design.classes) or 1,)),
                ("features", (2, width)),
                ("counts", (width, model.bins)),
                ("slopes", level),
                ("curvatures", level),
                ("loss", ()),
            )
        )

    def initial(self, design: Design, seed: int) -> Array:
        """No bins and no trees."""
        layout = self.state(design)
        state = np.zeros(layout.size)
        layout.split(state)["feature"][...] = -1
        return state

    def contribute(
        self, design: Design, state: Array, pieces: Iterable[Examples], least: int = 0
    ) -> Array:
        """Sum up what the present stage needs.

        Neighbouring bins are joined until each has `least` individuals, and a split that would
        leave fewer on one side is not made here, so that no difference of sums is of few.
        """
        layout = self.sums(design)
        total = np.zeros(layout.size)
        into, tensors = layout.split(total), self.state(design).split(state)
        held = list(pieces)
        if not held:
            return total
        rows = Examples.joined(held)
        margins = self._margins(design, tensors, rows.x)
        into["loss"] += _loss(design, margins, rows.y)
        stage = int(tensors["stage"])
        if stage == 0:
            into["features"][0] = rows.x.sum(axis=0)
            into["features"][1] = (rows.x**2).sum(axis=0)
            if design.classes:
                into["label"] += np.bincount(rows.y.astype(int), minlength=len(design.classes))
            else:
                into["label"] += rows.y.sum()
            return total
        bins = places(rows.x, tensors["edges"])
        if stage <= REFINEMENTS:
            one = np.zeros(len(rows), dtype=np.int64)
            (counts,) = _histograms(bins, one, 1, [np.ones(len(rows))], rows, least, into)
            into["counts"][...] = counts[0]
            return total
        tree, level = divmod(stage - REFINEMENTS - 1, _algorithm(design).depth)
        slopes, curvatures = _slopes(design, margins, rows.y)
        for output in range(_outputs(design)):
            at = tree * _outputs(design) + output
            node = _node(tensors, at, level, rows, least)
            nodes = 2**level
            own = [slopes[:, output], curvatures[:, output]]
            made = _histograms(bins, node, nodes, own, rows, least, into)
            into["slopes"][output, :nodes], into["curvatures"][output, :nodes] = made
        return total

    def solve(
        self, design: Design, state: Array, sums: Array, rows: int, memory: Memory | None
    ) -> Step:
        """Move the bins, or grow a level."""
        model, found, following = _algorithm(design), self.sums(design).split(sums), state.copy()
        tensors = self.state(design).split(following)
        stage, known = int(tensors["stage"]), None
        if stage == 0:
            self._begin(design, tensors, found, rows)
        elif stage <= REFINEMENTS:
            before = memory.known if isinstance(memory, _Search) else None
            if before is None:
                before = Counted(np.empty((len(design.names), 0)), np.empty((len(design.names), 0)))
            known = before.with_counts(tensors["edges"], found["counts"])
            tensors["edges"][...] = next_edges(known, rows, model.bins)
        else:
            tree, level = divmod(stage - REFINEMENTS - 1, model.depth)
            for output in range(_outputs(design)):
                at = tree * _outputs(design) + output
                nodes = 2**level
                split = found["slopes"][output, :nodes], found["curvatures"][output, :nodes]
                _grow(model, tensors, at, level, *split)
        tensors["stage"][...] = stage + 1
        done = stage + 1 == 1 + REFINEMENTS + model.trees * model.depth
        loss = float(found["loss"])
        return Step(following, loss, done, _Search(state, loss, state, 0, known))

    def _begin(
        self, design: Design, tensors: Mapping[str, Array], found: Mapping[str, Array], rows: int
    ) -> None:
        """Find where to start: what is predicted of no features, and the first bins."""
        label = found["label"]
        if design.classes:
            check_classes(design, label)
            shares = np.log(label / rows)
            tensors["base"][...] = shares if len(shares) > 2 else shares[1] - shares[0]
        else:
            tensors["base"][...] = label / rows
        mean = found["features"][0] / rows
        spread = np.sqrt(np.maximum(found["features"][1] / rows - mean**2, 0))
        if not np.isfinite(spread).all():
            raise DivergedError(
                "the squares of a feature are no numbers", hint="scale the features"
            )
        tensors["edges"][...] = first_edges(mean, spread, _algorithm(design).bins)

    def scores(self, design: Design, state: Array, x: Array) -> Array:
        """The number, or the probability of each class."""
        margins = self._margins(design, self.state(design).split(state), x)
        return _shares(margins) if design.classes else margins[:, 0]

    def _margins(self, design: Design, tensors: Mapping[str, Array], x: Array) -> Array:
        """What the trees that are done add up to, for each output."""
        model, outputs = _algorithm(design), _outputs(design)
        found = np.repeat(tensors["base"][None, :], len(x), axis=0)
        done = max(0, int(tensors["stage"]) - REFINEMENTS - 1) // model.depth
        rows = Examples(x, np.empty(0))
        for tree in range(min(done, model.trees) * outputs):
            if (tensors["feature"][tree] < 0).all() and not tensors["leaf"][tree].any():
                continue
            leaf = _node(tensors, tree, model.depth, rows, 0)
            found[:, tree % outputs] += tensors["leaf"][tree][leaf]
        return found


def _node(
    tensors: Mapping[str, Array], tree: int, level: int, rows: Examples, least: int
) -> np.ndarray:
    """The node of each row on a level.

    With `least`, all rows of a node go the way of most where fewer would go the other one.
    """
    found = np.zeros(len(rows), dtype=np.int64)
    features, thresholds = tensors["feature"][tree].astype(int), tensors["threshold"][tree]
    every = np.arange(len(rows))
    for depth in range(level):
        at = 2**depth - 1 + found
        feature = features[at]
        right = (feature >= 0) & (rows.x[every, np.maximum(feature, 0)] >= thresholds[at])
        found = 2 * found + right
        if least:
            counts = counted(found, 2 ** (depth + 1), [rows]).reshape(-1, 2)
            few = (counts < least) & (counts > 0) & (counts <= counts[:, ::-1])
            few[:, 1] &= ~few[:, 0]
            moved = few.ravel()[found]
            found = np.where(moved, found ^ 1, found)
    return found


def _histograms(
    bins: np.ndarray,
    node: np.ndarray,
    nodes: int,
    values: Sequence[Array],
    rows: Examples,
    least: int,
    into: Mapping[str, Array],
) -> list[Array]:
    """Sum values of several kinds in the bins of each feature, for each node."""
    width, size = into["counts"].shape
    found: list[Array] = [np.zeros((nodes, width, size)) for _ in values]
    for feature in range(width):
        cell = node * size + bins[:, feature]
        if least:
            counts = counted(cell, nodes * size, [rows]).reshape(nodes, size)
            target = joined_with(counts, least) + size * np.arange(nodes)[:, None]
            cell = target.ravel()[cell]
        for into_one, own in zip(found, values, strict=True):
            sums = np.bincount(cell, own, minlength=nodes * size)
            into_one[:, feature] = sums.reshape(nodes, size)
    return found


def _grow(
    model: BoostedTrees,
    tensors: Mapping[str, Array],
    tree: int,
    level: int,
    slopes: Array,
    curvatures: Array,
) -> None:
    """Split each node of a level where that gains most; on the last level find the leaves."""
    left = np.cumsum(slopes, axis=2)[:, :, :-1], np.cumsum(curvatures, axis=2)[:, :, :-1]
    whole = slopes.sum(axis=2, keepdims=True), curvatures.sum(axis=2, keepdims=True)
    right = whole[0] - left[0], whole[1] - left[1]
    with np.errstate(all="ignore"):
        gain = _worth(model, *left) + _worth(model, *right) - _worth(model, *whole)
    least = max(model.least, _LEAST)
    gain[~((left[1] >= least) & (right[1] >= least) & np.isfinite(gain))] = -np.inf
    nodes, cuts = len(slopes), gain.shape[2]
    best = gain.reshape(nodes, -1).argmax(axis=1)
    every = np.arange(nodes)
    feature, cut = best // cuts, best % cuts
    split = gain[every, feature, cut] > max(model.gain, _GAIN)
    start = nodes - 1
    tensors["feature"][tree, start : start + nodes] = np.where(split, feature, -1)
    tensors["threshold"][tree, start : start + nodes] = np.where(
        split, tensors["edges"][feature, cut], 0
    )
    if level + 1 < model.depth:
        return
    chosen = (every, feature, cut)
    sides = ((left[0][chosen], left[1][chosen]), (right[0][chosen], right[1][chosen]))
    alone = whole[0][:, 0, 0], whole[1][:, 0, 0]
    leaves = np.zeros((nodes, 2))
    for side, sums in enumerate(sides):
        # A node that is not split has one leaf, the first.
        slope, curvature = (
            np.where(split, sums[i], alone[i] if side == 0 else 0.0) for i in range(2)
        )
        there = curvature > 0
        leaves[there, side] = -slope[there] / (curvature[there] + model.l2)
    tensors["leaf"][tree] = model.rate * leaves.ravel()


def _worth(model: BoostedTrees, slopes: Array, curvatures: Array) -> Array:
    found: Array = slopes**2 / (curvatures + model.l2)
    return found


def _shares(margins: Array) -> Array:
    """The probability of each class; one margin is of the second of two."""
    if margins.shape[1] == 1:
        second = 1 / (1 + np.exp(-np.clip(margins[:, 0], -_MOST, _MOST)))
        return np.column_stack([1 - second, second])
    powers = np.exp(margins - margins.max(axis=1, keepdims=True))
    found: Array = powers / powers.sum(axis=1, keepdims=True)
    return found


def _slopes(design: Design, margins: Array, y: Array) -> tuple[Array, Array]:
    """First and second derivatives of the loss of each row by each of its margins; XGBoost's."""
    if not design.classes:
        return margins - y[:, None], np.ones_like(margins)
    shares = _shares(margins)
    if margins.shape[1] == 1:
        second = shares[:, 1:]
        return second - y[:, None], np.maximum(second * (1 - second), _LEAST)
    own = y.astype(np.int64)[:, None] == np.arange(margins.shape[1])
    return shares - own, np.maximum(2 * shares * (1 - shares), _LEAST)


def _loss(design: Design, margins: Array, y: Array) -> float:
    if not design.classes:
        return float(0.5 * np.sum((margins[:, 0] - y) ** 2))
    own = _shares(margins)[np.arange(len(y)), y.astype(np.int64)]
    return -float(np.log(np.maximum(own, _LEAST)).sum())


def _algorithm(design: Design) -> BoostedTrees:
    if not isinstance(design.algorithm, BoostedTrees):
        raise TypeError(f"no trees: {design.algorithm}")
    return design.algorithm


def _outputs(design: Design) -> int:
    """How many trees a round of boosting has: of two classes, or a number, one."""
    return len(design.classes) if len(design.classes) > 2 else 1


__all__ = ["BoostedTreesSolver"]

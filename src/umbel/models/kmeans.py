"""K-means: clusters of rows, each about its mean, by sums over the rows of each.

Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 28, 1982. No row
is taken for a first centre, as k-means++ would: it would leave its site. Instead clusters are split
along the feature in which they vary most, from one to as many as are wanted (Linde, Buzo and Gray,
"An algorithm for vector quantizer design", IEEE Transactions on Communications 28, 1980), a quarter
of them at a time and always those that vary most. That needs only sums, and draws nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from umbel.dataclass import dataclass
from umbel.models.base import DivergedError, FoundAtOnce, Memory, Step
from umbel.models.examples import Examples, counted
from umbel.models.layout import Array, Layout
from umbel.plan.errors import PlanError
from umbel.plan.models import Design, KMeans

#: Rounds between two splits, if centres do not rest before.
_BETWEEN = 3
#: How often an empty cluster may be given a part of another one.
_MOST_REFILLS = 20
#: Rows whose distances are found at once.
_BLOCK = 8192


@dataclass(frozen=True)
class _Lloyd(Memory):
    """Where the rounds stand.

    Attributes:
        waited: rounds since clusters were split.
        refilled: how often an empty cluster was given a part of another one.
    """

    waited: int = 0
    refilled: int = 0


class KMeansSolver(FoundAtOnce):
    """The solver of KMeans."""

    def state(self, design: Design) -> Layout:
        """How many clusters there are yet; and their centres."""
        return Layout((("clusters", ()), ("centres", _shape(design))))

    def sums(self, design: Design) -> Layout:
        """Rows of each cluster, differences from its centre, and their squares."""
        shape = _shape(design)
        return Layout((("rows", shape[:1]), ("apart", shape), ("squares", shape), ("loss", ())))

    def initial(self, design: Design, seed: int) -> Array:
        """One cluster."""
        layout = self.state(design)
        return layout.join({"clusters": 1.0, "centres": np.float64(0)})

    def contribute(
        self, design: Design, state: Array, pieces: Iterable[Examples], least: int = 0
    ) -> Array:
        """Sum around the centres of a state.

        Clusters of fewer than `least` rows here are not told of: their rows count to the next one.
        """
        layout = self.sums(design)
        total = np.zeros(layout.size)
        into = layout.split(total)
        centres = self._centres(design, state)
        held = list(pieces)
        allowed = _allowed(centres, held, least)
        for piece in held:
            place = _nearest(piece.x, centres, allowed)
            into["rows"] += np.bincount(place, minlength=len(into["rows"]))
            apart = piece.x - centres[place]
            order = np.argsort(place, kind="stable")
            starts = np.flatnonzero(np.diff(place[order], prepend=-1))
            at = place[order][starts]
            into["apart"][at] += np.add.reduceat(apart[order], starts, axis=0)
            into["squares"][at] += np.add.reduceat(apart[order] ** 2, starts, axis=0)
            into["loss"] += np.sum(apart**2)
        return total

    def solve(
        self, design: Design, state: Array, sums: Array, rows: int, memory: Memory | None
    ) -> Step:
        """Move centres to the means of their clusters; split clusters while there are too few."""
        found, following = self.sums(design).split(sums), state.copy()
        tensors = self.state(design).split(following)
        centres, used = tensors["centres"], int(tensors["clusters"])
        counts = np.maximum(found["rows"], 1)[:, None]
        shift = found["apart"] / counts
        centres += shift
        # Within clusters, and between their means.
        spreads = np.maximum(found["squares"] / counts - shift**2, 0)
        share = found["rows"][:, None] / rows
        middle = (share * centres).sum(axis=0)
        spread = float(np.sqrt(np.sum(share * (spreads + (centres - middle) ** 2))))
        last = memory if isinstance(memory, _Lloyd) else _Lloyd(state, 0.0, state, _BETWEEN - 1)
        rests = float(np.abs(shift).max()) <= _tolerance(design) * spread
        waited, refilled, converged = last.waited + 1, last.refilled, False
        empty = np.flatnonzero(found["rows"][:used] == 0)
        if memory is None:
            pass  # The first round finds the mean, the second the spread around it.
        elif len(empty):
            waited, refilled = 0, refilled + 1
            if refilled > _MOST_REFILLS:
                raise DivergedError(
                    f"{len(empty)} of {used} clusters stay empty: there are fewer groups of rows",
                    hint="ask for fewer clusters; at sites with rules, few rows make none",
                )
            _split(design, found["rows"], spreads, centres, empty)
        elif used == len(centres):
            converged = rests
        elif rests or waited >= _BETWEEN:
            new = np.arange(used, min(used + max(1, used // 4), len(centres)))
            tensors["clusters"][...] = used + _split(design, found["rows"], spreads, centres, new)
            waited = 0
        kept = _Lloyd(state, float(found["loss"]), following - state, 0, waited, refilled)
        details = {"rows": found["rows"].copy()}
        return Step(following, float(found["loss"]), converged, kept, details)

    def scores(self, design: Design, state: Array, x: Array) -> Array:
        """The number of each row's cluster."""
        return _nearest(x, self._centres(design, state)).astype(np.float64)

    def measured(self, design: Design) -> Layout:
        """Squares of distances from centres."""
        return Layout((("squares", ()),))

    def measure(
        self, design: Design, state: Array, piece: Examples, into: Mapping[str, Array]
    ) -> None:
        """Add up the squares."""
        centres = self._centres(design, state)
        into["squares"][...] += np.sum((piece.x - centres[_nearest(piece.x, centres)]) ** 2)

    def measures(self, found: Mapping[str, Array], rows: int) -> dict[str, float]:
        """How far rows are from the centres of their clusters: all squares, and the root's mean."""
        squares = float(found["squares"])
        return {"inertia": squares, "rmse": float(np.sqrt(squares / rows))}

    def _centres(self, design: Design, state: Array) -> Array:
        tensors = self.state(design).split(state)
        used = int(tensors["clusters"])
        if not 1 <= used <= len(tensors["centres"]):
            raise PlanError(f"a state of KMeans has 1 to {len(tensors['centres'])} clusters")
        return tensors["centres"][:used]


def _split(design: Design, rows: Array, spreads: Array, centres: Array, into: np.ndarray) -> int:
    """Give the clusters that vary most half to new ones, in place; give how many new ones there are."""
    inertia = rows * spreads.sum(axis=1)
    chosen = np.argsort(-inertia, kind="stable")[: len(into)]
    chosen = chosen[inertia[chosen] > 0]
    if not len(chosen):
        raise DivergedError(
            f"there are fewer different rows than the {len(centres)} clusters that are wanted",
            hint=f"KMeans({max(1, int((rows > 0).sum()))})",
        )
    widest = spreads[chosen].argmax(axis=1)
    step = np.sqrt(spreads[chosen, widest])
    new = into[: len(chosen)]
    centres[new] = centres[chosen]
    centres[new, widest] += step
    centres[chosen, widest] -= step
    return len(chosen)


def _allowed(centres: Array, held: list[Examples], least: int) -> np.ndarray:
    """Which clusters have so many rows that they may be told of; at least one."""
    allowed = np.ones(len(centres), dtype=bool)
    while least and held and allowed.sum() > 1:
        place = np.concatenate([_nearest(piece.x, centres, allowed) for piece in held])
        counts = counted(place, len(centres), held)
        few = np.flatnonzero(allowed & (counts > 0) & (counts < least))
        if not len(few):
            break
        allowed[few[counts[few].argmin()]] = False
    return allowed


def _nearest(x: Array, centres: Array, allowed: np.ndarray | None = None) -> np.ndarray:
    """The nearest centre of each row; of two as near the first."""
    found = np.empty(len(x), dtype=np.int64)
    open_ = np.arange(len(centres)) if allowed is None else np.flatnonzero(allowed)
    chosen = centres[open_]
    # Around the middle of the centres, so that squares keep their digits.
    middle = chosen.mean(axis=0)
    chosen = chosen - middle
    lengths = np.sum(chosen**2, axis=1) / 2
    for start in range(0, len(x), _BLOCK):
        near = lengths - (x[start : start + _BLOCK] - middle) @ chosen.T
        found[start : start + _BLOCK] = open_[near.argmin(axis=1)]
    return found


def _shape(design: Design) -> tuple[int, int]:
    if not isinstance(design.algorithm, KMeans):
        raise TypeError(f"no k-means: {design.algorithm}")
    return design.algorithm.clusters, len(design.names)


def _tolerance(design: Design) -> float:
    return design.algorithm.tolerance if isinstance(design.algorithm, KMeans) else 0.0


__all__ = ["KMeansSolver"]

"""Cox regression: coefficients from who was still at risk whenever it happened, exactly.

Cox, "Regression models and life-tables", Journal of the Royal Statistical Society B 34, 1972. The
partial likelihood needs of each time only sums over the rows at risk, and those are sums over parts
of the data (Lu et al., "WebDISCO", JAMIA 22, 2015). Ties after Breslow (the discussion of Cox's
paper) or Efron ("The efficiency of Cox's likelihood function for censored data", JASA 72, 1977).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from umbel.models.base import DivergedError, FoundAtOnce, Memory, Step
from umbel.models.examples import Examples
from umbel.models.layout import Array, Layout
from umbel.models.newton import newton, penalised
from umbel.plan.errors import PlanError
from umbel.plan.models import CoxRegression, Design

#: The logarithm of a hazard beyond which it is cut off; a step that leads here is halved.
_MOST = 300.0
#: Pairs of rows are compared by so many rows at once.
_BLOCK = 1024


class CoxSolver(FoundAtOnce):
    """Newton's method on the partial likelihood."""

    def state(self, design: Design) -> Layout:
        """The coefficients."""
        return Layout((("coefficients", (len(design.names),)),))

    def sums(self, design: Design) -> Layout:
        """Of the rows that leave at each time: how many, their hazards, and these times features.

        Once of all rows, and once of those to whom it happened; Breslow's ties need only how many
        these are.
        """
        times, width = len(_times(design)), len(design.names)
        parts: list[tuple[str, tuple[int, ...]]] = [
            ("events", (times,)),
            ("features", (width,)),
            ("hazard", (times,)),
            ("first", (times, width)),
            ("second", (times, width, width)),
        ]
        if _algorithm(design).ties == "efron":
            parts += [
                ("tied hazard", (times,)),
                ("tied first", (times, width)),
                ("tied second", (times, width, width)),
            ]
        return Layout((*parts, ("loss", ())))

    def initial(self, design: Design, seed: int) -> Array:
        """No feature counts."""
        return np.zeros(len(design.names))

    def contribute(
        self, design: Design, state: Array, pieces: Iterable[Examples], least: int = 0
    ) -> Array:
        """Sum up hazards and features by the time at which rows leave."""
        layout = self.sums(design)
        total = np.zeros(layout.size)
        into = layout.split(total)
        efron = _algorithm(design).ties == "efron"
        for piece in pieces:
            place, happened = _places(design, piece)
            hazard = np.exp(_linear(state, piece.x))
            into["events"] += np.bincount(place[happened], minlength=len(into["events"]))
            into["features"] += piece.x[happened].sum(axis=0)
            # The loss of one part is not that of its rows alone: risk sets are those of all parts.
            into["loss"] -= _linear(state, piece.x[happened]).sum()
            _add(into, "", place, piece.x, hazard)
            if efron:
                _add(into, "tied ", place[happened], piece.x[happened], hazard[happened])
        return total

    def groups(self, design: Design, examples: Examples) -> Array:
        """Rows are told of apart by the time at which they leave, and by whether it happened."""
        place, happened = _places(design, examples)
        found: Array = np.where(place < 0, -1.0, 2.0 * place + happened)
        return found

    def weights(self, design: Design, state: Array, examples: Examples) -> Array | None:
        """A row's hazard."""
        found: Array = np.exp(_linear(state, examples.x))
        return found

    def solve(
        self, design: Design, state: Array, sums: Array, rows: int, memory: Memory | None
    ) -> Step:
        """Take a step of Newton's method."""
        found = self.sums(design).split(sums)
        events = found["events"]
        if not events.sum():
            raise DivergedError(
                f"in no row {_algorithm(design).event!r} is true: nothing happened to learn from",
                hint="1 or true says that it happened at the label's time, 0 that it had not yet",
            )
        # Who leaves at a time was at risk at all times before.
        hazard, first, second = (
            np.cumsum(found[name][::-1], axis=0)[::-1] for name in ("hazard", "first", "second")
        )
        at, share = _terms(events, efron=_algorithm(design).ties == "efron")
        risk, mean, curve = hazard[at], first[at], second[at]
        if share.any():
            risk = risk - share * found["tied hazard"][at]
            mean = mean - share[:, None] * found["tied first"][at]
            curve = curve - share[:, None, None] * found["tied second"][at]
        mean, curve = mean / risk[:, None], curve / risk[:, None, None]
        gradient = mean.sum(axis=0) - found["features"]
        curvature = curve.sum(axis=0) - mean.T @ mean
        loss = float(found["loss"] + np.log(risk).sum())
        gradient, curvature, loss = penalised(
            _algorithm(design).l2, np.ones(len(state)), gradient, curvature, loss, state
        )
        step = newton(state, gradient, curvature, loss, design.names, memory)
        steps = np.bincount(at, 1 / risk, minlength=len(events))
        details = {
            **step.details,
            "times": np.array(_times(design)),
            "baseline_hazard": np.cumsum(steps),
        }
        return Step(step.state, step.loss, step.converged, step.memory, details)

    def scores(self, design: Design, state: Array, x: Array) -> Array:
        """The hazard against that of a row whose features are all 0."""
        found: Array = np.exp(_linear(state, x))
        return found

    def measured(self, design: Design) -> Layout:
        """Pairs of which it is known which came first, and how many of them are foretold."""
        return Layout((("pairs", ()), ("foretold", ())))

    def measure(
        self, design: Design, state: Array, piece: Examples, into: Mapping[str, Array]
    ) -> None:
        """Compare the rows of a piece with one another."""
        pairs, foretold = concordance(piece.y, piece.beside[:, 0] > 0, piece.x @ state)
        into["pairs"][...] += pairs
        into["foretold"][...] += foretold

    def measures(self, found: Mapping[str, Array], rows: int) -> dict[str, float]:
        """Harrell's index of concordance, of pairs within one part of the data."""
        pairs = float(found["pairs"])
        return {"concordance": float(found["foretold"]) / pairs if pairs else float("nan")}


def concordance(times: Array, happened: np.ndarray, risk: Array) -> tuple[float, float]:
    """Count pairs of which it is known which came first, and those of them that are foretold.

    Equal risks count half. Harrell et al., "Evaluating the yield of medical tests", JAMA 247, 1982.

    Args:
        times: until it happened, or until it was known not to have.
        happened: whether it did.
        risk: what is foretold; more means earlier.

    >>> concordance(np.array([1.0, 2, 3]), np.array([1.0, 0, 1]) > 0, np.array([3.0, 1, 3]))
    (2.0, 1.5)
    """
    pairs = foretold = 0.0
    # A row that was lost sight of at the time of an event lasted longer than it.
    order = np.lexsort((~happened, times))
    times, happened, risk = times[order], happened[order], risk[order]
    later: Array = np.empty(0)
    for end in range(len(times), 0, -_BLOCK):
        start = max(0, end - _BLOCK)
        own, event, at = risk[start:end], happened[start:end], times[start:end]
        # Rows of later blocks, in the order of their risks; rows of one time may lie in two blocks.
        longer = (at[:, None] < at[None, :]) | (
            (at[:, None] == at[None, :]) & event[:, None] & ~event[None, :]
        )
        longer &= event[:, None]
        pairs += float(longer.sum())
        foretold += float((longer & (own[:, None] > own[None, :])).sum())
        foretold += 0.5 * float((longer & (own[:, None] == own[None, :])).sum())
        if end < len(times):
            chosen = own[event]
            below = np.searchsorted(later, chosen, "left")
            same = np.searchsorted(later, chosen, "right") - below
            pairs += float(len(chosen) * len(later))
            foretold += float(below.sum() + 0.5 * same.sum())
            tied = np.flatnonzero((times[end:] == at[-1]) & happened[end:])
            if len(tied):
                mine = own[event & (at == at[-1])]
                other = risk[end:][tied]
                pairs -= len(mine) * len(tied)
                foretold -= float((mine[:, None] > other[None, :]).sum())
                foretold -= 0.5 * float((mine[:, None] == other[None, :]).sum())
        later = np.sort(np.concatenate([later, own]))
    return pairs, foretold


def _terms(events: Array, *, efron: bool) -> tuple[np.ndarray, Array]:
    """For each event its time, and the share of the rows tied with it that are no more at risk."""
    counts = events.astype(np.int64)
    at = np.repeat(np.arange(len(counts)), counts)
    if not efron:
        return at, np.zeros(len(at))
    number = np.arange(len(at)) - np.repeat(np.cumsum(counts) - counts, counts)
    return at, number / counts[at]


def _add(into: Mapping[str, Array], kind: str, place: Array, x: Array, hazard: Array) -> None:
    """Add rows up by the time at which they leave; those before the first time were never at risk."""
    known = place >= 0
    order = np.argsort(place[known], kind="stable")
    place, x, hazard = place[known][order], x[known][order], hazard[known][order]
    if not len(place):
        return
    starts = np.flatnonzero(np.concatenate([[True], place[1:] > place[:-1]]))
    at, weighted = place[starts], x * hazard[:, None]
    into[f"{kind}hazard"][at] += np.add.reduceat(hazard, starts)
    into[f"{kind}first"][at] += np.add.reduceat(weighted, starts, axis=0)
    for column in range(x.shape[1]):
        products = np.add.reduceat(weighted * x[:, column : column + 1], starts, axis=0)
        into[f"{kind}second"][at, column] += products


def _places(design: Design, examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """For each row the last time at which it was at risk, -1 before the first; and if it happened."""
    times = np.array(_times(design))
    happened = examples.beside[:, 0] > 0
    place = np.searchsorted(times, examples.y, side="right") - 1
    return np.where(happened, np.maximum(place, 0), place), happened


def _linear(state: Array, x: Array) -> Array:
    found: Array = np.clip(x @ state, -_MOST, _MOST)
    return found


def _algorithm(design: Design) -> CoxRegression:
    if not isinstance(design.algorithm, CoxRegression):
        raise TypeError(f"no Cox regression: {design.algorithm}")
    return design.algorithm


def _times(design: Design) -> tuple[float, ...]:
    times = _algorithm(design).times
    if not times:
        raise PlanError(
            "CoxRegression does not know at which times something happens",
            hint="umbel.learn.fit finds them; or say them: CoxRegression(…, times=(0, 30, 60))",
        )
    return times


__all__ = ["CoxSolver", "concordance"]

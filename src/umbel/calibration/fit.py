"""Fitting a cost profile to measured times: least squares of relative errors, no figure below 0.

An error relative to the measured time is at most 1 where too little is predicted, and has no bound
where too much is; a fit that only minimised it would predict too little. So errors are taken
relative to the geometric mean of both, which is found by fitting again and again.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from operator import mul

from umbel.dataclass import dataclass
from umbel.platforms.costs import CostProfile, Figure

#: Seconds that are noise in any measurement: errors are relative to the time and this.
_NOISE = 2e-4
#: How strongly a figure is drawn to its shipped value, where the measurements say little of it.
_PULL = 0.1
#: What an operator costs at least, of what the shipped profile says: none is free.
_LEAST = 0.1
#: How much faster or slower than the shipped profile's machine this one is taken to be at most.
_FASTEST, _SLOWEST = 0.02, 50.0
#: What is rounding, relative to the numbers at hand.
_ROUNDING = 1e-12
#: How often the search for the least squares may not come nearer before it goes step by step.
_PATIENCE = 3
#: How often the fit is made again with what the last one predicted.
_FITS = 4
#: An observation that is so many times off, up or down, counts no more than if it were less.
_OUTLIER = 4.0
#: Where the shipped profile has no figure, the unit that its value is looked for in.
_UNITS = {"fixed": 1e-3, "per_row": 5e-8, "per_byte": 1e-9, "": 5e-8}


@dataclass(frozen=True)
class Observation:
    """A time that was measured, and what each figure of a profile contributes to it.

    Attributes:
        name: of the plan.
        seconds: measured.
        terms: the factor of each figure; the prediction is the sum of factor times figure.
        held_out: it is kept from fitting, to see what the profile predicts.
    """

    name: str
    seconds: float
    terms: Mapping[Figure, float]
    held_out: bool = False

    def predicted(self, figures: Mapping[Figure, float]) -> float:
        """What a profile says the time is."""
        return sum(figures.get(figure, 0.0) * factor for figure, factor in self.terms.items())

    def error(self, figures: Mapping[Figure, float]) -> float:
        """The relative error of what a profile says."""
        return abs(self.predicted(figures) - self.seconds) / (self.seconds + _NOISE)


def fit(shipped: CostProfile, observations: Sequence[Observation]) -> CostProfile:
    """Find the figures that explain the observations best.

    Each figure is drawn a little to its shipped value, times how much slower this machine is than
    the one that the shipped profile was measured on. So a figure on which no observation bears
    becomes just that, and one that only stands for noise does not run away.

    >>> from umbel.platforms.costs import Linear
    >>> shipped = CostProfile(operators={"Sort": Linear(fixed=0.001, per_row=1e-7)})
    >>> def sort(rows, seconds):
    ...     fixed, per_row = (("operators", "Sort", term) for term in ("fixed", "per_row"))
    ...     return Observation("sort", seconds, {fixed: 1.0, per_row: rows})
    >>> fitted = fit(shipped, [sort(1_000, 0.0042), sort(100_000, 0.024), sort(1e6, 0.204)])
    >>> print(f"{fitted.operators['Sort'].per_row:.2g}")
    2e-07
    """
    known = shipped.figures()
    used = [o for o in observations if not o.held_out]
    if not used:
        return shipped
    slower = machine_factor(known, used)
    figures = sorted({figure for o in used for figure, factor in o.terms.items() if factor})
    units = [known.get(figure, 0.0) * slower or _UNITS[figure[2]] for figure in figures]
    fitted: dict[Figure, float] = {}
    for _ in range(_FITS):
        rows, wanted = [], []
        for observation in used:
            measured = observation.seconds + _NOISE
            predicted = observation.predicted(fitted) + _NOISE if fitted else measured
            weight = _weight(measured, predicted)
            rows.append(
                [
                    observation.terms.get(figure, 0.0) * unit * weight
                    for figure, unit in zip(figures, units, strict=True)
                ]
            )
            wanted.append(observation.seconds * weight)
        for index, figure in enumerate(figures):
            # Relative to the greater of both values, so that no figure is held back by much.
            strength = _PULL / max(1.0, fitted.get(figure, 0.0) / units[index])
            rows.append([strength if index == other else 0.0 for other in range(len(figures))])
            wanted.append(strength if known.get(figure) else 0.0)
        solution = nonnegative_least_squares(rows, wanted)
        fitted = {
            figure: value * unit
            for figure, value, unit in zip(figures, solution, units, strict=True)
        }
    for place in {figure[:2] for figure in figures if figure[0] == "operators"}:
        terms = [figure for figure in figures if figure[:2] == place]
        if not any(fitted[figure] for figure in terms):  # its time drowned in noise
            fitted |= {figure: known.get(figure, 0.0) * slower * _LEAST for figure in terms}
    scaled = {
        figure: value * slower
        for figure, value in known.items()
        if figure not in fitted and figure[0] != "start"
    }
    return shipped.with_figures({**scaled, **fitted})


def _weight(measured: float, predicted: float) -> float:
    """What an error is multiplied with: relative to both times, and less for outliers."""
    off = max(measured, predicted) / min(measured, predicted)
    return min(1.0, _OUTLIER / off) / math.sqrt(measured * predicted)


def machine_factor(known: Mapping[Figure, float], observations: Sequence[Observation]) -> float:
    """How much slower than a profile says this machine is: the median over observations."""
    ratios = [
        (o.seconds + _NOISE) / (o.predicted(known) + _NOISE) for o in observations if o.seconds
    ]
    return min(_SLOWEST, max(_FASTEST, statistics.median(ratios))) if ratios else 1.0


def nonnegative_least_squares(
    rows: Sequence[Sequence[float]], wanted: Sequence[float]
) -> list[float]:
    """Minimise |rows · x - wanted|² over x ≥ 0, by block principal pivoting.

    A profile has some 80 figures, so this takes a moment, and asks for no library.

    Args:
        rows: the matrix; its columns must not depend on one another.
        wanted: the right side.

    Source: Kim and Park, "Fast nonnegative matrix factorization: an active-set-like method and
    comparisons", SIAM Journal on Scientific Computing 33, 2011, section 2.

    >>> nonnegative_least_squares([[1.0, 0.0], [0.0, 1.0]], [2.0, -1.0])
    [2.0, 0.0]
    """
    size = len(rows[0])
    gram = [[0.0] * size for _ in range(size)]
    right = [0.0] * size
    for row, target in zip(rows, wanted, strict=True):
        filled = [(index, value) for index, value in enumerate(row) if value]
        for i, a in filled:
            right[i] += a * target
            line = gram[i]
            for j, b in filled:
                line[j] += a * b
    positive = list(range(size))  # where x may be above 0; elsewhere it is 0
    fewest, patience = size + 1, _PATIENCE
    while True:
        x = [0.0] * size
        for index, value in zip(positive, _solve(gram, right, positive), strict=True):
            x[index] = value
        inside = set(positive)
        wrong = []
        for i in range(size):
            slope = x[i]
            if i not in inside:
                slope = sum(map(mul, gram[i], x)) - right[i]
            if slope < -_ROUNDING * max(1.0, abs(right[i])):
                wrong.append(i)
        if not wrong:
            return [max(0.0, value) for value in x]
        if len(wrong) < fewest:
            fewest, patience = len(wrong), _PATIENCE
        elif patience:
            patience -= 1
        else:
            wrong = wrong[-1:]  # one at a time always comes to an end
        positive = sorted(inside.symmetric_difference(wrong))


def _solve(gram: list[list[float]], right: list[float], among: list[int]) -> list[float]:
    """Solve the normal equations over some columns, by Cholesky's factors."""
    lower: list[list[float]] = []
    half: list[float] = []
    for i in among:
        row: list[float] = []
        for position, j in enumerate(among[: len(lower)]):
            known = lower[position]
            row.append((gram[i][j] - sum(map(mul, row, known))) / known[position])
        rest = gram[i][i] - sum(map(mul, row, row))
        row.append(math.sqrt(max(rest, _ROUNDING * gram[i][i])))
        half.append((right[i] - sum(map(mul, row, half))) / row[-1])
        lower.append(row)
    x = [0.0] * len(among)
    for i in reversed(range(len(among))):
        rest = half[i] - sum(lower[j][i] * x[j] for j in range(i + 1, len(among)))
        x[i] = rest / lower[i][i]
    return x


def errors(
    profile: CostProfile, observations: Sequence[Observation], *, held_out: bool = True
) -> tuple[float, float]:
    """The median and the 90th percentile of relative errors; of no observations 0."""
    figures = profile.figures()
    found = sorted(o.error(figures) for o in observations if o.held_out is held_out)
    if not found:
        return 0.0, 0.0
    return statistics.median(found), found[min(len(found) - 1, math.ceil(0.9 * len(found)) - 1)]


__all__ = ["Observation", "errors", "fit", "machine_factor", "nonnegative_least_squares"]

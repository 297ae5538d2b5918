"""`diagnose`: everything that can be told of a training from its journal."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from umbel.api.handle import check_handle
from umbel.dataclass import dataclass
from umbel.learning.asking import Asking
from umbel.learning.curves.plotting import Plot, plot
from umbel.learning.debugging.contributions import contributions
from umbel.learning.debugging.dynamics import dynamics
from umbel.learning.debugging.findings import Finding, findings_of
from umbel.learning.debugging.journal import Journal
from umbel.learning.model import Model
from umbel.learning.parts import Part, kept_here, parts_of
from umbel.learning.rounds import Share, asked_of, sums_of
from umbel.learning.state import State
from umbel.models import measures
from umbel.models.descent import update_layout
from umbel.models.layout import Array, from_bytes
from umbel.plan.errors import PlanError, UnknownNameError
from umbel.plan.models import Design
from umbel.plan.operators import Evaluate, Operator

if TYPE_CHECKING:
    from umbel.api.dataframe import DataFrame

#: Measures of which less is better.
LESS_IS_BETTER = frozenset({"log_loss", "brier", "rmse", "mae"})


@dataclass(frozen=True)
class Fairness:
    """How evenly a model serves the parts.

    Attributes:
        metric: the measure.
        by_part: its value for each part.
        worst: the part that is served worst.
        gap: between the best and the worst.
        spread: the standard deviation over parts.
        jain: Jain's index of the values: 1 if all are equal, `1/n` if one has everything (Jain, Chiu
            and Hawe, "A quantitative measure of fairness", DEC TR-301, 1984).
    """

    metric: str
    by_part: dict[str, float]
    worst: str
    gap: float
    spread: float
    jain: float


@dataclass(frozen=True)
class Diagnosis:
    """What was found out about a training.

    Attributes:
        findings: what somebody should look at, the worst first.
        rounds: a row for each round and part; see `dynamics`.
        contributions: what each part contributed; None without rows to measure on.
        fairness: of the measure over parts; None if it is not known of them.
    """

    findings: tuple[Finding, ...]
    rounds: pa.Table
    contributions: pa.Table | None = None
    fairness: Fairness | None = None

    def plot(
        self,
        what: str = "loss",
        path: str | os.PathLike[str] | None = None,
        *,
        parts: Iterable[str] | None = None,
        log: bool = False,
    ) -> Plot:
        """Draw a column of `rounds`, a curve for each part; see `Model.plot`.

        Args:
            what: "loss", "norm", "drift", "to_mean", "to_others", "to_last", "seconds", "waited" or
                "rows".
            path: an SVG file to write it to besides.
            parts: draw only these; None for all, together as a band if there are more than ten.
            log: equal factors are equally high.
        """
        drawn = plot(self.rounds, what, parts=parts, log=log)
        if path is not None:
            drawn.save(path)
        return drawn

    def __str__(self) -> str:
        lines = [str(finding) for finding in self.findings] or ["nothing stands out"]
        if self.fairness is not None:
            fair = self.fairness
            lines.append(
                f"{fair.metric} over parts: worst {fair.by_part[fair.worst]:.4g} at {fair.worst!r}, "
                f"gap {fair.gap:.4g}, Jain's index {fair.jain:.3f}"
            )
        return "\n".join(lines)


def diagnose(
    trained: Model | Journal | str | os.PathLike[str],
    df: DataFrame | None = None,
    *,
    metric: str | None = None,
    without: Iterable[str] = (),
    orders: int = 20,
    seed: int = 0,
) -> Diagnosis:
    """Tell which parts of a training are broken, work against the others, help or are left behind.

    Only what parts gave anyway is looked at, and sums over the rows of `df` under the rules of their
    sites: nothing of it shows examples.

    Args:
        trained: a model that was trained with `fit(…, journal=FOLDER)`, or the journal.
        df: rows with a label to measure on; without it nothing is said of contributions, and
            fairness is that of the losses in the last round.
        metric: which measure; None takes the log loss of classes, or the root of the mean squared
            error of numbers.
        without: parts of `df` to leave out.
        orders: of parts that are drawn for each round, to estimate Shapley values.
        seed: of that draw.

    Raises:
        JournalError: there is no journal, or it cannot be read.
        UnknownNameError: the model has no such measure.
    """
    journal = _journal_of(trained)
    design, entries = journal.about.design, journal.entries()
    rounds = dynamics(entries)
    found = findings_of(entries, rounds, design.names)
    shares, fair = None, _by_loss(rounds)
    if df is not None:
        from umbel.api.dataframe import DataFrame

        check_handle(df, DataFrame, what="diagnose")
        metric = metric or ("log_loss" if design.classes else "rmse")
        measured = _Measured(df, design, metric, tuple(without))
        fair = _fairness(metric, measured.by_part(entries[-1].after))
        if any(entry.used for entry in entries):
            shares = contributions(
                entries, journal.strategy, journal.settings, measured.value,
                orders=orders, seed=seed,
            )  # fmt: skip
            found += _harmful(shares, metric)
    if fair is not None:
        found += _left_behind(fair)
    order = {"broken": 0, "suspect": 1, "note": 2}
    found.sort(key=lambda finding: (order[finding.kind], finding.part, finding.what))
    return Diagnosis(tuple(found), rounds, shares, fair)


@dataclass(frozen=True)
class Replay:
    """A round that was made anew.

    Attributes:
        number: of the round.
        same: the strategy makes the same state of the cached updates, to the bit.
        state: the state that it makes.
        changed: parts that gave another update when they were asked again, with how far apart the
            two are; None if they were not asked.
    """

    number: int
    same: bool
    state: State
    changed: dict[str, float] | None = None


def replay(
    trained: Model | Journal | str | os.PathLike[str],
    number: int,
    df: DataFrame | None = None,
) -> Replay:
    """Make a round anew from what was kept of it.

    Args:
        trained: as that of `diagnose`.
        number: of the round.
        df: the rows that it was trained on: its parts are asked again, from the same state and with
            the same seeds. What differs has other rows or other code than it had.

    Raises:
        JournalError: the round is not there, or only the sum of its updates was seen.
    """
    journal = _journal_of(trained)
    entry, strategy, settings = journal.entry(number), journal.strategy, journal.settings
    if not entry.used:
        raise PlanError(
            f"round {number} has no updates to make it of: under secure aggregation only their sum "
            "was seen"
        )
    updates = entry.updates()
    state, _ = strategy.aggregate(entry.memory, entry.before, updates, settings)
    same = bool(np.array_equal(state.vector, entry.after.vector))
    if df is None:
        return Replay(number, same, state)
    about = journal.about
    layout = update_layout(about.design)
    known = {part.name: part.delta for part in entry.used if part.delta is not None}
    parts = [part for part in parts_of(df.plan, df.session) if part.name in known]
    asking = Asking(df.session, about.design, parts, about.seed, settings)

    def ask(part: Part) -> Operator:
        begin, own = strategy.configure(entry.memory, entry.before, settings, part.name)
        return asking.of(part, number, begin, own)

    changed = {}
    for part, row in asked_of(df.session, parts, ask):
        again = from_bytes(row["sums"], layout, f"part {part.name!r}")[:-2]
        if not np.array_equal(again, known[part.name]):
            changed[part.name] = float(np.linalg.norm(again - known[part.name]))
    return Replay(number, same, state, changed)


def _journal_of(trained: Model | Journal | str | os.PathLike[str]) -> Journal:
    if isinstance(trained, Journal):
        return trained
    if not isinstance(trained, Model):
        return Journal(trained)
    if trained.journal is None:
        raise PlanError(
            "nothing was kept of the rounds of this model",
            hint="train by steps with fit(…, journal=FOLDER)",
        )
    return Journal(trained.journal)


class _Measured:
    """Measures states on rows, each state once."""

    def __init__(
        self, df: DataFrame, design: Design, metric: str, without: tuple[str, ...]
    ) -> None:
        self._session, self._design, self._metric = df.session, design, metric
        self._parts = [
            kept_here(df.session, part, design)
            for part in parts_of(df.plan, df.session, without=without)
        ]
        self._layout = measures.layout(design)

    def by_part(self, state: State) -> dict[str, float]:
        """The measure of each part."""
        vector: Array = np.asarray(state.vector, np.float64)
        shares = self._shares(vector)
        return {share.part: self._of(share.sums, share.rows) for share in shares if share.rows}

    def value(self, state: State) -> float:
        """How good a state is over all rows; more is better."""
        vector: Array = np.asarray(state.vector, np.float64)
        shares = self._shares(vector)
        together = np.sum([share.sums for share in shares], axis=0)
        found = self._of(together, sum(share.rows for share in shares))
        return -found if self._metric in LESS_IS_BETTER else found

    def _shares(self, vector: Array) -> tuple[Share, ...]:
        return sums_of(self._session, self._design, vector, self._parts, self._layout, Evaluate)

    def _of(self, sums: Array, rows: int) -> float:
        found = measures.measures(self._design, sums, rows)
        if self._metric not in found:
            raise UnknownNameError("measure", self._metric, found, where="this model")
        return found[self._metric]


def _by_loss(rounds: pa.Table) -> Fairness | None:
    """Fairness of the losses before the last round, as far as they are known."""
    rows = rounds.to_pylist()
    last = max((row["round"] for row in rows), default=0)
    known = {row["part"]: row["loss"] for row in rows if row["round"] == last}
    there = {name: loss for name, loss in known.items() if loss is not None}
    return _fairness("loss", there) if len(there) > 1 else None


def _fairness(metric: str, by_part: dict[str, float]) -> Fairness | None:
    if len(by_part) < 2:
        return None
    values = np.array(list(by_part.values()))
    less = metric in LESS_IS_BETTER or metric == "loss"
    worst = (max if less else min)(by_part, key=lambda name: by_part[name])
    squares = float(np.sum(values**2))
    return Fairness(
        metric,
        by_part,
        worst,
        float(values.max() - values.min()),
        float(values.std()),
        float(values.sum() ** 2 / (len(values) * squares)) if squares else 1.0,
    )


def _left_behind(fair: Fairness) -> list[Finding]:
    """A part that the model serves much worse than the middle one."""
    own = fair.by_part[fair.worst]
    middle = float(np.median(list(fair.by_part.values())))
    less = fair.metric in LESS_IS_BETTER or fair.metric == "loss"
    far = own > 1.5 * middle + 1e-9 if less else own < middle - 0.1
    if not far:
        return []
    return [
        Finding(
            "note",
            "worse off",
            fair.worst,
            f"The model serves {fair.worst!r} worse than the others: {fair.metric} is {own:.4g} "
            f"there and {middle:.4g} at the middle one. Its rows may differ (other labels, other "
            "features, other people); a personal head or fine-tuning there may help "
            "(strategy='personal').",
        )
    ]


def _harmful(shares: pa.Table, metric: str) -> list[Finding]:
    """Parts without which the model would be better."""
    return [
        Finding(
            "note",
            "harmful",
            row["part"],
            f"Without {row['part']!r} the model would be better on these rows: leaving it out of "
            f"each round gains {-row['leave_one_out']:.4g} of {metric} in all, and its Shapley value "
            f"is {row['shapley']:.4g} (uncertain by {row['uncertain_by']:.2g}).",
        )
        for row in shares.to_pylist()
        if row["leave_one_out"] < 0 and row["shapley"] < -2 * row["uncertain_by"]
    ]


__all__ = ["Diagnosis", "Fairness", "Replay", "diagnose", "replay"]

"""What is wrong with parts of a training, told from what they gave, in plain words.

Directions are compared in pairs: a part's agreement in a round is the middle one of the cosines
between its update and those of the others. One part that lies moves each other's middle little, and
its own wholly, as long as most are honest. All of this is a suspicion: rows that differ from those
of others for good reasons look as if they were wrong, and a site that knows these rules can keep
within them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal as OneOf

import numpy as np
import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.learning.debugging.dynamics import cosine
from umbel.learning.debugging.journal import Entry
from umbel.models.layout import Array

#: Mean agreement below which a part pulls against the others.
AGAINST = -0.22
#: Likeness of a part's updates to their last below which they have no direction, where that of the
#: others is above; and agreement above which they have one all the same.
UNSTEADY, STEADY, AGREED = 0.2, 0.5, 0.35
#: How much longer than the others' middle one all updates of a part are that wants to be heard.
LOUD = 5.0
#: How much more than anywhere else a feature counts at one part, and share of its update.
PLANTED, CONCENTRATED = 4.0, 0.3

Kind = OneOf["broken", "suspect", "note"]


@dataclass(frozen=True)
class Finding:
    """Something that somebody should look at.

    Attributes:
        kind: "broken": it gives what cannot be used; "suspect": what it gives works against the
            others, or differs from theirs in a way that attacks do; "note": worth knowing.
        what: in a word: "no numbers", "away", "zero", "loud", "sign flip", "label flip", "noise",
            "trigger", "worse off", "harmful", "masked".
        part: which part; empty if it is of all.
        text: what was found, what it can mean, and what to do, in plain words.
    """

    kind: Kind
    what: str
    part: str
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


@dataclass(frozen=True)
class _Course:
    """What is known of a part over all rounds.

    Attributes:
        agreement: for each round with the others.
        steady: the cosine of each update to the one before.
        length: of each update, over the middle one of the others'.
        losses: per row, before each round.
    """

    agreement: Array
    steady: Array
    length: Array
    losses: Array


def findings_of(
    entries: Sequence[Entry], dynamics: pa.Table, names: Sequence[str] = ()
) -> list[Finding]:
    """Find what is broken, and who works against the others.

    Args:
        entries: the rounds of a journal.
        dynamics: of the same.
        names: of the model's numbers of a row.
    """
    masked = sum(entry.masked for entry in entries)
    found = list(_broken(dynamics))
    if masked:
        found.append(
            Finding(
                "note",
                "masked",
                "",
                f"In {masked} of {len(entries)} rounds only the sum of all parts was seen, as "
                "secure aggregation wants it. Which part trains well, is broken or is poisoned "
                "cannot be known of them, nor what each contributed; only how the sum went.",
            )
        )
    courses = _courses(entries)
    for name in courses:
        found += _suspect(name, courses, entries[0].before.layout.size)
    accused = {finding.part for finding in found if finding.kind != "note"}
    found += _planted(entries, names, accused)
    return found


def _broken(dynamics: pa.Table) -> Iterator[Finding]:
    """Parts that gave what cannot be used."""
    rows = dynamics.to_pylist()
    for name in sorted({row["part"] for row in rows}):
        own = [row for row in rows if row["part"] == name]
        count = len(own)
        for health, words in _BROKEN.items():
            bad = [row["round"] for row in own if row["health"] == health]
            if not bad:
                continue
            when = f"in {len(bad)} of {count} rounds (first in round {bad[0]})"
            reason = next((row["excluded"] for row in own if row["health"] == health), None)
            said = f" It was left out: {reason}." if reason else ""
            if health == "zero" and len(bad) < count:
                continue
            yield Finding("broken", health, name, f"{name!r} {words} {when}.{said}")


_BROKEN = {
    "no numbers": "gave NaN or infinity: its training diverges, or its features hold such values; "
    "look at its columns and take smaller steps;",
    "exploding": "gave an update out of all proportion: its training diverges, its features have "
    "another scale than elsewhere, or somebody wants to overwrite the model;",
    "zero": "gave back the state as it was: it trains on nothing, or only pretends to,",
    "of another length": "gave an update of another model:",
    "away": "gave nothing",
}


def _courses(entries: Sequence[Entry]) -> dict[str, _Course]:
    """What each part did in the rounds that it was in, if three or more were in them."""
    known: dict[str, list[tuple[float, float, float, float]]] = {}
    last: dict[str, Array] = {}
    for entry in entries:
        used = [(part, part.delta) for part in entry.used if part.delta is not None]
        lengths = [float(np.linalg.norm(delta)) for _, delta in used]
        for i, (part, delta) in enumerate(used):
            pairs = [cosine(delta, other) for j, (_, other) in enumerate(used) if j != i]
            angles = [angle for angle in pairs if angle is not None]
            rest = np.median(lengths[:i] + lengths[i + 1 :]) if len(used) > 1 else 0.0
            steady = cosine(delta, last.get(part.name))
            if len(angles) >= 2:
                known.setdefault(part.name, []).append(
                    (
                        float(np.median(angles)),
                        np.nan if steady is None else steady,
                        lengths[i] / float(rest) if rest else 1.0,
                        (part.loss or 0.0) / max(1, part.rows),
                    )
                )
        last = {part.name: delta for part, delta in used}
    made = {name: np.array(rows).T for name, rows in sorted(known.items())}
    return {name: _Course(*columns) for name, columns in made.items()}


def _suspect(name: str, courses: dict[str, _Course], size: int) -> Iterator[Finding]:
    """What a part does that attacks do."""
    own = courses[name]
    others = [course for other, course in courses.items() if other != name]
    agreement = _early(own.agreement)
    typical = float(np.median([_early(course.agreement) for course in others]))
    said = (
        f"its updates agree with the others' by {agreement:.2f} on average, theirs by {typical:.2f}"
    )
    loud = float(np.median(own.length))
    steady = float(np.median([_mean(course.steady) for course in others]))
    # Of random directions the mean of so many cosines spreads by this.
    random = max(UNSTEADY, 3 / np.sqrt(size * max(1, len(own.steady) - 1)))
    if _mean(own.steady) < random and steady > STEADY and agreement < AGREED:
        yield Finding(
            "suspect",
            "noise",
            name,
            f"{name!r} gives updates without a direction: {said}, and from round to round they do "
            f"not resemble one another ({_mean(own.steady):.2f}). It may add noise, train on labels "
            "that have nothing to do with its features, or send random numbers.",
        )
    elif agreement < AGAINST and agreement < typical - 0.3:
        served = float(np.median([_change(course.losses) for course in others]))
        if _change(own.losses) > max(0.95, 1.2 * served):
            yield Finding(
                "suspect",
                "label flip",
                name,
                f"{name!r} learns the opposite of what the others learn: {said}. The better the "
                "model fits the others, the worse it fits its rows, so its labels contradict theirs: "
                "they may be flipped or coded the other way round. Compare its labels with "
                f"another part's, or train without it (without=[{name!r}]).",
            )
        else:
            yield Finding(
                "suspect",
                "sign flip",
                name,
                f"{name!r} pushes the model away from where the others move it: {said}. Its rows "
                "are fitted by the model like theirs, so it is not the data: its updates are "
                "negated, by mistake or on purpose. Train without it "
                f"(without=[{name!r}]), or by a strategy that withstands it ('median', 'krum').",
            )
    if loud > LOUD:
        yield Finding(
            "suspect",
            "loud",
            name,
            f"{name!r} gives updates {loud:.1f} times as long as the others: it decides what the "
            "model becomes. It may train more steps or with features of another scale, or boost its "
            "updates on purpose; ub.learn.strategy('norm_bounding') bounds them.",
        )


def _early(values: Array) -> float:
    """The mean over the first half of the rounds, where there is most to learn, at least three."""
    return float(np.mean(values[: max(3, len(values) // 2)]))


def _mean(values: Array) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else 0.0


def _change(losses: Array) -> float:
    """The loss of a part's rows in the second half of a training, over that at its beginning."""
    return float(np.mean(losses[len(losses) // 2 :]) / max(losses[0], 1e-300))


def _planted(
    entries: Sequence[Entry], names: Sequence[str], accused: set[str]
) -> Iterator[Finding]:
    """Features that count at one part as nowhere else: what a trigger looks like."""
    sums: dict[str, Array] = {}
    for entry in entries:
        for part in entry.used:
            if part.delta is not None and part.name not in accused:
                sums[part.name] = sums.get(part.name, np.zeros(len(part.delta))) + part.delta
    if len(sums) < 3 or not names:
        return
    span, shape = next(iter(entries[0].before.layout.spans.values()))
    axis = next((i for i, size in enumerate(shape) if size == len(names)), None)
    if axis is None:
        return
    parts = sorted(sums)
    first = np.array([np.moveaxis(sums[name][span].reshape(shape), axis, 0) for name in parts])
    weight = np.linalg.norm(first.reshape(len(parts), len(names), -1), axis=2)
    shares = weight / np.maximum(np.linalg.norm(weight, axis=1, keepdims=True), 1e-300)
    for i, name in enumerate(parts):
        others = np.delete(shares, i, axis=0).max(axis=0)
        ratio, share = shares[i] / np.maximum(others, 0.02), shares[i]
        for j in map(int, np.flatnonzero((ratio > PLANTED) & (share > CONCENTRATED))):
            yield Finding(
                "suspect",
                "trigger",
                name,
                f"What {name!r} teaches the model is by {share[j]:.0%} of {names[j]!r}, "
                f"{ratio[j]:.0f} times as much as of any other part. The feature may take "
                "values only there, or somebody has planted it in rows with a label of their choice "
                "(a backdoor). Predict rows with it set and not set, and see what changes.",
            )


__all__ = ["Finding", "findings_of"]

"""Differential privacy of rows: slopes of individuals, clipped one by one, and noise on their sum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import umbel as ub
from tests.learning.sites import PEOPLE, federation
from umbel.learning.privacy.accounting import noise_for
from umbel.models import clipped
from umbel.models.clipped import clipped_slope, row_wise
from umbel.models.examples import Examples
from umbel.models.solvers import mathematics_of
from umbel.plan.expressions import Literal
from umbel.plan.models import (
    Design,
    LinearRegression,
    LogisticRegression,
    MultinomialRegression,
    Network,
    Number,
    PoissonRegression,
    Training,
)

NUMBERS = (Number("a"), Number("b"))
CLASSES = tuple(Literal(i, pa.int64()) for i in range(3))
DESIGNS = [
    Design(LinearRegression(), NUMBERS, "y"),
    Design(PoissonRegression(), NUMBERS, "y"),
    Design(LogisticRegression(), NUMBERS, "y", CLASSES[:2]),
    Design(MultinomialRegression(), NUMBERS, "y", CLASSES),
    Design(Network((4, 3)), NUMBERS, "y", CLASSES),
    Design(Network((3,), "number"), NUMBERS, "y"),
]


def drawn(design: Design, rows: int = 37) -> tuple[np.ndarray, Examples]:
    draw = np.random.default_rng(8)
    x = draw.normal(size=(rows, len(design.names)))
    y = draw.integers(0, len(design.classes) or 4, rows).astype(float)
    return draw.normal(size=mathematics_of(design).state(design).size), Examples(x, y)


@pytest.mark.parametrize("design", DESIGNS)
def test_slopes_of_rows_add_up_to_that_of_all(design: Design) -> None:
    state, examples = drawn(design)
    slopes = row_wise(design).row_slopes(design, state, examples)
    whole, _ = mathematics_of(design).slope(design, state, examples)
    assert slopes.sum(axis=0) / len(examples) == pytest.approx(whole, abs=1e-12)


@pytest.mark.parametrize("piece", [1, 40, 1 << 22])
@pytest.mark.parametrize("design", DESIGNS[3:5])
def test_each_individual_is_clipped_whatever_lies_together(
    design: Design, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clipped, "_PIECE", piece)
    state, examples = drawn(design)
    whose = np.random.default_rng(1).integers(0, 9, len(examples))
    slopes = row_wise(design).row_slopes(design, state, examples)
    expected, by_rows = np.zeros(len(state)), np.zeros(len(state))
    for person in range(9):
        own = slopes[whose == person].sum(axis=0)
        expected += own * min(1.0, 0.5 / max(float(np.linalg.norm(own)), 1e-300))
    for row in slopes:
        by_rows += row * min(1.0, 0.5 / float(np.linalg.norm(row)))
    assert clipped_slope(design, state, examples, whose, 0.5) == pytest.approx(expected)
    assert clipped_slope(design, state, examples, None, 0.5) == pytest.approx(by_rows)
    none = Examples(examples.x[:0], examples.y[:0])
    assert not clipped_slope(design, state, none, whose[:0], 0.5).any()


def private(**changes: Any) -> ub.learn.Private:
    budget = ub.learn.Budget(4.0, 1e-4)
    options: dict[str, Any] = {
        "noise": noise_for(budget, 1.0, 3), "budget": budget, "population": 900,
        "clip": ub.learn.FixedClip(1.0), "of": "rows",
    }  # fmt: skip
    return ub.learn.Private(**{**options, **changes})


OPTIONS: dict[str, Any] = {
    "features": [ub.learn.numeric("age", scale=True), "ward"],
    "label": "ill",
    "settings": ub.learn.Settings(learning_rate=4.0),
    "rounds": 3,
}


def test_a_model_with_little_of_any_person_in_it_is_nearly_as_good() -> None:
    """900 people, epsilon 4: noise of 3 clips or so is little beside their sum."""
    df = federation().table("people")
    secure = ub.learn.Secure(fewest=3)
    options = {**OPTIONS, "model": LogisticRegression(), "strategy": private()}
    model = ub.learn.fit(df, privacy=secure, **options)
    frequent = max(np.mean(PEOPLE["ill"]), 1 - np.mean(PEOPLE["ill"]))
    assert model.evaluate(df)["accuracy"] > frequent
    assert {row["rows"] for row in model.history.collect().to_pylist()} == {0}
    again = ub.learn.fit(df, privacy=secure, **options)
    assert np.abs(again.state - model.state).max() > 1e-6  # no seed takes the noise off
    central = ub.learn.fit(df, **options)  # the coordinator adds it, and sees each site's sum
    assert central.evaluate(df)["accuracy"] > frequent


def test_what_cannot_be_clipped_by_rows_is_an_error() -> None:
    df = ub.connect().from_arrow(PEOPLE)
    with pytest.raises(ub.PlanError, match="has a penalty, which belongs to no row"):
        ub.learn.fit(df, **OPTIONS, model=LogisticRegression(l2=1.0), strategy=private())
    with pytest.raises(ub.PlanError, match=r"no slopes of single rows|by steps"):
        ub.learn.fit(df, **OPTIONS, model=ub.learn.NaiveBayes(), strategy=private())
    with pytest.raises(ub.PlanError, match="clipped in one step over all rows"):
        Training(0.1, epochs=2, clip=1.0)
    with pytest.raises(ub.PlanError, match="no slope is cut to -1"):
        Training(0.1, clip=-1.0)
    with pytest.raises(ValueError, match="under a FixedClip"):
        private(clip=ub.learn.AdaptiveClip())
    with pytest.raises(ValueError, match="of is 'sites' or 'rows'"):
        private(of="people")

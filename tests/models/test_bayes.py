"""Naive Bayes is that of its definition, at the digits of all rows together."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import umbel as ub
from tests.learning.sites import PEOPLE, federation


def rows(shift: float) -> tuple[pa.Table, np.ndarray, np.ndarray]:
    """Two features whose mean may be large against their spread, and three classes."""
    draw = np.random.default_rng(5)
    y = draw.choice(3, 400, p=[0.5, 0.3, 0.2])
    x = draw.normal(size=(400, 2)) * [1.0, 2.0] + y[:, None] * [1.5, -1.0] + shift
    return pa.table({"a": x[:, 0], "b": x[:, 1], "y": y}), x, y


@pytest.mark.parametrize("shift", [0.0, 1e7])
def test_probabilities_are_those_of_the_formula(shift: float) -> None:
    """Bayes' rule over normal densities; variances as NumPy's, which works around the mean."""
    table, x, y = rows(shift)
    df = ub.connect().from_arrow(table)
    model = ub.learn.fit(df, features=["a", "b"], label="y", model=ub.learn.NaiveBayes())
    added = 1e-9 * x.var(axis=0).max()
    densities = []
    for i in range(3):
        own = x[y == i]
        variance = own.var(axis=0) + added
        density = np.exp(-((x - own.mean(axis=0)) ** 2) / variance / 2) / np.sqrt(variance)
        densities.append(len(own) / 400 * density.prod(axis=1))
    expected = np.array(densities).T / np.sum(densities, axis=0)[:, None]
    found = model.predict(df, probabilities=True).collect()
    for i in range(3):
        assert found[f"prediction_{i}"].to_numpy() == pytest.approx(expected[:, i], abs=1e-6)
    assert model.history.collect()["round"].to_pylist() == [1, 2]
    assert model.history.collect()["loss"][0].as_py() == pytest.approx(np.log(3))


def test_over_sites_it_is_that_of_all_rows_together() -> None:
    options = {"features": ["age", "ward"], "label": "ill", "model": ub.learn.NaiveBayes()}
    there = ub.learn.fit(federation().table("people"), **options)
    here = ub.learn.fit(ub.connect().from_arrow(PEOPLE), **options)
    assert there.state == pytest.approx(here.state, rel=1e-9)


def test_what_has_no_slope_and_no_spread() -> None:
    df = ub.connect().from_dict({"x": [1.0, 1.0, 1.0, 1.0], "y": ["a", "a", "b", "b"]})
    options = {"features": ["x"], "label": "y", "model": ub.learn.NaiveBayes()}
    with pytest.raises(ub.UmbelError, match="found exactly, and not by steps"):
        ub.learn.fit(df, strategy="fedavg", **options)
    alike = ub.learn.fit(df, **options).predict(df, probabilities=True).collect()
    assert alike["prediction_b"].to_pylist() == [0.5] * 4
    with pytest.raises(ub.UmbelError, match="no row of label 'y' is 'c'"):
        ub.learn.fit(df, classes=["a", "b", "c"], **options)

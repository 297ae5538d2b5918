"""Measures are those of their definitions, worked out over all pairs of rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import umbel as ub
from umbel.models.measures import CELLS, joined


@pytest.fixture(scope="module")
def model_and_rows() -> tuple[ub.learn.Model, pa.Table]:
    draw = np.random.default_rng(3)
    x = draw.normal(size=800)
    y = draw.random(800) < 1 / (1 + np.exp(-x))
    table = pa.table({"x": x, "y": y})
    df = ub.connect().from_arrow(table)
    return (
        ub.learn.fit(df, features=["x"], label="y", model=ub.learn.LogisticRegression()),
        table,
    )


def test_measures_of_a_classifier(model_and_rows: tuple[ub.learn.Model, pa.Table]) -> None:
    model, table = model_and_rows
    found = model.evaluate(model.session.from_arrow(table))
    predicted = model.predict(model.session.from_arrow(table), probabilities=True).collect()
    share, y = predicted["prediction_True"].to_numpy(), table["y"].to_numpy()
    own = np.where(y, share, 1 - share)
    assert predicted["prediction"].to_pylist() == (share > 0.5).tolist()
    assert found["accuracy"] == pytest.approx(np.mean((share > 0.5) == y))
    assert found["log_loss"] == pytest.approx(-np.mean(np.log(own)))
    assert found["brier"] == pytest.approx(np.mean(2 * (share - y) ** 2))
    pairs = share[y][:, None] - share[~y][None, :]
    assert found["auc"] == pytest.approx(np.mean(pairs > 0) + np.mean(pairs == 0) / 2, abs=0.002)
    assert found.rows == 800
    assert found.by_part.to_pylist()[0]["part"] == "here"


def test_measures_of_a_regression() -> None:
    table = pa.table({"x": [0.0, 1.0, 2.0, 3.0], "y": [1.0, 2.0, 2.0, 5.0]})
    df = ub.connect().from_arrow(table)
    model = ub.learn.fit(df, features=["x"], label="y", model=ub.learn.LinearRegression())
    # The line is 0.7 + 1.2 x: it misses by 0.3, 0.1, -1.1 and 0.7.
    found = model.evaluate(df)
    assert found["rmse"] == pytest.approx(np.sqrt((0.09 + 0.01 + 1.21 + 0.49) / 4))
    assert found["mae"] == pytest.approx((0.3 + 0.1 + 1.1 + 0.7) / 4)
    assert found["r2"] == pytest.approx(1 - 1.8 / 9.0)


def test_cells_of_few_rows_are_joined_and_none_is_lost() -> None:
    draw = np.random.default_rng(1)
    cells = draw.poisson(1.0, size=(2, CELLS)).astype(float)
    made = joined(cells, 25)
    totals = made.sum(axis=0)
    assert totals[totals > 0].min() >= 25
    assert made.sum(axis=1).tolist() == cells.sum(axis=1).tolist()

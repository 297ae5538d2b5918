"""Boosted trees are XGBoost's, over sites those of all rows, and tell of no few."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import umbel as ub
from tests.learning.sites import NAMES, at, federation
from umbel.models.base import DivergedError
from umbel.models.examples import Examples
from umbel.models.layout import Array
from umbel.models.quantiles import REFINEMENTS, Counted, joined_with, next_edges
from umbel.models.solvers import solver_of
from umbel.models.trees import BoostedTreesSolver
from umbel.plan.errors import PlanError
from umbel.plan.expressions import Literal
from umbel.plan.models import BoostedTrees, Design, Number


@pytest.fixture(scope="module")
def session() -> ub.Session:
    return ub.connect()


def drawn(kind: str) -> tuple[Any, Any]:
    draw = np.random.default_rng(12)
    x = draw.integers(0, 8, (300, 3)).astype(np.float64)
    score = x[:, 0] - x[:, 1] * (x[:, 2] > 3) + draw.normal(size=300)
    if kind == "number":
        return x, score
    return x, np.digitize(score, [0.0] if kind == "two" else [-1.0, 3.0])


def table(x: Any, y: Any) -> pa.Table:
    return pa.table({**{f"x{i}": x[:, i] for i in range(x.shape[1])}, "y": y})


@pytest.mark.parametrize(
    ("kind", "first", "total"),
    [
        ("two", [0.8663897514, 0.9420893788, 0.4412135482, 0.9200135469], 222.03514410555363),
        ("three", [0.1081449837, 0.5389910310, 0.3528639972, 0.0546386093], 300.0),
        ("number", [2.8116600513, 6.3754987717, 0.4657829702, 2.1003537178], 791.373061388731),
    ],
)
def test_trees_are_xgboosts(
    session: ub.Session, kind: str, first: list[float], total: float
) -> None:
    """Predictions of xgboost 3.2.0, of `drawn(kind)`, 5 rounds of `tree_method="hist"`.

    The parameters are `max_depth=3, eta=0.3, max_bin=64`, and the base score is the label's mean,
    of three classes `set_base_margin` to the logarithms of their shares. The features have eight
    values, so both programs cut them at the same places. `total` sums up absolute predictions;
    XGBoost's numbers have 32 bits.
    """
    x, y = drawn(kind)
    df = session.from_arrow(table(x, y))
    task: Any = "number" if kind == "number" else "classes"
    model = ub.learn.fit(
        df, features=["x0", "x1", "x2"], label="y", model=BoostedTrees(5, 3, task=task)
    )
    names = {"two": ["prediction_1"], "three": [f"prediction_{i}" for i in range(3)]}
    found = model.predict(df, probabilities=kind != "number").collect()
    made = np.column_stack([found[name] for name in names.get(kind, ["prediction"])])
    assert made.ravel()[:4] == pytest.approx(first, abs=2e-6)
    assert np.abs(made).sum() == pytest.approx(total, abs=1e-3)
    losses = model.history.collect()["loss"].to_pylist()
    assert losses == sorted(losses, reverse=True)


def test_over_sites_trees_are_those_of_all_rows() -> None:
    """Each value of a feature has rows enough at each site, so that no bins are joined."""
    draw = np.random.default_rng(3)
    x = draw.integers(0, 4, (900, 2)).astype(np.float64)
    y = x[:, 0] * (x[:, 1] > 1) + draw.normal(size=900) > 1
    rows = table(x, y).append_column("id", [np.arange(900)])
    sites = federation({name: at(name, rows) for name in NAMES})
    options: dict[str, Any] = {
        "features": ["x0", "x1"], "label": "y", "model": BoostedTrees(2, 2, bins=16),
    }  # fmt: skip
    there = ub.learn.fit(sites.table("people"), **options)
    here = ub.learn.fit(ub.connect().from_arrow(rows), **options)
    assert there.tensors["feature"].tolist() == here.tensors["feature"].tolist()
    assert np.abs(there.tensors["leaf"] - here.tensors["leaf"]).max() < 1e-9
    assert there.evaluate(sites.table("people"))["accuracy"] == pytest.approx(
        here.evaluate(ub.connect().from_arrow(rows))["accuracy"]
    )


def test_bins_hold_about_as_many_rows_each() -> None:
    """Of a skewed column, by counts alone: each of 16 bins has between half and twice its share."""
    x = np.exp(3 * np.random.default_rng(1).normal(size=(4000, 1)))
    model = BoostedTrees(1, 1, bins=16, task="number")
    design = Design(model, (Number("a"),), "y")
    solver, rows = solver_of(design), Examples(x, np.zeros(4000))
    state, memory = solver.initial(design, 0), None
    for _ in range(REFINEMENTS + 1):
        sums = solver.contribute(design, state, [rows])
        step = solver.solve(design, state, sums, 4000, memory)
        state, memory = step.state, step.memory
    edges = solver.state(design).split(state)["edges"][0]
    counts = np.bincount(np.searchsorted(edges, x[:, 0], side="right"), minlength=16)
    assert counts.min() > 125
    assert counts.max() < 500


def test_quantiles_lie_where_counts_put_them() -> None:
    known = Counted(np.empty((1, 0)), np.empty((1, 0)))
    known = known.with_counts(np.array([[0.0, 1.0]]), np.array([[10.0, 80.0, 10.0]]))
    assert next_edges(known, 100, 5)[0, 1:3] == pytest.approx([3 / 8, 5 / 8])
    assert joined_with(np.array([[1, 1, 1]]), 5).tolist() == [[2, 2, 2]]
    assert joined_with(np.array([[9, 0, 4]]), 5).tolist() == [[0, 0, 0]]


def test_no_sum_and_no_difference_of_levels_is_of_few() -> None:
    """Whatever the splits: told of are bins of five or more, and nodes that differ by five or more."""
    draw = np.random.default_rng(9)
    x, least, depth = draw.normal(size=(120, 3)), 5, 4
    model = BoostedTrees(1, depth, bins=8, task="number")
    design = Design(model, tuple(Number(f"x{i}") for i in range(3)), "y")
    solver = BoostedTreesSolver()
    layout = solver.state(design)
    # A label of -1 and no base: each row's slope is 1, so slopes count rows.
    rows = Examples(x, np.full(120, -1.0))
    for _ in range(20):
        state = solver.initial(design, 0)
        tensors = layout.split(state)
        tensors["edges"][...] = np.sort(draw.normal(size=(3, 7)), axis=1)
        tensors["feature"][...] = draw.integers(-1, 3, tensors["feature"].shape)
        tensors["threshold"][...] = draw.normal(0, 1.5, tensors["threshold"].shape)
        before: Array | None = None
        for level in range(depth):
            tensors["stage"][...] = REFINEMENTS + 1 + level
            made = solver.sums(design).split(solver.contribute(design, state, [rows], least))
            told = made["slopes"][0, : 2**level]
            assert ((told == 0) | (told >= least)).all()
            totals = told.sum(axis=2)
            assert (totals == totals[:, :1]).all()
            if before is not None:
                assert totals[:, 0].reshape(-1, 2).sum(axis=1).tolist() == before.tolist()
            before = totals[:, 0]
            assert before.sum() == 120


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"trees": 0}, "1 to 10,000 trees of a depth of 1 to 10, not 0 of 4"),
        ({"depth": 11}, "not 100 of 11"),
        ({"bins": 1}, "cut into 2 to 256 bins, not 1"),
        ({"rate": 0.0}, "the rate lies from 0 to 1"),
        ({"l2": -1.0}, "l2 is 0 or more"),
        ({"gain": float("nan")}, "gain is 0 or more"),
    ],
)
def test_bad_arguments(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        BoostedTrees(**changes)


def test_what_cannot_be_learned_says_why(session: ub.Session) -> None:
    x, y = drawn("two")
    df = session.from_arrow(table(x, y))
    options: dict[str, Any] = {"features": ["x0"], "label": "y", "model": BoostedTrees(1, 1)}
    with pytest.raises(PlanError, match="BoostedTrees is found exactly, and not by steps"):
        ub.learn.fit(df, strategy="fedavg", **options)
    with pytest.raises(DivergedError, match="no row of label 'y' is '7'"):
        ub.learn.fit(df, classes=[0, 7], **options)
    with pytest.raises(DivergedError, match="has not converged after 3 rounds"):
        ub.learn.fit(df, rounds=3, **options)
    # A feature of one value cannot be split: the model is the mean.
    same = session.from_arrow(table(np.ones((30, 1)), np.arange(30.0)))
    number = BoostedTrees(2, 2, task="number")
    mean = ub.learn.fit(same, features=["x0"], label="y", model=number)
    assert np.asarray(mean.predict(same).collect()["prediction"]) == pytest.approx(14.5)


def test_a_design_of_trees_is_data(session: ub.Session) -> None:
    from umbel.plan.codec import plan_from_json, plan_to_json

    x, y = drawn("two")
    df = session.from_arrow(table(x, y))
    model = ub.learn.fit(df, features=["x0", "x1"], label="y", model=BoostedTrees(2, 2))
    plan = model.predict(df).plan
    read = plan_from_json(plan_to_json(plan))
    assert read.design == model.design  # type: ignore[attr-defined]
    assert model.design.classes[0] == Literal(0, pa.int64())

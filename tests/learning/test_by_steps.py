"""Training by steps over sites: strategies, what is left out with its reason, and the same again."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import umbel as ub
from tests.learning.sites import LOGISTIC, NAMES, PEOPLE, at, federation
from umbel.federation import Form, Rule
from umbel.federation.errors import FederationError
from umbel.federation.planning import FederatedSession
from umbel.models.base import DivergedError
from umbel.models.descent import descend, update_layout
from umbel.models.examples import Examples
from umbel.models.layout import Array
from umbel.models.network import NetworkMathematics
from umbel.models.solvers import mathematics_of
from umbel.plan.codec import plan_from_json, plan_to_json
from umbel.plan.errors import PlanError
from umbel.plan.expressions import Literal
from umbel.plan.models import Design, LinearRegression, Network, Number, PoissonRegression, Training
from umbel.plan.operators import Contribute, Values
from umbel.plan.operators.learning import STATE

FEATURES = [ub.learn.numeric("age", scale=True), "ward"]
SMALL = ub.learn.Network(hidden=(4,))
CLASSES = tuple(Literal(value, pa.bool_()) for value in (False, True))


@pytest.fixture(scope="module")
def session() -> FederatedSession:
    return federation()


def trained(session: ub.Session, **changes: Any) -> ub.learn.Model:
    options: dict[str, Any] = {
        "features": FEATURES,
        "label": "ill",
        "model": SMALL,
        "settings": ub.learn.Settings(learning_rate=0.3, epochs=2, batch_size=50),
        "rounds": 3,
        "seed": 5,
    }
    model: ub.learn.Model = ub.learn.fit(session.table("people"), **{**options, **changes})
    return model


def test_averaging_whole_steps_is_descent_over_all_rows(session: FederatedSession) -> None:
    """One step over all rows of each site, averaged by rows, is a step over all rows together."""
    rate, rounds = 0.5, 4
    model = trained(
        session,
        model=LOGISTIC,
        strategy="fedavg",
        settings=ub.learn.Settings(learning_rate=rate),
        rounds=rounds,
    )
    pooled = ub.connect().from_arrow(PEOPLE)
    x = np.column_stack(list(model.transform(pooled).collect().to_pydict().values()))
    y = np.asarray(PEOPLE["ill"])
    beta = np.zeros(x.shape[1])
    for _ in range(rounds):
        beta -= rate * x.T @ (1 / (1 + np.exp(-x @ beta)) - y) / len(y)
    assert np.abs(model.state - beta).max() < 1e-12
    losses = model.history.collect()["loss"].to_pylist()
    assert losses[0] == pytest.approx(np.log(2))


def test_the_same_seed_gives_the_same_model_and_another_one_another(
    session: FederatedSession,
) -> None:
    one, other, third = trained(session), trained(session), trained(session, seed=6)
    assert one.state.tobytes() == other.state.tobytes()
    assert np.abs(one.state - third.state).max() > 0.01


@pytest.mark.parametrize(
    "strategy", ["fedprox", "fedadam", "median", ub.learn.strategy("scaffold", population=3)]
)
def test_strategies_lead_to_a_model(session: FederatedSession, strategy: Any) -> None:
    """All are better than the share of the more frequent class says."""
    model = trained(session, strategy=strategy, rounds=6)
    frequent = max(np.mean(PEOPLE["ill"]), 1 - np.mean(PEOPLE["ill"]))
    assert model.evaluate(session.table("people"))["accuracy"] > frequent + 0.02


def test_a_network_learns_what_no_line_parts() -> None:
    """Of two features, one class is where exactly one of them is large."""
    x = np.random.default_rng(2).uniform(-1, 1, size=(1200, 2))
    table = pa.table({"a": x[:, 0], "b": x[:, 1], "y": (x[:, 0] > 0) != (x[:, 1] > 0)})
    df = ub.connect().from_arrow(table)
    settings = ub.learn.Settings(learning_rate=0.3, epochs=5, batch_size=32, momentum=0.5)
    model = ub.learn.fit(
        df, features=["a", "b"], label="y", model=Network((16,)), settings=settings, rounds=15
    )
    assert model.evaluate(df)["accuracy"] > 0.95
    assert model.tensors["weights 1"].shape == (2, 16)


def test_a_network_predicts_numbers() -> None:
    x = np.linspace(-1, 1, 400)
    df = ub.connect().from_arrow(pa.table({"x": x, "y": np.abs(x)}))
    settings = ub.learn.Settings(learning_rate=0.2, epochs=10, batch_size=40)
    model = ub.learn.fit(
        df, features=["x"], label="y", model=Network((8,), "number"), settings=settings, seed=1
    )
    assert model.evaluate(df)["r2"] > 0.95


@pytest.mark.parametrize(
    "design",
    [
        Design(Network((3, 2), l2=0.3), (Number("a"), Number("b")), "y", CLASSES),
        Design(Network((), "number"), (Number("a"), Number("b")), "y"),
        Design(LinearRegression(l2=2.0), (Number("a"), Number("b")), "y"),
        Design(PoissonRegression(), (Number("a"), Number("b")), "y"),
        Design(LOGISTIC, (Number("a"), Number("b")), "y", CLASSES),
    ],
)
def test_slopes_are_those_of_the_loss(design: Design) -> None:
    """Against differences of the loss, penalties worked out here."""
    draw = np.random.default_rng(4)
    mathematics = mathematics_of(design)
    x = draw.normal(size=(40, len(design.names)))
    examples = Examples(x, draw.integers(0, 2, 40).astype(float))
    state = draw.normal(size=mathematics.state(design).size)

    def loss(at: Array) -> float:
        l2, total = getattr(design.algorithm, "l2", 0.0), 0.0
        for name, view in mathematics.state(design).split(at).items():
            if name.startswith("weights"):
                total += l2 / 2 * float(np.sum(view**2))
            elif name == "coefficients":
                total += l2 / 2 * float(np.sum(view.reshape(-1, 3)[:, 1:] ** 2)) / 40
        return mathematics.slope(design, at, examples)[1] / 40 + total

    step = 1e-6
    differences = [
        (loss(state + step * unit) - loss(state - step * unit)) / (2 * step)
        for unit in np.eye(len(state))
    ]
    assert mathematics.slope(design, state, examples)[0] == pytest.approx(differences, abs=1e-5)


def test_local_steps_are_those_of_the_papers() -> None:
    """Two steps over one row with y = 0, x = 1: worked out by hand.

    Least squares without a constant: the slope at w is w. With momentum 0.5, a pull of 0.2 to the
    start 1.0, a correction of 0.1 and rate 0.5: the first velocity is 1.1, so w = 0.45; the second
    is 0.55 + 0.45 + 0.2 (0.45 - 1) + 0.1 = 0.99, so w = -0.045.
    """
    design = Design(LinearRegression(intercept=False), (Number("x"),), "y")
    training = Training(0.5, epochs=2, momentum=0.5, proximal=0.2)
    given = descend(
        design,
        np.array([1.0]),
        Examples(np.array([[1.0]]), np.array([0.0])),
        training,
        np.array([0.1]),
    )
    found = update_layout(design).split(given)
    assert found["coefficients"][0] == pytest.approx(-0.045 - 1.0)
    assert [float(found["loss"]), float(found["steps"])] == [0.5, 2.0]


def forge(session: FederatedSession, change: Any) -> bytes:
    """An update of a network of four numbers in the middle, with one number changed."""
    model = trained(session, rounds=1)
    flat = np.zeros(len(model.state) + 2)
    flat[-1] = 1.0
    flat[0] = change
    return flat.tobytes()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "its update holds NaN or infinity"),
        (float("inf"), "its update holds NaN or infinity"),
        (1e9, "its update is 1e\\+09 long"),
        (None, "its update has another length than the model"),
    ],
)
def test_what_is_no_update_is_left_out_with_its_reason(
    session: FederatedSession, value: float | None, reason: str
) -> None:
    forged = b"\0" * 16 if value is None else forge(session, value)
    model = trained(federation(forged={"south": forged}), rounds=2)
    assert np.isfinite(model.state).all()
    for row in model.history.collect().to_pylist():
        if row["part"] == "south":
            assert re.match(reason, row["excluded"])
        else:
            assert row["excluded"] is None
    alone = trained(session, rounds=2, without=["south"], features=model.design.features)
    assert np.abs(alone.state - model.state).max() < 1e-12


def test_training_that_diverges_is_an_error(session: FederatedSession) -> None:
    settings = ub.learn.Settings(learning_rate=1e200, epochs=5)
    with pytest.raises(DivergedError, match="in round 1 no part gave an update") as caught:
        trained(session, model=LinearRegression(), label="age", features=["ill"],
                strategy="fedavg", settings=settings)  # fmt: skip
    assert "smaller steps" in caught.value.hint


def test_settings_without_steps_and_unknown_strategies_are_errors(
    session: FederatedSession,
) -> None:
    with pytest.raises(ub.PlanError, match="settings are for training by steps"):
        trained(session, model=LOGISTIC)
    with pytest.raises(ub.PlanError, match="No strategy 'fedmagic'"):
        trained(session, strategy="fedmagic")
    with pytest.raises(ub.PlanError, match="has no standard errors"):
        trained(session, rounds=1).coefficients()


def test_how_a_site_trains_is_data_of_the_plan() -> None:
    rows = Values(table=at(NAMES[0]).slice(0, 3))
    design = Design(SMALL, (Number("age"),), "ill", CLASSES)
    numbers = NetworkMathematics().initial(design, 1)
    state = pa.Table.from_arrays([pa.array(numbers)], schema=STATE)
    plan = Contribute(
        input=rows,
        design=design,
        state=state,
        training=Training(0.1, 3, 32, 0.9, 0.01, 2**55),
        correction=state,
    )
    again = plan_from_json(plan_to_json(plan))
    assert again == plan
    assert isinstance(again, Contribute)
    assert again.training == plan.training
    assert again.correction is not None
    assert again.correction.equals(state)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Network((0,)),
        lambda: Network((4,) * 33),
        lambda: Network(l2=-1.0),
        lambda: Training(0.0),
        lambda: Training(0.1, epochs=0),
        lambda: Training(0.1, momentum=1.0),
        lambda: Training(0.1, proximal=float("nan")),
    ],
)
def test_networks_and_training_are_checked(make: Any) -> None:
    with pytest.raises(ub.PlanError):
        make()


@pytest.mark.parametrize("model", [LOGISTIC, SMALL, ub.learn.BoostedTrees(1, 1)])
def test_a_site_whose_table_is_empty_changes_nothing(model: Any) -> None:
    """Where its rule lets rows out; one that counts individuals refuses instead."""
    tables = {"north": at("north"), "south": at("south"), "west": at("west").slice(0, 0)}
    rule = Rule(Form.ROWS)
    options: dict[str, Any] = {"features": ["age"], "label": "ill", "model": model, "seed": 3}
    if model is SMALL:
        options |= {"rounds": 1, "settings": ub.learn.Settings(learning_rate=0.01)}
    there = ub.learn.fit(federation(tables, rule).table("people"), **options)
    two = {name: tables[name] for name in ("north", "south")}
    without = ub.learn.fit(federation(two, rule).table("people"), **options)
    assert np.abs(there.state - without.state).max() < 1e-12
    if model is SMALL:
        last = there.history.collect().to_pylist()[-1]
        assert (last["part"], last["excluded"]) == ("west", "it has no rows to learn from")


def test_sites_whose_columns_differ_are_told_of_before_anything_is_trained() -> None:
    """A column that one site lacks, or has with another type, is an error that names it."""
    other = at("south").set_column(1, "age", [at("south")["age"].cast(pa.string())])
    for changed in (at("south").drop_columns(["age"]), other):

        def train(table: pa.Table = changed) -> None:
            people = federation({"north": at("north"), "south": table}).table("people")
            ub.learn.fit(people, features=["age"], label="ill", model=LOGISTIC)

        with pytest.raises((PlanError, FederationError), match="age") as caught:
            train()
        assert "south" in str(caught.value)

"""Estimators of scikit-learn are sent as data, and trained as a loop over `partial_fit` trains them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.linear_model import (
    LogisticRegression,
    PassiveAggressiveClassifier,
    PassiveAggressiveRegressor,
    Perceptron,
    SGDClassifier,
    SGDRegressor,
)
from sklearn.naive_bayes import GaussianNB

import umbel as ub
from tests.learning.sites import NAMES, PEOPLE, at, federation
from umbel.learning.trainers.estimators import as_sklearn, read_estimator, started
from umbel.models.base import DivergedError
from umbel.models.descent import descend
from umbel.models.estimators import EstimatorMathematics, losses
from umbel.models.examples import Examples
from umbel.plan.codec import plan_from_json, plan_to_json
from umbel.plan.errors import PlanError
from umbel.plan.expressions import Literal
from umbel.plan.models import Design, Number, SklearnModel, Training
from umbel.plan.operators import Transform, Values

WIDTH = 4
NUMBERS = tuple(Number(f"x{i}") for i in range(WIDTH))
DRAW = np.random.default_rng(5)
X = DRAW.normal(size=(150, WIDTH))
FEATURES = [ub.learn.numeric("age", scale=True), "ward"]
MATHEMATICS = EstimatorMathematics()


def designed(algorithm: SklearnModel, classes: int) -> Design:
    if not algorithm.classifies:
        return Design(algorithm, NUMBERS, "y")
    return Design(algorithm, NUMBERS, "y", tuple(Literal(i, pa.int64()) for i in range(classes)))


def labels(algorithm: SklearnModel, classes: int) -> np.ndarray:
    linear = X @ np.array([1.0, -2.0, 0.5, 0.0])
    if not algorithm.classifies:
        return linear + 0.1
    return np.digitize(linear, [0.0] if classes == 2 else [-1.0, 1.0]).astype(np.float64)


@pytest.mark.parametrize(
    ("make", "classes"),
    [
        (lambda: SGDClassifier(random_state=7), 3),
        (lambda: SGDClassifier(loss="log_loss", shuffle=False, learning_rate="invscaling"), 3),
        (lambda: SGDClassifier(loss="modified_huber", penalty="elasticnet", alpha=0.1), 2),
        (lambda: SGDClassifier(fit_intercept=False, l1_ratio=np.float64(0.3), n_jobs=1), 2),
        (lambda: SGDRegressor(random_state=7), 0),
        (lambda: SGDRegressor(loss="huber", epsilon=0.5, penalty=None), 0),
        (lambda: Perceptron(penalty="l1", eta0=0.5), 2),
        (lambda: PassiveAggressiveClassifier(C=0.3), 3),
        (lambda: PassiveAggressiveClassifier(loss="squared_hinge"), 2),
        (lambda: PassiveAggressiveRegressor(epsilon=0.2), 0),
        (lambda: PassiveAggressiveRegressor(loss="squared_epsilon_insensitive"), 0),
    ],
)
@pytest.mark.filterwarnings("ignore:Class PassiveAggressive.* is deprecated:FutureWarning")
def test_rounds_of_a_part_are_a_loop_over_partial_fit(make: Any, classes: int) -> None:
    own = make()
    if own.random_state is None:
        own.set_params(shuffle=False)
    algorithm = read_estimator(own)
    design, y = designed(algorithm, classes), labels(algorithm, classes)
    state = MATHEMATICS.initial(design, 0)
    for earlier in range(2):
        training = Training(0.1, epochs=2, batch=75, seed=earlier + 40, earlier=earlier)
        given = descend(design, state, Examples(X, y), training, None)
        assert given[-1] == 2 * len(X)  # a step with each row
        state = state + given[:-2]
        order = np.random.Generator(np.random.Philox(key=earlier + 40))
        for _ in range(2):
            rows = order.permutation(len(X))
            for first in range(0, len(X), 75):
                batch = rows[first : first + 75]
                known = {"classes": np.arange(classes)} if algorithm.classifies else {}
                own.partial_fit(X[batch], y[batch], **known)
    tensors = MATHEMATICS.state(design).split(state)
    assert np.abs(tensors["coef_"] - own.coef_).max() < 1e-12
    if own.fit_intercept:
        assert np.abs(tensors["intercept_"] - own.intercept_).max() < 1e-12
    scores = MATHEMATICS.scores(design, state, X)
    predicted = scores.argmax(axis=1) if algorithm.classifies else scores
    assert np.abs(predicted - own.predict(X)).max() < 1e-12
    if getattr(own, "loss", "") == "log_loss":
        assert np.abs(scores - own.predict_proba(X)).max() < 1e-12
    back = as_sklearn(design, state)
    assert np.abs(back.predict(X) - own.predict(X)).max() < 1e-12
    begun = started(own, design)
    assert begun is not None
    assert np.abs(begun - state).max() < 1e-12


@pytest.mark.parametrize(
    ("kind", "loss"),
    [
        *(
            (SGDClassifier, loss)
            for loss in ("hinge", "squared_hinge", "log_loss", "modified_huber", "perceptron")
        ),
        *(
            (SGDRegressor, loss)
            for loss in (
                "squared_error",
                "huber",
                "epsilon_insensitive",
                "squared_epsilon_insensitive",
            )
        ),
    ],
)
def test_losses_fall_as_scikit_learn_steps(kind: Any, loss: str) -> None:
    """One step over one row of one feature goes as far as the loss falls."""
    for begin in (-2.3, -0.4, 0.3, 1.7):
        own = kind(
            loss=loss, penalty=None, learning_rate="constant", eta0=0.01, fit_intercept=False
        )
        first = {"classes": np.array([0, 1])} if kind is SGDClassifier else {}
        own.partial_fit(np.zeros((1, 1)), np.array([1.0]), **first)
        own.coef_[...] = begin
        own.partial_fit(np.ones((1, 1)), np.array([1.0]))
        ends = losses(loss, np.array([begin - 1e-6, begin + 1e-6]), np.ones(2), 0.1)
        slope = (ends[1] - ends[0]) / 2e-6
        assert own.coef_.item() - begin == pytest.approx(-0.01 * slope, abs=1e-8)


def test_sites_train_it_by_themselves_and_it_applies_where_rows_are(tmp_path: Path) -> None:
    session = federation()
    task: dict[str, Any] = {"features": FEATURES, "label": "ill"}
    estimator = SGDClassifier(loss="log_loss", shuffle=False)
    model = ub.learn.fit(session.table("people"), **task, model=estimator, rounds=1)
    assert not hasattr(estimator, "coef_")
    expected = np.zeros(len(model.state))
    for name in NAMES:
        part = ub.connect().from_arrow(at(name))
        x = np.column_stack(list(model.transform(part).collect().to_pydict().values()))
        alone = SGDClassifier(loss="log_loss", shuffle=False)
        alone.partial_fit(x, np.asarray(at(name)["ill"]), classes=[False, True])
        expected += np.append(alone.coef_, alone.intercept_) * len(x) / PEOPLE.num_rows
    assert np.abs(model.state - expected).max() < 1e-12
    everyone = ub.connect().from_arrow(PEOPLE)
    x = np.column_stack(list(model.transform(everyone).collect().to_pydict().values()))
    second = model.to_sklearn()
    made = model.predict(everyone, probabilities=True).collect()
    assert made["prediction"].to_pylist() == second.predict(x).tolist()
    shares = second.predict_proba(x)[:, 1]
    assert np.abs(np.asarray(made["prediction_True"]) - shares).max() < 1e-12
    counted = model.predict(session.table("people")).group_by("prediction").agg(n=ub.len())
    assert sum(counted.collect()["n"].to_pylist()) == PEOPLE.num_rows
    registry = ub.learn.Registry(tmp_path)
    registry.save(model, "steps")
    kept = registry.load("steps", session)
    assert kept.design == model.design
    assert kept.state.tobytes() == model.state.tobytes()


def test_the_seed_says_the_order_of_rows_and_training_goes_on_from_an_estimator() -> None:
    df = ub.connect().from_arrow(PEOPLE)
    task: dict[str, Any] = {"features": FEATURES, "label": "ill", "rounds": 2}
    task["settings"] = ub.learn.Settings(batch_size=100)
    one, two, other = (
        ub.learn.fit(df, **task, model=SGDClassifier(alpha=0.01), seed=seed) for seed in (1, 1, 2)
    )
    assert one.state.tobytes() == two.state.tobytes() != other.state.tobytes()
    task["features"] = one.design.features
    rest = ub.learn.fit(df, **task, model=one.to_sklearn(), seed=3)
    again = ub.learn.fit(df, **task, model=one, seed=3)
    assert rest.state.tobytes() == again.state.tobytes() != one.state.tobytes()
    with pytest.raises(PlanError, match="was fitted on the classes"):
        ub.learn.fit(df, **task, model=one.to_sklearn(), classes=[True, False])
    with pytest.raises(PlanError, match="coef_ of 1 by 3 numbers, and the model needs 1 by 1"):
        ub.learn.fit(df, **{**task, "features": ["age"]}, model=one.to_sklearn())


class Clever(SGDClassifier):  # type: ignore[misc]  # mypy does not look into the extra
    """Somebody's own."""


@pytest.mark.parametrize(
    ("estimator", "why"),
    [
        (GaussianNB(), "sklearn's GaussianNB .* closed list, SGDClassifier"),
        (LogisticRegression(), "LogisticRegression cannot be trained over sites"),
        (Clever(), "Clever cannot"),
        (SGDClassifier(average=True), "average=True keeps more"),
        (SGDClassifier(early_stopping=True), "early_stopping=True"),
        (SGDClassifier(class_weight={0: 2.0}), "class_weight"),
        (SGDClassifier(random_state=np.random.RandomState(1)), "'random_state' .* no plain value"),
        (SGDClassifier(alpha=float("nan")), "'alpha' .* no plain value"),
        (SGDClassifier(loss="absolute"), "SGDClassifier cannot be trained so: The 'loss' param"),
        (SGDClassifier(learning_rate="pa1", loss="log_loss"), "only works with loss 'hinge'"),
    ],
)
def test_what_a_plan_cannot_name_is_refused_where_it_was_written(estimator: Any, why: str) -> None:
    df = ub.connect().from_arrow(PEOPLE)
    with pytest.raises(PlanError, match=why):
        ub.learn.fit(df, features=["age"], label="ill", model=estimator)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"settings": ub.learn.Settings(learning_rate=0.5)}, "learning_rate has no effect"),
        ({"settings": ub.learn.Settings(momentum=0.5)}, "no place for a momentum"),
        ({"settings": ub.learn.Settings(optimizer="adam")}, "the optimizer adam"),
        ({"strategy": "fedprox"}, "a pull to where the round began"),
        ({"strategy": ub.learn.strategy("scaffold", population=1)}, "corrections of slopes"),
    ],
)
def test_nothing_is_put_into_the_steps_of_an_estimator(options: Any, why: str) -> None:
    df = ub.connect().from_arrow(PEOPLE)
    with pytest.raises(PlanError, match=why):
        ub.learn.fit(df, features=["age"], label="ill", model=SGDClassifier(), **options)


@pytest.mark.parametrize("epochs", [1, 60])
def test_steps_that_lead_nowhere_are_an_error(epochs: int) -> None:
    df = ub.connect().from_dict({"x": [1e6, -2e6, 3e6], "y": [1.0, 2.0, 3.0]})
    wild = SGDRegressor(eta0=1e6, learning_rate="constant")
    with pytest.raises(DivergedError, match="no part gave an update") as caught:
        ub.learn.fit(
            df, features=["x"], label="y", model=wild, settings=ub.learn.Settings(epochs=epochs)
        )
    assert caught.value.hint == "give the estimator a smaller eta0, or scale the features"


def test_only_listed_estimators_come_through_the_reader_of_plans() -> None:
    design = designed(read_estimator(SGDClassifier()), 2)
    table = pa.table({**{f"x{i}": [1.0] for i in range(WIDTH)}, "y": [0]})
    text = plan_to_json(Transform(input=Values(table=table), design=design))
    assert plan_from_json(text).design == design  # type: ignore[attr-defined]
    for old, new in (
        ('"SGDClassifier"', '"GridSearchCV"'),
        ('"alpha"', '"n_jobs"'),
        ('"0.0001"', '"[0.0001]"'),
        ('"0.0001"', '"NaN"'),
        ('"0.0001"', f'"{"1" * 80}"'),
    ):
        assert old in text
        with pytest.raises(PlanError):
            plan_from_json(text.replace(old, new))
    with pytest.raises(PlanError, match="stand in order"):
        SklearnModel("Perceptron", (("eta0", "1.0"), ("alpha", "1.0")))

"""Training as a part of a plan: from raw rows to a scored model in one, here and over sites."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import umbel as ub
from tests.learning.sites import LOGISTIC, PEOPLE, federation
from umbel import col
from umbel.learning.planned import PlannedModel
from umbel.learning.rounds import Round
from umbel.plan.errors import CancelledError, PlanError, TypeClashError, UnknownNameError
from umbel.plan.operators import Fit, PredictWith

FEATURES = [ub.learn.numeric("age", scale=True), "ward"]


def planned(df: ub.DataFrame, **options: object) -> PlannedModel:
    given = {"features": FEATURES, "label": "ill", "model": LOGISTIC, **options}
    return ub.learn.plan_fit(df, **given)


@pytest.fixture(scope="module")
def people() -> ub.DataFrame:
    return ub.connect().from_arrow(PEOPLE)


def test_a_plan_over_sites_trains_and_scores_where_the_rows_are() -> None:
    session = federation()
    df = session.table("people")
    model = planned(df, classes=[False, True])
    scored = (
        model.predict(df, probabilities=True)
        .group_by("ward", "prediction")
        .agg(n=ub.len(), p=col("prediction_True").mean().round(12))
        .sort("ward", "prediction")
    )
    assert session.last_run is None  # nothing has run

    again = session.from_plan(ub.plan_from_json(scored.to_json()))
    assert isinstance(again, ub.DataFrame)
    eager = ub.learn.fit(df, features=FEATURES, label="ill", model=LOGISTIC)
    expected = (
        eager.predict(df, probabilities=True)
        .group_by("ward", "prediction")
        .agg(n=ub.len(), p=col("prediction_True").mean().round(12))
        .sort("ward", "prediction")
    )
    with pytest.warns(UserWarning, match="left out groups"):  # the rules of sites hold as ever
        assert again.collect() == expected.collect()

    measured = model.evaluate(df).collect()
    whole = measured.filter(pa.compute.is_null(measured["part"]))
    found = dict(zip(whole["measure"].to_pylist(), whole["value"].to_pylist(), strict=True))
    assert found == dict(eager.evaluate(df))
    assert set(measured["part"].to_pylist()) == {"north", "south", "west", None}


def test_by_steps_masked_and_by_a_strategy_of_numbers_the_bits_are_those_of_fit() -> None:
    df = federation().table("people")
    options = {
        "strategy": ub.learn.strategy("fedprox", mu=0.25),
        "settings": ub.learn.Settings(learning_rate=0.3, batch_size=32),
        "privacy": ub.learn.Secure(fewest=2),
        "rounds": 2,
        "seed": 5,
    }
    model = planned(df, **options)
    read = ub.plan_from_json(model.frame().to_json())
    assert isinstance(read, Fit)
    assert read == model.plan
    again = df.session.from_plan(read)
    assert isinstance(again, ub.DataFrame)
    table = again.collect()
    eager = ub.learn.fit(df, features=FEATURES, label="ill", model=LOGISTIC, **options)
    assert table["values"].to_pylist() == [eager.state.tolist()]
    assert '"kind": "LogisticRegression"' in table["design"][0].as_py()


def test_a_model_learns_from_what_another_predicts(people: ub.DataFrame) -> None:
    first = planned(people).predict(people, output="guess").with_columns(age2=col("age") * 2)
    second = ub.learn.plan_fit(
        first, features=["guess"], label="age2", model=ub.learn.LinearRegression()
    )
    found = second.train()
    # The best guess from a flag alone is the mean of each group.
    own = ub.learn.fit(people, features=FEATURES, label="ill", model=LOGISTIC)
    guessed = np.asarray(own.predict(people).collect()["prediction"])
    doubled = 2 * np.asarray(PEOPLE["age"])
    low = doubled[~guessed].mean()
    assert found.state == pytest.approx([low, doubled[guessed].mean() - low])


def test_explain_says_where_rounds_and_predictions_run(people: ub.DataFrame) -> None:
    df = federation().table("people")
    scored = planned(df, strategy="fedavg", rounds=3).predict(df)
    found = scored.group_by("ward").agg(n=ub.len()).explain()
    text = found.text()
    assert "first trains LogisticRegression of ill by age, ward, by fedavg: by steps" in text
    assert "in 3 rounds over north, south, west" in text
    before, after = text.split("with the model then:")
    assert "Contribute" in before
    assert "stage 0 at site north" in before
    assert "Predict" in after
    assert "Contribute" not in after
    assert [one["what"][:12] for one in found.to_dict()["trains"]] == ["first trains"]
    for kind in (ub.learn.PCA(3), ub.learn.KMeans(2)):
        shown = ub.learn.plan_fit(people, features=["ward", "age"], model=kind).frame().explain()
        assert type(kind).__name__ in shown.text()


def test_a_plan_keeps_its_model_with_what_it_measured(
    people: ub.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UMBEL_MODELS", str(tmp_path))
    model = planned(people, keep="risk")
    measured = model.evaluate(people).collect()
    (version,) = ub.learn.Registry().versions("risk")
    assert version.metrics["accuracy"] in measured["value"].to_pylist()
    again = ub.learn.Registry().load("risk", people.session)
    assert again.state.tolist() == model.train().state.tolist()


def test_a_training_inside_a_plan_ends_when_the_run_is_cancelled(
    people: ub.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    from umbel.executor import Cancellation
    from umbel.learning import lowering

    cancellation, seen = Cancellation(), []

    def say(one: Round) -> None:
        seen.append(one.number)
        cancellation.cancel()

    monkeypatch.setattr(lowering, "watcher_of", lambda shown: say)
    with pytest.raises(CancelledError):
        people.session.run(planned(people).frame().plan, cancellation=cancellation)
    assert seen == [1]  # it takes more than one round to converge


def test_what_cannot_be_known_before_training_is_asked_for(people: ub.DataFrame) -> None:
    with pytest.raises(PlanError, match="known before training") as caught:
        planned(people).predict(people, probabilities=True)
    assert "classes=[…]" in caught.value.hint
    other = people.with_columns(ward=col("age").cast("int64"))
    with pytest.raises(TypeClashError, match="'ward' is trained on string"):
        planned(people).predict(other)
    with pytest.raises(UnknownNameError, match="'age'"):
        planned(people).predict(people.drop("age"))
    with pytest.raises(PlanError, match="another session"):
        planned(people).predict(ub.connect().from_arrow(PEOPLE))
    with pytest.raises(PlanError, match="takes the model of a Fit, not what Scan gives"):
        PredictWith(left=people.plan, right=people.plan)
    with pytest.raises(PlanError, match="strategies by name"):
        planned(people, strategy=ub.learn.Private(
            noise=1.0, budget=ub.learn.Budget(epsilon=1, delta=1e-5), population=3,
            clip=ub.learn.FixedClip(1.0),
        ))  # fmt: skip
    with pytest.raises(PlanError, match="KMeans has no label"):
        planned(people, model=ub.learn.KMeans(2))

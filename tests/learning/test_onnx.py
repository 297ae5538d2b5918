"""What a model written as ONNX gives, by onnx's reference evaluator, is what it predicts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

import umbel as ub
from tests.learning.sites import PEOPLE
from umbel import col
from umbel.plan.errors import PlanError

AGE, WARD = ub.learn.numeric("age", scale=True, impute=50.0), ub.learn.one_hot("ward")
BINS = ub.learn.binned("age", edges=[40, 60])
STEPS: dict[str, Any] = {"rounds": 2, "settings": ub.learn.Settings(learning_rate=1e-3)}


@pytest.mark.parametrize(
    ("model", "features", "label", "options"),
    [
        (ub.learn.LogisticRegression(), [AGE, WARD], "ill", {}),
        (ub.learn.MultinomialRegression(), [BINS], "ward", {}),
        (ub.learn.LinearRegression(), [BINS, WARD], "id", {}),
        (ub.learn.PoissonRegression(), [AGE, WARD], "n", {}),
        (ub.learn.Network(hidden=(5,)), [AGE, WARD], "ill", STEPS),
        (ub.learn.Network(hidden=(4, 3), task="number"), [AGE], "share", STEPS),
    ],
)
def test_scores_are_those_of_predict(
    model: Any, features: list[Any], label: str, options: dict[str, Any], tmp_path: Path
) -> None:
    df = ub.connect().from_arrow(PEOPLE).with_columns(n=col("id") % 3, share=col("id") / 900)
    made = ub.learn.fit(df, features=features, label=label, model=model, **options)
    registry = ub.learn.Registry(tmp_path / "models")
    registry.save(made, "one")
    file = registry.export("one", tmp_path / "one.onnx")
    found = ReferenceEvaluator(onnx.load(file))
    table = df.collect()
    given = {
        name: np.array(table[name].to_pylist(), object if name == "ward" else np.float64)[:, None]
        for name in found.input_names
    }
    scores, *places = map(np.asarray, found.run(None, given))
    predicted = made.predict(df, probabilities=bool(made.design.classes)).collect()
    if not made.design.classes:
        assert scores[:, 0] == pytest.approx(np.asarray(predicted["prediction"]), rel=1e-9)
        return
    names = [name for name in predicted.column_names if name.startswith("prediction_")]
    expected = np.column_stack([np.asarray(predicted[name]) for name in names])
    assert scores == pytest.approx(expected, abs=1e-9)
    assert places[0].tolist() == expected.argmax(axis=1).tolist()


def test_a_model_without_the_form_says_so(tmp_path: Path) -> None:
    df = ub.connect().from_arrow(PEOPLE)
    made = ub.learn.fit(df, features=["age"], model=ub.learn.KMeans(2))
    registry = ub.learn.Registry(tmp_path)
    registry.save(made, "two")
    with pytest.raises(PlanError, match="KMeans has no form in ONNX"):
        registry.export("two", tmp_path / "two.onnx")

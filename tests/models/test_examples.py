"""What features make of columns, in training and in scoring alike."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import umbel as ub
from umbel.plan.errors import PlanError, TypeClashError
from umbel.plan.expressions import Literal
from umbel.plan.models import Bins, Category, Design, Feature, LinearRegression, Number

TABLE = pa.table(
    {
        "age": [30.0, None, 50.0, float("nan"), 40.0],
        "ward": ["a", "b", None, "b", "new"],
        "y": [1.0, 2.0, 3.0, 4.0, 5.0],
    }
)
WORDS = tuple(Literal(word, pa.string()) for word in ("a", "b"))


@pytest.fixture(scope="module")
def session() -> ub.Session:
    return ub.connect()


def transformed(session: ub.Session, *features: Feature) -> dict[str, list[float | None]]:
    design = Design(LinearRegression(intercept=False), features, "y")
    plan = ub.learn.Model(design, np.zeros(len(design.names)), session, pa.table({}))
    columns: dict[str, list[float | None]] = (
        plan.transform(session.from_arrow(TABLE)).collect().to_pydict()
    )
    return columns


def test_numbers_are_centred_scaled_and_filled(session: ub.Session) -> None:
    assert transformed(session, Number("age", 40.0, 10.0)) == {"age": [-1.0, None, 1.0, None, 0.0]}
    filled = transformed(session, Number("age", 40.0, 10.0, fill=45.0))
    assert filled == {"age": [-1.0, 0.5, 1.0, 0.5, 0.0]}


def test_values_get_columns_and_unknown_ones_zeros(session: ub.Session) -> None:
    found = transformed(session, Category("ward", WORDS))
    assert found == {"ward=a": [1.0, 0.0, None, 0.0, 0.0], "ward=b": [0.0, 1.0, None, 1.0, 0.0]}
    filled = transformed(session, Category("ward", WORDS, fill=WORDS[1]))
    assert filled["ward=b"] == [0.0, 1.0, 1.0, 1.0, 0.0]


def test_intervals_hold_their_lower_edge(session: ub.Session) -> None:
    found = transformed(session, Bins("age", (40.0, 50.0), fill=0.0))
    assert list(found) == ["age=40…50", "age=50…"]
    assert found["age=40…50"] == [0.0, 0.0, 0.0, 0.0, 1.0]
    assert found["age=50…"] == [0.0, 0.0, 1.0, 0.0, 0.0]


def test_what_is_learned_of_all_rows_is_part_of_the_model(session: ub.Session) -> None:
    """Of 30, 50 and 40 the mean is 40, and the mean square from it 200 / 3."""
    model = ub.learn.fit(
        session.from_arrow(TABLE),
        features=[ub.learn.numeric("age", scale=True, impute="mean")],
        label="y",
        model=ub.learn.LinearRegression(l2=1.0),
    )
    (feature,) = model.design.features
    assert isinstance(feature, Number)
    assert (feature.center, feature.fill) == (40.0, 40.0)
    assert feature.scale == pytest.approx(np.sqrt(200 / 3))
    other = session.from_dict({"age": [40.0 + feature.scale]})
    assert model.transform(other).collect()["age"].to_pylist() == [pytest.approx(1.0)]


def test_rows_that_lack_something_are_counted_and_predicted_as_null(session: ub.Session) -> None:
    df = session.from_arrow(TABLE)
    model = ub.learn.fit(df, features=["age"], label="y", model=ub.learn.LinearRegression())
    last = model.history.collect().to_pylist()[-1]
    assert (last["rows"], last["left_out"]) == (3, 2)
    predicted = model.predict(df).collect()["prediction"].to_pylist()
    assert [value is None for value in predicted] == [False, True, False, True, False]


def test_a_column_of_another_type_or_none_is_refused(session: ub.Session) -> None:
    df = session.from_arrow(TABLE.slice(0, 2))
    model = ub.learn.fit(
        df.filter(ub.col("age").is_not_null() | (ub.col("y") > 0)),
        features=["ward"],
        label="y",
        model=ub.learn.LinearRegression(),
    )
    with pytest.raises(TypeClashError, match="values of type string, the column of type int64"):
        model.predict(session.from_dict({"ward": [1]}))
    with pytest.raises(ub.UnknownNameError, match="unknown column 'ward' in the model"):
        model.predict(session.from_dict({"word": ["a"]}))


def test_a_model_whose_numbers_are_not_its_own_fails(session: ub.Session) -> None:
    design = Design(LinearRegression(), (Number("age"),), "y")
    model = ub.learn.Model(design, np.zeros(3), session, pa.table({}))
    with pytest.raises(ub.UmbelError, match="3 numbers are not the 2 of coefficients"):
        model.predict(session.from_arrow(TABLE)).collect()


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ((), "at least one feature"),
        ((Number("a"), Number("a")), "'a' stands twice"),
        ((Number("y"),), "'y' is among the features"),
    ],
)
def test_designs_are_checked(features: tuple[Number, ...], message: str) -> None:
    with pytest.raises(PlanError, match=message):
        Design(LinearRegression(), features, "y")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Number("a", scale=0.0), "cannot be scaled"),
        (lambda: Number("a", center=float("nan")), "cannot be scaled"),
        (lambda: Bins("a", (2.0, 1.0)), "must rise"),
        (lambda: Category("a", (Literal(None, pa.string()),)), "must be constants"),
        (lambda: LinearRegression(l2=-1.0), "l2 is 0 or more"),
        (lambda: ub.learn.binned("a"), "at given edges, or into two bins"),
    ],
)
def test_features_are_checked(make: object, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        make()  # type: ignore[operator]


def test_binned_goes_by_the_spread_of_all_rows(session: ub.Session) -> None:
    """Half of a normal distribution lies below its mean."""
    df = session.from_dict({"x": [float(i) for i in range(11)], "y": [float(i) for i in range(11)]})
    model = ub.learn.fit(
        df, features=[ub.learn.binned("x", bins=2)], label="y", model=ub.learn.LinearRegression()
    )
    assert model.design.names == ("intercept", "x=5…")
    # The intercept is the mean of 0…4, the other the difference to that of 5…10.
    assert model.state == pytest.approx([2.0, 5.5])

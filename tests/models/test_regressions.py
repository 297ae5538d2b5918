"""Coefficients are those of published analyses, and the best there are, however rows are divided."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import umbel as ub
from umbel.models.base import DivergedError
from umbel.plan.models import Algorithm

#: Henderson and Velleman, "Building multiple regression models interactively", Biometrics 37, 1981:
#: R's data set `mtcars`.
WEIGHT = [
    2.620, 2.875, 2.320, 3.215, 3.440, 3.460, 3.570, 3.190, 3.150, 3.440, 3.440, 4.070, 3.730,
    3.780, 5.250, 5.424, 5.345, 2.200, 1.615, 1.835, 2.465, 3.520, 3.435, 3.840, 3.845, 1.935,
    2.140, 1.513, 3.170, 2.770, 3.570, 2.780,
]  # fmt: skip
MANUAL = [
    1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1,
]  # fmt: skip
MILES = [
    21.0, 21.0, 22.8, 21.4, 18.7, 18.1, 14.3, 24.4, 22.8, 19.2, 17.8, 16.4, 17.3, 15.2, 10.4, 10.4,
    14.7, 32.4, 30.4, 33.9, 21.5, 15.5, 15.2, 13.3, 19.2, 27.3, 26.0, 30.4, 15.8, 19.7, 15.0, 21.4,
]  # fmt: skip
CARS = pa.table({"wt": WEIGHT, "am": MANUAL, "mpg": MILES})

#: Dobson, "An Introduction to Generalized Linear Models", 1990, page 93: the example of R's `glm`.
TRIAL = pa.table(
    {
        "counts": [18, 17, 15, 20, 10, 20, 25, 13, 12],
        "outcome": ["1", "2", "3"] * 3,
        "treatment": ["1"] * 3 + ["2"] * 3 + ["3"] * 3,
    }
)


@pytest.fixture(scope="module")
def session() -> ub.Session:
    return ub.connect()


def test_a_linear_regression_is_that_of_the_textbook(session: ub.Session) -> None:
    """`summary(lm(mpg ~ wt, mtcars))` in R: 37.2851 (1.8776), -5.3445 (0.5591)."""
    df = session.from_arrow(CARS)
    model = ub.learn.fit(df, features=["wt"], label="mpg", model=ub.learn.LinearRegression())
    found = model.coefficients().to_pydict()
    assert found["feature"] == ["intercept", "wt"]
    assert np.round(found["coefficient"], 4).tolist() == [37.2851, -5.3445]
    assert np.round(found["standard_error"], 4).tolist() == [1.8776, 0.5591]
    assert round(model.evaluate(df)["r2"], 4) == 0.7528


def test_a_logistic_regression_is_that_of_the_textbook(session: ub.Session) -> None:
    """`summary(glm(am ~ wt, binomial, mtcars))` in R: 12.040 (4.510), -4.024 (1.436).

    R's errors belong to the weights of the round before the last one.
    """
    df = session.from_arrow(CARS)
    model = ub.learn.fit(df, features=["wt"], label="am", model=ub.learn.LogisticRegression())
    found = model.coefficients().to_pydict()
    assert np.round(found["coefficient"], 3).tolist() == [12.040, -4.024]
    assert found["standard_error"] == pytest.approx([4.510, 1.436], abs=2e-3)


def test_a_poisson_regression_is_that_of_the_textbook(session: ub.Session) -> None:
    """R's `example(glm)`: 3.045 (0.1709), -0.4543 (0.2022), -0.2930 (0.1927), 0 and 0 (0.2000)."""
    df = session.from_arrow(TRIAL)
    model = ub.learn.fit(
        df, features=["outcome", "treatment"], label="counts", model=ub.learn.PoissonRegression()
    )
    found = model.coefficients().to_pydict()
    assert np.round(found["coefficient"], 4).tolist() == [3.0445, -0.4543, -0.2930, 0, 0]
    assert np.round(found["standard_error"], 4).tolist() == [0.1709, 0.2022, 0.1927, 0.2, 0.2]


def rows(classes: int, kind: str) -> pa.Table:
    """Rows whose label goes by two features, of very different size, and by chance."""
    draw = np.random.default_rng(7)
    x = draw.normal(size=(600, 2)) * [1.0, 500.0] + [3.0, 100.0]
    if kind == "poisson":
        y = draw.poisson(np.exp(0.3 * x[:, 0] - x[:, 1] / 2000))
    else:
        linear = 0.2 * x[:, :1] + x[:, 1:] / 700 * np.linspace(-1, 1, classes)
        y = (linear + draw.gumbel(size=(600, classes))).argmax(axis=1)
    return pa.table({"a": x[:, 0], "b": x[:, 1], "y": y})


@pytest.mark.parametrize("l2", [0.0, 2.5])
@pytest.mark.parametrize(
    ("algorithm", "classes"),
    [
        (ub.learn.LinearRegression, 3),
        (ub.learn.LogisticRegression, 2),
        (ub.learn.MultinomialRegression, 4),
        (ub.learn.PoissonRegression, 0),
    ],
)
def test_no_other_coefficients_are_better(
    session: ub.Session, algorithm: type[Algorithm], classes: int, l2: float
) -> None:
    """The loss is convex, so where its slope is 0 is its only minimum; the slope is worked out here.

    With curvature c, coefficients are off by slope / c at most.
    """
    table = rows(classes, "poisson" if not classes else "classes")
    model = ub.learn.fit(
        session.from_arrow(table), features=["a", "b"], label="y", model=algorithm(l2=l2)
    )
    x = np.column_stack([np.ones(600), table["a"], table["b"]])
    y = table["y"].to_numpy()
    beta = model.tensors["coefficients"]
    linear = x @ np.atleast_2d(beta).T
    match algorithm.__name__:
        case "LinearRegression":
            miss = linear - y[:, None]
        case "PoissonRegression":
            miss = np.exp(linear) - y[:, None]
        case _:
            odds = np.exp(np.column_stack([np.zeros(600), linear]))
            miss = (odds / odds.sum(axis=1, keepdims=True))[:, 1:]
            miss = miss - (y[:, None] == np.arange(1, classes))
    slope = miss.T @ x + l2 * np.atleast_2d(beta) * [0, 1, 1]
    off = model.details["covariance"] @ slope.ravel()
    assert np.abs(off / np.abs(beta).max()).max() < 1e-9


def test_rows_may_lie_in_any_number_of_parts(session: ub.Session) -> None:
    table = rows(3, "classes")
    options = {"features": ["a", "b"], "label": "y", "model": ub.learn.MultinomialRegression()}
    whole = ub.learn.fit(session.from_arrow(table), **options)
    parts = [session.from_arrow(table.slice(start, 100)) for start in range(0, 600, 100)]
    together = parts[0].union(*parts[1:]) if len(parts) > 1 else parts[0]
    divided = ub.learn.fit(together, **options)
    assert np.abs(divided.state - whole.state).max() < 1e-9


@pytest.mark.parametrize(
    ("columns", "algorithm", "message"),
    [
        (
            {"x": [0.0, 1.0, 2.0, 3.0], "y": [0, 0, 1, 1]},
            ub.learn.LogisticRegression(),
            "separate the classes of 'y' perfectly",
        ),
        (
            {"x": [0.0, 0.0, 0.0], "y": [1.0, 2.0, 3.0]},
            ub.learn.LinearRegression(),
            "coefficient 'x' cannot be found: its feature is 0 in all rows",
        ),
        (
            {"x": [2.0, 2.0, 2.0], "y": [1.0, 2.0, 3.0]},
            ub.learn.LinearRegression(),
            "'intercept', 'x' cannot be told apart",
        ),
        (
            {"x": [1.0, 2.0, 4.0], "y": [None, None, float("nan")]},
            ub.learn.LinearRegression(),
            "in all 3 a feature or the label is missing",
        ),
        ({"x": [1.0, 2.0], "y": ["a", "a"]}, ub.learn.LogisticRegression(), "'y' has one"),
        (
            {"x": [1.0, 2.0, 3.0], "y": ["a", "b", "c"]},
            ub.learn.LogisticRegression(),
            "'y' has 3",
        ),
        ({"x": [1.0, 2.0], "y": ["a", "b"]}, ub.learn.LinearRegression(), "label 'y' is string"),
        ({"x": [1.0, 2.0], "y": [0.5, 1.0]}, ub.learn.LogisticRegression(), "has fractions"),
        ({"y": [0.5, 1.0]}, ub.learn.LinearRegression(), "unknown column 'x' in the features"),
    ],
)
def test_what_cannot_be_learned_is_an_error_that_says_why(
    session: ub.Session, columns: dict[str, list[object]], algorithm: Algorithm, message: str
) -> None:
    df = session.from_arrow(pa.table(columns))
    with pytest.raises(ub.UmbelError, match=message):
        ub.learn.fit(df, features=["x"], label="y", model=algorithm)


def test_too_few_rounds_are_an_error(session: ub.Session) -> None:
    with pytest.raises(DivergedError, match="not converged after 2 rounds"):
        ub.learn.fit(
            session.from_arrow(CARS),
            features=["wt"],
            label="am",
            model=ub.learn.LogisticRegression(),
            rounds=2,
        )


def test_large_counts_are_found_by_steps_cut_in_half(session: ub.Session) -> None:
    """A first step from nothing to a mean of a thousand would end at its exponential.

    With one feature that is 0 or 1, the coefficients are the logarithms of the groups' means.
    """
    table = pa.table({"x": [0, 0, 1, 1], "y": [900, 1100, 4000, 6000]})
    model = ub.learn.fit(
        session.from_arrow(table), features=["x"], label="y", model=ub.learn.PoissonRegression()
    )
    assert model.state == pytest.approx([np.log(1000), np.log(5)], abs=1e-9)


@pytest.mark.parametrize(
    ("columns", "algorithm"),
    [
        ({"x": [0.0, 1.0, 2.0, float("inf")], "y": [1, 2, 4, 3]}, ub.learn.LinearRegression()),
        ({"x": [0.0, 1.0, 2.0, 3.0], "y": [1, 2, 4, -1]}, ub.learn.PoissonRegression()),
        ({"x": [0.0, 1.0, 2.0, float("nan")], "y": [1, 2, 4, 1]}, ub.learn.PoissonRegression()),
    ],
)
def test_rows_that_hold_no_number_are_left_out_and_counted(
    session: ub.Session, columns: dict[str, list[float]], algorithm: Algorithm
) -> None:
    """Not an error: at a site, that there is such a row would tell of a single one."""
    options = {"features": ["x"], "label": "y", "model": algorithm}
    table = pa.table(columns)
    model = ub.learn.fit(session.from_arrow(table), **options)
    last = model.history.collect().to_pylist()[-1]
    assert (last["rows"], last["left_out"]) == (3, 1)
    without = ub.learn.fit(session.from_arrow(table.slice(0, 3)), **options)
    assert model.state.tolist() == without.state.tolist()

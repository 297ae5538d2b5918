"""Cox regressions are those of published analyses and of other programs, ties and all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import umbel as ub
from umbel.models.base import DivergedError
from umbel.models.cox import concordance
from umbel.models.layout import Array
from umbel.plan.errors import PlanError, TypeClashError, UnknownNameError
from umbel.plan.models import CoxRegression

#: Freireich et al., "The effect of 6-mercaptopurine on the duration of steroid-induced remissions in
#: acute leukemia", Blood 21, 1963: weeks of remission. Of the treated some had no relapse yet.
TREATED = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
RELAPSED = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]
REMISSION = pa.table(
    {
        "weeks": TREATED + PLACEBO,
        "relapse": RELAPSED + [1] * 21,
        "placebo": [False] * 21 + [True] * 21,
    }
)


@pytest.fixture(scope="module")
def session() -> ub.Session:
    return ub.connect()


def fitted(df: ub.DataFrame, features: list[Any], **options: Any) -> ub.learn.Model:
    model = CoxRegression("relapse", **options)
    found: ub.learn.Model = ub.learn.fit(df, features=features, label="weeks", model=model)
    return found


@pytest.mark.parametrize(
    ("ties", "coefficient", "error"), [("efron", 1.572, 0.412), ("breslow", 1.509, 0.410)]
)
def test_the_remissions_of_leukemia(
    session: ub.Session, ties: Any, coefficient: float, error: float
) -> None:
    """1.572 (0.412) is R's `coxph(Surv(time, cens) ~ treat, MASS::gehan)`.

    1.509 (0.410) with Breslow's ties is in Kleinbaum and Klein, "Survival Analysis", 2012, chapter 3.
    """
    model = fitted(session.from_arrow(REMISSION), ["placebo"], ties=ties)
    found = model.coefficients().to_pydict()
    assert np.round(found["coefficient"], 3).tolist() == [coefficient]
    assert np.round(found["standard_error"], 3).tolist() == [error]


def drawn() -> pa.Table:
    draw = np.random.default_rng(5)
    age, sex = draw.normal(50, 10, 240), draw.integers(0, 2, 240)
    weeks = np.ceil(draw.exponential(20 * np.exp(-0.03 * (age - 50) - 0.7 * sex)))
    return pa.table({"age": age, "sex": sex, "weeks": weeks, "relapse": draw.random(240) < 0.7})


@pytest.mark.parametrize(
    ("ties", "coefficients", "errors", "likelihood"),
    [
        ("efron", [0.02432728, 0.8372436], [0.00847549, 0.16468891], -721.6599142779187),
        ("breslow", [0.02398563, 0.81694598], [0.00848252, 0.1646935], -726.2447640661309),
    ],
)
def test_many_ties_and_several_features_are_those_of_statsmodels(
    session: ub.Session,
    ties: Any,
    coefficients: list[float],
    errors: list[float],
    likelihood: float,
) -> None:
    """Values of statsmodels 0.15.0: `PHReg(weeks, x, status=relapse, ties=ties).fit()` of `drawn()`.

    lifelines 0.30.3 gives the coefficients of Efron's ties as 0.0243272814 and 0.8372435779, and
    the concordance as 0.6471183551720464.
    """
    df = session.from_arrow(drawn())
    model = fitted(df, ["age", "sex"], ties=ties)
    found = model.coefficients().to_pydict()
    assert found["coefficient"] == pytest.approx(coefficients, abs=1e-8)
    assert found["standard_error"] == pytest.approx(errors, abs=1e-8)
    assert model.rounds["loss"][-1].as_py() * 240 == pytest.approx(-likelihood, abs=1e-8)
    if ties == "efron":
        assert model.evaluate(df)["concordance"] == pytest.approx(0.6471183551720464, abs=1e-12)


def test_the_baseline_is_nelsons_where_no_feature_counts(session: ub.Session) -> None:
    """Of a feature that says nothing the hazard is events over rows at risk, summed up."""
    table = pa.table({"weeks": [2, 2, 3, 5, 5, 5], "relapse": [1, 1, 0, 1, 1, 0], "x": [1, -1] * 3})
    model = fitted(session.from_arrow(table), ["x"], ties="breslow")
    hazard = np.cumsum([2 / 6, 2 / 3])
    assert model.baseline()["time"].to_pylist() == [2, 5]
    assert np.abs(model.state).max() < 0.7
    risk = np.exp(np.array([1, -1] * 3) * model.state[0])
    expected = np.cumsum([2 / risk.sum(), 2 / risk[3:].sum()])
    assert model.baseline()["hazard"].to_pylist() == pytest.approx(expected.tolist())
    assert model.baseline()["survival"][0].as_py() == pytest.approx(np.exp(-expected[0]))
    assert expected == pytest.approx(hazard, rel=0.25)


def test_intervals_are_times_that_are_rounded_down(session: ub.Session) -> None:
    table = drawn()
    edges = (0.0, 10.0, 20.0, 40.0)
    place = np.searchsorted(edges, np.asarray(table["weeks"]), side="right") - 1
    rounded = table.set_column(2, "weeks", [np.array(edges)[place]])
    given = fitted(session.from_arrow(table), ["age", "sex"], times=edges)
    exact = fitted(session.from_arrow(rounded), ["age", "sex"])
    assert np.abs(given.state - exact.state).max() < 1e-12
    cut = fitted(session.from_arrow(table), ["age"], intervals=4)
    assert len(cut.baseline()) == 4
    assert cut.baseline()["time"][0].as_py() == 0


def test_rows_that_say_nothing_are_left_out(session: ub.Session) -> None:
    odd = pa.table(
        {
            "weeks": pa.array([None, float("nan"), float("inf"), 3.0, 3.0]),
            "relapse": pa.array([1.0, 1.0, 1.0, None, 0.5]),
            "placebo": pa.array([True] * 5),
        }
    )
    whole = REMISSION.cast(odd.schema)
    model = fitted(session.from_arrow(pa.concat_tables([whole, odd])), ["placebo"])
    last = model.history.collect().to_pylist()[-1]
    assert (last["rows"], last["left_out"]) == (42, 5)
    assert (
        np.abs(model.state - fitted(session.from_arrow(REMISSION), ["placebo"]).state).max() < 1e-12
    )


@pytest.mark.parametrize(
    ("changed", "options", "error", "message"),
    [
        ({"relapse": [0] * 42}, {}, PlanError, "in no row 'relapse' is true"),
        ({"relapse": [0] * 42}, {"times": (1.0,)}, DivergedError, "in no row 'relapse' is true"),
        ({"relapse": ["yes"] * 42}, {"times": (1.0,)}, TypeClashError, "'relapse' must be numbers"),
        ({"placebo": [True] * 42}, {}, DivergedError, "'placebo' cannot be found|told apart"),
        ({"weeks": [-1] * 42}, {"intervals": 3}, PlanError, "intervals are of times above 0"),
    ],
)
def test_what_cannot_be_learned_says_why(
    session: ub.Session, changed: dict[str, Any], options: Any, error: type, message: str
) -> None:
    table = pa.table({**REMISSION.to_pydict(), **changed})
    with pytest.raises(error, match=message):
        fitted(session.from_arrow(table), ["placebo"], **options)


def test_a_feature_that_foretells_everything_has_no_coefficient(session: ub.Session) -> None:
    """The longer, the smaller: the likelihood grows without end."""
    table = pa.table({"weeks": range(1, 21), "relapse": [1] * 20, "x": range(20)})
    with pytest.raises(DivergedError):
        fitted(session.from_arrow(table), ["x"])


def test_bad_arguments(session: ub.Session) -> None:
    df = session.from_arrow(REMISSION)
    with pytest.raises(UnknownNameError, match="'died'"):
        ub.learn.fit(df, features=["placebo"], label="weeks", model=CoxRegression("died"))
    with pytest.raises(PlanError, match="the times of CoxRegression must rise"):
        CoxRegression("relapse", times=(2.0, 1.0))
    with pytest.raises(PlanError, match="column 'relapse' is among the features"):
        fitted(df, ["relapse", "placebo"])
    with pytest.raises(PlanError, match="for one thing only"):
        ub.learn.fit(df, features=["placebo"], label="weeks", model=CoxRegression("weeks"))
    with pytest.raises(PlanError, match="CoxRegression is found exactly"):
        ub.learn.fit(
            df,
            features=["placebo"],
            label="weeks",
            model=CoxRegression("relapse"),
            strategy="fedavg",
        )


def test_pairs_are_counted_as_one_by_one() -> None:
    """Over several blocks, with ties of times and of risks."""
    draw = np.random.default_rng(3)
    times: Array = draw.integers(0, 300, 2500).astype(np.float64)
    happened: np.ndarray = draw.random(2500) < 0.6
    risk: Array = draw.integers(0, 40, 2500).astype(np.float64)
    later = (times[:, None] < times[None, :]) | (
        (times[:, None] == times[None, :]) & happened[:, None] & ~happened[None, :]
    )
    known = later & happened[:, None]
    right = (known & (risk[:, None] > risk[None, :])).sum()
    tied = (known & (risk[:, None] == risk[None, :])).sum()
    assert concordance(times, happened, risk) == (known.sum(), right + tied / 2)

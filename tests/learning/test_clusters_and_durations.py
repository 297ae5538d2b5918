"""Clusters, components and durations over sites are those of all rows; what tells of few is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import umbel as ub
from tests.learning.sites import NAMES, PEOPLE, RULE, at, federation
from umbel.federation.errors import PolicyError
from umbel.federation.execution.updates import check_update
from umbel.federation.planning import WithheldWarning
from umbel.federation.rules import Who
from umbel.learning.parts import parts_of
from umbel.models.kmeans import KMeansSolver
from umbel.models.layout import from_bytes, state_table
from umbel.plan.errors import PlanError
from umbel.plan.models import Algorithm, CoxRegression, Design, KMeans, Number
from umbel.plan.operators import Contribute

COX = CoxRegression("relapse", times=(0.0, 4.0, 10.0))


def patients() -> pa.Table:
    draw = np.random.default_rng(8)
    age = np.asarray(PEOPLE["age"])
    weeks = np.ceil(draw.exponential(10 * np.exp(-(age - 60) / 30)))
    relapse = draw.random(len(age)) < 0.6
    return PEOPLE.append_column("weeks", [weeks]).append_column("relapse", [relapse])


TABLE = patients()


def divided(table: pa.Table = TABLE) -> Any:
    return federation({name: at(name, table) for name in NAMES})


@pytest.mark.parametrize(
    ("model", "features", "label"),
    [
        (COX, ["age", "ward"], "weeks"),
        (CoxRegression("relapse", "breslow", 0.5, (0.0, 5.0)), ["age"], "weeks"),
        (ub.learn.PCA(2), ["age", "ward"], ""),
        (KMeans(2), [ub.learn.numeric("age", scale=True), "ward"], ""),
    ],
)
def test_a_model_over_sites_is_that_of_all_rows(
    model: Algorithm, features: list[Any], label: str
) -> None:
    session = divided()
    options: dict[str, Any] = {"features": features, "label": label, "model": model}
    pooled = ub.connect().from_arrow(TABLE)
    there, here = ub.learn.fit(session.table("people"), **options), ub.learn.fit(pooled, **options)
    assert np.abs(there.state - here.state).max() < 1e-6
    given = [t for t in session.recording.given if "sums" in t.schema.names]
    assert {t.num_rows for t in given} == {1}
    assert {tuple(t.schema.names) for t in given} == {("part", "rows", "left_out", "sums")}
    measured = there.evaluate(session.table("people"))
    if label:
        # Pairs are compared within one site.
        assert measured["concordance"] == pytest.approx(
            here.evaluate(pooled)["concordance"], abs=0.05
        )
    else:
        assert dict(measured) == pytest.approx(dict(here.evaluate(pooled)), rel=1e-6)


def test_times_at_which_it_happened_to_few_do_not_leave() -> None:
    """Sums of those who left at one time are as plain as rows, where few did."""
    people = divided().table("people")
    message = "the sites keep back at which 'weeks' it happened to few"
    with pytest.warns(WithheldWarning), pytest.raises(PlanError, match=message):
        ub.learn.fit(people, features=["age"], label="weeks", model=CoxRegression("relapse"))
    many = CoxRegression("relapse", times=tuple(map(float, range(30))))
    with pytest.raises(PolicyError, match=r"its sums tell of fewer than 5 apart|fewer than 3 rows"):
        ub.learn.fit(people, features=["age"], label="weeks", model=many)
    cut = CoxRegression("relapse", intervals=3)
    model = ub.learn.fit(people, features=["age"], label="weeks", model=cut)
    pooled = ub.connect().from_arrow(TABLE)
    alone = ub.learn.fit(pooled, features=["age"], label="weeks", model=cut)
    assert np.abs(model.state - alone.state).max() < 1e-6


def test_coefficients_that_single_somebody_out_of_a_time_give_nothing() -> None:
    session = divided()
    part = parts_of(session.table("people").plan, session)[0]
    design = Design(COX, (Number("age"),), "weeks")
    steep = state_table(np.array([4.0]))
    with pytest.raises(PolicyError, match="with this state of the model fewer than 5 rows count"):
        session.run(Contribute(input=part.plan, design=design, state=steep, part=part.name))


def test_what_sums_tell_of_apart_needs_rows_of_its_own() -> None:
    counts = dict.fromkeys(("umbel rows", "umbel smallest", "umbel effective"), 300)
    check_update(Who("people", RULE), {**counts, "umbel cell": 12}, 300, 4)
    with pytest.raises(PolicyError, match="where its sums tell rows apart fewer than 3 rows"):
        check_update(Who("people", RULE), {**counts, "umbel cell": 11}, 300, 4)
    with pytest.raises(PolicyError, match="its sums tell of fewer than 5 apart"):
        check_update(Who("people", RULE), {**counts, "umbel cell": 4}, 300, 1)


def test_a_cluster_of_few_is_not_told_of() -> None:
    """Three of one site lie far away: they count to the next cluster, and nobody learns of them."""
    ages = TABLE["age"].to_numpy().copy()
    odd = np.flatnonzero(np.arange(900) % 3 == 0)[:3]
    ages[odd] = 1000.0
    table = TABLE.set_column(1, "age", [ages])
    session = divided(table)
    state = state_table(np.array([2.0, 60.0, 1000.0]))
    design = Design(KMeans(2), (Number("age"),))
    layout = KMeansSolver().sums(design)
    part = parts_of(session.table("people").plan, session)[0]
    asked = Contribute(input=part.plan, design=design, state=state, part=part.name)
    row = session.run(asked).data.to_pylist()[0]
    assert layout.split(from_bytes(row["sums"], layout, "north"))["rows"].tolist() == [300, 0]


def test_who_lacks_an_event_is_not_told() -> None:
    """A condition of the event counts as a use of its column, as one of the label does."""
    with pytest.raises(PolicyError, match="learns from 'id', which tells who a row is about"):
        ub.learn.fit(
            divided().table("people"),
            features=["age"],
            label="weeks",
            model=CoxRegression("id", times=(0.0,)),
        )

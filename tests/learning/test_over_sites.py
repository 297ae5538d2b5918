"""A model over sites is the model of all rows together, and only sums over many rows leave a site."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import umbel as ub
from tests.learning.sites import LOGISTIC, NAMES, PEOPLE, RULE, at, federation
from umbel import col
from umbel.federation import Form, Rule, Site
from umbel.federation.errors import PolicyError
from umbel.federation.execution import SiteExecution
from umbel.federation.execution.updates import check_update
from umbel.federation.planning import DirectDispatcher, FederatedSession
from umbel.federation.rules import Who
from umbel.federation.tasks import Requester
from umbel.models.layout import UpdateError
from umbel.plan.models import Design, LinearRegression, Number
from umbel.plan.operators import Contribute, Fit
from umbel.plan.operators.learning import GUARDS, STATE
from umbel.plan.recipes import Recipe, WantedNumber


@pytest.fixture(scope="module")
def session() -> FederatedSession:
    return federation()


FEATURES = [ub.learn.numeric("age", scale=True), "ward"]


def test_the_model_is_that_of_all_rows_together(session: FederatedSession) -> None:
    pooled = ub.connect().from_arrow(PEOPLE)
    alone = ub.learn.fit(pooled, features=FEATURES, label="ill", model=LOGISTIC)
    model = ub.learn.fit(session.table("people"), features=FEATURES, label="ill", model=LOGISTIC)
    assert model.design.names == alone.design.names
    assert np.abs(model.state - alone.state).max() < 1e-9
    there, here = model.evaluate(session.table("people")), alone.evaluate(pooled)
    assert there.rows == 900
    for name in ("accuracy", "log_loss", "brier"):
        assert there[name] == pytest.approx(here[name], abs=1e-9)
    assert there["auc"] == pytest.approx(here["auc"], abs=0.01)  # cells of few rows are joined
    assert there.by_part["part"].to_pylist() == list(NAMES)
    history = model.history.collect()
    assert history["part"].to_pylist()[:3] == list(NAMES)
    assert history["rows"].to_pylist()[:3] == [300, 300, 300]
    losses = history["loss"].to_pylist()
    assert losses == sorted(losses, reverse=True)


def test_only_sums_leave_a_site() -> None:
    session = federation()
    ub.learn.fit(session.table("people"), features=FEATURES, label="ill", model=LOGISTIC)
    given: list[pa.Table] = session.recording.given  # type: ignore[attr-defined]
    updates = [table for table in given if "sums" in table.schema.names]
    assert len(updates) >= 3 * 5
    for table in updates:
        assert table.schema.names == ["part", "rows", "left_out", "sums"]
        assert table.num_rows == 1
        # Four columns: a gradient, a matrix, the loss, and the rows of two classes.
        assert len(table["sums"][0].as_py()) == 8 * (4 + 16 + 1 + 2)
    # Everything else is a mean, or the words that occur, each counted over individuals.
    assert max(table.num_rows for table in given) == 3


def test_predictions_stay_where_the_rows_are(session: FederatedSession) -> None:
    df = session.table("people")
    model = ub.learn.fit(df, features=FEATURES, label="ill", model=LOGISTIC)
    counted = model.predict(df).group_by("prediction").agg(n=ub.len()).collect()
    local = ub.connect().from_arrow(PEOPLE)
    alone = model.predict(local).group_by("prediction").agg(n=ub.len()).collect()
    assert sorted(counted.to_pylist(), key=str) == sorted(alone.to_pylist(), key=str)
    with pytest.raises(PolicyError, match="gives rows of it"):
        model.predict(df).collect()


def test_rows_are_prepared_at_their_site(session: FederatedSession) -> None:
    """A filter and a computed column over the union go to every part."""

    def ready(df: ub.DataFrame) -> ub.DataFrame:
        return df.filter(col("age") > 45).with_columns(decade=(col("age") / 10).floor())

    options: dict[str, Any] = {"features": ["decade", "ward"], "label": "ill", "model": LOGISTIC}
    model = ub.learn.fit(ready(session.table("people")), **options)
    alone = ub.learn.fit(ready(ub.connect().from_arrow(PEOPLE)), **options)
    assert np.abs(model.state - alone.state).max() < 1e-9


def test_a_site_without_a_rule_for_updates_lets_none_out() -> None:
    session = federation(rule=Rule(Form.AGGREGATES, 5, "id"))
    with pytest.raises(PolicyError, match=r"Contribute .* gives updates of a model") as caught:
        ub.learn.fit(session.table("people"), features=["age"], label="ill", model=LOGISTIC)
    assert "updates = 20" in caught.value.hint


def test_the_site_refuses_whatever_the_coordinator_thinks() -> None:
    """The planner is told of a rule that the site does not have."""
    told, real = Site("north", ub.connect()), Site("north", ub.connect())
    told.publish("people", told.session.from_arrow(at("north")), RULE)
    real.publish("people", real.session.from_arrow(at("north")), Rule(Form.AGGREGATES, 5, "id"))
    executions = DirectDispatcher({"north": SiteExecution(real)})
    session = FederatedSession([told.manifest()], executions, Requester("ann"))
    with pytest.raises(PolicyError, match="gives updates of a model"):
        ub.learn.fit(session.table("people"), features=["age"], label="ill", model=LOGISTIC)


def few(rows: int) -> dict[str, pa.Table]:
    return {"north": at("north"), "south": at("south").slice(0, rows)}


def one_odd(column: str, value: Any) -> dict[str, pa.Table]:
    """South's rows with another value in three of them."""
    table = at("south")
    values = table[column].to_pylist()
    values[:3] = [value] * 3
    index = table.schema.get_field_index(column)
    changed = table.set_column(index, column, pa.array(values, table[column].type))
    return {"north": at("north"), "south": changed}


@pytest.mark.parametrize(
    ("tables", "features", "message"),
    [
        (few(0), ["age"], "there are fewer than 50"),
        (few(49), ["age"], "there are fewer than 50"),
        (
            {**few(300), "south": pa.concat_tables([at("south").slice(0, 10)] * 6)},
            ["age"],
            "there are fewer than 50",
        ),
        (
            one_odd("ward", "burns"),
            [ub.learn.one_hot("ward", values=["day", "burns"])],
            "shared by fewer than 5 rows",
        ),
    ],
)
def test_updates_over_too_few_do_not_leave(
    tables: dict[str, pa.Table], features: list[Any], message: str
) -> None:
    session = federation(tables)
    options: dict[str, Any] = {
        "features": features, "label": "ill", "model": ub.learn.LogisticRegression(l2=1.0),
        "classes": [False, True],
    }  # fmt: skip
    with pytest.raises(PolicyError, match=message) as caught:
        ub.learn.fit(session.table("people"), **options)
    assert "site 'south'" in str(caught.value) or "south" in str(caught.value)
    if features == ["age"]:
        model = ub.learn.fit(session.table("people"), without=["south"], **options)
        assert model.history.collect()["part"].unique().to_pylist() == ["north"]


def test_a_state_that_singles_rows_out_gives_nothing() -> None:
    """Coefficients may be chosen so that all rows but a few are certain, and count for nothing."""
    plan = federation({"north": at("north")}).table("people").plan
    design = Design(LOGISTIC, (Number("age"),), "ill", tuple(map(_literal, (False, True))))
    oldest = float(np.sort(np.asarray(at("north")["age"]))[-2])
    chosen = pa.Table.from_arrays([pa.array([-50.0 * oldest, 50.0])], schema=STATE)
    contribute = Contribute(input=plan, design=design, state=chosen)
    with pytest.raises(PolicyError, match="with this state of the model fewer than 5 rows count"):
        federation({"north": at("north")}).run(contribute)


def _literal(value: bool) -> Any:
    from umbel.api.values import literal

    return literal(value)


def test_who_somebody_is_is_not_learned_from(session: FederatedSession) -> None:
    with pytest.raises(PolicyError, match="learns from 'id', which tells who a row is about"):
        ub.learn.fit(session.table("people"), features=["id"], label="ill", model=LOGISTIC)


def test_a_whole_fit_is_no_task_of_a_site(session: FederatedSession) -> None:
    recipe = Recipe(LinearRegression(), (WantedNumber("id"),), "age")
    plan = Fit(input=session.table("people").plan, recipe=recipe)
    for platform in session.platforms():
        assert platform.refuse(plan)


def test_a_task_cannot_ask_for_the_sites_own_counts() -> None:
    design = Design(LinearRegression(), (Number("age"),), "age2")
    north = federation({"north": at("north")})
    df = north.table("people").with_columns(age2=col("age") * 2)
    state = pa.Table.from_arrays([pa.array([0.0, 0.0])], schema=STATE)
    plan = Contribute(input=df.plan, design=design, state=state, individuals=("id",), guarded=True)
    with pytest.raises(PolicyError, match="counts that are the site's own"):
        north.run(plan)


@pytest.mark.parametrize(
    ("forged", "message"),
    [
        (b"\0" * 8, "part 'south' gave 8 bytes where 9 numbers were asked for"),
        (np.full(9, np.nan).tobytes(), "numbers that are not finite, in 'gradient'"),
        (np.array([0.0] * 8 + [np.inf]).tobytes(), "numbers that are not finite, in 'rows'"),
    ],
)
def test_what_is_no_update_is_an_error_that_names_the_site(forged: bytes, message: str) -> None:
    session = federation(forged={"south": forged})
    with pytest.raises(UpdateError, match=message):
        ub.learn.fit(session.table("people"), features=["age"], label="ill", model=LOGISTIC)


@pytest.mark.parametrize(("missing", "told"), [(4, 0), (5, 5)])
def test_few_rows_that_lack_something_are_not_told_of(missing: int, told: int) -> None:
    """A label may be made to be missing for whoever one wants to know about."""
    df = federation({"north": at("north")}).table("people")
    ages = np.sort(np.asarray(at("north")["age"]))
    label = ub.when(col("age") < float(ages[-missing])).then(col("age") * 2)
    model = ub.learn.fit(
        df.with_columns(twice=label),
        features=["ward"],
        label="twice",
        model=ub.learn.LinearRegression(),
    )
    last = model.history.collect().to_pylist()[-1]
    assert (last["rows"], last["left_out"]) == (300 - missing, told)


def test_one_class_at_a_site_is_enough_if_others_have_the_other() -> None:
    tables = {
        "north": at("north").filter(pa.compute.invert(at("north")["ill"])),
        "south": at("south"),
    }
    pooled = ub.connect().from_arrow(pa.concat_tables(tables.values()))
    options: dict[str, Any] = {"features": ["age"], "label": "ill", "model": LOGISTIC}
    model = ub.learn.fit(federation(tables).table("people"), **options)
    assert np.abs(model.state - ub.learn.fit(pooled, **options).state).max() < 1e-9


def test_explain_says_in_which_form_updates_leave() -> None:
    state = pa.Table.from_arrays([pa.array([0.0, 0.0])], schema=STATE)
    north = federation({"north": at("north")})
    asked = Contribute(
        input=north.table("people").with_columns(twice=col("age") * 2).plan,
        design=Design(LinearRegression(), (Number("age"),), "twice"),
        state=state,
    )
    assert "updates of a model over at least 50 individuals" in str(north.explain(asked))


def test_a_rule_with_updates_survives_the_manifest() -> None:
    site = Site("north", ub.connect())
    site.publish("people", site.session.from_arrow(at("north")), RULE)
    told = json.loads(site.manifest().to_json())
    assert told["tables"][0]["rule"]["updates"] == 50
    assert type(site.manifest()).from_json(site.manifest().to_json()).tables[0].rule == RULE


def test_there_are_rows_enough_for_every_column() -> None:
    counts = dict.fromkeys(GUARDS, 62)
    check_update(Who("people", RULE), counts, 60, 20)
    with pytest.raises(PolicyError, match="21 columns, and fewer than 3 rows for each"):
        check_update(Who("people", RULE), counts, 60, 21)

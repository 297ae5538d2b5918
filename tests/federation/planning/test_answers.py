"""Questions over sites: the answers of one place, or a refusal that says what would be allowed."""

import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import umbel as ub
from tests.federation.planning.conftest import CANARY, CODES, LEAST
from umbel import col
from umbel.federation import Form, Link, Mapped, Rule, Site, local
from umbel.federation.errors import PolicyError, SiteError
from umbel.federation.planning import FederatedSession, WithheldWarning
from umbel.plan.errors import PlanError, UnknownNameError


def answer(session: ub.Session, text: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = session.sql(text).collect().to_pylist()
    return rows


Oracle = Callable[[pl.DataFrame], pl.DataFrame]
_LABELS = pl.DataFrame(pl.from_arrow(CODES))


@pytest.mark.parametrize(
    ("text", "oracle"),
    [
        (
            (
                "select count(*) as n, count(cost) as known, sum(cost) as total, avg(cost) as mean, "
                "var_pop(cost) as v, stddev_samp(weight) as s, sum(weight) as w from visits"
            ),
            lambda t: t.select(
                n=pl.len(),
                known=pl.col("cost").count(),
                total=pl.col("cost").sum(),
                mean=pl.col("cost").mean(),
                v=pl.col("cost").var(ddof=0),
                s=pl.col("weight").std(ddof=1),
                w=pl.col("weight").sum(),
            ),
        ),
        (
            (
                "select sex, ward % 2 as side, count(*) as n, avg(age) as age from visits "
                "where age > 40 group by sex, ward % 2 having count(*) > 3 order by sex, side"
            ),
            lambda t: (
                t.filter(pl.col("age") > 40)
                .group_by("sex", side=pl.col("ward") % 2)
                .agg(n=pl.len(), age=pl.col("age").mean())
                .sort("sex", "side")
            ),
        ),
        (
            (
                "select label, count(*) as n, sum(cost) as total from visits "
                "join codes on sex = code group by label order by label"
            ),
            lambda t: (
                t.join(_LABELS, left_on="sex", right_on="code")
                .group_by("label")
                .agg(n=pl.len(), total=pl.col("cost").sum())
                .sort("label")
            ),
        ),
        (
            "select distinct sex from visits order by sex",
            lambda t: t.select("sex").unique().sort("sex"),
        ),
        (
            (
                "select a.sex, a.n, b.n as north from (select sex, count(*) as n from visits "
                "group by sex) a join (select sex, count(*) as n from north.visits group by sex) b "
                "on a.sex = b.sex order by a.sex"
            ),
            lambda t: (
                t.group_by("sex")
                .agg(n=pl.len(), north=(pl.col("site") == "north").sum())
                .sort("sex")
            ),
        ),
        (
            (
                "select avg(total) as mean, count(*) as n from (select patient_id, sum(age) as total "
                "from south.visits group by patient_id)"
            ),
            lambda t: (
                t.filter(pl.col("site") == "south")
                .group_by("patient_id")
                .agg(total=pl.col("age").sum())
                .select(mean=pl.col("total").mean(), n=pl.len())
            ),
        ),
        (
            (
                "select count(*) as n from visits v where exists "
                "(select 1 from codes where code = v.sex and label = 'female')"
            ),
            lambda t: t.filter(pl.col("sex") == "f").select(n=pl.len()),
        ),
        (
            "select count(distinct patient_id) as n, count(distinct ward) as w from north.visits",
            lambda t: t.filter(pl.col("site") == "north").select(
                n=pl.col("patient_id").n_unique(), w=pl.col("ward").n_unique()
            ),
        ),
        (
            (
                "select sum(n) as n from (select count(*) as n from visits where sex = 'f' "
                "union all select count(*) as n from visits where sex = 'm')"
            ),
            lambda t: t.select(n=pl.len()),
        ),
        ("select * from codes order by code", lambda t: _LABELS),
        (
            # What one site tells of its wards goes to the other.
            "select count(*) as n from north.visits a join south.visits b on a.ward = b.ward",
            lambda t: (
                t.filter(pl.col("site") == "north")
                .join(t.filter(pl.col("site") == "south"), on="ward")
                .select(n=pl.len())
            ),
        ),
        (
            "select count(*) filter (where age > 50) as old from visits",
            lambda t: t.select(old=(pl.col("age") > 50).sum()),
        ),
    ],
)
def test_the_answer_is_that_of_one_place(
    federation: FederatedSession, pooled: pl.DataFrame, text: str, oracle: Oracle
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing is left out
        found = answer(federation, text)
    expected = oracle(pooled).to_dicts()
    assert [list(row) for row in found] == [list(row) for row in expected]
    for row, wanted in zip(found, expected, strict=True):
        for name, value in wanted.items():
            # Sums of floats may be added up in another order.
            assert row[name] == (
                pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
            )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("select * from visits", "gives rows of it"),
        ("select name from visits limit 1", "rows of it"),
        ("select max(age) from visits", "cannot be made of|single row|rows of it"),
        ("select max(age) from north.visits", "max may give the value of a single row"),
        ("select median(age) from visits", "over several sites cannot be made of"),
        ("select median(age) from north.visits", "median may give the value of a single row"),
        ("select count(distinct ward) from visits", "over several sites cannot be made of"),
        ("select string_agg(name, ',') from north.visits", "value of a single row"),
        ("select any_value(name) from north.visits", "value of a single row"),
        ("select list(name) from north.visits", "value of a single row"),
        ("select sum(cost) from visits where patient_id = 1007", "by who they are about"),
        ("select sum(cost) filter (where patient_id = 7) from visits", "reads who a row is about"),
        (
            "select sum(case when patient_id = 7 then cost else 0 end) from visits",
            "reads who a row is about",
        ),
        ("select sum(patient_id * 1) from visits", "reads who a row is about"),
        ("select patient_id, sum(cost) from visits group by patient_id", "rows of it"),
        (
            "select patient_id % 2 as odd, count(*) from north.visits group by 1",
            "tells who a row is about",
        ),
        ("select distinct patient_id from visits", "rows of it|who a row is about"),
        (
            "select sum(cost) from (select cost from north.visits order by cost desc limit 1)",
            "works on single rows of it",
        ),
        (
            "select sum(r) from (select rank() over (order by age) as r from north.visits)",
            "works on single rows of it",
        ),
        (
            "select count(*) from north.visits join (select 1007 as chosen) on patient_id = chosen",
            "list of those they are about|who they are about",
        ),
        (
            "select count(*) from codes where exists (select 1 from north.visits where sex = code)",
            "partner there|rows of it",
        ),
        ("select count(*) from registry.secrets", "nothing may leave site 'registry'"),
        (
            "select sum(a.age * b.age) from north.visits a join south.visits b on a.ward = b.ward",
            "rows of it",
        ),
    ],
)
def test_what_the_rules_do_not_let_out_is_refused(
    federation: FederatedSession, text: str, words: str
) -> None:
    with pytest.raises(PolicyError, match=words) as caught:
        federation.sql(text).collect()
    message = str(caught.value)
    assert "may leave site" in message
    assert "'visits'" in message or "'secrets'" in message
    assert CANARY not in message


def test_fedpy_gives_the_same(federation: FederatedSession, pooled: pl.DataFrame) -> None:
    visits = federation.table("visits")
    found = (
        visits.filter(col("age") > 30)
        .group_by("ward")
        .agg(ub.len().alias("n"), col("cost").mean().alias("mean"))
        .sort("ward")
        .collect()
    )
    expected = (
        pooled.filter(pl.col("age") > 30)
        .group_by("ward")
        .agg(n=pl.len(), mean=pl.col("cost").mean())
        .sort("ward")
    )
    assert found.to_pylist() == [
        {**row, "mean": pytest.approx(row["mean"])} for row in expected.to_dicts()
    ]
    assert visits.count() == pooled.height


def test_groups_of_too_few_are_left_out_and_that_is_said(
    federation: FederatedSession, pooled: pl.DataFrame
) -> None:
    with pytest.warns(WithheldWarning, match="left out groups"):
        found = answer(federation, "select age, count(*) as n from visits group by age")
    kept = (
        pooled.group_by("site", "age")
        .agg(people=pl.col("patient_id").n_unique(), n=pl.len())
        .filter(pl.col("people") >= LEAST)
        .group_by("age")
        .agg(pl.col("n").sum())
    )
    assert {row["age"]: row["n"] for row in found} == dict(kept.iter_rows())


def test_an_explanation_says_what_crosses_which_border(federation: FederatedSession) -> None:
    text = "select label, count(*) as n from visits join codes on sex = code group by label"
    explained = federation.sql(text).explain()
    shown = explained.text()
    borders = explained.to_dict()["borders"]
    assert {(b["from"], b["to"], b["form"]) for b in borders} == {
        ("registry", "here", "rows"),
        *(("here", site, "rows") for site in ("north", "south", "west")),
        *(
            (site, "here", f"aggregates over at least {LEAST} individuals")
            for site in ("north", "south", "west")
        ),
    }
    assert all(b["bytes"] > 0 for b in borders)
    assert f"north → here: aggregates over at least {LEAST} individuals" in shown
    assert "registry → here: rows" in shown
    plan = explained.plan
    assert {stage.platform.name for stage in plan.stages} >= {"north", "south", "west", "registry"}
    assert set(plan.cost.moved) == {(b["from"], b["to"]) for b in borders}


def test_dear_links_are_paid_for() -> None:
    made = []
    for name, dollars in (("cheap", 0.0), ("dear", 100.0)):
        site = Site(name, ub.connect(), link=Link(1e6, 0.05, dollars))
        rows = site.session.from_dict({"k": list(range(50_000))})
        site.publish("t", rows, Rule(Form.ROWS), tells_size=True)
        made.append(site)
    session = local(made)
    costs = {name: session.table(f"{name}.t").explain().plan.cost for name in ("cheap", "dear")}
    assert costs["cheap"].dollars == 0
    size = costs["dear"].moved["dear", "here"]
    assert costs["dear"].dollars == pytest.approx(100.0 * size / 1e9)
    assert costs["dear"].seconds > size / 1e6
    with pytest.raises(ub.UmbelError, match="budget"):
        session.table("dear.t").explain(budget=ub.Budget(dollars=costs["dear"].dollars / 2))


def test_parts_that_do_not_fit_are_told_with_their_sites() -> None:
    north, south, west = (Site(name, ub.connect()) for name in ("north", "south", "west"))
    rule = Rule(Form.ROWS)
    north.publish("t", north.session.from_dict({"id": [1], "kg": [70.0], "at": ["a"]}), rule)
    south.publish("t", south.session.from_dict({"id": ["2"], "weight_g": [80_000]}), rule)
    west.publish("t", west.session.from_dict({"id": [3], "kg": [60]}), rule)
    session = local([north, south, west])
    with pytest.raises(PlanError) as caught:
        session.table("t")
    message = str(caught.value)
    assert "column 'id' is int64 at north, west but string at south" in message
    assert "column 'kg' is at north, west, but not at south" in message
    assert "column 'at' is at north, but not at south, west" in message
    assert "column 'weight_g' is at south, but not at north, west" in message
    with pytest.raises(PlanError, match="do not fit together"):
        session.sql("select * from t")
    with pytest.raises(UnknownNameError, match="visists"):
        session.table("visists")

    mapped = Site("south", south.session)
    mapping = {"id": Mapped(type="int64"), "kg": Mapped("weight_g", factor=0.001)}
    frame = south.session.from_dict({"id": ["2"], "weight_g": [80_000]})
    mapped.publish("t", frame, rule, mapping=mapping)
    plain = Site("north", north.session)
    plain.publish("t", north.session.from_dict({"id": [1], "kg": [70.0]}), rule)
    rows = answer(local([plain, mapped, west]), "select id, kg from t order by id")
    assert rows == [{"id": 1, "kg": 70.0}, {"id": 2, "kg": 80.0}, {"id": 3, "kg": 60.0}]


def test_a_hundred_sites_in_one_run() -> None:
    rule = Rule(Form.AGGREGATES, min_individuals=3)
    made = []
    shared = ub.connect()  # what runs it; engines for each would be of no use here
    for number in range(100):
        site = Site(f"site-{number}", shared)
        rows = shared.from_dict({"v": [number, number + 1, number + 2, number + 3]})
        site.publish("t", rows, rule)
        made.append(site)
    session = local(made)
    found = answer(session, "select count(*) as n, sum(v) as s, avg(v) as m from t")
    total = sum(4 * number + 6 for number in range(100))
    assert found == [{"n": 400, "s": total, "m": total / 400}]


def test_users_have_what_their_name_is_among() -> None:
    site = Site("north", ub.connect())
    frame = site.session.from_dict({"v": [1, 2, 3]})
    site.publish("t", frame, Rule(Form.ROWS, to=("ann",)))
    assert local([site], user="ann").table("t").count() == 3
    with pytest.raises(PolicyError, match="nothing may leave"):
        local([site], user="bob").table("t").count()


def test_a_table_without_individuals_counts_rows() -> None:
    site = Site("north", ub.connect())
    frame = site.session.from_arrow(pa.table({"k": ["a"] * 4 + ["b"] * 3, "v": list(range(7))}))
    site.publish("t", frame, Rule(Form.AGGREGATES, min_individuals=4))
    site.publish("codes", site.session.from_dict({"c": ["a", "b"]}), Rule(Form.ROWS))
    session = local([site])
    with pytest.warns(WithheldWarning):
        assert answer(session, "select k, sum(v) + 0 as s, count(*) as n from t group by k") == []
    with pytest.warns(WithheldWarning):
        found = answer(session, "select k, count(v) as n from t group by k")
    assert found == [{"k": "a", "n": 4}]
    with pytest.raises(PolicyError, match="individuals cannot be counted"):
        answer(session, "select count(*) as n from t join codes on k = c")


def test_joins_by_resident_individuals_stay_inside_of_sites(pooled: pl.DataFrame) -> None:
    made = []
    people = pooled.select("site", "patient_id", "sex").unique(["site", "patient_id"])
    stays = pooled.select("site", pid="patient_id", days=pl.col("age"))
    rule = Rule(Form.AGGREGATES, LEAST, "patient_id", resident=True)
    for name in ("north", "south", "west"):
        site = Site(name, ub.connect())
        own = people.filter(pl.col("site") == name).drop("site")
        site.publish("people", site.session.from_polars(own), rule)
        if name != "west":
            own = stays.filter(pl.col("site") == name).drop("site")
            frame = site.session.from_polars(own)
            site.publish("stays", frame, Rule(Form.AGGREGATES, LEAST, "pid", resident=True))
        made.append(site)
    session = local(made)
    here = pooled.filter(pl.col("site") != "west")
    sex_of = people.select("patient_id", real="sex")
    found = answer(
        session,
        "select sex, count(*) as n, sum(days) as days from people join stays on patient_id = pid "
        "group by sex order by sex",
    )
    expected = (
        here.join(sex_of, on="patient_id")
        .group_by(sex="real")
        .agg(n=pl.len(), days=pl.col("age").sum())
        .sort("sex")
    )
    assert found == expected.to_dicts()
    inside = people.filter(pl.col("site") == "west").height
    for how, count in (("exists", people.height - inside), ("not exists", inside)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = answer(
                session,
                f"select count(*) as n from people where {how} "
                "(select 1 from stays where pid = patient_id)",
            )
        assert found == [{"n": count}]
    found = answer(
        session,
        "select count(*) as n from people left join stays on patient_id = pid",
    )
    assert found == [{"n": here.height + inside}]
    plain = Site("north", ub.connect())
    frame = plain.session.from_dict({"patient_id": list(range(20)), "v": [1] * 20})
    plain.publish("people", frame, Rule(Form.AGGREGATES, LEAST, "patient_id"))
    other = Site("south", plain.session)
    other.publish("people", frame, Rule(Form.AGGREGATES, LEAST, "patient_id"))
    with pytest.raises(PolicyError):
        answer(
            local([plain, other]),
            "select count(*) as n from people a join people b on a.patient_id = b.patient_id",
        )


def test_what_a_site_says_of_a_failure_holds_no_data(federation: FederatedSession) -> None:
    with pytest.raises(SiteError, match="some row, which is not shown") as caught:
        answer(federation, "select cast(label as int) as s from registry.codes")
    assert caught.value.site == "registry"
    assert "male" not in str(caught.value)
    # Of protected rows even that one of them fails would tell something.
    with pytest.raises(PolicyError, match="may fail for a single row"):
        answer(federation, "select sum(cast(name as int)) as s from north.visits")


def test_cancelling_reaches_the_sites() -> None:
    site = Site("north", ub.connect())
    rows = site.session.from_dict({"v": list(range(300))})
    site.publish("t", rows, Rule(Form.ROWS))
    session = local([site])
    slow = "select count(*) as n from t a, t b, t c, t d where a.v * b.v + c.v * d.v = 77"
    timer = threading.Timer(0.5, session.cancel)
    timer.start()
    began = time.monotonic()
    with pytest.raises(ub.CancelledError):
        session.sql(slow).collect()
    timer.join()
    assert time.monotonic() - began < 20

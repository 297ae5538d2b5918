"""Where what leaves a site may go: sealed to those sites that read it, and to no others."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import umbel as ub
from tests.federation.harness import ANN, federation
from tests.federation.planning.conftest import RULE
from umbel.executor.context import Cancellation
from umbel.executor.runs import RunStore
from umbel.federation import Form, Rule, Site, local
from umbel.federation.errors import PolicyError, SiteError
from umbel.federation.execution import SiteExecution
from umbel.federation.manifest import Link, Manifest
from umbel.federation.planning import FederatedSession
from umbel.federation.tasks import Task
from umbel.federation.wire import WireDispatcher
from umbel.plan.operators import Scan
from umbel.plan.sources import RelationSource

#: Stands in what goes from one site to another, and in no answer.
WORD = "WORD-91c2"
CODES = pa.table({"code": ["f", "m"], "word": [f"{WORD} f", f"{WORD} m"], "label": ["F", "M"]})
TEXT = "select count(*) as n from {visits} join codes on sex = code where word like '%f'"


def site_of_codes(rule: Rule, **options: Any) -> Site:
    site = Site("codes-site", ub.connect(), **options)
    site.publish("codes", site.session.from_arrow(CODES), rule, tells_size=True)
    return site


def over(codes: Site, sites: dict[str, Site]) -> FederatedSession:
    return local([codes, *(sites[name] for name in ("north", "south", "west"))])


def test_what_goes_from_site_to_site_is_sealed_and_explained_so(sites: dict[str, Site]) -> None:
    session = over(site_of_codes(Rule(Form.ROWS)), sites)
    explained = session.sql(TEXT.format(visits="visits")).explain()
    borders = explained.to_dict()["borders"]
    readers = ["north", "south", "west"]
    assert {(b["from"], b["to"]): b["sealed"] for b in borders} == {
        ("codes-site", "here"): readers,
        **{("here", site): readers for site in readers},
        **{(site, "here"): [] for site in readers},
    }
    shown = explained.text()
    assert "codes-site → here: rows, sealed to north, south, west" in shown
    assert "north → here: aggregates over at least 5 individuals, readable here" in shown
    # What crosses which border, and what that costs, is the same as in clear.
    assert set(explained.plan.cost.moved) == {(b["from"], b["to"]) for b in borders}
    # Whatever is read here too comes as it is.
    both = session.sql(
        "select code, (select count(*) from north.visits join codes c on sex = c.code) as n "
        "from codes order by code"
    )
    sealed = {(b["from"], b["to"]): b["sealed"] for b in both.explain().to_dict()["borders"]}
    assert sealed["codes-site", "here"] in ([], ["north"])
    assert [row["code"] for row in both.collect().to_pylist()] == ["f", "m"]


def test_a_straight_way_is_explained_and_paid_for(sites: dict[str, Site]) -> None:
    readers = ["north", "south", "west"]
    link = Link(50e6, 0.01, 100.0)
    for routes in (readers, readers[:2]):
        site = site_of_codes(Rule(Form.ROWS), link=link, routes=routes)
        assert Manifest.from_json(site.manifest().to_json()).routes == tuple(routes)
        asked = over(site, sites).sql(TEXT.format(visits="visits"))
        plan = asked.explain().plan
        borders = {(b["from"], b["to"]): b["bytes"] for b in asked.explain().to_dict()["borders"]}
        assert set(plan.cost.moved) == set(borders)
        size = borders["codes-site", "north" if routes == readers else "here"]
        # Straight, each transfer leaves the site; to the coordinator it leaves once.
        times = 3 if routes == readers else 1
        assert plan.cost.dollars == pytest.approx(100.0 * size * times / 1e9)
        straight = {("codes-site", reader) for reader in readers}
        assert (straight <= set(borders)) is (routes == readers)
        assert (("codes-site", "here") in borders) is (routes != readers)
        assert asked.collect().num_rows == 1


def test_sites_behind_the_wire_read_what_the_coordinator_cannot(
    sites: dict[str, Site], pooled: pl.DataFrame, caplog: pytest.LogCaptureFixture
) -> None:
    codes = site_of_codes(Rule(Form.ROWS))
    with federation() as there, caplog.at_level(logging.DEBUG):
        made = {"codes-site": codes, **{n: sites[n] for n in ("north", "south", "west")}}
        for name, site in made.items():
            # There are ways, but no doors at their ends: it goes by way of the coordinator.
            routes = dict.fromkeys(("north", "south", "west"), "127.0.0.1:1")
            there.agent(name, SiteExecution(site), routes=routes if site is codes else {})
        manifests = [Manifest.from_json(site.manifest().to_json()) for site in made.values()]
        session = FederatedSession(manifests, WireDispatcher(there.endpoint), ANN)
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # nothing is missing
            result = session.sql(TEXT.format(visits="visits")).execute()
        found = result.data.to_pylist()
        notes = [note for stage in result.run.stages for note in stage.notes]
        (note,) = notes
        assert note.startswith("codes-site gave it by way of the coordinator, and not straight to")
        assert "site 'north' has no door open" in note
        assert note in str(result.run)
        kept = [p for p in there.folder.rglob("*") if p.is_file()]
        kept = [p for p in kept if not any(part.startswith("site-") for part in p.parts)]
        assert any(p.name.startswith("coordinator.db") for p in kept)
        # The words went to three sites; neither they nor their files' marks are here.
        assert not any(WORD.encode() in p.read_bytes() for p in kept)
        assert WORD not in caplog.text
    assert found == [{"n": pooled.filter(pl.col("sex") == "f").height}]


def test_a_run_that_is_resumed_goes_on_with_what_was_sealed(
    sites: dict[str, Site], pooled: pl.DataFrame, tmp_path: Path
) -> None:
    """The journal keeps nothing that cannot be read here; the site's own commit is enough."""
    codes, begun, failing = site_of_codes(Rule(Form.ROWS)), [], [True]
    with federation() as there:

        def gives(task: Task, *given: Any) -> Any:
            begun.append(task.id)
            return SiteExecution(codes)(task, *given)

        def fails_once(task: Task, *given: Any) -> Any:
            if failing:
                raise ValueError("its engine is broken")
            return SiteExecution(sites["north"])(task, *given)

        there.agent("codes-site", gives)
        there.agent("north", fails_once)
        manifests = [codes.manifest(), sites["north"].manifest()]
        dispatcher = WireDispatcher(there.endpoint)
        session = FederatedSession(manifests, dispatcher, ANN, durable=tmp_path)
        asked = session.sql(TEXT.format(visits="north.visits"))
        with pytest.raises(SiteError, match="the work failed"):
            asked.execute()
        failing.clear()
        (stored,) = RunStore(tmp_path).runs()
        result = session.resume(stored.id)
        assert len(begun) == 1
        kept = [path for path in tmp_path.rglob("*") if path.is_file()]
        assert not any(WORD.encode() in path.read_bytes() for path in kept)
    here = pooled.filter((pl.col("sex") == "f") & (pl.col("site") == "north"))
    assert result.data.to_pylist() == [{"n": here.height}]


def test_a_rule_says_to_which_sites_it_may_go(sites: dict[str, Site], pooled: pl.DataFrame) -> None:
    codes = site_of_codes(Rule(Form.ROWS, sites=("north",)))
    session = over(codes, sites)
    assert session.sql(TEXT.format(visits="north.visits")).collect().num_rows == 1
    with pytest.raises(PolicyError) as caught:
        session.sql(TEXT.format(visits="visits")).collect()
    message = str(caught.value)
    assert "of table 'codes' of site 'codes-site' nothing may go to site" in message
    assert "it may go to: north" in message
    # Visits of one site are grouped there, and the groups go to the codes instead.
    alone = session.sql(TEXT.format(visits="south.visits"))
    assert [b["sealed"] for b in alone.explain().to_dict()["borders"] if b["sealed"]] == [
        ["codes-site"],
        ["codes-site"],
    ]
    here = pooled.filter((pl.col("sex") == "f") & (pl.col("site") == "south"))
    assert alone.collect().to_pylist() == [{"n": here.height}]
    # The users have it all the same, and what may come here is joined here.
    assert session.table("codes").count() == 2
    other = Site("other", ub.connect())
    other.publish("names", other.session.from_dict({"c": ["f", "m"]}), Rule(Form.ROWS))
    session = local([codes, other])
    joined = session.sql("select label from names join codes on c = code order by label")
    assert joined.collect().to_pylist() == [{"label": "F"}, {"label": "M"}]
    assert all(b["sealed"] == [] for b in joined.explain().to_dict()["borders"])


def test_the_site_decides_itself_where_its_output_goes() -> None:
    codes = site_of_codes(Rule(Form.ROWS, sites=("north",)))
    scan = Scan(source=RelationSource(CODES.schema, "codes-site", ("codes",)))
    given: list[Any] = []
    run = SiteExecution(codes)
    for to, allowed in ((("north",), True), (("north", "south"), False), (("south",), False)):
        task = Task.from_json(Task("r-1", 0, "codes-site", scan, (), ANN, to=to).to_json())
        assert task.to == to
        if allowed:
            run(task, {}, Cancellation(), given.append)
            continue
        with pytest.raises(PolicyError, match="nothing may go to site 'south'"):
            run(task, {}, Cancellation(), given.append)
    assert pa.concat_tables(given).num_rows == 2
    # It travels in what the site tells of itself, too.
    told = Manifest.from_json(codes.manifest().to_json())
    assert told.tables[0].rule.sites == ("north",)
    assert RULE.goes_to("anywhere")

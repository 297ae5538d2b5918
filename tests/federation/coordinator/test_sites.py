"""A coordinator with sites: joined over HTTPS, asked over Flight, each under its own rules."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import umbel as ub
from tests.federation.coordinator.conftest import Running
from umbel import col
from umbel.cli.main import run_command
from umbel.federation import Form, Rule, Site
from umbel.federation.access import Role
from umbel.federation.client import MissingSitesWarning
from umbel.federation.coordinator import Coordinator, CoordinatorSettings, Server, create
from umbel.federation.errors import FederationError, IdentityError, PolicyError, SiteError
from umbel.federation.execution import SiteExecution
from umbel.federation.policy.people import Person
from umbel.federation.policy.signing import new_owner
from umbel.federation.sandbox import isolation
from umbel.federation.sandbox.rules import CodeRules
from umbel.federation.site import SiteProcess, SiteSettings, examine, join
from umbel.federation.wire.agent import Agent, AgentConfig
from umbel.plan.errors import PlanError, SourceError, UmbelError, UnknownNameError

AGES = {"north": [30, 40, 50, 61], "south": [62, 63, 64, 65, 66]}
RULE = Rule(Form.AGGREGATES, min_individuals=2, individual="id", updates=4)


@dataclass
class Sited(Running):
    """A coordinator with sites."""

    agents: dict[str, Agent] = field(default_factory=dict)
    #: The key of an author whose code the sites run.
    author: Path = Path()
    #: What the sites publish.
    sites: dict[str, Site] = field(default_factory=dict)


def _site(name: str, signer: str) -> Site:
    site = Site(name, ub.connect(progress=False))
    site.code = CodeRules({"ann": signer})
    ages = AGES[name]
    rows: dict[str, Any] = {
        "id": list(range(len(ages))),
        "age": ages,
        "what": ["x", "y", "x", "y", "x"][: len(ages)],
    }
    site.publish("people", site.session.from_dict(rows), RULE)
    site.publish("codes", site.session.from_dict({"what": ["x"]}), Rule(Form.ROWS))
    return site


def _agent(config: AgentConfig, site: Site) -> Agent:
    return Agent(config, SiteExecution(site), lambda: site.manifest().to_json())


def _wait_for(running: Sited, *sites: str) -> None:
    end = time.monotonic() + 20
    while not all(running.coordinator.sites.connected(site) for site in sites) or len(
        running.coordinator.sites.manifests()
    ) < len(sites):
        assert time.monotonic() < end, "the sites did not come"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def sited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sited]:
    folder = tmp_path_factory.mktemp("sited")
    settings = create(
        folder / "c", "both", ["localhost"], listen="127.0.0.1:0", sites="127.0.0.1:0"
    )
    coordinator = Coordinator.open(settings)
    with Server(coordinator) as server:
        running = Sited(coordinator, f"https://localhost:{server.port}")
        running.author = folder / "author.key"
        signer = new_owner(running.author)
        for name in AGES:
            _, word = coordinator.invite(name)
            joined = join(word, folder / name, url=running.url)
            config = AgentConfig(joined.folder, joined.coordinator)
            running.sites[name] = _site(name, signer)
            agent = _agent(config, running.sites[name])
            running.agents[name] = agent
            agent.start()
        _wait_for(running, *AGES)
        yield running
        for agent in running.agents.values():
            agent.stop()
    coordinator.close()


@pytest.fixture(scope="module")
def session(sited: Sited) -> Iterator[Any]:
    with ub.connect(sited.url, token=sited.token(), progress=False) as made:  # type: ignore[attr-defined]
        yield made


def test_one_question_to_all_sites(session: Any) -> None:
    every = [age for ages in AGES.values() for age in ages]
    people = session.table("people")
    asked = people.select(ub.len().alias("n"), col("age").sum().alias("total"))
    assert asked.collect().to_pylist() == [{"n": len(every), "total": sum(every)}]
    said = str(asked.explain())
    assert "north → here: aggregates over at least 2 individuals" in said
    by_sql = session.sql("select count(*) as n from people where age > 45").collect().to_pylist()
    assert by_sql == [{"n": sum(age > 45 for age in every)}]
    north = session.sql("select avg(age) as a from north.people").collect().to_pylist()
    assert north == [{"a": sum(AGES["north"]) / len(AGES["north"])}]
    assert {stage.platform for stage in session.last_run.stages} == {"north"}


def test_sites_answer_what_somebody_has_signed_whatever_the_coordinator_says(
    sited: Sited, session: Any, tmp_path: Path
) -> None:
    """Runs, rounds of training, and a coordinator that passes for somebody."""

    def asking(user: str = "ann", **more: Any) -> Any:
        return ub.connect(sited.url, token=sited.token(user=user), progress=False, **more)

    keys = {name: new_owner(tmp_path / name) for name in ("ann", "eve")}
    for site in sited.sites.values():
        site.people = {"ann": Person("ann", (keys["ann"],), ("analyst",))}
    try:
        count = "select count(*) as n from people where age > 45"
        with pytest.raises(PolicyError, match="answers signed questions only"):
            session.sql(count).collect()
        with asking(key=tmp_path / "ann", purpose="sepsis") as signs:
            every = [age for ages in AGES.values() for age in ages]
            expected = [{"n": sum(age > 45 for age in every)}]
            assert signs.sql(count).collect().to_pylist() == expected
            assert signs.sql(count).collect().to_pylist() == expected  # another run, another nonce
            by = signs.table("people").join(signs.table("codes"), on="what")
            assert len(by.group_by("what").agg(ub.len().alias("n")).collect()) == 1
            options: dict[str, Any] = {
                "features": [ub.learn.one_hot("what", values=["x", "y"])],
                "label": "age",
                "model": ub.learn.LinearRegression(intercept=False),
            }
            plain = ub.learn.fit(signs.table("people"), **options)
            masked = ub.learn.fit(signs.table("people"), privacy=ub.learn.Secure(), **options)
            assert plain.state.tolist() == pytest.approx([(40 + 61 + 63 + 65) / 4])
            assert masked.state.tolist() == pytest.approx(plain.state.tolist(), abs=1e-9)
        with (
            asking(key=tmp_path / "eve") as other,
            pytest.raises(PolicyError, match="does not know who has signed this"),
        ):
            other.sql(count).collect()
        with (
            asking(user="bob", key=tmp_path / "ann") as other,
            pytest.raises(PolicyError, match="signed for user 'bob', and not 'ann'"),
        ):
            other.sql(count).collect()
    finally:
        for site in sited.sites.values():
            site.people = {}


def test_the_command_tells_what_may_be_asked(
    sited: Sited, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UMBEL_TOKEN", sited.token(Role.VIEWER))
    assert run_command(("tables", "--policy", "--coordinator", sited.url)) == 0
    told = capsys.readouterr().out
    for line in (
        "north.people:\n  aggregates over at least 2 different id leave, for: everybody\n",
        "  updates of models over at least 4 different id leave\n",
        "south.codes:\n  rows leave, for: everybody",
    ):
        assert line in told
    assert run_command(("tables", "north.codes", "--policy", "--coordinator", sited.url)) == 0
    assert capsys.readouterr().out.startswith("north.codes:\n  rows leave")
    assert run_command(("tables", "nobody", "--policy", "--coordinator", sited.url)) != 0
    assert "no site publishes 'nobody'" in capsys.readouterr().err


def test_a_model_is_trained_at_all_sites(session: Any) -> None:
    """With one column of zeros and ones, and no constant, the coefficient is the mean of its rows."""
    people = session.table("people")
    model = ub.learn.fit(
        people,
        features=[ub.learn.one_hot("what", values=["x", "y"])],
        label="age",
        model=ub.learn.LinearRegression(intercept=False),
    )
    mean = (40 + 61 + 63 + 65) / 4
    assert model.state.tolist() == pytest.approx([mean])
    assert model.history.collect()["part"].to_pylist()[:2] == ["north", "south"]
    found = model.evaluate(people)
    assert found.by_part["part"].to_pylist() == ["north", "south"]
    assert found.rows == 9
    scored = model.predict(people).group_by("what").agg(p=(col("prediction") + 1).mean())
    assert scored.sort("what").collect()["p"].to_pylist() == pytest.approx([1.0, mean + 1])
    planned = ub.learn.plan_fit(
        people,
        features=[ub.learn.one_hot("what", values=["x", "y"])],
        label="age",
        model=ub.learn.LinearRegression(intercept=False),
    )
    in_one = planned.predict(people).group_by("what").agg(p=(col("prediction") + 1).mean())
    again = session.from_plan(ub.plan_from_json(in_one.to_json()))
    assert again.sort("what").collect()["p"].to_pylist() == pytest.approx([1.0, mean + 1])
    assert "over north, south; a round:" in str(in_one.explain())
    alone = ub.learn.fit(
        people, features=model.design.features, label="age", model=model.design.algorithm,
        without=["north"],
    )  # fmt: skip
    assert alone.state.tolist() == pytest.approx([(63 + 65) / 2])


def test_rounds_go_straight_to_the_sites(session: Any) -> None:
    """No run is begun for them; masked or not, they lead to the same model."""
    people = session.table("people")
    before = len(session.connection.get("/v1/runs"))
    options: dict[str, Any] = {
        "features": [ub.learn.one_hot("what", values=["x", "y"])],
        "label": "age",
        "model": ub.learn.LinearRegression(intercept=False),
    }
    plain = ub.learn.fit(people, **options)
    masked = ub.learn.fit(people, privacy=ub.learn.Secure(), **options)
    assert len(session.connection.get("/v1/runs")) == before
    assert masked.state.tolist() == pytest.approx(plain.state.tolist(), abs=1e-9)
    assert masked.history.collect()["part"].to_pylist()[0] == "the sum"
    assert session.ask_sites({"all": people.plan}, ub.learn.Patience()) is None
    with pytest.raises(PolicyError, match="learns from 'id', which tells who a row is about"):
        ub.learn.fit(people, **{**options, "features": ["id"]})


def test_models_without_a_label_and_of_durations(session: Any) -> None:
    people = session.table("people")
    ages = np.array([age for own in AGES.values() for age in own], dtype=float)
    one = ub.learn.fit(people, features=["age"], model=ub.learn.KMeans(1))
    assert one.tensors["centres"].ravel().tolist() == pytest.approx([ages.mean()])
    line = ub.learn.fit(people, features=["age"], model=ub.learn.PCA(1))
    assert line.tensors["variance"].tolist() == pytest.approx([ages.var(ddof=1)])
    table = pa.table({"age": ages, "id": [i for own in AGES.values() for i in range(len(own))]})
    lasting = ub.learn.CoxRegression("sick", times=(0.0,))
    options: dict[str, Any] = {"features": ["twice"], "label": "age", "model": lasting}
    both = [
        ub.learn.fit(df.with_columns(twice=col("age") % 7, sick=col("age") > 0), **options)
        for df in (people, ub.connect().from_arrow(table.cast(people.select("age", "id").schema)))
    ]
    assert both[0].state.tolist() == pytest.approx(both[1].state.tolist(), abs=1e-6)


@pytest.mark.skipif(bool(isolation.missing()), reason=isolation.missing())
def test_signed_code_runs_at_the_sites_and_nowhere_else(
    session: Any, sited: Sited, tmp_path: Path
) -> None:
    module = tmp_path / "code.py"
    module.write_text(
        "import os\ndef f(row):\n    yield row.what * 2, len(set(os.environ) - {'LC_CTYPE'})\n"
    )
    function = ub.federation.sign_code(module, sited.author, entry="f")
    doubled = session.table("codes").rows().flat_map(function).to_frame({"what": str, "n": "int64"})
    counted = doubled.group_by("what").agg(ub.len().alias("rows"), col("n").sum())
    # Of each site one row; the process at a site sees no variables of anybody's.
    assert counted.collect().to_pylist() == [{"what": "xx", "rows": 2, "n": 0}]
    ran = {stage.platform for stage in session.last_run.stages}
    assert set(AGES) <= ran
    # What the coordinator would have to run is refused there; unsigned functions run here.
    plain = session.table("codes").rows().map(lambda row: row.what * 3).collect()
    assert sorted(plain) == ["xxx", "xxx"]
    stranger = tmp_path / "stranger.key"
    new_owner(stranger)
    other = ub.federation.sign_code(module, stranger, entry="f")
    refused = session.table("codes").rows().flat_map(other).to_frame({"what": str, "n": "int64"})
    with pytest.raises(UmbelError, match="does not trust who has signed 'f'"):
        refused.collect()
    # Objects that nothing makes columns of stay here, and so does the function that makes them.
    assert sorted(session.table("codes").rows().flat_map(function).map(len).collect()) == [2, 2]


def test_rows_of_ones_own_meet_those_of_sites(session: Any) -> None:
    own = session.from_dict({"what": ["x", "z"], "weight": [10, 20]})
    codes = session.table("codes").distinct()
    assert codes.join(own, on="what").collect().to_pylist() == [{"what": "x", "weight": 10}]


def test_a_rule_is_an_error_of_its_own_at_the_client(session: Any) -> None:
    people = session.table("people")
    with pytest.raises(PolicyError, match="north") as caught:
        people.collect()
    assert __file__ in str(caught.value)
    with pytest.raises(PolicyError):
        people.rows().map(lambda row: hash(row.age)).collect()
    with pytest.raises(PolicyError):
        session.sql("select max(age) from people").collect()


def test_what_is_left_out_is_said(session: Any) -> None:
    from umbel.federation.planning import WithheldWarning

    with pytest.warns(WithheldWarning, match="too few individuals"):
        found = session.sql("select age, count(*) as n from people group by age").collect()
    assert found.num_rows == 0


def test_the_catalogue_names_sites_and_their_tables(session: Any, sited: Sited) -> None:
    assert list(session.catalog) == ["north", "south"]
    assert session.catalog.tables("north").names == ["north.codes", "north.people"]
    assert session.table("north.people").columns == ["id", "age", "what"]
    with pytest.raises(UnknownNameError, match="did you mean 'people'"):
        session.table("peple")
    with pytest.raises(UnknownNameError):
        session.table("north.peple")
    known = {site["name"]: site for site in session.sites()}
    assert known["north"]["state"] == "connected"
    assert known["north"]["tables"][1] == {
        "name": "people",
        "form": "aggregates",
        "rows": None,
        "policy": [
            "aggregates over at least 2 different id leave, for: everybody",
            "updates of models over at least 4 different id leave",
        ],
    }
    rights = str(session.table("north.people").policy())
    assert "aggregates over at least 2 different id leave, for: everybody" in rights
    assert session.table("people").on("north").plan.pin == "north"


def test_results_are_forgotten_when_the_run_is_over(session: Any, sited: Sited) -> None:
    session.table("people").count()
    arrivals = sited.coordinator.settings.folder / "arrivals"
    assert [path for path in arrivals.rglob("*") if path.is_file() and path.suffix != ".lock"] == []
    assert sited.coordinator.endpoint is not None


def test_a_coordinator_can_be_looked_after_while_it_runs(sited: Sited) -> None:
    waiting = sited.coordinator.settings.folder / "results" / "of-a-run.rows"
    waiting.write_bytes(b"rows that somebody fetches")
    beside = Coordinator.open(sited.coordinator.settings, serving=False)
    beside.new_token("eve", [Role.VIEWER])
    beside.close()
    with pytest.raises(FederationError, match="a coordinator is running"):
        Coordinator.open(sited.coordinator.settings)
    assert waiting.exists()
    waiting.unlink()


def test_sites_that_are_away_are_waited_for_or_skipped(
    sited: Sited, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umbel.federation.coordinator.sites._PATIENCE", 0.2)
    monkeypatch.setattr(sited.coordinator.sites, "connected", lambda site: site != "south")
    skipping: Any = ub.connect(sited.url, token=sited.token(), on_missing_site="skip")
    with pytest.warns(MissingSitesWarning, match="covers north, and lacks south"):
        assert skipping.table("people").count() == len(AGES["north"])
    assert (skipping.last_run.covers, skipping.last_run.missing) == (("north",), ("south",))
    assert skipping.table("north.people").count() == len(AGES["north"])  # lacks nothing
    assert (skipping.last_run.covers, skipping.last_run.missing) == (("north",), ())
    skipping.table("south.people")  # its columns are known still
    with pytest.raises(SiteError, match=r"'south.people' there is nothing .* south is away"):
        skipping.table("south.people").count()
    skipping.close()
    with pytest.raises(UnknownNameError, match="way with a missing site"):
        ub.connect(sited.url, token=sited.token(), on_missing_site="hope")


def test_a_site_that_is_revoked_is_gone_at_once(sited: Sited, tmp_path: Path) -> None:
    _, word = sited.coordinator.invite("east")
    joined = join(word, tmp_path / "east", url=sited.url)
    site = Site("east", ub.connect(progress=False))
    site.publish("beds", site.session.from_dict({"n": [1, 2, 3]}), Rule(Form.ROWS))
    agent = _agent(AgentConfig(joined.folder, joined.coordinator), site)
    ended: list[BaseException] = []

    def work() -> None:
        try:
            agent.run()
        except IdentityError as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    _wait_for(sited, "north", "south", "east")
    with ub.connect(sited.url, token=sited.token()) as session:  # type: ignore[attr-defined]
        assert session.table("beds").count() == 3
        with sited.http(Role.OPERATOR) as operator:
            assert operator.delete("/v1/sites/east").status_code == 204
        with pytest.raises((UnknownNameError, SiteError)):
            session.table("beds").count()
    thread.join(30)
    assert not thread.is_alive()
    assert "revoked" in str(ended[0])


# --- joining, and the site's process --------------------------------------------------------------


def test_a_site_joins_once_in_a_folder(sited: Sited, tmp_path: Path) -> None:
    _, word = sited.coordinator.invite("west")
    settings = join(word, tmp_path / "w", url=sited.url)
    assert (settings.name, settings.folder) == ("west", tmp_path / "w" / ".")
    assert (tmp_path / "w" / "site.key").stat().st_mode & 0o077 == 0
    with pytest.raises(IdentityError, match="holds the identity of a site already"):
        join(word, tmp_path / "w", url=sited.url)
    with pytest.raises(IdentityError, match="used already"):
        join(word, tmp_path / "w", url=sited.url, again=True)
    with pytest.raises(IdentityError, match="no whole join token"):
        join(word[:-3], tmp_path / "x", url=sited.url)
    _, other = sited.coordinator.invite("far")
    with pytest.raises(IdentityError, match="is for 'far', but"):
        join(other, tmp_path / "w", url=sited.url, again=True)
    _, again = sited.coordinator.invite("west")
    before = (tmp_path / "w" / "site.pem").read_bytes()
    join(again, tmp_path / "w", url=sited.url, again=True)
    assert (tmp_path / "w" / "site.pem").read_bytes() != before


def test_an_invitation_of_another_federation_is_refused(
    sited: Sited, running: Running, tmp_path: Path
) -> None:
    _, word = running.coordinator.invite("west")
    with pytest.raises(IdentityError, match="not the one that this invitation is for"):
        join(word, tmp_path / "w", url=sited.url)


def test_the_doctor_says_what_is_wrong(sited: Sited, tmp_path: Path) -> None:
    _, word = sited.coordinator.invite("sick")
    settings = join(word, tmp_path, url=sited.url)
    (tmp_path / "p.csv").write_text("id,age\n1,2\n")

    def examined(text: str = "") -> dict[str, tuple[bool, str]]:
        whole = template + text
        settings.file.write_text(whole)
        return {found.what: (found.good, found.text) for found in examine(tmp_path)}

    template = settings.file.read_text()
    found = examined()
    assert found["tables"] == (False, "nothing is published")
    assert found["coordinator"][0]
    assert "for 29 more days" in found["certificate"][1]
    good = '\n[tables.people]\ncsv = "p.csv"\nform = "aggregates"\nindividual = "id"\n'
    assert examined(good)["table people"] == (True, "2 columns, of which aggregates leave")
    assert not examined('\n[tables.people]\ncsv = "nowhere.csv"\n')["tables"][0]
    assert not examined("\n[agnet]\n")["configuration"][0]
    template = template.replace('name = "sick"', 'name = "healthy"')
    assert not examined(good)["certificate"][0]
    with pytest.raises(IdentityError, match="'sick'"):
        SiteProcess(tmp_path)
    port = settings.coordinator.rpartition(":")[2]
    template = template.replace(f":{port}", ":1").replace('"healthy"', '"sick"')
    good_, text = examined(good)["coordinator"]
    assert not good_
    assert "no connection" in text
    (tmp_path / "site.key").chmod(0o644)
    assert "others can read" in examined(good)["certificate"][1]


MISTAKES = {
    '[coordinator]\nfolder = "."\nhosts = ["a"]\nlisen = "x"\n': ("line 4", "did you mean listen?"),
    '[coordinator]\nfolder = "."\n': ("hosts is missing", 'write hosts = ["umbel.example.org"]'),
    '[coordinator]\nfolder = "."\nhosts = ["https://a"]\n': ("line 3", "is no host"),
    '[coordinator]\nfolder = "."\nhosts = ["a"]\nlisten = "8443"\n': ("line 4", "host:port"),
    '[coordinator]\nfolder = "."\nhosts = ["a"]\nname = "A"\n': ("line 4", "no name of a coord"),
    '[coordinator]\nfolder = "."\nhosts = ["a"]\n[limits]\nruns = 0\n': ("line 5", "limits.runs"),
    '[coordinator]\nfolder = "."\nhosts = ["a"]\nstore = "postgresql://u:pw@h/d"\n': ("line 4",),
    '[coordinator]\nfolder = "."\nhosts = ["a"]\n[catalog.x]\nurl = "s3://b"\n'
    'options = { secret = "hunter2" }\n': ("line 6", "by reference"),
}


@pytest.mark.parametrize("text", MISTAKES)
def test_mistakes_of_a_coordinators_file_are_named(text: str, tmp_path: Path) -> None:
    file = tmp_path / "coordinator.toml"
    file.write_text(text)
    with pytest.raises(PlanError) as caught:
        CoordinatorSettings.read(file)
    for word in MISTAKES[text]:
        assert word in str(caught.value)
    assert "pw@" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_not_there_says_how_it_is_made(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="umbel coordinator init"):
        CoordinatorSettings.read(tmp_path)
    with pytest.raises(SourceError, match="umbel site join"):
        SiteSettings.read(tmp_path)
    create(tmp_path / "c", "one", ["localhost"], listen="127.0.0.1:1", sites="127.0.0.1:2")
    with pytest.raises(Exception, match="is there already"):
        create(tmp_path / "c", "one", ["localhost"], listen="127.0.0.1:1", sites="127.0.0.1:2")

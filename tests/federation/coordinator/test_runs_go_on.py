"""Runs of a coordinator that outlive it, sites that are away, and who may see and steer them."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

import umbel as ub
from tests.federation.harness import settles
from tests.federation.real import free_ports
from umbel import col
from umbel.executor.events import StageWaiting
from umbel.federation import Form, Rule, Site
from umbel.federation.access import Role
from umbel.federation.client import MissingSitesWarning
from umbel.federation.coordinator import (
    Coordinator,
    CoordinatorSettings,
    Server,
    create,
    run_routes,
    sites,
)
from umbel.federation.coordinator.deadlines import Deadline
from umbel.federation.disclosure import DisclosureControl, Ledger
from umbel.federation.disclosure.approvals import Approvals
from umbel.federation.errors import AccessError, CoordinatorError, SiteError
from umbel.federation.execution import SiteExecution
from umbel.federation.policy.clauses import ALL, Approval, Clause, Duties, Recipients
from umbel.federation.site import join
from umbel.federation.tasks import Requester, Task
from umbel.federation.wire import dispatcher
from umbel.federation.wire.agent import Agent, AgentConfig
from umbel.plan.errors import CancelledError, PlanError, RunError, UnknownNameError
from umbel.plan.operators import Values

AGES = {"north": [30, 40, 50, 61], "south": [62, 63, 64, 65, 66]}
EVERY = [age for ages in AGES.values() for age in ages]
#: Rows that need no site, in several segments: see `Kept.session`.
LONG = 10_000


class Gate:
    """Holds a site's work until it is opened; tells what came, and what was cancelled."""

    def __init__(self, execute: SiteExecution) -> None:
        self._execute = execute
        self.open = threading.Event()
        self.open.set()
        self.came: list[Task] = []
        self.cancelled = threading.Event()

    def __call__(self, task: Task, inputs: Any, cancellation: Any, deliver: Any) -> Any:
        self.came.append(task)

        def stop() -> None:
            self.cancelled.set()
            self.open.set()

        cancellation.register(stop)
        assert self.open.wait(60), "nobody opens the gate"
        cancellation.unregister(stop)
        cancellation.check()
        return self._execute(task, inputs, cancellation, deliver)

    def shut(self) -> None:
        self.open.clear()
        self.came.clear()
        self.cancelled.clear()


@dataclass
class Kept:
    """A coordinator that can be stopped and started anew, and its sites, which stay."""

    folder: Path
    coordinator: Coordinator
    server: Server
    gates: dict[str, Gate] = field(default_factory=dict)
    agents: dict[str, Agent] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.coordinator.settings.url

    @contextmanager
    def session(self, user: str = "ann", *roles: Role, **options: Any) -> Iterator[Any]:
        if user not in self.tokens:
            held = roles or (Role.ANALYST,)
            self.tokens[user] = self.coordinator.new_token(user, held)[1].encode()
        made: Any = ub.connect(self.url, token=self.tokens[user], progress=False, **options)
        with made:
            yield made

    def stop(self) -> None:
        self.server.close()
        self.coordinator.close()

    def start(self) -> None:
        settings = CoordinatorSettings.read(self.folder / "c")
        self.coordinator = Coordinator.open(settings)
        self.server = Server(self.coordinator).start()

    def begin(self, site: str) -> None:
        """Let a site's agent come."""
        folder = self.folder / site
        address = f"127.0.0.1:{self.coordinator.settings.sites[1]}"
        manifest = self.gates[site]._execute._site.manifest().to_json()
        agent = Agent(AgentConfig(folder, address), self.gates[site], lambda: manifest)
        agent.start()
        self.agents[site] = agent
        self.there(site)

    def there(self, *sites: str) -> None:
        known = self.coordinator.sites
        settles(lambda: all(map(known.connected, sites)), 30)
        settles(lambda: {m.site for m in known.manifests()} >= set(sites), 30)

    def away(self, site: str) -> None:
        """Let a site go, and be noticed to be away."""
        self.agents.pop(site).stop()
        endpoint = self.coordinator.endpoint
        assert endpoint is not None
        endpoint.board._site(site).heard = float("-inf")  # as if that had been long ago


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    folder = tmp_path_factory.mktemp("kept")
    listen, sites = free_ports(2)
    create(
        folder / "c", "kept", ["localhost", "127.0.0.1"],
        listen=f"127.0.0.1:{listen}", sites=f"127.0.0.1:{sites}",
    )  # fmt: skip
    coordinator = Coordinator.open(CoordinatorSettings.read(folder / "c"))
    made = Kept(folder, coordinator, Server(coordinator).start())
    rule = Rule(Form.AGGREGATES, min_individuals=2, individual="id")
    for name, ages in AGES.items():
        site = Site(name, ub.connect(progress=False))
        rows = {"id": list(range(len(ages))), "age": ages}
        site.publish("people", site.session.from_dict(rows), rule)
        made.gates[name] = Gate(SiteExecution(site))
        _, word = coordinator.invite(name)
        join(word, folder / name, url=made.url)
        made.begin(name)
    yield made
    for agent in made.agents.values():
        agent.stop()
    made.stop()


@pytest.fixture(autouse=True)
def whole(kept: Kept) -> Iterator[None]:
    """Every test begins with sites that are there, and with open gates."""
    for site, gate in kept.gates.items():
        if site not in kept.agents:
            kept.begin(site)
        gate.shut()
        gate.open.set()
    kept.there(*AGES)
    yield
    for gate in kept.gates.values():
        gate.open.set()


class Asking:
    """A question that a thread asks, as a blocking `collect` does."""

    def __init__(self, ask: Callable[[], Any]) -> None:
        self._found: list[Any] = []

        def run() -> None:
            try:
                self._found.append(ask())
            except BaseException as error:  # noqa: BLE001 - raised where it is waited for
                self._found.append(error)

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def answer(self) -> Any:
        self._thread.join(90)
        assert self._found, "no answer came"
        if isinstance(self._found[0], BaseException):
            raise self._found[0]
        return self._found[0]


def total(session: Any) -> Any:
    asked = session.table("people").select(ub.len().alias("n"), col("age").sum().alias("total"))
    return asked.collect().to_pylist()


def expected(ages: list[int]) -> Any:
    return [{"n": len(ages), "total": sum(ages)}]


def run_of(session: Any) -> str:
    """The id of the newest run."""
    return str(session.runs.all()[0]["id"])


def is_committed(kept: Kept, site: str) -> bool:
    """Whether a site has committed its stage of the newest run."""
    store = kept.coordinator.store.tasks
    return any(t.site == site and t.outcome is not None for run in store.runs()
               for t in store.of_run(run))  # fmt: skip


# --- the coordinator ends -------------------------------------------------------------------------


def test_a_coordinator_that_is_stopped_and_started_gives_the_answer_to_who_waits(
    kept: Kept,
) -> None:
    with kept.session() as session:
        kept.gates["south"].shut()
        asking = Asking(lambda: total(session))
        settles(lambda: kept.gates["south"].came and is_committed(kept, "north"), 30)
        run = run_of(session)
        kept.stop()
        kept.start()
        kept.gates["south"].open.set()
        assert asking.answer() == expected(EVERY)
        assert session.last_run.id == run
        assert session.last_run.covers == ("north", "south")
        shown = session.runs.show(run)
    assert [len(kept.gates[site].came) for site in AGES] == [1, 1]
    assert not kept.gates["south"].cancelled.is_set()
    assert (shown["state"], shown["tries"], shown["rows"]) == ("finished", 2, 1)
    at_sites = {stage["platform"]: stage for stage in shown["stages"]}
    for site in AGES:
        stage = at_sites[site]
        assert (stage["state"], stage["attempts"], stage["rows"]) == ("finished", 1, 1)
        assert stage["began"] <= stage["ended"]
        assert stage["bytes"] > 0
    # It was at work before the restart, and was not asked again.
    assert at_sites["north"]["ended"] < at_sites["south"]["ended"]


@pytest.mark.slow
def test_a_coordinator_that_is_killed_goes_on_with_its_runs(kept: Kept) -> None:
    """The coordinator is a process of its own here; it is killed while one of two sites works."""

    def serve() -> subprocess.Popen[str]:
        log = (kept.folder / "served.log").open("a")
        process = subprocess.Popen(
            [sys.executable, "-m", "umbel", "coordinator", "serve", "--config", kept.folder / "c"],
            stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
        assert process.stdout is not None
        with process.stdout as told:
            assert told.readline().startswith("people and tools"), process.wait()
            assert told.readline().startswith("sites")
        log.close()
        return process

    with kept.session():
        pass  # has made the token
    token, url = kept.tokens["ann"], kept.url
    kept.stop()
    process = serve()
    try:
        with ub.connect(url, token=token, progress=False) as session:  # type: ignore[attr-defined]
            kept.gates["south"].shut()
            asking = Asking(lambda: total(session))
            settles(lambda: kept.gates["south"].came, 60)

            def stages() -> dict[str, Any]:
                found = session.runs.all()
                shown = session.runs.show(found[0]["id"])["stages"] if found else []
                return {stage["platform"]: stage for stage in shown}

            settles(lambda: stages()["north"]["ended"] is not None, 60)
            process.send_signal(signal.SIGKILL)
            process.wait(30)
            process = serve()
            kept.gates["south"].open.set()
            assert asking.answer() == expected(EVERY)
            assert session.last_run.id == run_of(session)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        kept.start()
    assert [len(kept.gates[site].came) for site in AGES] == [1, 1]


def test_rows_that_wait_outlive_the_coordinator_and_are_their_users(kept: Kept) -> None:
    with kept.session() as session, kept.session("zoe") as other:
        plan = session.table("people").select(ub.len().alias("n")).plan
        fetched = session.run(plan)
        waiting = _begun(session, plan)
        settles(lambda: session.runs.show(waiting)["state"] == "finished")
        kept.stop()
        kept.start()
        for act in (other.runs.show, other.runs.resume, other.resume):
            with pytest.raises(UnknownNameError):
                act(waiting)
        assert waiting not in [run["id"] for run in other.runs.all()]
        assert session.resume(waiting).table.to_pylist() == [{"n": len(EVERY)}]
        with pytest.raises(PlanError, match="fetched"):
            session.resume(fetched.run.id)
        assert session.runs.show(fetched.run.id)["stages"]


def _begun(session: Any, plan: Any) -> str:
    """Begin a run, and do not wait for its rows."""
    from umbel.executor.run_ids import new_id
    from umbel.plan.codec import plan_to_json

    body = {"id": new_id(16), "plan": plan_to_json(plan)}
    return str(session.connection.post("/v1/runs", body)["id"])


def test_a_run_that_ends_the_coordinator_each_time_is_given_up(kept: Kept) -> None:
    with kept.session() as session:
        kept.gates["south"].shut()
        run = _begun(session, session.table("people").select(ub.len().alias("n")).plan)
        settles(lambda: kept.gates["south"].came, 30)
        kept.stop()
        store = kept.coordinator.runs.store.__class__(kept.coordinator.settings.runs_place)
        for _ in range(4):
            store.acquire(run).release()  # begun, and never ended
        store.close()
        kept.gates["south"].open.set()
        kept.start()
        with pytest.raises(RunError, match="begun 4 times, and each time the coordinator died"):
            _rows_of(session, run)
        kept.there(*AGES)
        assert session.resume(run).table.to_pylist() == [{"n": len(EVERY)}]


def _rows_of(session: Any, run: str) -> Any:
    """Read the rows of a run without asking for it to go on."""
    import pyarrow as pa

    from umbel.federation.stream import read_rows

    with session.connection.stream(f"/v1/runs/{run}/result") as chunks:
        return read_rows(chunks, pa.schema([("n", pa.int64())]), lambda rows: None)


def test_the_same_question_by_the_same_name_is_one_run(kept: Kept) -> None:
    from umbel.executor.run_ids import new_id
    from umbel.plan.codec import plan_to_json

    with kept.session() as session:
        people = session.table("people")
        body = {"id": new_id(16), "plan": plan_to_json(people.select(ub.len().alias("n")).plan)}
        asking = [Asking(lambda: session.connection.post("/v1/runs", body)) for _ in range(3)]
        assert [asked.answer()["id"] for asked in asking] == [body["id"]] * 3
        settles(lambda: session.runs.show(body["id"])["state"] == "finished")
        assert [len(kept.gates[site].came) for site in AGES] == [1, 1]
        other = {**body, "plan": plan_to_json(people.select(col("age").sum()).plan)}
        with pytest.raises(AccessError, match="taken"):
            session.connection.post("/v1/runs", other)


# --- the line breaks ------------------------------------------------------------------------------


@pytest.mark.parametrize("delivered", [False, True])
def test_an_answer_that_breaks_off_is_read_on(
    kept: Kept, monkeypatch: pytest.MonkeyPatch, delivered: bool
) -> None:
    """Each body is cut after 60 000 bytes, in the middle of some frame."""
    monkeypatch.setattr("umbel.federation.stream.SEGMENT_BYTES", 20_000)
    rows_of, asked = run_routes._rows, []

    async def cut(run: Any, start: int, of: str, *, whole: bool) -> Any:
        asked.append((start, whole))
        left = 60_000
        async for piece in rows_of(run, start, of, whole=whole):
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                return

    monkeypatch.setattr(run_routes, "_rows", cut)
    with kept.session() as session:
        own = session.from_dict({"i": list(range(LONG)), "t": [f"{i * 7919}" for i in range(LONG)]})
        known = session.table("people").select(ub.len().alias("n"))
        plan = own.join(known, how="cross").plan
        pieces: list[Any] = []
        result = session.run(plan, deliver=pieces.append if delivered else None)
        tables = pieces if delivered else [result.table]
    found = sorted((row["i"], row["t"], row["n"]) for t in tables for row in t.to_pylist())
    assert found == [(i, f"{i * 7919}", len(EVERY)) for i in range(LONG)]
    starts = [start for start, _ in asked]
    assert len(starts) > 2
    assert starts == sorted(set(starts)), "each body went on where the last one ended"
    assert {whole for _, whole in asked} == {delivered}


def test_a_coordinator_that_stays_away_is_waited_for_no_longer_than_one_says(kept: Kept) -> None:
    with kept.session(patience=0.5) as session:
        kept.gates["south"].shut()
        asking = Asking(lambda: total(session))
        settles(lambda: kept.gates["south"].came, 30)
        run = run_of(session)
        kept.stop()
        with pytest.raises(CoordinatorError, match=r"waited for 0.5 s") as caught:
            asking.answer()
        assert run in caught.value.hint
        kept.start()
        kept.gates["south"].open.set()
        # Nobody waited, and it went on nevertheless.
        assert session.resume(run).table.to_pylist() == expected(EVERY)
    with pytest.raises(PlanError, match="patience"):
        ub.connect(kept.url, token=kept.tokens["ann"], patience=-1)


# --- sites that are away --------------------------------------------------------------------------


def test_a_site_that_is_away_is_waited_for(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umbel.federation.coordinator.sites._PATIENCE", 0.2)
    kept.away("south")
    with kept.session(on_missing_site="wait") as waiting:
        asking = Asking(lambda: total(waiting))
        settles(lambda: is_committed(kept, "north"), 30)
        with kept.session() as failing, pytest.raises(SiteError, match="site 'south' is away"):
            total(failing)  # which also takes longer than the patience that the other has not
        assert waiting.runs.all()[1]["state"] == "running"
        kept.begin("south")
        assert asking.answer() == expected(EVERY)
        assert waiting.last_run.missing == ()


def test_a_run_that_failed_goes_on_from_its_last_stage(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umbel.federation.coordinator.sites._PATIENCE", 0.2)
    with kept.session() as session:
        kept.gates["south"].shut()
        asking = Asking(lambda: total(session))
        settles(lambda: kept.gates["south"].came and is_committed(kept, "north"), 30)
        kept.away("south")
        with pytest.raises(SiteError, match="site 'south' is away"):
            asking.answer()
        run = run_of(session)
        failed = session.runs.show(run)
        assert (failed["state"], failed["error"]["class"]) == ("failed", "SiteError")
        kept.gates["south"].open.set()
        kept.begin("south")
        assert session.resume(run).table.to_pylist() == expected(EVERY)
    assert len(kept.gates["north"].came) == 1


# --- limits and cancelling ------------------------------------------------------------------------


def test_a_runs_time_reaches_its_sites(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    with kept.session() as session:
        assert total(session) == expected(EVERY)
        limit = kept.coordinator.settings.limits.seconds
        for gate in kept.gates.values():
            (task,) = gate.came
            assert task.limits.seconds is not None
            assert limit - 60 < task.limits.seconds <= limit
        short = kept.coordinator.settings.limits.model_copy(update={"seconds": 1.0})
        monkeypatch.setattr(kept.coordinator.runs, "_limits", short)
        kept.gates["south"].shut()
        with pytest.raises(RunError, match="longer than the 1 seconds"):
            total(session)
    assert kept.gates["south"].cancelled.wait(30)


def test_a_run_is_cancelled_by_its_user_or_an_operator_from_elsewhere(kept: Kept) -> None:
    with (
        kept.session() as session,
        kept.session() as elsewhere,
        kept.session("zoe") as other,
        kept.session("al", Role.AUDITOR) as auditor,
        kept.session("op", Role.OPERATOR) as operator,
    ):
        for stopping in (elsewhere, operator):
            kept.gates["south"].shut()
            asking = Asking(lambda: total(session))
            settles(lambda: kept.gates["south"].came, 30)
            run = run_of(elsewhere)
            with pytest.raises(UnknownNameError):
                other.runs.cancel(run)
            assert auditor.runs.show(run)["user"] == "ann"
            for act in (auditor.runs.cancel, auditor.connection.delete):
                with pytest.raises(AccessError):
                    act(run if act == auditor.runs.cancel else f"/v1/runs/{run}/result")
            assert operator.runs.show(run)["state"] == "running"
            stopping.runs.cancel(run)
            with pytest.raises(CancelledError):
                asking.answer()
            assert kept.gates["south"].cancelled.wait(30), "the site went on"
            assert elsewhere.runs.show(run)["state"] == "cancelled"
            for act in (other.resume, operator.resume):
                with pytest.raises((AccessError, UnknownNameError)):
                    act(run)
        kept.gates["south"].open.set()
        run = run_of(elsewhere)
        assert elsewhere.resume(run).table.to_pylist() == expected(EVERY)


def test_runs_are_forgotten_by_their_users_and_by_operators(kept: Kept) -> None:
    with (
        kept.session() as session,
        kept.session("zoe") as other,
        kept.session("op", Role.OPERATOR) as operator,
    ):
        total(session)
        total(other)
        mine, hers = run_of(session), run_of(other)
        assert [run["id"] for run in session.runs.prune(seconds=3600)] == []
        said = [run["id"] for run in session.runs.prune(seconds=0, dry=True)]
        assert mine in said
        assert hers not in said
        session.runs.prune(seconds=0)
        assert session.runs.all() == [] or mine not in [run["id"] for run in session.runs.all()]
        assert run_of(other) == hers
        assert hers in [run["id"] for run in operator.runs.prune(seconds=0, everything=True)]
        with pytest.raises(UnknownNameError):
            other.runs.show(hers)


# --- a site leaves --------------------------------------------------------------------------------


def test_a_site_that_leaves_a_run_is_skipped_where_one_says_so(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its part of a table is left out, and the answer says so; a part that was named is not."""
    monkeypatch.setattr("umbel.federation.coordinator.sites._PATIENCE", 0.2)
    ways = [
        lambda session: session.table("people"),
        lambda session: session.table("north.people").union(session.table("south.people")),
    ]
    with kept.session(on_missing_site="skip") as session, kept.session() as failing:
        for gate in kept.gates.values():
            gate.shut()
        kept.gates["north"].open.set()

        def counted(of: Any, way: Any) -> Any:
            return way(of).select(ub.len().alias("n"), col("age").sum().alias("total")).collect()

        # The thread that asks warns, at whatever moment.
        with pytest.warns(MissingSitesWarning, match="south"):  # noqa: PT031
            skipping = Asking(lambda: counted(session, ways[0]))
            settles(lambda: kept.gates["south"].came, 30)
            named = Asking(lambda: counted(session, ways[1]))
            settles(lambda: len(kept.gates["south"].came) == 2, 30)
            fails = Asking(lambda: counted(failing, ways[0]))
            settles(lambda: len(session.runs.all()) >= 3, 30)
            kept.away("south")
            assert skipping.answer().to_pylist() == expected(AGES["north"])
        with pytest.raises(SiteError, match="away"):
            named.answer()
        with pytest.raises(SiteError, match="away"):
            fails.answer()
        runs = [run for run in session.runs.all() if run["missing"]]
        shown = session.runs.show(runs[0]["id"])
    assert (shown["covers"], shown["missing"], shown["tries"]) == (["north"], ["south"], 2)
    # So does the next coordinator remember it.
    kept.stop()
    kept.start()
    with kept.session() as session:
        found = session.runs.show(shown["id"])
    assert (found["covers"], found["missing"]) == (["north"], ["south"])


def test_a_run_that_waits_for_a_person_says_so_and_outlives_the_coordinator(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "_ASK_AGAIN", 0.05)
    gate = kept.gates["north"]
    before, site = gate._execute, gate._execute._site
    table = site.tables["people"]
    clause = Clause(
        "asked", Form.AGGREGATES, 2, *(ALL,) * 5, recipients=Recipients(ALL),
        duties=Duties(approval=Approval.PLAN),
    )  # fmt: skip
    site.tables["people"] = replace(table, rule=replace(table.rule, clause=clause))
    ledger = Ledger(tmp_path / "ledger.db")
    gate._execute = SiteExecution(site, disclosure=DisclosureControl(ledger))
    approvals = Approvals(ledger)
    told: list[Any] = []
    found: list[Any] = []

    def ask() -> None:
        with kept.session(listener=told.append) as session:
            found.append(session.sql("select count(*) as n from north.people").collect())

    thread = threading.Thread(target=ask, daemon=True)
    try:
        thread.start()
        settles(approvals.all, 30)
        settles(lambda: any(isinstance(event, StageWaiting) for event in told), 30)
        kept.stop()
        kept.start()
        kept.there("north", "south")
        asked_before = len(gate.came)
        settles(lambda: len(gate.came) > asked_before, 60)  # the run goes on, and waits
        [request] = approvals.all()
        approvals.decide(request.name, approve=True)
        thread.join(60)
        assert [table.to_pylist() for table in found] == [[{"n": len(AGES["north"])}]]
        waiting = [event.why for event in told if isinstance(event, StageWaiting)]
        assert "waiting for approval of site 'north' since" in waiting[0]
    finally:
        gate._execute, site.tables["people"] = before, table
        ledger.close()


def test_what_a_person_takes_to_decide_is_not_the_runs_time(
    kept: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    now = SimpleNamespace(monotonic=lambda: clock[0])
    monkeypatch.setattr("umbel.federation.coordinator.sites.time", now)
    endpoint = kept.coordinator.endpoint
    assert endpoint is not None
    run = sites.RunDispatcher(endpoint, None)
    run.limit(60)
    with run._waiting(), run._waiting():  # two sites, at the same time
        clock[0] += 1000
        assert run.waited() == 1000
    task = Task("r", 0, "north", Values(table=pa.table({"a": [1]})), (), Requester("ann"))
    assert run._limited(task).limits.seconds == 60
    clock[0] += 20
    assert (run._limited(task).limits.seconds, run.waited()) == (40, 1000)


def test_a_deadline_moves_on_while_a_run_waits() -> None:
    over, waited = threading.Event(), [0.0]
    asked = threading.Event()

    def so_far() -> float:
        asked.set()
        waited[0] += 0.01
        return waited[0]

    deadline = Deadline(0.01, over.set, so_far)
    assert asked.wait(30)
    assert not over.is_set()
    deadline.cancel()
    Deadline(0.01, over.set, lambda: 0.0)
    assert over.wait(30)

"""Every failure, for every kind of statement, at every stage of the work, on real processes.

A coordinator and three sites run as operators start them. A site is held at a point of its work,
something fails, the site is let go on; then the answer must be that of DuckDB over the pooled rows,
or the error that the table states. A history of all processes says that no task was committed
twice, and the coordinator that the run is finished.

CI runs a sample, with each failure once. `make chaos` runs all.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.federation.chaos.gated import GATES, POINTS, Gates
from tests.federation.proxy import Proxy
from tests.federation.real import COORDINATOR, UMBEL, RealFederation, settles
from tests.federation.wire.processes import History
from umbel.federation.errors import SiteError

SITES = ("north", "south", "west")
#: Who fails, and who is still at work when it does.
VICTIM, OTHER = "north", "south"
ROWS = 12_000
GATED = (*UMBEL[:-1], "tests.federation.chaos.gated")
EVENTS = """
[tables.events]
parquet = "events.parquet"
form = "rows"
tells_size = true
"""
CODES = """
[tables.codes]
parquet = "codes.parquet"
form = "rows"
tells_size = true
"""
#: The kinds of statements; each means the same to DuckDB, over the pooled rows.
STATEMENTS = {
    "rows": "select id, kind, x from events where x < 400",
    "aggregate": "select kind, count(*) as n, sum(x) as total from events group by kind",
    "join": "select label, count(*) as n, max(x) as most from events join codes "
    "on events.kind = codes.kind group by label",
    "sorted": "select id, x from events where kind <> 3 order by x desc, id limit 40",
    "distinct": "select distinct kind, x % 10 as y from events union all select kind, 77 from codes",
}
#: Where the victim is held: before its work, in its middle, after it; and with its result
#: committed, while another site is still at work.
STAGES = (*POINTS, "committed")


@dataclass
class Failing:
    """A federation in which things fail.

    Attributes:
        federation: its processes.
        gates: hold its sites.
        line, own_line: between the victim and the coordinator, and between the client and it.
        history: of all processes.
        pooled: DuckDB over the rows of all sites.
    """

    federation: RealFederation
    gates: Gates
    line: Proxy
    own_line: Proxy
    history: History
    pooled: duckdb.DuckDBPyConnection

    def session(self, missing: str = "wait") -> Any:
        """Connect, through a line that can be cut."""
        port = self.own_line.address.rpartition(":")[2]
        return self.federation.session(
            url=f"https://localhost:{port}", on_missing_site=missing, patience=90.0
        )

    def state(self, site: str) -> str:
        with self.federation.session() as session:
            return next(str(one["state"]) for one in session.sites() if one["name"] == site)

    def whole(self) -> None:
        """Bring everything back for the next case."""
        for site, point in itertools.product(SITES, POINTS):
            self.gates.open(site, point)
        self.line.heal()
        for name, process in self.federation.running.items():
            if process.poll() is not None:
                self.federation.start(name)
        with self.federation.session() as session:
            self.federation.there(session, *SITES)


# --- what fails ------------------------------------------------------------------------------


def killed(it: Failing) -> None:
    it.federation.kill(VICTIM)
    it.federation.start(VICTIM)


def hangs(it: Failing) -> None:
    it.federation.stop(VICTIM)
    settles(lambda: it.state(VICTIM) == "away", "the site that hangs is away")
    it.federation.go_on(VICTIM)


def started_twice(it: Failing) -> None:
    """A second process for the same site is refused, and the first goes on."""
    first = it.federation.running[VICTIM]
    it.federation.start(VICTIM)
    second = it.federation.running[VICTIM]
    try:
        settles(lambda: second.poll() is not None, "the second process ends")
    finally:
        it.federation.kill(VICTIM)
        it.federation.running[VICTIM] = first
    assert second.returncode != 0
    assert first.poll() is None


def line_cut(it: Failing) -> None:
    it.line.cut()


def line_hangs(it: Failing) -> None:
    it.line.hang()
    settles(lambda: it.state(VICTIM) == "away", "the site behind the line is away")
    it.line.cut()
    it.line.heal()


def coordinator_killed(it: Failing) -> None:
    it.federation.kill(COORDINATOR)
    it.federation.start(COORDINATOR)


def coordinator_hangs(it: Failing) -> None:
    it.federation.stop(COORDINATOR)
    time.sleep(1.0)
    it.federation.go_on(COORDINATOR)


def client_cut(it: Failing) -> None:
    it.own_line.cut()


def leaves(it: Failing) -> None:
    it.federation.kill(VICTIM)


def data_gone(it: Failing) -> None:
    """Its file is not there when the work wants to read it."""
    file = it.federation.folder / VICTIM / "events.parquet"
    file.rename(file.with_suffix(".gone"))


def data_back(it: Failing) -> None:
    file = it.federation.folder / VICTIM / "events.parquet"
    file.with_suffix(".gone").rename(file)


def nothing(it: Failing) -> None:
    """All is as it was."""


@dataclass(frozen=True)
class Failure:
    """What fails, and what is to come of it.

    Attributes:
        strike: makes it fail.
        missing: what the run does about a site that is away.
        error: what the run's error says; empty if it finishes.
        without: whether the answer lacks the victim's rows.
        stages: at which it can strike.
        mend: brings back what `Failing.whole` does not.
    """

    strike: Callable[[Failing], None]
    missing: str = "wait"
    error: str = ""
    without: bool = False
    stages: tuple[str, ...] = STAGES
    mend: Callable[[Failing], None] = nothing


FAILURES = {
    "site killed": Failure(killed),
    "site hangs": Failure(hangs),
    "site started twice": Failure(started_twice),
    "line cut": Failure(line_cut),
    "line hangs": Failure(line_hangs),
    "coordinator killed": Failure(coordinator_killed),
    "coordinator hangs": Failure(coordinator_hangs),
    "client cut": Failure(client_cut),
    # What a site has committed stays committed when it leaves.
    "site leaves": Failure(leaves, "fail", "site 'north' is away", stages=POINTS),
    "site leaves, skipped": Failure(leaves, "skip", without=True, stages=POINTS),
    "data gone": Failure(data_gone, error="site 'north'", stages=("begun",), mend=data_back),
}


# --- the matrix ------------------------------------------------------------------------------


def cases(every: bool) -> Iterator[tuple[str, str, str]]:
    """All of failure, statement and stage; or each failure once, and all of the others."""
    for number, (name, failure) in enumerate(FAILURES.items()):
        kinds, stages = list(STATEMENTS), failure.stages
        one = (kinds[number % len(kinds)], stages[number % len(stages)])
        yield from ((name, *two) for two in (itertools.product(kinds, stages) if every else [one]))


def answer_of(it: Failing, statement: str, without: bool) -> list[dict[str, Any]]:
    """The answer over the pooled rows."""
    where = f"where site <> '{VICTIM}'" if without else ""
    it.pooled.execute(f"create or replace view events as select * from every {where}")
    rows: list[dict[str, Any]] = it.pooled.sql(statement).to_arrow_table().to_pylist()
    return rows


def canonical(rows: list[dict[str, Any]], kind: str) -> list[Any]:
    found = [tuple(row.values()) for row in rows]
    return found if kind == "sorted" else sorted(found)


def check(it: Failing, failure: Failure, kind: str, stage: str) -> None:
    """Let one case happen, and look at what comes of it."""
    held = (OTHER, "begun") if stage == "committed" else (VICTIM, stage)
    it.gates.shut(*held)
    found: list[Any] = []
    runs: list[Any] = []

    def ask() -> None:
        try:
            with it.session(failure.missing) as session:
                found.append(session.sql(STATEMENTS[kind]).collect())
                runs.append(session.last_run)
        except Exception as error:  # noqa: BLE001 - looked at below
            found.append(error)

    commits = len(committed(it))
    asking = threading.Thread(target=ask)
    asking.start()
    settles(lambda: it.gates.is_held(*held) or found, f"{held[0]} is held at its work")
    assert not found, f"it ended before anything failed: {found}"
    if stage == "committed":
        settles(lambda: len(committed(it)) > commits, "another site commits")
    failure.strike(it)
    it.gates.open(*held)
    asking.join(180)
    assert found, f"no answer came; {it.federation.log(COORDINATOR)}"
    answer = found[0]
    if failure.error:
        assert isinstance(answer, SiteError), answer
        assert failure.error in str(answer)
    else:
        assert isinstance(answer, pa.Table), answer
        expected = answer_of(it, STATEMENTS[kind], failure.without)
        assert canonical(answer.to_pylist(), kind) == canonical(expected, kind)
        left = {VICTIM} if failure.without else set()
        assert set(runs[0].missing) == left
        assert set(runs[0].covers) >= set(SITES) - left
        with it.federation.session() as session:
            assert session.runs.show(runs[0].id)["state"] == "finished"
    assert set(Counter(committed(it)).values()) <= {1}, "a task was committed twice"


def committed(it: Failing) -> list[str]:
    """The tasks that were committed, as often as they were."""
    if not it.history.path.exists():
        return []
    return [event["task"] for event in it.history.read() if event["event"] == "commit"]


@contextmanager
def failing(folder: Path) -> Iterator[Failing]:
    """Start a federation in which things can fail."""
    parts = []
    for number, site in enumerate(SITES):
        (folder / site).mkdir()
        ids = range(number * ROWS, (number + 1) * ROWS)
        columns = {"id": ids, "kind": [i % 7 for i in ids], "x": [i * 7919 % 1009 for i in ids]}
        part = pa.table({name: pa.array(values, pa.int64()) for name, values in columns.items()})
        pq.write_table(part, folder / site / "events.parquet")
        parts.append(part.append_column("site", pa.array([site] * ROWS)))
    codes = pa.table({"kind": list(range(7)), "label": [f"l{i % 3}" for i in range(7)]})
    pq.write_table(codes, folder / "west" / "codes.parquet")
    pooled = duckdb.connect()
    pooled.register("every", pa.concat_tables(parts))
    pooled.register("codes", codes)
    gates = folder / "gates"
    gates.mkdir()
    with ExitStack() as stack:
        federation = RealFederation(
            folder,
            {"north": EVENTS, "south": EVENTS, "west": EVENTS + CODES},
            program=GATED,
            environment={GATES: str(gates)},
        )
        stack.callback(federation.close)
        line = Proxy(f"127.0.0.1:{federation.settings.sites[1]}")
        own = Proxy(f"127.0.0.1:{federation.settings.listen[1]}")
        stack.callback(line.close)
        stack.callback(own.close)
        federation.dials(VICTIM, line.address)
        for site in SITES:
            federation.start(site)
        yield Failing(federation, Gates(gates), line, own, History(gates), pooled)
        pooled.close()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::umbel.federation.client.MissingSitesWarning")
def test_failures_change_no_answer(tmp_path: Path) -> None:
    every = bool(os.environ.get("UMBEL_CHAOS_ALL"))
    only = os.environ.get("UMBEL_CHAOS_ONLY", "")
    wrong: list[str] = []
    with failing(tmp_path) as it:
        for name, kind, stage in cases(every):
            case = f"{name} / {kind} / {stage}"
            if only not in case:
                continue
            it.whole()
            began = time.monotonic()
            failure = FAILURES[name]
            try:
                check(it, failure, kind, stage)
                said = "ok"
            except AssertionError as error:
                said = f"{type(error).__name__}: {error}"
                wrong.append(f"{case}: {said}")
            finally:
                failure.mend(it)
            print(f"{case}: {said.splitlines()[0]} ({time.monotonic() - began:.1f} s)", flush=True)
    assert not wrong, "\n\n".join(wrong)


def test_the_sample_has_every_failure_statement_and_stage() -> None:
    whole, sample = set(cases(True)), set(cases(False))
    sizes = [len(STATEMENTS) * len(failure.stages) for failure in FAILURES.values()]
    assert len(whole) == sum(sizes)
    assert sample < whole
    assert {name for name, _, _ in sample} == set(FAILURES)
    assert {kind for _, kind, _ in sample} == set(STATEMENTS)
    assert {stage for _, _, stage in sample} == set(STAGES)

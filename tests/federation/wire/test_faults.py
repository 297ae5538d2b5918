"""Lines that break, coordinators and sites that are started anew, disks that are full."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from tests import postgres_server
from tests.federation.harness import (
    Context,
    Federation,
    compute,
    federation,
    numbers,
    settles,
    task,
)
from tests.federation.proxy import Proxy
from tests.federation.raw import Raw
from umbel.federation.errors import DiskFullError, FederationError, SiteError
from umbel.federation.store import Store
from umbel.federation.tasks import Outcome, Task
from umbel.federation.wire import Agent, AgentConfig, arrivals

#: Some 16 bytes a row: several segments, of several parts each.
ROWS = 1_300_000


@pytest.fixture(scope="module")
def wire() -> Iterator[Federation]:
    with federation(poll_seconds=1.0, lease_seconds=2.0) as made:
        yield made


@contextmanager
def behind_proxy(wire: Federation, site: str, execute: Any = compute) -> Iterator[Proxy]:
    """A site whose line goes through a proxy."""
    proxy = Proxy(wire.address)
    agent = Agent(AgentConfig(wire.join(site), proxy.address), execute)
    agent.start()
    try:
        yield proxy
    finally:
        proxy.heal()
        agent.stop()
        proxy.close()


def test_uploads_go_on_where_the_line_broke(wire: Federation) -> None:
    work = task("r-cut", 0, ROWS, site="cut")
    executed: list[str] = []

    def execute(task: Task, inputs: Any, cancellation: Any, deliver: Any) -> Outcome:
        executed.append(task.id)
        return compute(task, inputs, cancellation, deliver)

    with behind_proxy(wire, "cut", execute) as proxy:
        running = wire.begin(work)
        for part in (3 << 20, 6 << 20, 4 << 20):
            proxy.cut_after = proxy.carried + part
            settles(lambda: proxy.cut_after is None, 30)
        assert running.result(60).equals(numbers(work))
        sent = proxy.carried
    assert executed == [work.id]
    size = sum(record.bytes for record in wire.store.tasks.segments(work.id))
    # At each cut the parts that were under way were lost: at most three, of a megabyte.
    assert sent < size + 3 * (4 << 20) + (1 << 20)


def test_a_line_that_hangs_is_given_up_and_work_goes_on_after(wire: Federation) -> None:
    work = task("r-hang", 0, 5, site="hang")
    with behind_proxy(wire, "hang") as proxy:
        settles(lambda: wire.endpoint.presence("hang").connected)
        proxy.hang()
        began = time.monotonic()
        settles(lambda: not wire.endpoint.presence("hang").connected, 15)
        assert time.monotonic() - began < 15
        running = wire.begin(work)
        proxy.cut()
        proxy.heal()
        assert running.result().equals(numbers(work))


def test_a_site_that_is_started_anew_commits_what_it_had_sealed(wire: Federation) -> None:
    work = task("r-sealed", 0, 50_000, site="sealed")
    folder = wire.join("sealed")
    executed: list[str] = []

    def execute(task: Task, inputs: Any, cancellation: Any, deliver: Any) -> Outcome:
        executed.append(task.id)
        return compute(task, inputs, cancellation, deliver)

    proxy = Proxy(wire.address)
    first = Agent(AgentConfig(folder, proxy.address), execute)
    first.start()
    settles(lambda: wire.endpoint.presence("sealed").connected)
    running = wire.begin(work)
    # The result is sealed, and then there is no line any more.
    proxy.cut_after = proxy.carried + 100_000
    settles(lambda: proxy.cut_after is None)
    proxy.close()
    settles(lambda: list((folder / "spool").glob("*/manifest.json")))
    first.stop()
    (folder / "spool" / "torn").mkdir()
    (folder / "spool" / "torn" / "x.arrow").write_bytes(b"half")
    second = Agent(AgentConfig(folder, wire.address), execute)
    second.start()
    assert running.result().equals(numbers(work))
    assert executed == [work.id]
    record = wire.store.tasks.get(work.id)
    assert record is not None
    assert record.attempts == 1
    settles(lambda: list((folder / "spool").iterdir()) == [])
    second.stop()


def test_a_sealed_result_that_was_damaged_is_computed_again(wire: Federation) -> None:
    work = task("r-torn", 0, 50_000, site="torn")
    folder = wire.join("torn")
    proxy = Proxy(wire.address)
    first = Agent(AgentConfig(folder, proxy.address), compute)
    first.start()
    settles(lambda: wire.endpoint.presence("torn").connected)
    running = wire.begin(work)
    proxy.cut_after = proxy.carried + 100_000
    settles(lambda: proxy.cut_after is None)
    proxy.close()
    settles(lambda: list((folder / "spool").glob("*/manifest.json")))
    first.stop()
    (segment,) = (folder / "spool").glob("*/*.arrow")
    content = bytearray(segment.read_bytes())
    content[1000] ^= 4
    segment.write_bytes(content)
    second = Agent(AgentConfig(folder, wire.address), compute)
    second.start()
    assert running.result().equals(numbers(work))
    second.stop()


def test_a_coordinator_that_is_started_anew_gets_what_sites_had(tmp_path: Path) -> None:
    options: Any = {"poll_seconds": 1.0, "lease_seconds": 2.0}
    first = Federation(tmp_path, **options).open()
    port = first.endpoint.port
    executed: list[str] = []
    go = threading.Event()

    def execute(task: Task, inputs: Any, cancellation: Any, deliver: Any) -> Outcome:
        executed.append(task.id)
        go.wait(20)
        return compute(task, inputs, cancellation, deliver)

    agent = Agent(AgentConfig(first.join("a"), first.address), execute)
    agent.start()
    early, late = task("r-restart", 0, 5), task("r-restart", 1, 200_000)
    running = [first.begin(early), first.begin(late)]
    settles(lambda: len(executed) == 2)
    first.endpoint.close()
    first.store.close()
    for one in running:
        with pytest.raises(SiteError, match="being stopped"):
            one.result()
    go.set()
    second = Federation(tmp_path, port=port, **options).open()
    try:
        # The run is resumed: it asks for the same work.
        assert second.begin(early).result().equals(numbers(early))
        assert second.begin(late).result().equals(numbers(late))
        assert sorted(executed) == sorted([early.id, late.id])
        assert {r.attempts for r in second.store.tasks.of_run("r-restart")} == {1}
        with pytest.raises(FederationError, match=r"running on .* already"):
            Store.open(f"sqlite:///{tmp_path}/coordinator.db").claim()
    finally:
        agent.stop()
        second.close()


def test_a_full_disk_at_the_coordinator_pauses_and_resumes(
    wire: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = task("r-full", 0, 300_000, site="full")
    full, tried = [True], [0]
    fsync = os.fsync

    def failing(descriptor: int) -> None:
        tried[0] += 1
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    wire.agent("full")
    monkeypatch.setattr("umbel.federation.wire.arrivals.os.fsync", failing)
    running = wire.begin(work)
    settles(lambda: tried[0] >= 2)
    assert wire.endpoint.arrivals.have(work.id) == []
    full[0] = False
    assert running.result().equals(numbers(work))


def test_what_was_on_its_way_when_the_coordinator_ended_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "results" / ("ab" * 32)
    folder.mkdir(parents=True)
    (folder / f"{'cd' * 32}.part").write_bytes(b"half")
    (folder / f"{'ef' * 32}.arrow").write_bytes(b"whole")
    opened = arrivals.Arrivals(tmp_path / "results", 1 << 20)
    assert [path.suffix for path in folder.iterdir()] == [".arrow"]
    assert opened.size("ab" * 32) == 5


def test_work_that_never_ends_well_is_given_up(wire: Federation) -> None:
    """A task that ends its site each time must not be given to it for ever."""
    site = Raw(wire, "poison")
    running = wire.begin(task("r-poison", 0, 1, site="poison"))
    attempts = []
    for _ in range(8):
        attempts += [lease.attempt for lease in site.poll(wait=0.2).leases]
    assert attempts == [1, 2, 3, 4]
    with pytest.raises(SiteError, match="was begun 4 times and never ended"):
        running.result()


def test_rows_in_another_form_than_the_tasks_fail_at_the_site(wire: Federation) -> None:
    def wrong(task: Task, inputs: Any, cancellation: Any, deliver: Any) -> Outcome:
        deliver(pa.table({"id": ["text"], "value": [1.0]}))
        return Outcome(1, 1, 0.0)

    wire.agent("wrong", wrong)
    with pytest.raises(SiteError, match="column 1 that came is not the task's"):
        wire.run(task("r-wrong", 0, 1, site="wrong"), context=Context())


def test_a_store_whose_disk_is_full_pauses_and_resumes(tmp_path: Path) -> None:
    """SQLite says that the disk is full; nothing of the transaction stays, and the site waits."""
    with federation() as made:
        made.agent("a")
        work = task("r-db", 0, 9_000)
        pages = [1]

        def limit(connection: Any, *_: Any) -> None:
            connection.execute(f"PRAGMA max_page_count={pages[0]}")

        refused: list[str] = []
        commit: Any = made.store.tasks.commit

        def recorded(*values: Any, **more: Any) -> Any:
            # From here on there is no page left for what the commit writes.
            sa.event.listen(made.store.database._engine, "checkout", limit)
            try:
                return commit(*values, **more)
            except DiskFullError as error:
                refused.append(error.message)
                pages[0] = 1 << 30
                raise

        setattr(made.store.tasks, "commit", recorded)  # noqa: B010 - a method, for mypy
        assert made.begin(work).result().equals(numbers(work))
        assert refused == ["the coordinator's disk is full"]


def test_the_same_on_postgresql() -> None:
    with postgres_server.server().fresh() as url, federation(store=url) as made:
        made.agent("a")
        works = [task("r-pg", stage, size) for stage, size in enumerate((0, 5, 200_000))]
        for running, work in [(made.begin(work), work) for work in works]:
            assert running.result().equals(numbers(work))
        assert {record.state for record in made.store.tasks.of_run("r-pg")} == {"done"}
        made.endpoint.forget("r-pg")
        assert made.store.tasks.of_run("r-pg") == []

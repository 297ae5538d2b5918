"""A federation for tests: an authority, a coordinator's endpoint, and sites that compute numbers.

A task's plan is one row of parameters; what a site computes of it anybody can work out again.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from umbel.executor.context import Cancellation
from umbel.federation.identity import Authority
from umbel.federation.identity.keys import new_key, write_key
from umbel.federation.store import Store
from umbel.federation.tasks import Limits, Outcome, Requester, Task
from umbel.federation.wire import Agent, AgentConfig, FlightEndpoint, WireDispatcher
from umbel.plan.operators import Operator, Values

ANN = Requester("ann", ("analyst",))
#: The columns of every task here.
SCHEMA = pa.schema([("id", pa.int64()), ("value", pa.float64())])


def task(run: str, stage: int, size: int, site: str = "a", **limits: Any) -> Task:
    """A task that gives so many rows."""
    parameters = pa.table({"id": [size], "value": [float(stage)]}, schema=SCHEMA)
    return Task(run, stage, site, Values(table=parameters), (), ANN, Limits(**limits))


def parameters(of: Task) -> tuple[int, int]:
    """How many rows a task gives, and of which stage it is."""
    assert isinstance(of.plan, Values)
    (row,) = of.plan.table.to_pylist()
    return row["id"], int(row["value"])


def numbers(of: Task) -> pa.Table:
    """What a task gives."""
    rows, stage = parameters(of)
    ids = np.arange(rows, dtype=np.int64)
    # A multiplicative hash, so that nothing compresses to nothing.
    values = (ids * np.int64(0x9E3779B97F4A7C1 + 2 * stage)).astype(np.float64)
    return pa.table({"id": ids, "value": values}, schema=SCHEMA)


def compute(
    task: Task, inputs: Any, cancellation: Cancellation, deliver: Any, pieces: int = 1
) -> Outcome:
    """Give a task's numbers, in some pieces."""
    table = numbers(task)
    step = max(1, -(-table.num_rows // pieces))
    for start in range(0, table.num_rows, step):
        cancellation.check()
        deliver(table.slice(start, step))
    return Outcome(table.num_rows, table.nbytes, 0.0, "numbers")


class Context:
    """A run's services, as far as a dispatcher needs them."""

    def __init__(self) -> None:
        self.cancellation = Cancellation()

    scratch = Path("/nonexistent")
    memory_limit = 1 << 30
    profile = False
    run_id = "run"
    commit = None

    def measure(self, operator: Operator, rows: int, seconds: float | None = None) -> None:
        raise AssertionError("nothing is measured here")

    def progress(self, operator: Operator, rows: int) -> None:
        raise AssertionError("nothing is measured here")

    def check_cancelled(self) -> None:
        self.cancellation.check()

    def on_cancel(self, interrupt: Any) -> None:
        self.cancellation.register(interrupt)


class Federation:
    """An authority, a store and an endpoint in a folder."""

    def __init__(self, folder: Path, *, port: int = 0, store: str = "", **options: Any) -> None:
        self.folder = folder
        ca = folder / "authority"
        self.authority = Authority.open(ca) if ca.exists() else Authority.create(ca, "north")
        self.store = Store.open(store or f"sqlite:///{folder}/coordinator.db")
        self.endpoint = FlightEndpoint(
            self.store,
            self.authority,
            f"127.0.0.1:{port}",
            hosts=["127.0.0.1"],
            folder=folder / "results",
            **options,
        )
        self.agents: list[Agent] = []

    def open(self) -> Federation:
        self.endpoint.start()
        return self

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.endpoint.port}"

    def join(
        self, site: str, *, life: timedelta = timedelta(hours=1), ago: timedelta = timedelta(0)
    ) -> Path:
        """Give a site its key and certificate; give the folder in which they are."""
        folder = self.folder / f"site-{site}"
        folder.mkdir(exist_ok=True)
        key = new_key()
        issued = datetime.now(UTC) - ago
        certificate = self.authority.issue_site(site, key.public_key(), life=life, now=issued)
        self.store.members.admit(certificate)
        write_key(folder / "site.key", key)
        (folder / "site.pem").write_bytes(certificate.pem())
        (folder / "root.pem").write_bytes(self.authority.root_pem())
        return folder

    def agent(self, site: str, execute: Any = compute, **options: Any) -> Agent:
        """Join a site and start its agent, in this process."""
        folder = self.folder / f"site-{site}"
        if not folder.exists():
            self.join(site)
        manifest = options.pop("manifest", None)
        audit = options.pop("audit", None)
        agent = Agent(AgentConfig(folder, self.address, **options), execute, manifest, audit)
        agent.start()
        self.agents.append(agent)
        return agent

    def run(self, of: Task, inputs: Any = None, context: Any = None, **options: Any) -> pa.Table:
        """Have a task run; give its rows."""
        tables: list[pa.Table] = []
        dispatcher = WireDispatcher(self.endpoint, **options)
        dispatcher.run(of, inputs or {}, context or Context(), tables.append)
        return pa.concat_tables(tables)

    def begin(self, of: Task, **options: Any) -> Running:
        """Have a task run on a thread."""
        return Running(self, of, options)

    def close(self) -> None:
        for agent in self.agents:
            agent.stop()
        self.endpoint.close()
        self.store.close()


class Running:
    """A task that is being run."""

    def __init__(self, federation: Federation, of: Task, options: dict[str, Any]) -> None:
        self.context = Context()
        self._table: pa.Table | None = None
        self._error: Exception | None = None

        def run() -> None:
            try:
                self._table = federation.run(of, context=self.context, **options)
            except Exception as error:  # noqa: BLE001 - raised where it is waited for
                self._error = error

        self._thread = threading.Thread(target=run, daemon=True)
        self._thread.start()

    def result(self, seconds: float = 30) -> pa.Table:
        """Wait for the rows, or raise what went wrong."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "the task does not end"
        if self._error is not None:
            raise self._error
        assert self._table is not None
        return self._table


@contextlib.contextmanager
def federation(**options: Any) -> Iterator[Federation]:
    """Lend a federation in a folder of its own."""
    with tempfile.TemporaryDirectory(prefix=f"umbel-wire-{os.getpid()}-") as folder:
        made = Federation(Path(folder), **options).open()
        try:
            yield made
        finally:
            made.close()


def settles(holds: Callable[[], object], seconds: float = 10) -> None:
    """Wait until something holds."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it does not come to hold"
        time.sleep(0.005)

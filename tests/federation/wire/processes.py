"""A coordinator and sites as processes of their own, to be stopped, killed and started again.

`python -m tests.federation.wire.processes coordinator FOLDER PORT SITES TASKS ROWS` has tasks run
on the sites and writes what it gets into a history; `… site FOLDER ADDRESS NAME` is an agent.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from tests.federation import harness
from tests.federation.harness import Context, Federation, compute
from umbel.federation.tasks import Task
from umbel.federation.wire import Agent, AgentConfig, WireDispatcher


def content(table: pa.Table) -> str:
    """Identify rows, however they are cut."""
    whole = hashlib.sha256()
    for column in table.combine_chunks().columns:
        for chunk in column.chunks:
            whole.update(memoryview(chunk.buffers()[1])[: 8 * len(chunk)])
    return whole.hexdigest()


def work(number: int, sites: int, rows: int) -> Task:
    """The task of a number."""
    return harness.task("r-chaos", number, rows + 1000 * number, site=f"s{number % sites}")


class History:
    """What happened, a line for each event, appended by all processes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "history.jsonl"

    def write(self, **event: Any) -> None:
        line = json.dumps({"pid": os.getpid(), **event}) + "\n"
        with self.path.open("ab") as file:
            file.write(line.encode())  # one write, which the system does not cut

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]


def coordinator(folder: Path, port: int, sites: int, tasks: int, rows: int) -> None:
    """Run the tasks; those that a coordinator before had committed are only read."""
    history = History(folder)
    made = Federation(folder, port=port, poll_seconds=2.0, lease_seconds=3.0)
    commit: Any = made.store.tasks.commit

    def recorded(task: str, *rest: Any, **more: Any) -> Any:
        done = commit(task, *rest, **more)
        if done:
            history.write(event="commit", task=task)
        return done

    setattr(made.store.tasks, "commit", recorded)  # noqa: B010 - a method, for mypy
    made.open()
    history.write(event="start", what="coordinator")
    dispatcher = WireDispatcher(made.endpoint)

    def run(number: int) -> None:
        tables: list[pa.Table] = []
        of = work(number, sites, rows)
        dispatcher.run(of, {}, Context(), tables.append)
        history.write(
            event="read", task=of.id, number=number, content=content(pa.concat_tables(tables))
        )

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(run, range(tasks)))
    history.write(event="end", what="coordinator")
    made.close()


def site(folder: Path, address: str, name: str) -> None:
    """Be a site until the signal to end."""
    history = History(folder)
    history.write(event="start", what=name)

    def slowly(task: Task, inputs: Any, cancellation: Any, deliver: Any) -> Any:
        history.write(event="execute", task=task.id)

        def pausing(table: pa.Table) -> None:
            deliver(table)
            time.sleep(0.02)

        return compute(task, inputs, cancellation, pausing, pieces=8)

    agent = Agent(AgentConfig(folder / f"site-{name}", address), slowly)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=agent.stop).start())
    agent.run()


def start(folder: Path, *arguments: object) -> subprocess.Popen[bytes]:
    """Start a process of this module."""
    log: IO[bytes] = (folder / f"{arguments[0]}.log").open("ab")
    with log:
        return subprocess.Popen(
            [sys.executable, "-m", __name__, *map(str, arguments)], stdout=log, stderr=log
        )


def main() -> None:
    """Be what the arguments say."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(process)d %(message)s")
    match sys.argv[1:]:
        case ["coordinator", folder, port, sites, tasks, rows]:
            coordinator(Path(folder), int(port), int(sites), int(tasks), int(rows))
        case ["site", folder, address, name]:
            site(Path(folder), address, name)


if __name__ == "__main__":
    main()

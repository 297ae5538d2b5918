"""The wire between a site and its coordinator, against bare Arrow Flight with TLS in the same run.

The site is a process of its own; both ways start at the same table in its memory and end with the
rows in this process. Bare Flight is `do_put` of batches over the same mutual TLS, to a server that
only reads: no file, no digest, no check, nothing left when it breaks. umbel seals segments at the
site, stores them on both disks, looks at every digest and every offset, and commits.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import flight
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.inprocess import interleaved, ratio, write_json
from umbel.executor.context import Cancellation
from umbel.federation.identity import Authority
from umbel.federation.identity.keys import key_bytes, new_key, write_key
from umbel.federation.store import Store
from umbel.federation.tasks import Outcome, Requester, Task
from umbel.federation.wire import Agent, AgentConfig, FlightEndpoint, WireDispatcher
from umbel.federation.wire.connection import SiteIdentity
from umbel.plan.operators import Operator, Values

#: What umbel is to reach of bare Flight's speed.
TARGET = 0.6
#: Rows of a batch of bare Flight: 4 MB.
BATCH = 65_536
SCHEMA = pa.schema([("rows", pa.int64()), *((f"x{n}", pa.float64()) for n in range(7))])


def rows(count: int) -> pa.Table:
    """Numbers that do not compress, in eight columns."""
    source = np.random.default_rng(7)
    columns = [np.arange(count), *(source.random(count) for _ in range(7))]
    return pa.table(columns, schema=SCHEMA)


class Context:
    """A run that is not cancelled."""

    scratch = Path("/nonexistent")
    memory_limit = 1 << 30
    profile = False
    run_id = "r-bench"
    commit = None

    def __init__(self) -> None:
        self.cancellation = Cancellation()

    def check_cancelled(self) -> None:
        """Go on."""
        self.cancellation.check()

    def on_cancel(self, interrupt: Any) -> None:
        """Keep what would stop the task."""
        self.cancellation.register(interrupt)

    def measure(self, operator: Operator, count: int, seconds: float | None = None) -> None:
        """Nothing is measured here."""

    def progress(self, operator: Operator, count: int) -> None:
        """Nothing is shown here."""


class BareServer(flight.FlightServerBase):  # type: ignore[misc]
    """Reads what comes."""

    received = 0

    def do_put(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        """Read a stream to its end."""
        table = reader.read_all()
        self.received = table.num_rows


def site(folder: Path, address: str, bare: str, count: int) -> None:
    """Be the site: give rows by umbel when asked, and by bare Flight at a line on stdin."""
    identity = SiteIdentity.read(folder)
    table = rows(count)

    def execute(task: Task, inputs: Any, cancellation: Cancellation, deliver: Any) -> Outcome:
        assert isinstance(task.plan, Values)
        wanted = task.plan.table["rows"][0].as_py()
        deliver(table.slice(0, wanted))
        return Outcome(wanted, 64 * wanted, 0.0)

    agent = Agent(AgentConfig(folder, address), execute)
    agent.start()
    client = flight.FlightClient(
        f"grpc+tls://{bare}",
        tls_root_certs=(folder / "root.pem").read_bytes(),
        cert_chain=identity.certificate.pem(),
        private_key=key_bytes(identity.key),
    )
    print("ready", flush=True)
    for _ in sys.stdin:
        writer, _reader = client.do_put(flight.FlightDescriptor.for_path("x"), SCHEMA)
        writer.write_table(table, BATCH)
        writer.done_writing()
        writer.close()
        print("sent", flush=True)
    agent.stop()


class Bench:
    """A coordinator, a bare server, and a site that talks to both."""

    def __init__(self, folder: Path, count: int) -> None:
        self.count = count
        authority = Authority.create(folder / "authority", "bench")
        store = Store.open(f"sqlite:///{folder}/coordinator.db")
        home = folder / "site"
        home.mkdir()
        key, server_key = new_key(), new_key()
        certificate = authority.issue_site("a", key.public_key())
        store.members.admit(certificate)
        write_key(home / "site.key", key)
        (home / "site.pem").write_bytes(certificate.pem())
        (home / "root.pem").write_bytes(authority.root_pem())
        self.endpoint = FlightEndpoint(
            store, authority, "127.0.0.1:0", hosts=["127.0.0.1"], folder=folder / "results"
        )
        self.endpoint.start()
        server = authority.issue_server("bare", server_key.public_key(), ["127.0.0.1"])
        self.bare_server = BareServer(
            "grpc+tls://127.0.0.1:0",
            tls_certificates=[(server.pem(), key_bytes(server_key))],
            verify_client=True,
            root_certificates=authority.root_pem(),
        )
        self.dispatcher = WireDispatcher(self.endpoint)
        arguments = (
            "site", home, f"127.0.0.1:{self.endpoint.port}",
            f"127.0.0.1:{self.bare_server.port}", count,
        )  # fmt: skip
        self.site = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.bench_federation_wire", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.stage = 0
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.site.stdout is not None
        return self.site.stdout.readline().strip()

    def bare(self) -> None:
        """Bring the rows by bare Flight."""
        assert self.site.stdin is not None
        self.site.stdin.write("go\n")
        self.site.stdin.flush()
        assert self._line() == "sent"
        assert self.bare_server.received == self.count

    def umbel(self, count: int | None = None) -> None:
        """Bring the rows by umbel."""
        self.stage += 1
        wanted = self.count if count is None else count
        asked = pa.table([[wanted], *([[0.0]] * 7)], schema=SCHEMA)
        run = f"r-{self.stage}"
        task = Task(run, self.stage, "a", Values(table=asked), (), Requester("bench"))
        tables: list[pa.Table] = []
        self.dispatcher.run(task, {}, Context(), tables.append)
        assert sum(table.num_rows for table in tables) == wanted
        # Its files are removed while nobody waits, as after a run.
        threading.Thread(target=self.endpoint.forget, args=(run,)).start()

    def close(self) -> None:
        """Stop the site and the servers."""
        assert self.site.stdin is not None
        self.site.stdin.close()
        self.site.wait(30)
        self.bare_server.shutdown()
        self.endpoint.close()


def main() -> None:
    """Measure, show, and write."""
    if sys.argv[1:2] == ["site"]:
        folder, address, bare, count = sys.argv[2:]
        site(Path(folder), address, bare, int(count))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--folder", type=Path, help="where both sides write; a disk, not memory")
    options = parser.parse_args()
    with TemporaryDirectory(dir=options.folder) as folder:
        bench = Bench(Path(folder), options.rows)
        try:
            times = interleaved({"umbel": bench.umbel, "bare": bench.bare}, options.rounds)
            trivial = []
            for _ in range(100):
                start = time.perf_counter()
                bench.umbel(1)
                trivial.append(time.perf_counter() - start)
        finally:
            bench.close()
    size = 64 * options.rows / 1e6
    reached = 1 / ratio(times, "umbel", "bare")
    shown = Table(box=box.SIMPLE, title=f"{size:,.0f} MB from a site, mutual TLS on loopback")
    for title in ("", "MB/s", "seconds"):
        shown.add_column(title, justify="right")
    for name, taken in times.items():
        median = statistics.median(taken)
        shown.add_row(name, f"{size / median:,.0f}", f"{median:.2f}")
    console = Console()
    console.print(shown)
    quick = sorted(trivial)
    console.print(
        f"umbel reaches {reached:.0%} of bare Flight (target {TARGET:.0%}); a trivial task takes "
        f"{1000 * quick[0]:.1f} ms at best, {1000 * statistics.median(quick):.1f} ms mostly "
        f"(load {os.getloadavg()[0]:.1f})"
    )
    write_json(
        options.json,
        {
            "megabytes": size,
            "seconds": times,
            "reached": reached,
            "target": TARGET,
            "trivial_seconds": quick,
        },
    )


if __name__ == "__main__":
    main()

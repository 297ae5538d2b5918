"""How long a round of training takes over real sites, and what moving its bytes alone would take.

The coordinator and the sites are processes of their own, with mutual TLS on loopback; who trains is
this process, another client of the coordinator. Two models: a tiny one, of which a round is all
overhead, and one of a million numbers. Of the second the floor is the same bytes, from as many
processes, over bare exchanges of Arrow Flight with the same TLS, and no training.

Sites share the machine's processors, so beside the seconds stands the processor time of a round.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import statistics
import time
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import flight
from rich import box
from rich.console import Console
from rich.table import Table

import umbel as ub
from benchmarks.inprocess import write_json
from tests.federation.real import RealFederation, real
from umbel.federation.identity.authority import Authority
from umbel.federation.identity.keys import key_bytes, new_key

#: Seconds of a round of a tiny model, and how much longer than its bytes a large one may take.
TARGET, TIMES = 0.025, 3.0
ROWS = 60
#: Hidden numbers of the large model: with ten features and one output a million in all.
WIDE = (1_000, 987)
PART = 1 << 20
_PUBLISHED = """
[tables.rows]
parquet = "rows.parquet"
form = "aggregates"
min_individuals = 5
updates = 10
"""


def prepared(folder: Path, sites: int) -> dict[str, str]:
    """Write each site's rows; give what the sites publish."""
    draw = np.random.default_rng(3)
    weights = draw.normal(size=10)
    names = [f"site{number}" for number in range(sites)]
    for name in names:
        (folder / name).mkdir(parents=True)
        x = draw.normal(size=(ROWS, 10))
        y = x @ weights + draw.normal(size=ROWS)
        columns = {f"x{i}": x[:, i] for i in range(10)}
        pq.write_table(pa.table({**columns, "y": y}), folder / name / "rows.parquet")
    return dict.fromkeys(names, _PUBLISHED)


def processor_seconds(federation: RealFederation) -> float:
    """Of the coordinator, the sites and this process."""
    spent = sum(psutil.Process().cpu_times()[:2])
    for process in federation.running.values():
        spent += sum(psutil.Process(process.pid).cpu_times()[:2])
    return spent


def trained(federation: RealFederation, session: Any, model: Any, rounds: int) -> dict[str, Any]:
    """Train for some rounds; give the seconds of each, and the processor's of all."""
    at: list[tuple[float, float]] = []

    def watch(_: Any) -> None:
        at.append((time.perf_counter(), processor_seconds(federation)))

    ub.learn.fit(
        session.table("rows"),
        features=[f"x{i}" for i in range(10)],
        label="y",
        model=model,
        strategy="fedavg",
        settings=ub.learn.Settings(learning_rate=0.01),
        rounds=rounds,
        progress=watch,
    )
    seconds = [after[0] - before[0] for before, after in itertools.pairwise(at)]
    return {"seconds": seconds, "processor": (at[-1][1] - at[0][1]) / len(seconds)}


# --- the floor ----------------------------------------------------------------------------------


class _Echo(flight.FlightServerBase):  # type: ignore[misc]
    """Sends a state to each client in turns, and takes as many bytes from it."""

    def __init__(self, location: str, size: int, rounds: int, **tls: Any) -> None:
        super().__init__(location, verify_client=True, **tls)
        self.size, self.rounds = size, rounds

    def do_exchange(self, context: Any, descriptor: Any, reader: Any, writer: Any) -> None:
        state = pa.py_buffer(bytes(self.size))
        for _ in range(self.rounds):
            for start in range(0, self.size, PART):
                writer.write_metadata(state.slice(start, min(PART, self.size - start)))
            got = bytearray()
            while len(got) < self.size:
                got += memoryview(reader.read_chunk().app_metadata)


def _client(port: int, size: int, rounds: int, tls: dict[str, Any], told: Connection) -> None:
    client = flight.FlightClient(f"grpc+tls://localhost:{port}", **tls)
    told.send("ready")
    told.recv()
    writer, reader = client.do_exchange(flight.FlightDescriptor.for_command(b"floor"))
    update = pa.py_buffer(bytes(size))
    for _ in range(rounds):
        got = bytearray()
        while len(got) < size:
            got += memoryview(reader.read_chunk().app_metadata)
        for start in range(0, size, PART):
            writer.write_metadata(update.slice(start, min(PART, size - start)))
    writer.done_writing()
    told.send("done")


def floor(folder: Path, sites: int, size: int, rounds: int) -> float:
    """Seconds in which so many bytes go to all sites and come back."""
    authority = Authority.create(folder, "floor")
    key = new_key()
    server = authority.issue_server("floor", key.public_key(), ["localhost"])
    root = authority.root_pem()
    echo = _Echo(
        "grpc+tls://localhost:0",
        size,
        rounds,
        tls_certificates=[(server.pem(), key_bytes(key))],
        root_certificates=root,
    )
    tls = {"tls_root_certs": root, "cert_chain": server.pem(), "private_key": key_bytes(key)}
    context = multiprocessing.get_context("spawn")
    lines = [context.Pipe() for _ in range(sites)]
    running = [
        context.Process(target=_client, args=(echo.port, size, rounds, tls, theirs))
        for _, theirs in lines
    ]
    for process in running:
        process.start()
    for mine, _ in lines:
        mine.recv()
    start = time.perf_counter()
    for mine, _ in lines:
        mine.send("go")
    for mine, _ in lines:
        mine.recv()
    seconds = (time.perf_counter() - start) / rounds
    for process in running:
        process.join()
    echo.shutdown()
    return seconds


# --- all of it ----------------------------------------------------------------------------------


def main() -> None:
    """Measure, show, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sites", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument(
        "--large", type=int, default=5, help="rounds of the large model; 0 for none"
    )
    parser.add_argument("--folder", type=Path, help="where all lies; a disk, not memory")
    options = parser.parse_args()
    with TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        result: dict[str, Any] = {"sites": options.sites}
        with (
            real(folder, prepared(folder, options.sites)) as federation,
            federation.session() as session,
        ):
            tiny = ub.learn.LinearRegression()
            result["tiny"] = trained(federation, session, tiny, options.rounds + 1)
            if options.large:
                wide = ub.learn.Network(hidden=WIDE, task="number")
                result["large"] = trained(federation, session, wide, options.large + 1)
        if options.large:
            size = 8 * (11 * WIDE[0] + (WIDE[0] + 1) * WIDE[1] + WIDE[1] + 1)
            result["floor"] = floor(folder / "floor", options.sites, size, options.large)
        result["load"] = os.getloadavg()[0]
    show(result)
    write_json(options.json, result)


def show(result: dict[str, Any]) -> None:
    """Show what was measured."""
    shown = Table(box=box.SIMPLE, title=f"a round over {result['sites']} sites, ms")
    for title in ("", "best", "median", "processor", "target"):
        shown.add_column(title, justify="right")
    for name in ("tiny", "large"):
        if name in result:
            seconds = result[name]["seconds"]
            bound = TARGET if name == "tiny" else TIMES * result["floor"]
            figures = (min(seconds), statistics.median(seconds), result[name]["processor"], bound)
            shown.add_row(name, *(f"{1000 * one:.1f}" for one in figures))
    console = Console()
    console.print(shown)
    if "floor" in result:
        console.print(f"the large model's bytes alone: {1000 * result['floor']:.0f} ms")
    console.print(f"load {result['load']:.1f}")


if __name__ == "__main__":
    main()

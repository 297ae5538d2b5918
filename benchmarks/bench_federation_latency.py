"""How long a trivial question over three sites takes, end to end, and where the time goes.

The coordinator and the sites are processes of their own, the wire is mutual TLS on loopback; the
client is this process. Beside the seconds stands what the coordinator and a site measured
themselves, and the processor time of all five processes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from rich import box
from rich.console import Console
from rich.table import Table

import umbel as ub
from benchmarks.inprocess import write_json
from tests.federation.real import RealFederation, real

#: Seconds that a trivial question may take.
TARGET = 0.150
SITES = ("north", "south", "west")
ROWS = 1_000
_PUBLISHED = """
[tables.people]
parquet = "people.parquet"
form = "aggregates"
min_individuals = 10
individual = "id"
tells_size = true
"""


def prepared(folder: Path) -> dict[str, str]:
    """Write each site's people; give what the sites publish."""
    for number, site in enumerate(SITES):
        (folder / site).mkdir(parents=True)
        ids = pa.array(range(number * ROWS, (number + 1) * ROWS), pa.int64())
        ages = pa.array([one % 90 for one in range(ROWS)], pa.int64())
        pq.write_table(pa.table({"id": ids, "age": ages}), folder / site / "people.parquet")
    return dict.fromkeys(SITES, _PUBLISHED)


def _processor_seconds(federation: RealFederation) -> dict[str, float]:
    found = {"client": sum(psutil.Process().cpu_times()[:2])}
    for name, process in federation.running.items():
        found[name] = sum(psutil.Process(process.pid).cpu_times()[:2])
    return found


def main() -> None:
    """Measure, show, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--folder", type=Path, help="where all lies; a disk, not memory")
    options = parser.parse_args()
    with TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        with real(folder, prepared(folder)) as federation, federation.session() as session:
            result = measured(federation, session, options.rounds)
    show(result)
    write_json(options.json, result)


def measured(federation: RealFederation, session: Any, rounds: int) -> dict[str, Any]:
    """Ask again and again; give the seconds, and their parts."""
    question = session.table("people").filter(ub.col("age") >= 45)
    question = question.select(ub.len().alias("n"), ub.col("age").sum().alias("total"))
    expected = len(SITES) * sum(one % 90 >= 45 for one in range(ROWS))
    for _ in range(5):
        assert question.collect().to_pylist()[0]["n"] == expected
    seconds: list[float] = []
    parts: dict[str, list[float]] = {"the run": [], "planning": [], "the slowest site": []}
    before = _processor_seconds(federation)
    for _ in range(rounds):
        start = time.perf_counter()
        question.collect()
        seconds.append(time.perf_counter() - start)
        run = session.last_run
        parts["the run"].append(run.seconds)
        parts["planning"].append(run.planning_seconds)
        parts["the slowest site"].append(
            max(stage.seconds for stage in run.stages if stage.platform in SITES)
        )
    after = _processor_seconds(federation)
    return {
        "seconds": seconds,
        "target": TARGET,
        "parts": parts,
        "processor_seconds": {name: (after[name] - before[name]) / rounds for name in after},
        "load": os.getloadavg()[0],
    }


def show(result: dict[str, Any]) -> None:
    """Show what was measured."""
    seconds = sorted(result["seconds"])
    shown = Table(box=box.SIMPLE, title="a trivial question over three sites, ms")
    for title in ("", "best", "mostly", "9 of 10"):
        shown.add_column(title, justify="right")
    for name, values in {"end to end": seconds, **result["parts"]}.items():
        ordered = sorted(values)
        late = ordered[int(0.9 * (len(ordered) - 1))]
        figures = (ordered[0], statistics.median(ordered), late)
        shown.add_row(name, *(f"{1000 * one:.1f}" for one in figures))
    console = Console()
    console.print(shown)
    processor = ", ".join(
        f"{name} {1000 * spent:.0f}" for name, spent in result["processor_seconds"].items()
    )
    reached = statistics.median(seconds) <= result["target"]
    console.print(
        f"processor ms: {processor}; target {1000 * result['target']:.0f} ms: "
        f"{'reached' if reached else 'missed'} (load {result['load']:.1f})"
    )


if __name__ == "__main__":
    main()

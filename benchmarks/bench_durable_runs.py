"""What it costs to keep a run: durable runs against the same runs not durable.

Each case is run both ways, in turns, in one warm process over files that it makes itself; the store
of the runs lies in a temporary folder on the same disk. CPU seconds are those of this process, with
its threads. The answers are compared before anything is measured. Unfair would be a cold store, a
store in memory (tmpfs is reported), or data that only one of the two has read before. The floor is
what the disk asks: each run commits three times or more, and each stage flushes a file.

The cases: a small question; an aggregate, whose stages give little; rows handed from one engine to
another, all of which are sealed; and a file written from them.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from rich import box
from rich.console import Console
from rich.table import Table

import umbel as ub
from benchmarks.inprocess import write_json
from umbel import col

Work = Callable[[ub.Session], Any]


def make(folder: Path, rows: int) -> Path:
    """Make a Parquet file of events."""
    random = np.random.default_rng(7)
    table = pa.table(
        {
            "id": np.arange(rows),
            "user": random.integers(0, 50_000, rows),
            "amount": random.gamma(2.0, 3000.0, rows).astype(np.int64),
            "kind": pa.array(
                np.array(["view", "cart", "buy", "back"])[random.integers(0, 4, rows)]
            ),
        }
    )
    path = folder / "events.parquet"
    pyarrow.parquet.write_table(table, path)
    return path


def cases(events: Path, folder: Path) -> dict[str, Work]:
    """What is run, by name."""
    few = {"group": [n % 7 for n in range(1000)], "n": list(range(1000))}

    def between(session: ub.Session) -> ub.DataFrame:
        halved = session.read_parquet(events).filter(col("kind") != "view").on("polars")
        return halved.group_by("user").agg(total=col("amount").sum()).on("duckdb")

    return {
        "small": lambda s: s.from_dict(few).group_by("group").agg(total=col("n").sum()).collect(),
        "aggregate": lambda s: (
            s.read_parquet(events).group_by("kind").agg(total=col("amount").sum()).collect()
        ),
        "hand over": lambda s: between(s).collect(),
        "write": lambda s: (
            s.read_parquet(events)
            .filter(col("kind") == "buy")
            .write_parquet(folder / "bought.parquet")
            .table
        ),
    }


def measured(work: Work, sessions: dict[str, ub.Session], rounds: int) -> dict[str, Any]:
    """Do some work in both ways, in turns; give medians of seconds, and of ratios."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in sessions}
    names = list(sessions)
    for turn in range(rounds + 1):
        for name in names[turn % 2 :] + names[: turn % 2]:
            wall, cpu = time.perf_counter(), time.process_time()
            work(sessions[name])
            spent = time.perf_counter() - wall, time.process_time() - cpu
            if turn:
                seconds[name].append(spent)
    found: dict[str, Any] = {}
    for index, what in enumerate(("wall", "cpu")):
        plain = [spent[index] for spent in seconds["plain"]]
        durable = [spent[index] for spent in seconds["durable"]]
        pairs = list(zip(durable, plain, strict=True))
        found[what] = {
            "plain": statistics.median(plain),
            "durable": statistics.median(durable),
            "ratio": statistics.median(a / b for a, b in pairs),
            "more": statistics.median(a - b for a, b in pairs),
        }
    return found


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        events = make(folder, given.rows)
        sessions = {
            "plain": ub.connect(progress=False),
            "durable": ub.connect(progress=False, durable=folder / "runs"),
        }
        table = Table(
            "case", "plain s", "durable s", "× wall", "+ ms", "× CPU", "+ CPU ms", box=box.SIMPLE
        )
        results = {}
        for case, work in cases(events, folder).items():
            answers = [work(session) for session in sessions.values()]
            rows = [sorted(map(repr, answer.to_pylist())) for answer in answers]
            if case != "write" and rows[0] != rows[1]:
                raise SystemExit(f"{case}: the answers differ")
            found = results[case] = measured(work, sessions, given.rounds)
            wall, cpu = found["wall"], found["cpu"]
            table.add_row(
                case,
                f"{wall['plain']:.3f}",
                f"{wall['durable']:.3f}",
                f"{wall['ratio']:.2f}",
                f"{wall['more'] * 1e3:.0f}",
                f"{cpu['ratio']:.2f}",
                f"{cpu['more'] * 1e3:.0f}",
            )
    Console().print(table)
    write_json(given.json, {"rows": given.rows, "rounds": given.rounds, "cases": results})


if __name__ == "__main__":
    main()

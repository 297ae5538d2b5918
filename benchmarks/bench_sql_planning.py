"""How long the 22 TPC-H queries take from SQL text to a plan, and on to an execution plan.

    python benchmarks/bench_sql_planning.py [--rounds 9]

Prints, per query, the least and the median milliseconds of CPU time of reading (text to operators),
of planning (operators to the execution plan, with all platforms on, as for a plan from FedPy), and
of both, with the medians over the queries at the end; DataFusion's own planning stands beside it where it is installed.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import umbel as ub
from tests.tpch.data import QUERIES, generate, query_text
from umbel.api.sql import SessionTables
from umbel.optimizer import optimize
from umbel.plan.operators import Operator
from umbel.sql.reading import read_sql


def measured(work: Callable[[], Any], rounds: int) -> tuple[float, float]:
    """The least and the median milliseconds of CPU time of some work."""
    times = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        times.append((time.process_time() - started) * 1000)
    return min(times), statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory() as folder:
        files = generate(Path(folder))
        session = ub.connect(progress=False)
        for name, path in files.items():
            session.register(name, session.read_parquet(path))
        datafusion = _datafusion(files)
        totals: dict[str, list[float]] = {"read": [], "plan": [], "all": [], "datafusion": []}
        print("query  read least/median   plan least/median   all least/median   "
              "datafusion least/median  (ms CPU)")  # fmt: skip
        for number in QUERIES:
            text = query_text(number)

            # Not by `session.sql`, which remembers what it has read.
            def read(text: str = text) -> Operator:
                return read_sql(text, SessionTables(session))

            def everything(text: str = text) -> Any:
                return optimize(read(text), session.platforms())

            everything()
            # Each round plans operators that are new: those planned before remember their schemas.
            fresh = iter([read() for _ in range(rounds)])

            def planning(plans: Iterator[Operator] = fresh) -> Any:
                return optimize(next(plans), session.platforms())

            works: dict[str, Callable[[], Any]] = {
                "read": read,
                "plan": planning,
                "all": everything,
            }
            line = f"{number:5}"
            for what, work in works.items():
                least, median = measured(work, rounds)
                totals[what].append(median)
                line += f"     {least:6.1f} {median:6.1f}"
            if datafusion is not None:
                other = measured(lambda text=text: datafusion(text), rounds)  # type: ignore[misc]
                totals["datafusion"].append(other[1])
                line += f"     {other[0]:6.1f} {other[1]:6.1f}"
            print(line, flush=True)
        for what, values in totals.items():
            if values:
                print(f"median over the queries, {what}: {statistics.median(values):.1f} ms")


def _datafusion(files: dict[str, Path]) -> Callable[[str], Any] | None:
    try:
        from datafusion import SessionContext
    except ImportError:
        return None
    context = SessionContext()
    for name, path in files.items():
        context.register_parquet(name, str(path))
    return lambda text: context.sql(text.strip().rstrip(";")).execution_plan()


if __name__ == "__main__":
    main()

"""Planning and importing: what umbel costs before any data is touched.

Planning is timed in this process, as CPU time, engines imported, over plans of 100 operators that the engines
could all run; the target is 100 ms. Importing is timed as whole processes, beside an empty Python
and the import of one engine, with byte-compiled files.
"""

from __future__ import annotations

import argparse
import compileall
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

import umbel as ub
from benchmarks.harness import interleave, report
from umbel import col
from umbel.optimizer import optimize
from umbel.plan.operators import Operator

OPERATORS = 100


def functions(session: ub.Session) -> Operator:
    """A chain of Python functions that are all lifted."""
    dataset = session.from_items(list(range(10)))
    for _ in range(OPERATORS):
        dataset = dataset.map(lambda x: x + 1)
    return dataset.plan


def relations(session: ub.Session) -> Operator:
    """Projections and filters in turns, none of which may be merged with its neighbours."""
    frame = session.from_arrow(pa.table({"a": [1, 2, 3]}))
    for number in range(OPERATORS // 2):
        frame = frame.with_columns((col("a") + 1).alias("a")).filter(col("a") > number)
    return frame.plan


def joins(session: ub.Session) -> Operator:
    """Twenty-five joins of four operators each."""
    frame = session.from_arrow(pa.table({"k": [1, 2, 3]}))
    for number in range(OPERATORS // 4):
        other = session.from_arrow(pa.table({"k": [1, 2], f"v{number}": [1, 2]}))
        frame = frame.join(other.filter(col("k") > 0), on="k")
    return frame.plan


def main() -> None:
    """Time planning and importing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    session = ub.connect()
    session.from_items([1]).map(lambda x: x).collect()
    figures: dict[str, float] = {}
    plans: list[Callable[[ub.Session], Operator]] = [functions, relations, joins]
    for make in plans:
        optimize(make(session), session.platforms())  # engines are imported now
        times = []
        for _ in range(options.rounds):
            plan = make(session)  # new each time: what was planned before remembers its schemas
            start = time.process_time()
            optimize(plan, session.platforms())
            times.append(time.process_time() - start)
        figures[make.__name__] = statistics.median(times)
        print(f"planning {OPERATORS} operators, {make.__name__:<10} {min(times) * 1e3:6.1f} ms "
              f"least, {statistics.median(times) * 1e3:6.1f} ms median")  # fmt: skip
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    compileall.compile_dir(str(Path(ub.__file__).parent), quiet=2)
    commands = {
        "bare python": [sys.executable, "-c", "pass"],
        "import umbel": [sys.executable, "-c", "import umbel"],
        "import pyarrow": [sys.executable, "-c", "import pyarrow"],
        "import polars": [sys.executable, "-c", "import polars"],
    }
    target = options.json and options.json.with_name(options.json.stem + "-import.json")
    report(commands, interleave(commands, options.rounds), target)


if __name__ == "__main__":
    main()

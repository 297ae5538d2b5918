"""TPC-H on Parquet: the plan that umbel chooses, against every single engine.

All 22 queries by SQL and 8 by FedPy, warm, in one process, interleaved. The single engines are
DuckDB and DataFusion with the text of the query as TPC-H writes it, over the same files, and Polars
by umbel, pinned. All give Arrow tables. "umbel" is one session that asks each query again, and so
looks up its plan as long as no file has changed; "first" is a new session in every round, which
reads, plans and compiles the query, and has counted no rows. The other engines keep no plans.

The target is a geometric mean of (chosen - 20 ms) / fastest of at most 1.05, and at worst 1.3.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Table

import umbel as ub
from benchmarks import tpch_fedpy
from benchmarks.inprocess import fastest, geometric_mean, interleaved, machine, ratio, write_json
from tests.sql.oracle import assert_same_answer
from tests.tpch.data import QUERIES, TABLES, generate, query_text

SLACK = 0.020
MEASURES = ("ratio", "ratio_less_slack", "first_ratio", "first_ratio_less_slack")
CACHE = Path(__file__).parents[1] / "build" / "tpch"


def files(scale: float) -> dict[str, Path]:
    """TPC-H's tables; made once, and kept below build/."""
    folder = CACHE / f"sf{scale:g}"
    if not all((folder / f"{name}.parquet").exists() for name in TABLES):
        folder.mkdir(parents=True, exist_ok=True)
        generate(folder, scale)
    return {name: folder / f"{name}.parquet" for name in TABLES}


class Contenders:
    """Sessions and connections over the same files."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        self.duckdb = duckdb.connect()
        for name, path in paths.items():
            self.duckdb.read_parquet(str(path)).create_view(name)
        self.datafusion = _datafusion(paths)
        self.session = ub.connect(progress=False)
        only = self.session.platforms().only("polars")
        self.polars = ub.Session(platforms=only, progress=False)
        self._paths = paths
        for session in (self.session, self.polars):
            self._register(session)

    def _register(self, session: ub.Session) -> ub.Session:
        for name, path in self._paths.items():
            session.register(name, session.read_parquet(path))
        return session

    def _new_session(self) -> ub.Session:
        """A session that knows no query yet, over engines that have been started."""
        return self._register(ub.Session(platforms=self.session.platforms(), progress=False))

    def ways(
        self, number: int, rounds: int, *, by_fedpy: bool
    ) -> dict[str, Callable[[], pa.Table]]:
        """Every way to answer a query."""
        text = query_text(number)

        def by(session: ub.Session) -> Callable[[], pa.Table]:
            if by_fedpy:
                query = tpch_fedpy.QUERIES[number]
                return lambda: query(session.registered).collect()
            return lambda: session.sql(text).collect()

        # Made before the clock runs: one for each round, and one for that which is thrown away.
        first = iter([by(self._new_session()) for _ in range(rounds + 1)])

        def ask_first() -> pa.Table:
            return next(first)()

        found: dict[str, Callable[[], pa.Table]] = {
            "umbel": by(self.session),
            "first": ask_first,
            "duckdb": lambda: self.duckdb.sql(text).to_arrow_table(),
            "polars": by(self.polars),
        }
        if self.datafusion is not None:
            context = self.datafusion
            plain = text.strip().rstrip(";")
            found["datafusion"] = lambda: context.sql(plain).to_arrow_table()
        return found

    def check(self, number: int, ways: Mapping[str, Callable[[], pa.Table]]) -> None:
        """Fail unless umbel's answers are DuckDB's."""
        for name in ("umbel", "umbel", "polars"):  # twice: the second knows what the first counted
            wanted = self.duckdb.execute(query_text(number))
            assert_same_answer(
                ways[name](), wanted, ordered=True, context=f"Q{number} by {name}", relative=1e-6
            )


def _datafusion(paths: Mapping[str, Path]) -> Any:
    try:
        from datafusion import SessionContext
    except ImportError:
        return None
    context = SessionContext()
    for name, path in paths.items():
        context.register_parquet(name, str(path))
    return context


def main() -> None:
    """Measure, show, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--queries", type=int, nargs="*", help="only these")
    options = parser.parse_args()
    contenders = Contenders(files(options.scale))
    table = Table(box=box.SIMPLE, title=f"TPC-H, scale {options.scale:g}, milliseconds")
    for title in (
        "query", "umbel", "first", "duckdb", "polars", "datafusion",
        "runs on", "×", "× - 20 ms", "first ×", "first × - 20 ms",
    ):  # fmt: skip
        table.add_column(title, justify="right")
    rows: list[dict[str, Any]] = []
    for by_fedpy in (False, True):
        for number in QUERIES:
            if options.queries and number not in options.queries:
                continue
            if by_fedpy and number not in tpch_fedpy.QUERIES:
                continue
            ways = contenders.ways(number, options.rounds, by_fedpy=by_fedpy)
            contenders.check(number, ways)
            times = interleaved(ways, options.rounds)
            best = fastest(times, [name for name in ways if name not in ("umbel", "first")])
            run = contenders.session.last_run
            assert run is not None
            row: dict[str, Any] = {
                "query": f"Q{number}{' FedPy' if by_fedpy else ''}",
                "seconds": {name: statistics.median(taken) for name, taken in times.items()},
                "platforms": run.plan.platforms,
                "fastest": best,
                "ratio": ratio(times, "umbel", best),
                "ratio_less_slack": ratio(times, "umbel", best, SLACK),
                "first_ratio": ratio(times, "first", best),
                "first_ratio_less_slack": ratio(times, "first", best, SLACK),
            }
            rows.append(row)
            table.add_row(
                row["query"],
                *(
                    f"{1000 * row['seconds'][name]:.0f}" if name in times else ""
                    for name in ("umbel", "first", "duckdb", "polars", "datafusion")
                ),
                "+".join(row["platforms"]),
                f"{row['ratio']:.2f}",
                f"{row['ratio_less_slack']:.2f}",
                f"{row['first_ratio']:.2f}",
                f"{row['first_ratio_less_slack']:.2f}",
            )
    console = Console(width=130)
    console.print(table)
    summary = {}
    for kind, chosen in (
        ("SQL", [r for r in rows if "FedPy" not in r["query"]]),
        ("FedPy", [r for r in rows if "FedPy" in r["query"]]),
    ):
        for measure in MEASURES if chosen else ():
            values = [max(r[measure], 0.01) for r in chosen]
            summary[f"{kind} {measure}"] = {
                "geometric_mean": geometric_mean(values),
                "worst": max(values),
            }
    for name, value in summary.items():
        console.print(
            f"{name}: geometric mean {value['geometric_mean']:.3f}, worst {value['worst']:.2f}"
        )
    console.print(f"load: {machine()['load']:.1f}")
    write_json(options.json, {"scale": options.scale, "queries": rows, "summary": summary})


if __name__ == "__main__":
    main()

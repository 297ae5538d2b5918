"""Handing data over between engines: each road of umbel against the best one written by hand.

One stage gives a table, another takes it: the road is what lies between, as umbel's conversions do
it. By hand it is the shortest code that leads to the same form. A table of 12 columns, TPC-H's
orders with a few of lineitem's types, in the giver's own form already; warm, interleaved. Roads that
hand over without a copy take microseconds, so a millisecond is allowed beside the factor of 1.2.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet
from rich import box
from rich.console import Console
from rich.table import Table

import umbel as ub
from benchmarks.bench_tpch import files
from benchmarks.inprocess import interleaved, machine, ratio, write_json
from umbel.executor.handover import convert
from umbel.optimizer.movement import ChannelGraph
from umbel.plan.operators import Placeholder

SLACK = 0.001
#: A road: umbel's and by hand.
Road = tuple[Callable[[], Any], Callable[[], Any]]


def roads(table: pa.Table) -> dict[str, Road]:
    """The roads between the engines of this process."""
    registry = ub.connect(progress=False).platforms()
    graph = ChannelGraph(registry.conversions)
    operator = Placeholder(label="data", columns=table.schema)
    connection = duckdb.connect()
    connection.register("given", table)
    connection.execute("CREATE TABLE kept AS SELECT * FROM given")
    frame = pl.DataFrame(pl.from_arrow(table))
    forms = {
        channel: convert(graph, table, "arrow", channel, operator)
        for channel in ("arrow", "duckdb", "polars")
    }

    def ours(source: str, target: str) -> Callable[[], Any]:
        return lambda: convert(graph, forms[source], source, target, operator)

    def keep(data: Any) -> None:
        connection.register("taken", data)
        connection.execute("CREATE OR REPLACE TEMP TABLE moved AS SELECT * FROM taken")

    return {
        "arrow -> duckdb": (ours("arrow", "duckdb"), lambda: keep(table)),
        "arrow -> polars": (ours("arrow", "polars"), lambda: pl.from_arrow(table)),
        "duckdb -> arrow": (
            ours("duckdb", "arrow"),
            lambda: connection.sql("SELECT * FROM kept").to_arrow_table(),
        ),
        "duckdb -> polars": (
            ours("duckdb", "polars"),
            lambda: connection.sql("SELECT * FROM kept").pl(),
        ),
        "polars -> arrow": (
            ours("polars", "arrow"),
            lambda: frame.to_arrow(compat_level=pl.CompatLevel.oldest()),
        ),
        "polars -> duckdb": (ours("polars", "duckdb"), lambda: keep(frame)),
    }


def readings(path: Path) -> dict[str, Road]:
    """Reading a Parquet file into each engine's result as an Arrow table."""
    session = ub.connect(progress=False)

    def ours(engine: str) -> Callable[[], Any]:
        frame = session.read_parquet(path).on(engine)
        return frame.collect

    connection = duckdb.connect()
    return {
        "parquet -> arrow by duckdb": (
            ours("duckdb"),
            lambda: connection.read_parquet(str(path)).to_arrow_table(),
        ),
        "parquet -> arrow by polars": (
            ours("polars"),
            lambda: (
                pl.scan_parquet(path)
                .collect(engine="streaming")
                .to_arrow(compat_level=pl.CompatLevel.oldest())
            ),
        ),
    }


def writings(table: pa.Table, folder: Path) -> dict[str, Road]:
    """Writing each engine's own form to a Parquet file, by hand with the engine's own writer."""
    session = ub.connect(progress=False)
    connection = duckdb.connect()
    connection.register("given", table)
    frame = pl.DataFrame(pl.from_arrow(table))
    given = session.from_arrow(table)
    kept = session.from_polars(frame)
    options = "(FORMAT parquet, COMPRESSION zstd)"
    return {
        "arrow -> parquet": (
            lambda: given.write_parquet(folder / "a.parquet"),
            lambda: pyarrow.parquet.write_table(table, folder / "b.parquet", compression="zstd"),
        ),
        "polars -> parquet": (
            lambda: kept.write_parquet(folder / "c.parquet"),
            lambda: frame.write_parquet(folder / "d.parquet"),
        ),
        "duckdb -> parquet": (
            lambda: given.on("duckdb").write_parquet(folder / "e.parquet"),
            lambda: connection.execute(f"COPY given TO '{folder / 'f.parquet'}' {options}"),
        ),
    }


def postgres_roads(table: pa.Table) -> dict[str, Road]:
    """Arrow out of PostgreSQL, and into a table there, over ADBC by hand."""
    from tests.postgres_server import available, server

    if not available():
        return {}
    import adbc_driver_postgresql.dbapi as adbc

    url = server().url()
    connection = adbc.connect(url)
    with connection.cursor() as cursor:
        cursor.adbc_ingest("given", table, mode="replace")
    connection.commit()
    session = ub.connect(progress=False)
    session.catalog.attach("db", url)
    stored = session.table("db.public.given")
    given = session.from_arrow(table)

    def fetch() -> pa.Table:
        with connection.cursor() as cursor:
            cursor.execute("SELECT * FROM given")
            return cursor.fetch_arrow_table()

    def ingest() -> None:
        with connection.cursor() as cursor:
            cursor.adbc_ingest("by_hand", table, mode="replace")
        connection.commit()

    return {
        "postgres -> arrow": (stored.collect, fetch),
        "arrow -> postgres": (
            lambda: given.write_table("db.public.by_umbel", mode="replace"),
            ingest,
        ),
    }


def main() -> None:
    """Measure, show, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", type=int, default=150_000)
    parser.add_argument("--only", default="", help="roads with this text in their names")
    options = parser.parse_args()
    path = files(0.1 if options.rows <= 150_000 else 1.0)["orders"]
    table = pyarrow.parquet.read_table(path).slice(0, options.rows).combine_chunks()
    table = table.cast(pa.schema([(f.name, _plain(f.type)) for f in table.schema]))
    shown = Table(box=box.SIMPLE, title=f"{table.num_rows:,} rows, {table.nbytes / 1e6:.0f} MB, ms")
    for title in ("road", "umbel", "by hand", "×", "× - 1 ms"):
        shown.add_column(title, justify="right")
    rows = []
    folder = Path(tempfile.mkdtemp(prefix="umbel-bench-"))
    found = {**roads(table), **readings(path), **writings(table, folder)}
    if "postgres" in options.only or not options.only:
        found |= postgres_roads(table)
    for name, (ours, hand) in found.items():
        if options.only not in name:
            continue
        times = interleaved({"umbel": ours, "by hand": hand}, options.rounds)
        medians = {way: statistics.median(taken) for way, taken in times.items()}
        rows.append(
            {
                "road": name,
                "seconds": medians,
                "ratio": ratio(times, "umbel", "by hand"),
                "ratio_less_slack": ratio(times, "umbel", "by hand", SLACK),
            }
        )
        shown.add_row(
            name,
            *(f"{1000 * seconds:.2f}" for seconds in medians.values()),
            f"{rows[-1]['ratio']:.2f}",
            f"{rows[-1]['ratio_less_slack']:.2f}",
        )
    console = Console(width=100)
    console.print(shown)
    console.print(f"load: {machine()['load']:.1f}")
    shutil.rmtree(folder)
    write_json(options.json, {"rows": table.num_rows, "bytes": table.nbytes, "roads": rows})


def _plain(dtype: pa.DataType) -> pa.DataType:
    """The type that a plan has for it."""
    return (
        pa.string() if pa.types.is_string_view(dtype) or pa.types.is_large_string(dtype) else dtype
    )


if __name__ == "__main__":
    main()

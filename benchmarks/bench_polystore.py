"""TPC-H with its tables in several systems: umbel against pulling everything into one engine.

customer, supplier and region lie in PostgreSQL, lineitem and orders in Parquet, nation in CSV, as
do part and partsupp in Parquet, which no query here reads. Each way answers Q3, Q5 and Q10:

- umbel, with the plan that it chooses;
- all into DuckDB: the tables of PostgreSQL come over ADBC, the files are read where they are;
- all into Polars: the same, by umbel pinned to it, after the tables came over ADBC;
- all into PostgreSQL: the files' tables are ingested there over ADBC (which is COPY), once.

`with load` counts bringing the data there, `without` only the query afterwards; umbel has nothing to
load. Warm, in one process, interleaved. Loading all into PostgreSQL is timed once.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from rich import box
from rich.console import Console
from rich.table import Table

import umbel as ub
from benchmarks.bench_tpch import files
from benchmarks.inprocess import interleaved, machine, ratio, write_json
from tests.postgres_server import server
from tests.sql.oracle import assert_same_answer
from tests.tpch.data import query_text

QUERIES = (3, 5, 10)
KEYS = {"customer": "c_custkey", "supplier": "s_suppkey", "region": "r_regionkey"}
IN_POSTGRES = tuple(KEYS)
IN_PARQUET = ("lineitem", "orders")
IN_CSV = ("nation",)


def plain(table: pa.Table) -> pa.Table:
    """The table with strings of the one type that ADBC ingests."""
    schema = pa.schema(
        [(f.name, pa.string() if pa.types.is_string_view(f.type) else f.type) for f in table.schema]
    )
    return table.cast(schema)


class Store:
    """The tables where they lie, and everything that the ways need."""

    def __init__(self, scale: float) -> None:
        import adbc_driver_postgresql.dbapi as adbc

        self.paths = files(scale)
        self.url = server().url()
        self.adbc = adbc.connect(self.url)
        for name in IN_POSTGRES:
            self.ingest(name, pyarrow.parquet.read_table(self.paths[name]))
        keys = [f"ALTER TABLE {name} ADD PRIMARY KEY ({key})" for name, key in KEYS.items()]
        server().execute(*keys, "ANALYZE")
        self.csv = self.paths["nation"].with_suffix(".csv")
        nation = pyarrow.parquet.read_table(self.paths["nation"])
        pyarrow.csv.write_csv(plain(nation), self.csv)
        self.session = ub.connect(progress=False)
        self.session.catalog.attach("db", self.url)
        for name in IN_POSTGRES:
            self.session.register(name, self.session.table(f"db.public.{name}"))
        for name in IN_PARQUET:
            self.session.register(name, self.session.read_parquet(self.paths[name]))
        self.session.register("nation", self.session.read_csv(self.csv))
        self.loaded = 0.0

    def ingest(self, name: str, table: pa.Table) -> None:
        """Write a table into PostgreSQL."""
        with self.adbc.cursor() as cursor:
            cursor.adbc_ingest(name, plain(table), mode="replace")
        self.adbc.commit()

    def fetch(self, name: str) -> pa.Table:
        """Read a table out of PostgreSQL, with the types that TPC-H says."""
        with self.adbc.cursor() as cursor:
            # ADBC gives numeric as text; a cast in the server would lose the scale.
            cursor.execute(f"SELECT * FROM {name}")
            table = cursor.fetch_arrow_table()
        wanted = plain(pyarrow.parquet.read_table(self.paths[name]).slice(0, 0)).schema
        return pa.table([_as(table[f.name], f.type) for f in wanted], schema=wanted)

    def load_into_postgres(self) -> None:
        """Bring the files' tables there, once."""
        start = time.perf_counter()
        for name in IN_PARQUET:
            self.ingest(name, pyarrow.parquet.read_table(self.paths[name]))
        self.ingest("nation", pyarrow.parquet.read_table(self.paths["nation"]))
        server().execute("ANALYZE")
        self.loaded = time.perf_counter() - start

    def in_postgres(self, text: str) -> pa.Table:
        """Answer a query in PostgreSQL alone."""
        with self.adbc.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetch_arrow_table()

    def into_duckdb(self) -> duckdb.DuckDBPyConnection:
        """Bring everything into a new DuckDB."""
        connection = duckdb.connect()
        for name in IN_POSTGRES:
            connection.register(f"fetched_{name}", self.fetch(name))
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM fetched_{name}")
        for name in IN_PARQUET:
            connection.read_parquet(str(self.paths[name])).create_view(name)
        connection.read_csv(str(self.csv)).create_view("nation")
        return connection

    def into_polars(self) -> ub.Session:
        """Bring everything to Polars."""
        only = ub.connect(progress=False).platforms().only("polars")
        session = ub.Session(platforms=only, progress=False)
        for name in IN_POSTGRES:
            session.register(name, session.from_arrow(self.fetch(name)))
        for name in IN_PARQUET:
            session.register(name, session.read_parquet(self.paths[name]))
        session.register("nation", session.read_csv(self.csv))
        return session

    def ways(self, number: int) -> dict[str, Callable[[], Any]]:
        """Every way to answer a query; those `with load` bring the data first."""
        text = query_text(number)
        duck, polars = self.into_duckdb(), self.into_polars()
        return {
            "umbel": lambda: self.session.sql(text).collect(),
            "duckdb, with load": lambda: self.into_duckdb().sql(text).to_arrow_table(),
            "duckdb": lambda: duck.sql(text).to_arrow_table(),
            "polars, with load": lambda: self.into_polars().sql(text).collect(),
            "polars": lambda: polars.sql(text).collect(),
            "postgres": lambda: self.in_postgres(text.strip().rstrip(";")),
        }


def _as(column: pa.ChunkedArray, dtype: pa.DataType) -> pa.ChunkedArray:
    """A column as ADBC gives it, in the type that it has in the files."""
    if isinstance(column.type, pa.BaseExtensionType):
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], pa.string())
    return column.cast(dtype)


def check(store: Store, number: int, ways: Mapping[str, Callable[[], Any]]) -> None:
    """Fail unless the answers are those of DuckDB over the files."""
    with duckdb.connect() as oracle:
        for name in (*IN_POSTGRES, *IN_PARQUET, *IN_CSV):
            oracle.read_parquet(str(store.paths[name])).create_view(name)
        for way in ("umbel", "duckdb", "polars"):
            wanted = oracle.execute(query_text(number))
            assert_same_answer(
                ways[way](), wanted, ordered=True, context=f"Q{number}: {way}", relative=1e-6
            )


def main() -> None:
    """Measure, show, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0)
    options = parser.parse_args()
    store = Store(options.scale)
    store.load_into_postgres()
    console = Console(width=110)
    console.print(f"loading lineitem, orders and nation into PostgreSQL: {store.loaded:.1f} s")
    table = Table(box=box.SIMPLE, title=f"polystore, scale {options.scale:g}, milliseconds")
    for title in ("query", "way", "median", "umbel ×", "umbel runs on"):
        table.add_column(title)
    rows = []
    for number in QUERIES:
        ways = store.ways(number)
        check(store, number, ways)
        times = interleaved(ways, options.rounds)
        # Loading there once more for each round would only take long: it is added.
        times["postgres, with load"] = [seconds + store.loaded for seconds in times["postgres"]]
        run = store.session.last_run
        assert run is not None
        row = {
            "query": f"Q{number}",
            "platforms": run.plan.platforms,
            "seconds": {way: statistics.median(taken) for way, taken in times.items()},
            "umbel_ratio": {way: ratio(times, "umbel", way) for way in times},
        }
        rows.append(row)
        for way, taken in times.items():
            table.add_row(
                f"Q{number}",
                way,
                f"{1000 * statistics.median(taken):.0f}",
                f"{ratio(times, 'umbel', way):.2f}",
                "+".join(run.plan.platforms) if way == "umbel" else "",
            )
    console.print(table)
    console.print(f"load: {machine()['load']:.1f}")
    write_json(options.json, {"scale": options.scale, "loaded": store.loaded, "queries": rows})


if __name__ == "__main__":
    main()

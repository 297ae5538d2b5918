"""TPC-H over three sites on slow links: the federated plan against pulling all to one place.

lineitem and orders are split over the sites, the other tables lie at the first. Each site is a
process in a network namespace of its own, behind a link of some speed and delay; the coordinator
and the client are here. Pulling all means to collect the tables that a query reads, whole, and to
answer with DuckDB. Bytes are those that the links' interfaces carried, TLS and all.
"""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
import pyarrow as pa
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.bench_tpch import files
from benchmarks.inprocess import geometric_mean, write_json
from tests.federation.links import Links, Shape, links, why_not
from tests.federation.real import RealFederation
from tests.sql.oracle import assert_same_answer
from tests.tpch.data import TABLES, query_text

SITES = ("north", "south", "west")
SPLIT = {"lineitem": "l_orderkey", "orders": "o_orderkey"}
SHAPES = (Shape(1e9, 0.001), Shape(100e6, 0.020), Shape(10e6, 0.080))
QUERIES = (1, 3, 5, 6, 10, 12, 14)


def published(folder: Path, scale: float) -> dict[str, str]:
    """Give each site its part of the data; give what each publishes."""
    found = dict.fromkeys(SITES, "")
    engine = duckdb.connect()
    for site in SITES:
        (folder / site).mkdir()
    for table, path in files(scale).items():
        rows = engine.read_parquet(str(path))
        for number, site in enumerate(SITES if table in SPLIT else SITES[:1]):
            if table in SPLIT:
                part = rows.filter(f"{SPLIT[table]} % {len(SITES)} = {number}")
            else:
                part = rows
            part.write_parquet(str(folder / site / f"{table}.parquet"))
            found[site] += (
                f'\n[tables.{table}]\nparquet = "{table}.parquet"\nform = "rows"\ntells_size = true\n'
            )
    return found


def told(federation: RealFederation, shape: Shape) -> None:
    """Have the sites say what their links are like."""
    for site in SITES:
        file = federation.folder / site / "site.toml"
        text = file.read_text()
        text = re.sub(r"(?m)^(# )?bandwidth = .*$", f"bandwidth = {shape.bits / 8:.1f}", text)
        text = re.sub(r"(?m)^(# )?latency = .*$", f"latency = {shape.round_trip}", text)
        file.write_text(text)


def read_by(query: str) -> list[str]:
    """The tables that a query reads."""
    return [table for table in TABLES if re.search(rf"\b{table}\b", query)]


def pulled(session: Any, query: str) -> pa.Table:
    """Answer by collecting whole tables."""
    here = duckdb.connect()
    for table in read_by(query):
        here.register(table, session.table(table).collect())
    return here.sql(query).to_arrow_table()


def measured(made: Links, answer: Callable[[], pa.Table]) -> tuple[pa.Table, float, int]:
    """Answer once; give the answer, the seconds and the bytes over the links."""
    before, start = made.carried(), time.perf_counter()
    rows = answer()
    return rows, time.perf_counter() - start, made.carried() - before


def main() -> None:
    """Measure, show, and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--scale", type=float, default=0.01)
    parser.add_argument("--queries", type=int, nargs="*", default=QUERIES)
    options = parser.parse_args()
    reason = why_not()
    if reason:
        print(f"no links here: {reason}", file=sys.stderr)
        return
    results: list[dict[str, Any]] = []
    with TemporaryDirectory() as name, links(SITES) as made:
        folder = Path(name)
        hosts = ("localhost", *made.hosts.values())
        federation = RealFederation(
            folder, published(folder, options.scale), hosts=hosts, inside=made.inside
        )
        try:
            for site in SITES:
                federation.dials(site, made.dialled(site, federation.settings.sites[1]))
            for shape in SHAPES:
                results += shaped(federation, made, shape, options.queries)
        finally:
            federation.close()
    show(results)
    write_json(options.json, {"scale": options.scale, "results": results})


def shaped(
    federation: RealFederation, made: Links, shape: Shape, queries: list[int]
) -> list[dict[str, Any]]:
    """Ask all queries both ways over links of one shape."""
    made.shape(shape)
    told(federation, shape)
    for site in SITES:
        federation.end(site)
        federation.start(site)
    found = []
    with federation.session(patience=600.0) as session:
        federation.there(session, *SITES)
        session.catalog.refresh()
        for number in queries:
            query = query_text(number).strip().rstrip(";")
            session.sql(query).collect()  # the sites have read their files once, for both ways
            rows, seconds, size = measured(made, session.sql(query).collect)
            whole, long, much = measured(made, partial(pulled, session, query))
            assert_same_answer(rows, [list(row.values()) for row in whole.to_pylist()])
            found.append(
                {
                    "link": str(shape),
                    "query": number,
                    "seconds": seconds,
                    "bytes": size,
                    "pulled_seconds": long,
                    "pulled_bytes": much,
                }
            )
            print(f"{shape}: Q{number} {seconds:.2f} s, {long:.2f} s pulled", flush=True)
    return found


def show(results: list[dict[str, Any]]) -> None:
    """Show what was measured."""
    shown = Table(box=box.SIMPLE, title="TPC-H over three sites: federated | all pulled")
    for title in ("link", "query", "s", "s pulled", "times", "MB", "MB pulled", "times "):
        shown.add_column(title, justify="right")
    for one in results:
        shown.add_row(
            one["link"],
            f"Q{one['query']}",
            f"{one['seconds']:.2f}",
            f"{one['pulled_seconds']:.2f}",
            f"{one['pulled_seconds'] / one['seconds']:.1f}",
            f"{one['bytes'] / 1e6:.3f}",
            f"{one['pulled_bytes'] / 1e6:.2f}",
            f"{one['pulled_bytes'] / one['bytes']:.1f}",
        )
    console = Console(width=110)
    console.print(shown)
    for link in dict.fromkeys(one["link"] for one in results):
        own = [one for one in results if one["link"] == link]
        faster = geometric_mean([one["pulled_seconds"] / one["seconds"] for one in own])
        less = geometric_mean([one["pulled_bytes"] / one["bytes"] for one in own])
        console.print(f"{link}: {faster:.1f} times faster, {less:.0f} times fewer bytes")


if __name__ == "__main__":
    main()

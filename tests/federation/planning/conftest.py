"""Four sites of one process: patients in a DuckDB file, in Parquet and in an SQLite file, and codes."""

import sqlite3

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import umbel as ub
from umbel.federation import Form, Rule, Site, local
from umbel.federation.planning import FederatedSession

#: Individuals that must be behind every value.
LEAST = 5
#: A value that only raw rows hold; nothing of it may leave.
CANARY = "CANARY-7f3a"
RULE = Rule(Form.AGGREGATES, LEAST, "patient_id")
CODES = pa.table({"code": ["f", "m", "x"], "label": ["female", "male", "other"]})


def part(seed: int, rows: int) -> pa.Table:
    """Visits of patients: some have several; some values are missing."""
    random = np.random.default_rng(seed)
    sex = pa.array(random.choice(["f", "m"], rows))
    cost = random.integers(0, 1000, rows)
    return pa.table(
        {
            "patient_id": random.integers(seed * 1000, seed * 1000 + rows // 2, rows),
            "name": pa.array([f"{CANARY} {seed} {i}" for i in range(rows)]),
            "sex": sex,
            "ward": random.integers(0, 4, rows),
            "age": random.integers(18, 95, rows),
            "cost": pa.array(cost, mask=random.random(rows) < 0.1),
            "weight": random.normal(75, 12, rows),
        }
    )


@pytest.fixture(scope="session")
def parts() -> dict[str, pa.Table]:
    return {"north": part(1, 160), "south": part(2, 120), "west": part(3, 90)}


@pytest.fixture(scope="session")
def pooled(parts: dict[str, pa.Table]) -> pl.DataFrame:
    """All rows at one place, and where each is from."""
    return pl.concat(
        pl.DataFrame(pl.from_arrow(table)).with_columns(site=pl.lit(name))
        for name, table in parts.items()
    )


@pytest.fixture(scope="session")
def sites(parts: dict[str, pa.Table], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Site]:
    folder = tmp_path_factory.mktemp("sites")
    with duckdb.connect(str(folder / "north.duckdb")) as connection:
        connection.register("rows", parts["north"])
        connection.execute("create table visits as select * from rows")
    (folder / "south").mkdir()
    pq.write_table(parts["south"], folder / "south" / "visits.parquet")
    with sqlite3.connect(folder / "west.db") as database:
        database.execute(
            "create table visits (patient_id integer, name text, sex text, ward integer, "
            "age integer, cost integer, weight real)"
        )
        rows = [tuple(row.values()) for row in parts["west"].to_pylist()]
        database.executemany("insert into visits values (?, ?, ?, ?, ?, ?, ?)", rows)
    database.close()

    made = {name: Site(name, ub.connect()) for name in (*parts, "registry")}
    for name, file in (("north", "north.duckdb"), ("west", "west.db")):
        made[name].session.catalog.attach("ward", folder / file)
        frame = made[name].session.table("ward.visits")
        made[name].publish("visits", frame, RULE, tells_size=True)
    south = made["south"].session.read_parquet(folder / "south")
    made["south"].publish("visits", south, RULE)
    codes = made["registry"].session.from_arrow(CODES)
    made["registry"].publish("codes", codes, Rule(Form.ROWS), tells_size=True)
    made["registry"].publish("secrets", codes, Rule())
    return made


@pytest.fixture(scope="session")
def federation(sites: dict[str, Site]) -> FederatedSession:
    return local(sites)

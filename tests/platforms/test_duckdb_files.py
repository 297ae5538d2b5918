"""DuckDB files: attached, scanned inside one statement, written whole or not at all."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

import umbel as ub
from umbel.api.session import Session
from umbel.plan.errors import PlanError, RunError, SourceError, UmbelError, UnknownNameError


def make(path: Path, *statements: str) -> Path:
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make(
        tmp_path / "shop.duckdb",
        "CREATE TABLE orders AS SELECT range AS id, range % 3 AS person, range / 2 AS total "
        "FROM range(10)",
        "CREATE SCHEMA extra",
        "CREATE TABLE extra.people AS FROM (VALUES (0, 'ann'), (1, 'bob')) v(id, name)",
        "CREATE VIEW large AS SELECT * FROM orders WHERE total > 3",
    )


@pytest.fixture
def session(path: Path) -> Session:
    session = ub.connect()
    session.catalog.attach("local", f"duckdb://{path}")
    return session


def test_tables_and_what_is_known_of_them(session):
    names = session.catalog.tables("local").names
    assert names == ["local.extra.people", "local.main.large", "local.main.orders"]
    known = session.catalog.describe("local.orders")
    assert known.schema == pa.schema(
        [("id", pa.int64()), ("person", pa.int64()), ("total", pa.float64())]
    )
    assert known.statistics.rows.exact
    assert known.statistics.rows.low == 10
    column = known.statistics.columns["id"]
    assert (column.low, column.high, column.nulls) == (0, 9, 0.0)


def test_a_query_over_the_file_is_one_statement(session):
    people = session.table("local.people")
    joined = session.table("local.main.orders").join(people, left_on="person", right_on="id")
    frame = joined.group_by("name").agg(ub.col("total").sum().alias("total")).sort("name")
    plan = frame.explain()
    assert len(plan.plan.stages) == 1
    # Of 0/2 to 9/2: ann has 0, 3, 6 and 9, bob 1, 4 and 7.
    assert frame.collect().to_pydict() == {"name": ["ann", "bob"], "total": [9.0, 6.0]}


def test_other_data_joins_a_table_of_the_file(session):
    other = session.from_dict({"key": [2, 3], "note": ["x", "y"]})
    found = session.table("local.orders").join(other, left_on="id", right_on="key")
    rows = found.select("id", "note").sort("id").collect().to_pydict()
    assert rows == {"id": [2, 3], "note": ["x", "y"]}


def test_views_and_queries(session):
    assert session.table("local.large").select("id").sort("id").collect().to_pydict() == {
        "id": [7, 8, 9]
    }
    frame = session.query("local", "SELECT max(id) AS m FROM orders -- all;")
    assert frame.collect().to_pydict() == {"m": [9]}
    with pytest.raises(PlanError, match="one SELECT"):
        session.query("local", "DROP TABLE orders")
    with pytest.raises(SourceError, match="no_such"):
        session.query("local", "SELECT no_such FROM orders")


def test_types_without_one_in_the_plan(tmp_path):
    path = make(
        tmp_path / "t.duckdb",
        "CREATE TYPE mood AS ENUM ('sad', 'glad')",
        "CREATE TABLE t (m mood, u UUID, h HUGEINT, z TIMESTAMPTZ, l INTEGER[])",
        "INSERT INTO t VALUES ('glad', '00000000-0000-0000-0000-000000000001', 5, "
        "'2026-01-02 03:04:05+00', [1, NULL])",
        "CREATE TABLE odd (i INTERVAL)",
    )
    session = ub.connect()
    session.catalog.attach("t", f"duckdb://{path}")
    found = session.table("t.t").collect()
    assert found.schema.types == [
        pa.string(), pa.string(), pa.decimal128(38, 0), pa.timestamp("us", "UTC"),
        pa.list_(pa.int32()),
    ]  # fmt: skip
    [row] = found.to_pylist()
    assert (row["m"], row["u"][-1], int(row["h"]), row["l"]) == ("glad", "1", 5, [1, None])
    with pytest.raises(SourceError, match=r"t.main.odd: column 'i' has type INTERVAL"):
        session.table("t.odd")


def test_writing_creates_replaces_and_appends(session, path):
    first = session.from_dict({"a": [1, 2]})
    assert first.write_table("local.fresh").table.to_pydict() == {
        "path": ["local.main.fresh"],
        "rows": [2],
    }
    with pytest.raises(RunError, match="there already"):
        first.write_table("local.fresh")
    first.write_table("local.fresh", mode="append")
    assert session.table("local.fresh").collect().to_pydict() == {"a": [1, 2, 1, 2]}
    # A table may be replaced by what is made of it.
    doubled = session.table("local.fresh").select((ub.col("a") * 2).alias("a")).limit(1)
    doubled.write_table("local.fresh", mode="replace")
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM fresh").fetchall() == [(1,)]


@pytest.mark.parametrize(
    ("table", "mode", "columns", "message"),
    [
        ("orders", "append", {"nope": [1]}, "no column 'nope'"),
        ("orders", "append", {"id": ["x"]}, "column 'id' is int64, not string"),
        ("fresh", "append", {"id": [1]}, "no such table"),
        ("large", "replace", {"id": [1]}, "is a view"),
        ("nowhere.t", "error", {"id": [1]}, "no schema 'nowhere'"),
    ],
)
def test_a_write_that_cannot_be_is_refused_before_it_runs(session, table, mode, columns, message):
    with pytest.raises(RunError, match=message):
        session.from_dict(columns).write_table(f"local.{table}", mode=mode)


def test_a_write_that_fails_leaves_all_as_it_was(session, path):
    # The last rows overflow.
    bad = session.table("local.orders").select((ub.col("id") + (2**63 - 5)).alias("id"))
    for mode in ("append", "replace"):
        with pytest.raises(UmbelError):
            bad.write_table("local.orders", mode=mode)
    with duckdb.connect(str(path), read_only=True) as connection:
        assert connection.execute("SELECT count(*), sum(id) FROM orders").fetchall() == [(10, 45)]
        names = [name for (name,) in connection.execute("SHOW TABLES").fetchall()]
    assert names == ["large", "orders"]


def test_nothing_holds_the_file_between_runs(session, path):
    session.table("local.orders").collect()
    code = f"import duckdb; duckdb.connect({str(path)!r}).execute('INSERT INTO orders VALUES (99, 0, 0)')"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert session.table("local.orders").count() == 11


def test_a_file_locked_by_another_process_is_said(session, path):
    code = f"import duckdb, sys; c = duckdb.connect({str(path)!r}); print('ready', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        with pytest.raises(SourceError, match=rf"in use by another process \({holder.pid}\)"):
            session.table("local.orders")
    finally:
        holder.communicate(b"")
    assert session.table("local.orders").count() == 10


def test_a_missing_file_names_the_closest(tmp_path, path):
    session = ub.connect()
    session.catalog.attach("x", f"duckdb://{tmp_path}/shop.duckbd")
    with pytest.raises(SourceError, match=r"there is no file .*shop\.duckbd\n.*shop\.duckdb"):
        session.catalog.tables("x")
    (tmp_path / "bad.duckdb").write_bytes(b"x" * 5000)
    session.catalog.attach("bad", f"duckdb://{tmp_path}/bad.duckdb")
    with pytest.raises(SourceError, match=r"bad\.duckdb is no DuckDB database"):
        session.catalog.tables("bad")
    with pytest.raises(PlanError, match="three slashes"):
        session.catalog.attach("y", "duckdb://shop.duckdb")
    with pytest.raises(PlanError, match="no option 'colour'"):
        session.catalog.attach("y", "duckdb:///shop.duckdb", colour="red")


def test_a_wrong_table_names_the_closest(session):
    with pytest.raises(UnknownNameError, match=r"orders"):
        session.table("local.order")


def test_a_table_that_changes_after_planning(session, path):
    frame = session.table("local.orders").select("total")
    make(path, "ALTER TABLE orders ALTER total TYPE VARCHAR")
    with pytest.raises(SourceError, match="column 'total' is string, not float64"):
        frame.collect()
    make(path, "DROP TABLE orders CASCADE")
    with pytest.raises(SourceError, match=r"local.main.orders.*orders does not exist"):
        frame.collect()


def test_two_files_are_two_platforms(session, tmp_path):
    make(tmp_path / "b.duckdb", "CREATE TABLE names AS SELECT 1 AS person, 'bob' AS name")
    session.catalog.attach("other", f"duckdb://{tmp_path}/b.duckdb")
    names = session.table("other.names")
    found = session.table("local.orders").join(names, on="person").select("id", "name")
    assert found.sort("id").collect().to_pydict() == {"id": [1, 4, 7], "name": ["bob"] * 3}


def test_one_file_under_two_names_is_read_and_written(session, path):
    session.catalog.attach("again", f"duckdb://{path}")
    orders = session.table("again.orders")
    orders.write_table("local.copied")
    assert session.table("again.copied").count() == 10


def test_attaching_opens_nothing(tmp_path):
    began = time.perf_counter()
    ub.connect().catalog.attach("late", f"duckdb://{tmp_path}/none.duckdb")
    assert time.perf_counter() - began < 2.0

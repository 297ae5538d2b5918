"""Tables of Spark's catalogue: written whole or not at all, read in one job, known to the planner."""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterator
from decimal import Decimal

import pyarrow as pa
import pytest

import umbel as ub
from umbel import col
from umbel.plan.errors import RunError, UmbelError
from umbel.plan.operators import topological
from umbel.plan.sources import RelationSource
from umbel.platforms.base import Stage
from umbel.platforms.spark.platform import SparkPlatform

#: The server is shared with the run's other processes; each has its own database.
HERE = f"tables_of_{os.getpid()}"


@pytest.fixture(scope="module")
def session(spark_url: str) -> Iterator[ub.Session]:
    made = ub.connect()
    made.catalog.attach("lab", spark_url)
    yield made
    made.catalog.detach("lab")


@pytest.fixture(scope="module")
def platform(session: ub.Session) -> SparkPlatform:
    (found,) = (p for p in session.platforms() if p.name == "lab")
    assert isinstance(found, SparkPlatform)
    spark = found.connection.session()
    spark.sql(f"CREATE DATABASE IF NOT EXISTS {HERE}")
    spark.catalog.setCurrentDatabase(HERE)
    return found


@pytest.fixture(autouse=True)
def _no_table_is_left(platform: SparkPlatform) -> Iterator[None]:
    spark = platform.connection.session()
    yield
    for name in names(platform):
        spark.sql(f"DROP TABLE {name}")


def names(platform: SparkPlatform) -> list[str]:
    return [entry.table[1] for entry in platform.tables() if entry.table[0] == HERE]


ROWS = pa.table(
    {
        "id": pa.array([1, 2, 3]),
        "small": pa.array([1, None, 255], pa.uint8()),
        "price": pa.array([Decimal("1.25"), None, Decimal("-3.00")], pa.decimal128(15, 2)),
        "day": pa.array([datetime.date(2024, 1, 1), datetime.date(1900, 2, 28), None]),
        "at": pa.array([0, None, 10**15], pa.timestamp("us")),
        "zoned": pa.array([0, None, 10**15], pa.timestamp("us", "Europe/Paris")),
        "words": pa.array([["a", None], [], None], pa.list_(pa.string())),
        "point": pa.array([{"x": 1.5, "y": None}, None, {"x": None, "y": "b"}],
                          pa.struct([("x", pa.float64()), ("y", pa.string())])),
        "kind": pa.array(["a", "b", "a"]).dictionary_encode(),
        "seen": pa.array(["x", None, "é"], pa.string_view()),
    }
)  # fmt: skip


def test_rows_written_come_back(session, platform):
    frame = session.from_arrow(ROWS)
    done = frame.write_table(f"lab.{HERE}.goods")
    assert done.table.to_pylist() == [{"path": f"lab.{HERE}.goods", "rows": 3}]
    back = session.table(f"lab.{HERE}.goods").sort("id").collect()
    # Spark keeps small unsigned numbers as wider ones, and times of all zones in UTC.
    assert back.schema.field("small").type == pa.int16()
    assert back.schema.field("zoned").type == pa.timestamp("us", "UTC")
    wanted = frame.collect().to_pylist()
    assert back.to_pylist() == wanted
    assert names(platform) == ["goods"]


def test_a_table_that_is_there_is_kept_replaced_or_appended_to(session, platform):
    one = session.from_arrow(pa.table({"a": [1], "b": ["x"]}))
    one.write_table(f"lab.{HERE}.t")
    with pytest.raises(RunError, match="there already"):
        one.write_table(f"lab.{HERE}.t")
    # By name, whatever the order of the columns.
    session.from_arrow(pa.table({"b": ["y", "z"], "a": [2, 3]})).write_table(
        f"lab.{HERE}.t", mode="append"
    )
    assert session.table(f"lab.{HERE}.t").sort("a").collect().to_pydict() == {
        "a": [1, 2, 3],
        "b": ["x", "y", "z"],
    }
    # Read and replaced in one run.
    doubled = session.table(f"lab.{HERE}.t").select("a").with_columns(c=col("a") * 2)
    assert doubled.write_table(f"lab.{HERE}.t", mode="replace").table.to_pylist()[0]["rows"] == 3
    assert session.table(f"lab.{HERE}.t").sort("a").collect().to_pydict() == {
        "a": [1, 2, 3],
        "c": [2, 4, 6],
    }
    assert names(platform) == ["t"]


def test_what_cannot_be_written_is_said_before_anything_runs(session):
    frame = session.from_arrow(pa.table({"a": [1]}))
    with pytest.raises(RunError, match="no database 'nowhere'"):
        frame.write_table("lab.nowhere.t")
    with pytest.raises(RunError, match="no such table"):
        frame.write_table(f"lab.{HERE}.t", mode="append")
    spans = session.from_arrow(pa.table({"s": [datetime.timedelta(1)]}))
    with pytest.raises(RunError, match=r"'s' is duration.*no such type"):
        spans.write_table(f"lab.{HERE}.t")
    frame.write_table(f"lab.{HERE}.t")
    with pytest.raises(RunError, match=r"'a' is bigint in Spark, not string"):
        session.from_arrow(pa.table({"a": ["x"]})).write_table(f"lab.{HERE}.t", mode="append")
    with pytest.raises(RunError, match="no column 'b'"):
        session.from_arrow(pa.table({"a": [1], "b": [1]})).write_table(
            f"lab.{HERE}.t", mode="append"
        )


@pytest.mark.parametrize("mode", ["error", "replace", "append"])
def test_a_write_that_fails_leaves_everything_as_it_was(session, platform, mode):
    if mode != "error":
        session.from_arrow(pa.table({"x": [7]})).write_table(f"lab.{HERE}.t")
    before = names(platform)
    too_much = session.from_arrow(pa.table({"x": [1, 2**63 - 1]})).select(x=col("x") + 1)
    with pytest.raises(UmbelError, match="overflow"):
        too_much.on("lab").write_table(f"lab.{HERE}.t", mode=mode)
    assert names(platform) == before
    if mode != "error":
        assert session.table(f"lab.{HERE}.t").collect().to_pydict() == {"x": [7]}
    views = [t.name for t in platform.connection.session().catalog.listTables() if t.isTemporary]
    assert [name for name in views if name.startswith("umbel_")] == []


def test_a_relational_stage_over_tables_is_one_statement_and_one_job(session, platform):
    spark = platform.connection.session()
    spark.sql("CREATE TABLE big USING parquet AS SELECT id AS k, id % 7 AS g FROM range(100)")
    spark.sql("CREATE TABLE dim USING parquet AS SELECT id AS g, 'g' || id AS name FROM range(7)")
    joined = (
        session.table(f"lab.{HERE}.big")
        .join(session.table(f"lab.{HERE}.dim"), on="g")
        .filter(col("k") > 10)
    )
    plan = joined.group_by("name").agg(n=ub.len()).sort("name")
    assert all(platform.refuse(operator) is None for operator in topological(plan.plan))
    text = platform.compile(Stage(plan.plan)).text
    assert "\n\n" not in text  # one piece
    assert text.count("JOIN") == 1
    got = plan.on("lab").collect().to_pydict()
    assert got["name"] == [f"g{g}" for g in range(7)]
    assert got["n"] == [sum(1 for k in range(11, 100) if k % 7 == g) for g in range(7)]


def test_the_planner_knows_what_spark_knows(session, platform):
    spark = platform.connection.session()
    spark.sql("CREATE TABLE known USING parquet AS SELECT id AS k, id % 5 AS g FROM range(1000)")
    source = platform.source((HERE, "known"))
    assert isinstance(source, RelationSource)
    vague = platform.statistics(source)
    assert vague.bytes > 0
    assert vague.rows.low < 1000 < vague.rows.high
    spark.sql("ANALYZE TABLE known COMPUTE STATISTICS FOR ALL COLUMNS")
    platform._tables._statistics.clear()
    known = platform.statistics(source)
    assert known.rows.low > 900
    assert known.rows.high < 1101
    columns = known.columns
    assert (columns["k"].low, columns["k"].high, columns["g"].nulls) == (0, 999, 0.0)
    assert 4 <= (columns["g"].distinct or 0) <= 6
    # Of a query Spark reckons too, and of nonsense nothing is known, without a failure.
    assert platform.statistics(platform.query("SELECT * FROM known WHERE k < 10")).bytes > 0
    gone = RelationSource(source.schema, "lab", (HERE, "gone"))
    assert platform.statistics(gone).rows.high > 1e9

"""What runs inside the server, what is moved in, and what is written."""

from __future__ import annotations

import datetime
import time
from decimal import Decimal

import psycopg
import pyarrow as pa
import pytest

import umbel as ub
from umbel import col
from umbel.plan.errors import RunError, SourceError, UmbelError

ORDERS = (
    """CREATE TABLE orders AS SELECT i AS id, i % 7 AS customer, (i * 1.25)::numeric(10,2) AS total,
    date '2024-01-01' + i % 90 AS day, 'note ' || i AS note FROM generate_series(1, 5000) AS i""",
    "ANALYZE orders",
)


@pytest.fixture(autouse=True)
def _clean(nothing_left):
    """Nothing of any of these stays in the server."""


@pytest.fixture
def orders(session, execute):
    execute(*ORDERS)
    return session.table("warehouse.orders")


def platforms_of(frame):
    return {s.platform for s in frame.execute().run.stages}


def test_a_whole_query_is_one_statement_in_the_server(session, orders):
    customers = session.query(
        "warehouse", "SELECT g AS customer, 'c' || g AS name FROM generate_series(0, 5) g"
    )
    best = (
        orders.filter(col("day") >= datetime.date(2024, 2, 1))
        .join(customers, on="customer")
        .group_by("name")
        .agg(total=col("total").sum(), n=ub.len())
        .with_columns(rank=ub.rank().over(order_by="total", descending=True))
        .sort("rank")
        .limit(3)
    )
    result = best.execute()
    [stage] = result.run.stages
    assert stage.platform == "warehouse"
    expected = session.query(
        "warehouse",
        """SELECT 'c' || customer AS name, sum(total)::numeric(38,2) AS total, count(*) AS n,
        rank() OVER (ORDER BY sum(total) DESC) AS rank FROM orders WHERE day >= '2024-02-01'
        AND customer < 6 GROUP BY customer ORDER BY total DESC LIMIT 3""",
    ).collect()
    assert result.table.to_pydict() == expected.to_pydict()


def test_only_what_is_wanted_leaves_the_server(orders):
    frame = orders.filter(col("id") == 5).select("total").on("warehouse")
    [stage] = frame.execute().run.stages
    assert "note" not in stage.text
    assert frame.collect().to_pylist() == [{"total": Decimal("6.25")}]


def test_rows_move_in_and_leave_no_table(session, orders):
    wanted = session.from_arrow(pa.table({"id": range(1000, 2000), "tag": ["x"] * 1000}))
    joined = wanted.join(orders, on="id").group_by("tag").agg(s=col("total").sum())
    assert joined.on("warehouse").collect().to_pylist() == [
        {"tag": "x", "s": Decimal(sum(range(1000, 2000)) * 125) / 100}
    ]


def test_a_python_function_runs_outside_over_what_the_server_gives(orders):
    def odd(row):
        return row.id % 2 == 1 and row.note.endswith("1")

    rows = orders.filter(col("id") < 100).rows().filter(odd).collect()
    assert sorted(row.id for row in rows) == list(range(1, 100, 10))


def test_two_databases_at_once_are_two_platforms(session, orders, postgres):
    with postgres.fresh() as other:
        name = other.split("@/")[1].split("?")[0]
        postgres.execute("CREATE TABLE names AS SELECT 3 AS customer, 'Ann' AS name", database=name)
        session.catalog.attach("crm", other)
        joined = orders.join(session.table("crm.names"), on="customer").group_by("name")
        frame = joined.agg(n=ub.len())
        result = frame.execute()
        assert result.table.to_pylist() == [
            {"name": "Ann", "n": sum(i % 7 == 3 for i in range(1, 5001))}
        ]
        assert {"warehouse", "crm"} <= {s.platform for s in result.run.stages}
        session.catalog.detach("crm")


def test_one_snapshot_for_a_statement(session, orders, execute):
    before = orders.count()
    execute("INSERT INTO orders SELECT 9999, 1, 1, now(), ''")
    assert orders.count() == before + 1


def test_statistics_come_from_the_server(session, orders):
    known = session.catalog.describe("warehouse.orders").statistics
    assert known.rows.low <= 5000 <= known.rows.high
    assert known.columns["customer"].distinct == 7
    assert known.columns["id"].low == 1
    assert known.columns["id"].high == 5000
    assert known.bytes > 100_000


def test_the_server_estimates_an_operator(session, orders):
    platform = session.platforms()["warehouse"]
    few = platform.estimate(orders.filter(col("id") < 10).plan)
    assert few is not None
    assert few.low <= 9 <= few.high
    assert platform.estimate(session.from_dict({"a": [1]}).plan) is None


def test_an_estimate_does_not_wait_for_a_lock(session, orders, database):
    platform = session.platforms()["warehouse"]
    few = orders.filter(col("id") < 10)
    with psycopg.connect(database) as other:
        other.execute("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        start = time.monotonic()
        with pytest.raises(UmbelError, match="EXPLAIN"):
            platform.estimate(few.plan)
        assert time.monotonic() - start < 5
    assert platform.estimate(few.plan) is not None


def test_plans_go_by_the_server_s_estimate(session, orders, execute):
    execute(
        "INSERT INTO orders SELECT i, i % 7, 1, now(), 'note ' || i FROM generate_series(1, 50000) i",
        "ANALYZE orders",
    )
    words = session.from_dict({"n": list(range(7)), "word": ["a"] * 7})
    some = (
        session.table("warehouse.orders")
        .filter(col("note").str.starts_with("x"))
        .join(words, left_on="customer", right_on="n")
    )
    assert "says warehouse" in str(some.explain())


# --- writing ----------------------------------------------------------------------------------

EVERYTHING = pa.table(
    {
        "i8": pa.array([1, None], pa.int8()),
        "u32": pa.array([2**32 - 1, None], pa.uint32()),
        "f": pa.array([float("nan"), -0.0]),
        "d": pa.array([Decimal("1.50"), None], pa.decimal128(20, 2)),
        "s": ["é", ""],
        "b": pa.array([b"\0", None]),
        "t": pa.array([0, None], pa.timestamp("ms", "Europe/Berlin")),
        "day": pa.array([-719162, None], pa.date32()),
        "gap": pa.array([90_000_000_001, None], pa.duration("us")),
        "l": pa.array([["a", None], []]),
        "ok": [True, None],
    }
)


def test_what_is_written_is_read_back(session):
    session.from_arrow(EVERYTHING).write_table("warehouse.all_types")
    back = session.table("warehouse.all_types").collect()
    assert back.schema.field("u32").type == pa.int64()
    assert back.schema.field("gap").type == pa.duration("us")
    again = back.to_pylist()
    assert again[0].pop("f") != again[0].get("f")  # NaN
    expected = EVERYTHING.to_pylist()
    expected[0].pop("f")
    assert again == expected


def test_a_result_that_lies_in_the_server_is_written_there(session, orders):
    frame = orders.group_by("customer").agg(n=ub.len())
    result = frame.write_table("warehouse.counts")
    assert {s.platform for s in result.run.stages} == {"warehouse"}
    assert result.table.to_pylist() == [{"path": "warehouse.public.counts", "rows": 7}]
    assert session.table("warehouse.counts").count() == 7


def test_modes_of_writing(session, execute):
    frame = session.from_dict({"a": [1, 2]})
    frame.write_table("warehouse.t")
    with pytest.raises(RunError, match="there already"):
        frame.write_table("warehouse.t")
    assert frame.write_table("warehouse.t", mode="append").table["rows"].to_pylist() == [2]
    assert session.table("warehouse.t").count() == 4
    session.from_dict({"b": ["x"]}).write_table("warehouse.t", mode="replace")
    assert session.table("warehouse.t").collect().to_pydict() == {"b": ["x"]}
    assert len(session.catalog.tables("warehouse")) == 1


def test_appending_does_what_insert_does(session, execute):
    """COPY asks for the very types, sets what only the server may set, and minds no rules."""
    execute(
        "CREATE TABLE same (a integer, n numeric)",
        "CREATE TABLE wider (a bigint, n varchar(9))",
        "CREATE TABLE own (a integer GENERATED ALWAYS AS IDENTITY, n numeric)",
        "CREATE TABLE ruled (a integer, n numeric)",
        "CREATE RULE twice AS ON INSERT TO ruled DO ALSO INSERT INTO same VALUES (new.a, 0)",
        "CREATE TABLE picked (a integer, n numeric)",
        "CREATE FUNCTION pick() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN RETURN CASE WHEN new.a > 1 THEN new END; END'",
        "CREATE TRIGGER pick BEFORE INSERT ON picked FOR EACH ROW EXECUTE FUNCTION pick()",
    )
    data = {"a": pa.array([1, 2], pa.int32()), "n": [Decimal("1.50"), None]}
    frame = session.from_arrow(pa.table(data))

    def append(table, rows=frame):
        return rows.write_table(f"warehouse.{table}", mode="append").table["rows"].to_pylist()

    assert append("same") == [2]
    assert execute("SELECT * FROM same ORDER BY a") == [(1, Decimal("1.50")), (2, None)]
    words = frame.select("a", n=col("n").cast(pa.string()))
    assert append("wider", words) == [2]
    assert execute("SELECT * FROM wider ORDER BY a") == [(1, "1.50"), (2, None)]
    with pytest.raises(RunError, match="cannot insert"):
        append("own")
    assert append("own", frame.select("n")) == [2]
    assert execute("SELECT a FROM own") == [(1,), (2,)]
    assert append("ruled") == [2]
    assert execute("SELECT count(*) FROM same") == [(4,)]
    assert append("picked") == [1]
    assert execute("SELECT a FROM picked") == [(2,)]


def test_a_table_is_replaced_by_what_was_read_from_it(session, orders):
    orders.filter(col("id") <= 10).write_table("warehouse.orders", mode="replace")
    assert session.table("warehouse.orders").count() == 10


@pytest.mark.parametrize(
    ("table", "mode", "data", "message"),
    [
        ("warehouse.t", "append", {"b": [1]}, "has no column 'b'"),
        ("warehouse.t", "append", {"a": [datetime.date(2024, 1, 1)]}, "column 'a' is int32"),
        ("warehouse.missing", "append", {"a": [1]}, "there is no such table"),
        ("warehouse.nowhere.t", "error", {"a": [1]}, "there is no schema 'nowhere'"),
    ],
)
def test_what_cannot_be_written_fails_before_anything_runs(
    session, execute, table, mode, data, message
):
    execute("CREATE TABLE t (a integer)")
    with pytest.raises(RunError, match=message):
        session.from_dict(data).write_table(table, mode=mode)


def test_a_failed_write_leaves_what_was_there(session, execute):
    execute("CREATE TABLE t AS SELECT 1 AS a", "ALTER TABLE t ADD CHECK (a < 10)")
    rows = session.from_dict({"a": list(range(100))})
    with pytest.raises(RunError, match="violates check constraint"):
        rows.write_table("warehouse.t", mode="append")
    assert session.table("warehouse.t").count() == 1
    failing = rows.select(a=(col("a") - 50).cast(pa.uint8()))
    with pytest.raises(RunError):
        failing.on("warehouse").write_table("warehouse.t", mode="replace")
    assert session.table("warehouse.t").collect().to_pydict() == {"a": [1]}
    assert len(session.catalog.tables("warehouse")) == 1


def test_a_text_with_a_nul_is_named(session):
    with pytest.raises(SourceError, match="'s' holds text with a NUL"):
        session.from_dict({"s": ["a\0b"] * 100}).write_table("warehouse.t")

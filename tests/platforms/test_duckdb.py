"""What only DuckDB has: tables kept in its database, and what its names and types cannot hold."""

from __future__ import annotations

import gc
from decimal import Decimal, localcontext
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow import parquet

from tests.conformance.engines import Context, memory, refusal
from umbel.plan.expressions import AggregateCall, Call, Cast, Column
from umbel.plan.operators import Aggregate, Operator, Placeholder, Project, Sample, Values
from umbel.platforms.base import Stage
from umbel.platforms.duckdb import engine
from umbel.platforms.duckdb.platform import DuckDBPlatform
from umbel.platforms.duckdb.scans import DuckDBSources, same_type


def tables(platform: DuckDBPlatform) -> list[str]:
    cursor = platform.database().cursor()
    return [name for (name,) in cursor.execute("SELECT table_name FROM duckdb_tables()").fetchall()]


def keep(platform: DuckDBPlatform) -> object:
    return platform.compile(Stage(memory(a=[1, 2]), output=platform.channel)).run({}, Context())


def test_a_kept_table_goes_with_its_last_reference():
    platform = engine()
    kept = keep(platform)
    assert len(tables(platform)) == 1
    del kept
    gc.collect()
    assert tables(platform) == []


def test_a_kept_table_can_be_released():
    platform = engine()
    kept = keep(platform)
    kept.release()
    kept.release()
    assert tables(platform) == []


def test_two_platforms_are_two_databases_with_a_channel_each():
    one, two = engine(), engine("second")
    kept = keep(one)
    assert (one.channel, two.channel) == ("duckdb", "second")
    assert tables(two) == []
    plan = Placeholder(label="p", columns=pa.schema([("a", pa.int64())]))
    assert one.compile(Stage(plan, {"p": "duckdb"})).run({"p": kept}, Context()).num_rows == 2


def test_nothing_is_fetched_from_the_network():
    cursor = engine().database().cursor()
    for setting in ("autoinstall_known_extensions", "autoload_known_extensions"):
        value = cursor.execute(f"SELECT current_setting('{setting}')").fetchone()
        assert value == (False,), setting


def test_the_memory_limit_of_the_run_is_set():
    platform = engine()
    platform.compile(Stage(memory(a=[1]))).run({}, Context(memory_limit=512 * 2**20))
    limit = platform.database().cursor().execute("SELECT current_setting('memory_limit')")
    assert limit.fetchone() == ("512.0 MiB",)


@pytest.mark.parametrize(
    ("dtype", "reason"),
    [
        (pa.timestamp("ns", "UTC"), "zone"),
        (pa.duration("ns"), "microseconds"),
        (pa.list_(pa.duration("us")), "inside lists"),
    ],
    ids=str,
)
def test_types_that_it_cannot_hold_are_refused(dtype, reason):
    assert reason in (refusal("duckdb", memory(a=pa.array([None], dtype))) or "")


def test_a_sample_is_refused():
    assert "random number" in (refusal("duckdb", Sample(input=memory(a=[1]), count=1)) or "")


def test_types_are_known_by_the_names_that_describe_shows():
    types = [
        pa.int8(), pa.uint64(), pa.float32(), pa.string(), pa.binary(), pa.date32(),
        pa.time64("us"), pa.timestamp("s"), pa.timestamp("us", "UTC"), pa.duration("us"),
        pa.decimal128(12, 3), pa.list_(pa.list_(pa.bool_())),
        pa.struct([("x", pa.int8()), ("order by", pa.string()), ("Y", pa.string())]),
    ]  # fmt: skip
    data = pa.table({f"c{i}": pa.array([None], dtype) for i, dtype in enumerate(types)})
    cursor = engine().database().cursor()
    cursor.register("data", data)
    described = [row[1] for row in cursor.execute("DESCRIBE SELECT * FROM data").fetchall()]
    assert [same_type(a, b) for a, b in zip(described, types, strict=True)] == [True] * len(types)
    assert not same_type("BIGINT", pa.int32())


def test_sources_bind_each_leaf_once():
    sources = DuckDBSources(dialect=None, describe=lambda relation, files: {})
    leaf = memory(a=[1])
    assert sources.relation(leaf).sql() == '"memory_0"'
    assert sources.relation(memory(b=[1])).sql() == '"memory_1"'
    assert list(sources.bindings) == ["memory_0", "memory_1"]


MONEY = pa.decimal128(15, 2)


def products(*rows: tuple[str, str, str], summed: bool) -> tuple[Operator, list[list[Decimal]]]:
    """A plan that multiplies three columns of money, and what Python makes of it."""
    values = [[Decimal(text) for text in row] for row in rows]
    columns = dict(zip("abc", map(list, zip(*values, strict=True)), strict=True))
    table = pa.table({name: pa.array(column, MONEY) for name, column in columns.items()})
    product = Call("multiply", (Call("multiply", (Column("a"), Column("b"))), Column("c")))
    with localcontext(prec=76):
        exact = [a * b * c for a, b, c in values]
        total = sum(exact, Decimal(0))
    scan = Values(table=table)
    if not summed:
        return Project(input=scan, columns=(("p", product),)), [exact]
    sums = AggregateCall("sum", (product,))
    return Aggregate(input=scan, keys=(), aggregates=(("p", sums),)), [[total]]


@pytest.mark.parametrize("summed", [True, False])
@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize(
    "rows",
    [
        [("104949.50", "0.94", "1.08"), ("-1.11", "2.22", "3.33")],
        [("1.00", "1.00", "1.00"), ("9999999999999.99", "-9999999999.99", "3.00")],
    ],
    ids=["18 digits", "more digits"],
)
def test_products_of_decimals_are_whole_whether_or_not_64_bits_hold_them(rows, streamed, summed):
    plan, expected = products(*rows, summed=summed)
    compiled = engine().compile(Stage(plan))
    if streamed:
        pieces: list[pa.Table] = []
        assert compiled.stream({}, Context(), pieces.append) == len(expected[0])
        found = pa.concat_tables(pieces)
    else:
        found = compiled.run({}, Context())
    assert found.schema == plan.schema
    assert sorted(found["p"].to_pylist()) == sorted(expected[0])
    assert "DECIMAL(19" not in compiled.text  # the short form is what is tried


def test_where_an_overflow_would_be_hidden_products_are_whole_at_once():
    plan, _ = products(("1.00", "1.00", "1.00"), summed=False)
    text = Cast(Cast(Column("p"), pa.string()), pa.binary())
    again = Project(input=plan, columns=(("p", Cast(text, pa.string(), strict=False)),))
    assert "DECIMAL(19" in engine().compile(Stage(again)).text


def test_what_is_known_of_files_goes_with_their_state(tmp_path: Path):
    """A file that was written anew with other types is described anew."""
    database, path = engine().database(), tmp_path / "a.parquet"
    call = f"read_parquet(['{path}'])"
    for column, expected in (([1], "BIGINT"), (["x"], "VARCHAR")):
        parquet.write_table(pa.table({"a": column}), path)
        state = path.stat()
        files = ((str(path), state.st_mtime_ns, state.st_size),)
        found = database.describe(call, files)
        assert found == {"a": expected}
        assert database.describe(call, files) is found

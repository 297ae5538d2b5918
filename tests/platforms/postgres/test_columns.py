"""Every type of PostgreSQL comes as the plan's, or as text, or fails with its name."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from umbel import col
from umbel.plan.errors import EvaluationError, RunError

UTC = datetime.UTC


@pytest.mark.parametrize(
    ("kind", "literal", "dtype", "value"),
    [
        ("boolean", "true", pa.bool_(), True),
        ("smallint", "-32768", pa.int16(), -(2**15)),
        ("integer", "2147483647", pa.int32(), 2**31 - 1),
        ("bigint", "-9223372036854775808", pa.int64(), -(2**63)),
        ("oid", "4294967295", pa.int64(), 2**32 - 1),
        ("real", "'Infinity'", pa.float32(), float("inf")),
        ("double precision", "1e308", pa.float64(), 1e308),
        ("numeric(5,2)", "-999.99", pa.decimal128(5, 2), Decimal("-999.99")),
        ("numeric(18,0)", "999999999999999999", pa.decimal128(18, 0), Decimal(10**18 - 1)),
        ("numeric(38,10)", "'1234567890123456789012345678.0123456789'", pa.decimal128(38, 10),
         Decimal("1234567890123456789012345678.0123456789")),
        ("numeric", "12.5", pa.decimal128(38, 10), Decimal("12.5")),
        ("numeric(5,-2)", "12300", pa.decimal128(38, 10), Decimal(12300)),
        ("text", "''", pa.string(), ""),
        ("varchar(3)", "'né'", pa.string(), "né"),
        ("char(4)", "'ab'", pa.string(), "ab"),
        ('"char"', "'x'", pa.string(), "x"),
        ("name", "'n'", pa.string(), "n"),
        ("bytea", r"'\x00ff'", pa.binary(), b"\x00\xff"),
        ("date", "'0001-01-01'", pa.date32(), datetime.date(1, 1, 1)),
        ("time", "'23:59:59.999999'", pa.time64("us"), datetime.time(23, 59, 59, 999999)),
        ("timetz", "'01:02:03+02'", pa.string(), "01:02:03+02"),
        ("timestamp", "'9999-12-31 23:59:59.999999'", pa.timestamp("us"),
         datetime.datetime(9999, 12, 31, 23, 59, 59, 999999)),
        ("timestamptz", "'2024-02-29 12:00+05:30'", pa.timestamp("us", "UTC"),
         datetime.datetime(2024, 2, 29, 6, 30, tzinfo=UTC)),
        ("interval", "'-1 day 25:00:00.000001'", pa.duration("us"),
         datetime.timedelta(hours=1, microseconds=1)),
        ("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", pa.string(),
         "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("json", "'{\"a\":  1}'", pa.string(), '{"a":  1}'),
        ("jsonb", "'{\"a\":  1}'", pa.string(), '{"a": 1}'),
        ("inet", "'10.0.0.1/8'", pa.string(), "10.0.0.1/8"),
        ("int4range", "'[1,3)'", pa.string(), "[1,3)"),
        ("point", "'(1,2)'", pa.string(), "(1,2)"),
        ("bit(3)", "B'101'", pa.string(), "101"),
        ("mood", "'glad'", pa.string(), "glad"),
        ("small", "7", pa.int32(), 7),
        ("price", "1.5", pa.decimal128(8, 2), Decimal("1.50")),
        ("smaller", "7", pa.int32(), 7),
        ("integer[]", "'{1,NULL,3}'", pa.list_(pa.int32()), [1, None, 3]),
        ("text[]", "'{}'", pa.list_(pa.string()), []),
        ("numeric(4,1)[]", "'{1.5,NULL}'", pa.list_(pa.decimal128(4, 1)), [Decimal("1.5"), None]),
        ("uuid[]", "'{A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11}'", pa.list_(pa.string()),
         ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
        ("mood[]", "'{glad}'", pa.list_(pa.string()), ["glad"]),
        ("date[]", "'{2024-02-29}'", pa.list_(pa.date32()), [datetime.date(2024, 2, 29)]),
    ],
)  # fmt: skip
def test_types(session, execute, nothing_left, kind, literal, dtype, value):
    execute(
        "CREATE TYPE mood AS ENUM ('sad', 'glad')",
        "CREATE DOMAIN small AS integer CHECK (VALUE < 10)",
        "CREATE DOMAIN smaller AS small",
        "CREATE DOMAIN price AS numeric(8,2)",
        f"CREATE TABLE t (v {kind})",
        f"INSERT INTO t VALUES ({literal}), (NULL)",
    )
    frame = session.table("warehouse.t")
    assert frame.schema.field("v").type == dtype
    assert frame.collect().column("v").to_pylist() == [value, None]
    # The same in the middle of a statement, and from a query of the user's own.
    assert frame.filter(col("v").is_not_null()).count() == 1
    query = session.query("warehouse", "SELECT v FROM t WHERE v IS NOT NULL -- one;")
    assert query.schema.field("v").type == dtype
    assert query.collect().column("v").to_pylist() == [value]


@pytest.mark.parametrize(
    ("kind", "literal", "message"),
    [
        ("timestamp", "'infinity'", "'v' holds a time outside the years 1 to 9999, or infinity"),
        ("timestamptz", "'-infinity'", "'v' holds a time outside"),
        ("date", "'infinity'", "'v' holds a time outside"),
        ("date", "'0044-03-15 BC'", "'v' holds a time outside"),
        ("interval", "'1 month'", "'v' of type interval holds months"),
        ("numeric", "'1.00000000001'", "'v' of type numeric holds more digits"),
        ("numeric(5,2)", "'NaN'", "NaN"),
        ("numeric(30,2)", "'NaN'", "'v': a numeric has no form"),
        ("numeric", "'Infinity'", "'v'"),
        ("integer[]", "'{{1,2},{3,4}}'", "holds arrays that are not lists from 1"),
        ("integer[]", "'[0:1]={1,2}'", "holds arrays that are not lists from 1"),
    ],
)
def test_what_has_no_form_fails_with_the_column(
    session, execute, nothing_left, kind, literal, message
):
    execute(f"CREATE TABLE t (v {kind})", f"INSERT INTO t VALUES ({literal})")
    with pytest.raises((EvaluationError, RunError), match=message):
        session.table("warehouse.t").collect()


def test_the_zone_of_the_server_does_not_matter(session, execute):
    execute(
        "CREATE TABLE t AS SELECT timestamptz '2024-07-01 00:30+00' AS at",
        "ALTER DATABASE "
        + execute("SELECT current_database()")[0][0]
        + " SET timezone = 'Asia/Tokyo'",
    )
    frame = session.table("warehouse.t").select(
        day=col("at").dt.day(), text=col("at").cast(pa.string())
    )
    assert frame.on("warehouse").collect().to_pylist() == [
        {"day": 1, "text": "2024-07-01T00:30:00+00:00"}
    ]


@pytest.mark.parametrize("collation", ["default", "en-US-x-icu", "ci"])
def test_texts_compare_by_code_point_whatever_their_collation(session, execute, collation):
    words = ["b", "A", "a", "B", "é", "z", ""]
    has_icu = execute("SELECT 1 FROM pg_collation WHERE collname = 'en-US-x-icu'") != []
    if collation != "default" and not has_icu:
        pytest.skip("the server was built without ICU")
    if collation == "ci":
        execute(
            "CREATE COLLATION ci "
            "(provider = icu, locale = 'und-u-ks-level2', deterministic = false)"
        )
    execute(
        f'CREATE TABLE t (s text COLLATE "{collation}")',
        *(f"INSERT INTO t VALUES ('{word}')" for word in words),
    )
    frame = session.table("warehouse.t")
    assert frame.sort("s").on("warehouse").collect().column("s").to_pylist() == sorted(words)
    assert frame.filter(col("s") == "a").on("warehouse").count() == 1
    assert frame.filter(col("s") < "a").on("warehouse").count() == 3
    assert frame.distinct().on("warehouse").count() == len(words)
    bounds = frame.select(least=col("s").min(), most=col("s").max()).on("warehouse")
    assert bounds.collect().to_pylist() == [{"least": "", "most": "é"}]


def test_names_with_quotes_and_odd_characters(session, execute):
    execute('CREATE SCHEMA "odd.schema"', 'CREATE TABLE "odd.schema"."T ""x" ("a ""b" int, "%s" int)',
            'INSERT INTO "odd.schema"."T ""x" VALUES (1, 2)')  # fmt: skip
    [entry] = session.catalog.tables("warehouse")
    assert session.table(entry.name).collect().to_pylist() == [{'a "b': 1, "%s": 2}]
    assert session.table(["warehouse", "odd.schema", 'T "x']).count() == 1

"""Plans to SQL text: what merges into one SELECT, and what needs a subquery."""

from __future__ import annotations

import textwrap
from typing import Any

import pyarrow as pa
import pytest
from sqlglot import exp

from umbel.plan.expressions import AggregateCall, Call, Column, Expression, Literal, SortKey
from umbel.plan.operators import (
    Aggregate,
    Count,
    Distinct,
    Explode,
    Filter,
    Join,
    Limit,
    Operator,
    Placeholder,
    Project,
    Scan,
    Sort,
    Union,
)
from umbel.plan.sources import ParquetSource
from umbel.platforms.duckdb.dialect import DIALECT
from umbel.platforms.postgres.dialect import PostgresDialect
from umbel.sql.compiler import compile_plan
from umbel.sql.writing import PortableDialect


class Tables:
    """Placeholders are tables of their names."""

    def relation(self, leaf: Any) -> exp.Expr:
        return exp.Table(this=exp.to_identifier(leaf.label, quoted=True))


class Files:
    """Whatever is read is one table."""

    def relation(self, leaf: Any) -> exp.Expr:
        return exp.Table(this=exp.to_identifier("files", quoted=True))


def sql(plan: Operator) -> str:
    return compile_plan(plan, DIALECT, Tables()).sql("duckdb")


def is_sql(plan: Operator, expected: str) -> None:
    assert sql(plan) == " ".join(textwrap.dedent(expected).split())


def relation(label: str = "t", **columns: pa.DataType) -> Placeholder:
    types = columns or {"a": pa.bool_(), "b": pa.string()}
    return Placeholder(label=label, columns=pa.schema(list(types.items())))


def reverse(column: str) -> Call:
    return Call("reverse", (Column(column),))


def columns(*names: str) -> tuple[tuple[str, Expression], ...]:
    return tuple((name, Column(name)) for name in names)


COUNT = (("n", AggregateCall("len")),)


def test_filter_project_aggregate_sort_and_limit_are_one_select():
    kept = Filter(input=relation(), predicate=Column("a"))
    groups = Aggregate(input=kept, keys=columns("a"), aggregates=COUNT)
    top = Sort(input=groups, keys=(SortKey(Column("n"), descending=True),))
    is_sql(
        Limit(input=Project(input=top, columns=columns("n", "a")), count=3, offset=1),
        """
        SELECT COUNT(*) AS "n", "t0"."a" AS "a" FROM "t" AS "t0" WHERE "t0"."a"
        GROUP BY "t0"."a" ORDER BY COUNT(*) DESC LIMIT 3 OFFSET 1
        """,
    )


def test_filter_over_groups_is_having():
    groups = Aggregate(input=relation(), keys=columns("a"), aggregates=COUNT)
    kept = Filter(input=groups, predicate=Column("a"))
    assert sql(kept).endswith('GROUP BY "t0"."a" HAVING "t0"."a"')


def test_filter_over_a_limit_is_a_subquery():
    is_sql(
        Filter(input=Limit(input=relation(), count=2), predicate=Column("a")),
        """
        SELECT "t1"."a" AS "a", "t1"."b" AS "b" FROM
        (SELECT "t0"."a" AS "a", "t0"."b" AS "b" FROM "t" AS "t0" LIMIT 2) AS "t1"
        WHERE "t1"."a"
        """,
    )


def test_an_order_survives_a_subquery():
    ordered = Sort(input=relation(), keys=(SortKey(Column("b"), nulls_first=True),))
    first = Limit(input=ordered, count=2)
    is_sql(
        Project(input=Filter(input=first, predicate=Column("a")), columns=columns("a")),
        """
        SELECT "t1"."a" AS "a" FROM
        (SELECT "t0"."a" AS "a", "t0"."b" AS "b", "t0"."b" AS "umbel_order_0" FROM "t" AS "t0"
        ORDER BY "t0"."b" ASC NULLS FIRST LIMIT 2) AS "t1"
        WHERE "t1"."a" ORDER BY "t1"."umbel_order_0" ASC NULLS FIRST
        """,
    )


def test_a_computed_column_used_twice_is_computed_once():
    computed = Project(input=relation(), columns=(("c", reverse("b")),))
    twice = Project(input=computed, columns=(("x", Column("c")), ("y", Column("c"))))
    assert sql(twice).count("REVERSE") == sql(computed).count("REVERSE")


def test_a_computed_column_used_once_needs_no_subquery():
    computed = Project(input=relation(), columns=(("c", Call("not", (Column("a"),))),))
    kept = Filter(input=computed, predicate=Column("c"))
    assert sql(kept).count("SELECT") == 1


def test_joins_of_tables_are_one_from():
    first = Join(
        left=relation("l", a=pa.int64()), right=relation("r", b=pa.int64()), on=(("a", "b"),)
    )
    second = Join(left=first, right=relation("s", c=pa.int64()), how="left", on=(("b", "c"),))
    is_sql(
        second,
        """
        SELECT "t0"."a" AS "a", "t1"."b" AS "b", "t2"."c" AS "c" FROM "l" AS "t0"
        INNER JOIN "r" AS "t1" ON "t0"."a" = "t1"."b"
        LEFT JOIN "s" AS "t2" ON "t1"."b" = "t2"."c"
        """,
    )


def test_semi_and_anti_joins_are_exists_unless_an_engine_has_better():
    sides = {"left": relation("l", a=pa.int64()), "right": relation("r", b=pa.int64())}
    exists = 'EXISTS(SELECT 1 FROM "r" AS "t1" WHERE "t0"."a" = "t1"."b")'
    select = 'SELECT "t0"."a" AS "a" FROM "l" AS "t0"'
    semi, anti = (Join(**sides, how=how, on=(("a", "b"),)) for how in ("semi", "anti"))
    portable = [compile_plan(plan, PortableDialect(), Tables()).sql() for plan in (semi, anti)]
    assert portable == [f"{select} WHERE {exists}", f"{select} WHERE NOT {exists}"]
    assert sql(semi) == f'{select} SEMI JOIN "r" AS "t1" ON "t0"."a" = "t1"."b"'
    assert sql(anti) == f'{select} ANTI JOIN "r" AS "t1" ON "t0"."a" = "t1"."b"'


def test_a_join_that_drops_rows_of_a_filter_stays_one_select():
    left = Filter(input=relation("l", a=pa.int64(), c=pa.bool_()), predicate=Column("c"))
    plan = Join(left=left, right=relation("r", b=pa.int64()), how="semi", on=(("a", "b"),))
    again = Join(left=plan, right=relation("s", d=pa.int64()), how="left", on=(("a", "d"),))
    is_sql(
        again,
        """
        SELECT "t0"."a" AS "a", "t0"."c" AS "c", "t2"."d" AS "d" FROM "l" AS "t0"
        SEMI JOIN "r" AS "t1" ON "t0"."a" = "t1"."b" LEFT JOIN "s" AS "t2" ON "t0"."a" = "t2"."d"
        WHERE "t0"."c"
        """,
    )


@pytest.mark.parametrize(("how", "selects"), [("inner", 1), ("left", 1), ("right", 2), ("full", 2)])
def test_a_filter_on_the_left_goes_below_joins_that_add_left_rows(how, selects):
    left = Filter(input=relation("l", a=pa.bool_()), predicate=Column("a"))
    plan = Join(left=left, right=relation("r", b=pa.bool_()), how=how, on=(("a", "b"),))
    assert sql(plan).count("SELECT") == selects


def test_constants_of_an_outer_side_stay_below_the_join():
    right = Project(
        input=relation("r", b=pa.int64()), columns=(*columns("b"), ("one", Literal(1, pa.int64())))
    )
    plan = Join(left=relation("l", a=pa.int64()), right=right, how="left", on=(("a", "b"),))
    assert sql(plan).startswith('SELECT "t0"."a" AS "a", "t2"."b" AS "b", "t2"."one" AS "one"')


def test_a_shared_operator_is_a_common_table_expression():
    shared = Filter(input=relation(a=pa.bool_()), predicate=Column("a"))
    is_sql(
        Union(members=(shared, Project(input=shared, columns=columns("a")))),
        """
        WITH "shared_0" AS MATERIALIZED
        (SELECT "t0"."a" AS "a" FROM "t" AS "t0" WHERE "t0"."a")
        SELECT "t3"."a" AS "a" FROM (SELECT "t1"."a" AS "a" FROM "shared_0" AS "t1" UNION ALL
        SELECT "t2"."a" AS "a" FROM "shared_0" AS "t2") AS "t3"
        """,
    )


@pytest.mark.parametrize(
    ("path", "compared", "reads"),
    [
        ("t.parquet", Call("less", (Column("a"), Literal(3, pa.int64()))), 2),
        ("s3://bucket/t.parquet", Call("less", (Column("a"), Literal(3, pa.int64()))), 1),
        ("t.parquet", Call("less", (Call("abs", (Column("a"),)), Literal(3, pa.int64()))), 1),
    ],
)
def test_a_simple_filter_of_files_near_by_is_not_kept_for_its_readers(path, compared, reads):
    source = ParquetSource(schema=pa.schema([("a", pa.int64())]), paths=(path,))
    kept = Filter(input=Scan(source=source), predicate=compared)
    text = compile_plan(
        Union(members=(kept, Project(input=kept, columns=columns("a")))), DIALECT, Files()
    ).sql("duckdb")
    assert text.count('FROM "files"') == reads
    assert ("WITH" in text) == (reads == 1)


def test_a_shared_leaf_is_read_where_it_is_used():
    leaf = relation(a=pa.bool_())
    kept = Filter(input=leaf, predicate=Column("a"))
    assert "WITH" not in sql(Union(members=(kept, Project(input=leaf, columns=columns("a")))))


def test_a_constant_key_is_a_column():
    constant = (("k", Literal(1, pa.int64())),)
    plan = Aggregate(input=relation(), keys=constant, aggregates=COUNT)
    assert 'GROUP BY "t1"."umbel_key_0"' in sql(plan)


def test_a_constant_orders_nothing():
    keys = (SortKey(Literal(1, pa.int64())), SortKey(Column("a")))
    assert sql(Sort(input=relation(), keys=keys)).endswith('ORDER BY "t0"."a" ASC')


def test_distinct_before_and_after_a_limit():
    rows = relation(a=pa.int64())
    assert sql(Limit(input=Distinct(input=rows), count=1)).count("SELECT") == 1
    assert sql(Distinct(input=Limit(input=rows, count=1))).count("SELECT") == 2


def test_dropping_all_aggregates_keeps_the_one_row():
    whole = Aggregate(input=relation(), aggregates=COUNT)
    plan = Project(input=whole, columns=(("one", Literal(1, pa.int64())),))
    assert sql(plan).count("SELECT") == 2


def test_count_of_a_filter_is_one_select():
    plan = Count(input=Filter(input=relation(), predicate=Column("a")))
    expected = 'SELECT COUNT(*) AS "value" FROM "t" AS "t0" WHERE "t0"."a"'
    assert sql(plan) == expected


def test_explode_joins_the_items_where_the_engine_does_not_take_lists_apart_in_select():
    plan = Explode(input=relation(k=pa.int64(), v=pa.list_(pa.int64())), column="v", outer=True)
    assert compile_plan(plan, PostgresDialect(), Tables()).sql("postgres") == (
        'SELECT "t0"."k" AS "k", "t1"."v" AS "v" FROM "t" AS "t0" '
        'LEFT JOIN UNNEST("t0"."v") AS "t1"("v") ON TRUE'
    )


def test_duckdb_takes_lists_apart_in_select():
    plan = Explode(input=relation(k=pa.int64(), v=pa.list_(pa.int64())), column="v")
    is_sql(
        plan,
        """
        SELECT "t1"."k" AS "k", "t1"."v" AS "v"
        FROM (SELECT "t0"."k" AS "k", UNNEST("t0"."v") AS "v" FROM "t" AS "t0") AS "t1"
        """,
    )


def test_names_are_quoted_whatever_they_hold():
    odd = 'x"; DROP TABLE t; --'
    plan = relation("no such", **{odd: pa.int64()})
    assert sql(plan) == (
        'SELECT "t0"."x""; DROP TABLE t; --" AS "x""; DROP TABLE t; --" FROM "no such" AS "t0"'
    )

"""Groups and windows, on every engine, against rows worked out by hand."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from tests.conformance.engines import (
    call,
    check,
    memory,
    names,
    number,
    people,
    refusal,
    run,
)
from umbel.plan.expressions import (
    AggregateCall,
    Column,
    Frame,
    Literal,
    SortKey,
    WindowCall,
)
from umbel.plan.operators import (
    Aggregate,
    Count,
    Filter,
    Limit,
    Project,
    Window,
)

NAN = float("nan")

# --- groups ----------------------------------------------------------------------------------


def count_rows() -> AggregateCall:
    return AggregateCall("len")


def total(column: str, **modifiers: Any) -> AggregateCall:
    return AggregateCall("sum", (Column(column),), **modifiers)


def test_aggregate_by_key(engine):
    plan = Aggregate(
        input=people(), keys=names("age"), aggregates=(("n", count_rows()), ("ids", total("id")))
    )
    check(engine, plan, [(30, 2, 5), (None, 1, 2), (20, 1, 3)])


def test_aggregate_by_a_computed_key_with_the_name_of_a_column(engine):
    bigger = call("greater", Column("id"), number(2))
    plan = Aggregate(input=people(), keys=(("id", bigger),), aggregates=(("s", total("id")),))
    check(engine, plan, [(True, 7), (False, 3)])


def test_aggregate_without_keys_gives_one_row_also_for_no_rows(engine):
    nobody = Filter(input=people(), predicate=Literal(False, pa.bool_()))
    plan = Aggregate(input=nobody, aggregates=(("n", count_rows()), ("s", total("id"))))
    check(engine, plan, [(0, None)])


def test_aggregate_by_a_constant_key_gives_no_row_for_no_rows(engine):
    nobody = Filter(input=people(), predicate=Literal(False, pa.bool_()))
    aggregates = (("n", count_rows()),)
    plan = Aggregate(input=nobody, keys=(("one", number(1)),), aggregates=aggregates)
    check(engine, plan, [])
    plan = Aggregate(input=people(), keys=(("one", number(1)),), aggregates=aggregates)
    check(engine, plan, [(1, 4)])


def test_aggregate_by_a_column_that_is_a_constant(engine):
    constant = Project(input=people(), columns=(("two", number(2)), ("id", Column("id"))))
    plan = Aggregate(input=constant, keys=names("two"), aggregates=(("s", total("id")),))
    check(engine, plan, [(2, 10)])


def test_nulls_nans_and_zeros_as_keys(engine):
    plan = Aggregate(
        input=memory(k=[NAN, -0.0, None, 0.0, NAN, None]),
        keys=names("k"),
        aggregates=(("n", count_rows()),),
    )
    check(engine, plan, [(NAN, 2), (0.0, 2), (None, 2)])
    zero = [k for k in run(engine, plan)["k"].to_pylist() if k == 0.0]
    assert str(zero[0]) == "0.0"


def test_keys_alone_give_distinct_keys(engine):
    check(engine, Aggregate(input=people(), keys=names("age")), [(30,), (20,), (None,)])


def test_distinct_filtered_and_ordered_aggregates(engine):
    data = memory(k=[1, 1, 1, 2], v=[5, 5, 7, None], w=[3, 1, 2, 1])
    first = AggregateCall(
        "first", (Column("v"),), order_by=(SortKey(Column("w"), descending=True),)
    )
    small = call("less", Column("w"), number(3))
    plan = Aggregate(
        input=data,
        keys=names("k"),
        aggregates=(
            ("d", total("v", distinct=True)),
            ("f", total("v", where=small)),
            ("o", first),
            ("n", AggregateCall("count", (Column("v"),))),
        ),
    )
    rows = [(1, 12, 12, 5, 3), (2, None, None, None, 0)]
    if engine == "spark":
        assert "'first' depends on the order" in (refusal(engine, plan) or "")
        unordered = tuple(item for item in plan.aggregates if item[0] != "o")
        plan = Aggregate(input=data, keys=names("k"), aggregates=unordered)
        rows = [(*row[:3], row[4]) for row in rows]
    check(engine, plan, rows)


def test_aggregate_of_a_constant_counts_each_row(engine):
    plan = Aggregate(input=people(), aggregates=(("s", AggregateCall("sum", (number(2),))),))
    check(engine, plan, [(8,)])


def test_filter_and_projection_over_groups(engine):
    groups = Aggregate(
        input=people(), keys=names("age"), aggregates=(("n", count_rows()), ("s", total("id")))
    )
    many = Filter(input=groups, predicate=call("greater", Column("n"), number(1)))
    plan = Project(input=many, columns=(("x", call("add", Column("s"), Column("n"))),))
    check(engine, plan, [(7,)])


def test_constants_over_one_group_of_all_rows(engine):
    whole = Aggregate(input=people(), aggregates=(("n", count_rows()),))
    check(engine, Project(input=whole, columns=(("one", number(1)),)), [(1,)])


def test_count(engine):
    check(engine, Count(input=people()), [(4,)])
    check(engine, Count(input=Filter(input=people(), predicate=Literal(None, pa.bool_()))), [(0,)])
    check(engine, Count(input=Limit(input=people(), count=3)), [(3,)])


# --- windows ---------------------------------------------------------------------------------


def test_window_over_partitions(engine):
    data = memory(g=[1, 1, 1, 2], v=[10, 20, 20, None])
    over: dict[str, Any] = {
        "partition_by": (Column("g"),),
        "order_by": (SortKey(Column("v")),),
    }
    plan = Window(
        input=data,
        columns=(
            ("rank", WindowCall("rank", **over)),
            ("running", WindowCall("sum", (Column("v"),), **over)),
            ("rows", WindowCall("sum", (Column("v"),), frame=Frame("rows", None, 0), **over)),
            ("whole", WindowCall("sum", (Column("v"),), partition_by=(Column("g"),))),
        ),
    )
    # Rows of equal v are peers: RANGE gives both of them 50, ROWS gives them 30 and 50.
    rows = [
        (1, 10, 1, 10, 10, 50),
        (1, 20, 2, 50, 30, 50),
        (1, 20, 2, 50, 50, 50),
        (2, None, 1, None, None, None),
    ]
    check(engine, plan, rows)


def test_filter_over_a_window(engine):
    first = WindowCall(
        "row_number",
        partition_by=(Column("age"),),
        order_by=(SortKey(Column("id"), descending=True),),
    )
    numbered = Window(input=people(), columns=(("n", first),))
    kept = Filter(input=numbered, predicate=call("equal", Column("n"), number(1)))
    check(engine, Project(input=kept, columns=names("id")), [(4,), (2,), (3,)])

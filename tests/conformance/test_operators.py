"""Leaves, rows one by one, order, sets and sharing, on every engine, against rows worked out by hand."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest

from tests.conformance.compare import assert_same_rows
from tests.conformance.engines import (
    call,
    check,
    memory,
    names,
    number,
    people,
    refusal,
    run,
    table,
)
from umbel.plan.expressions import (
    AggregateCall,
    Column,
    Literal,
    SortKey,
    WindowCall,
)
from umbel.plan.operators import (
    Aggregate,
    Count,
    Distinct,
    Element,
    Except,
    Explode,
    Filter,
    Intersect,
    Join,
    Limit,
    Operator,
    Placeholder,
    Project,
    Rows,
    Sample,
    Scan,
    Sort,
    ToFrame,
    Union,
    Window,
)
from umbel.plan.sources import MemorySource

NAN = float("nan")


def count_rows() -> AggregateCall:
    return AggregateCall("len")


def total(column: str, **modifiers: Any) -> AggregateCall:
    return AggregateCall("sum", (Column(column),), **modifiers)


# --- leaves ----------------------------------------------------------------------------------


def test_values(engine):
    check(engine, table(a=[1, None], b=["x", "y"]), [(1, "x"), (None, "y")])


def test_values_without_rows(engine):
    check(engine, table(a=pa.array([], pa.int32())), [])


def test_scan_takes_columns_and_a_predicate_over_others(engine):
    source = people().source
    plan = Scan(
        source=source, columns=("name",), predicate=call("greater", Column("id"), number(2))
    )
    check(engine, plan, [(None,), ("d",)])


def test_scan_gives_the_schema_types_whatever_the_layout_in_memory(engine):
    data = pa.table(
        {
            "s": pa.array(["x", None], pa.string_view()),
            "d": pa.array(["p", "q"]).dictionary_encode(),
        }
    )
    schema = pa.schema([("s", pa.string()), ("d", pa.string())])
    check(
        engine,
        Scan(source=MemorySource(schema=schema, token="views", data=data)),
        [("x", "p"), (None, "q")],
    )


def test_placeholder_takes_what_is_handed_to_the_stage(engine):
    plan = Filter(
        input=Placeholder(label="left side", columns=pa.schema([("a", pa.int64())])),
        predicate=call("less", Column("a"), number(2)),
    )
    result = run(engine, plan, {"left side": pa.table({"a": [1, 2, None]})})
    assert_same_rows(result, [(1,)])


def test_names_that_look_like_code(engine):
    data = pa.table({'a "b"': [1, 2], "select": [3, 4], "'; --": [5, 6], "x.y": [7, 8]})
    plan = Filter(
        input=Scan(source=MemorySource(schema=data.schema, token="names", data=data)),
        predicate=call("equal", Column("select"), number(4)),
    )
    check(engine, Project(input=plan, columns=names('a "b"', "'; --")), [(2, 6)])


@pytest.mark.parametrize("name", ["*", "^a.*$", ""])
def test_names_that_polars_reads_as_patterns(engine, name):
    data = pa.table({"a": [1], name: [2]})
    plan = Limit(
        input=Scan(source=MemorySource(schema=data.schema, token="patterns", data=data)), count=1
    )
    if engine == "polars":
        assert repr(name) in (refusal(engine, plan) or "")
    elif engine in ("duckdb", "postgres", "spark") and not name:
        assert "without a name" in (refusal(engine, plan) or "")
    else:
        check(engine, plan, [(1, 2)])


@pytest.mark.parametrize("how", ["scan", "join", "window"])
def test_names_that_differ_in_case_are_different_columns(engine, how):
    plans: dict[str, tuple[Operator, list[tuple[Any, ...]]]] = {
        "scan": (Project(input=memory(A=[1], a=[2]), columns=names("a")), [(2,)]),
        "join": (Join(left=memory(A=[1]), right=memory(a=[2]), how="cross"), [(1, 2)]),
        "window": (
            Window(input=memory(A=[5]), columns=(("a", WindowCall("row_number")),)),
            [(5, 1)],
        ),
    }
    plan, rows = plans[how]
    if engine == "duckdb":
        assert "differ only in case" in (refusal(engine, plan) or "")
    else:
        check(engine, plan, rows)


@pytest.mark.parametrize(
    "dtype",
    [
        pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(),
        pa.uint32(), pa.uint64(), pa.float32(), pa.float64(), pa.string(), pa.binary(),
        pa.date32(), pa.time64("us"), pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("us"),
        pa.timestamp("ns"), pa.timestamp("us", "UTC"), pa.timestamp("us", "Europe/Paris"),
        pa.duration("s"), pa.duration("us"), pa.decimal128(38, 10), pa.null(),
        pa.list_(pa.string()), pa.struct([("x", pa.int8()), ("y", pa.list_(pa.date32()))]),
    ],
    ids=str,
)  # fmt: skip
def test_types_come_out_as_they_went_in(engine, dtype):
    values = pa.array([None, None], dtype)
    plan = Project(input=memory(a=values, b=[1, 2]), columns=names("b", "a"))
    if engine == "spark" and dtype in (pa.uint64(), pa.timestamp("ns")):
        assert "column 'a': Spark" in (refusal(engine, plan) or "")
    else:
        check(engine, plan, [(1, None), (2, None)])


# --- rows one by one -------------------------------------------------------------------------


def test_project_renames_swaps_and_computes(engine):
    plan = Project(
        input=people(),
        columns=(
            ("age", Column("id")),
            ("id", Column("age")),
            ("next", call("add", Column("id"), number(1))),
        ),
    )
    check(engine, plan, [(1, 30, 2), (2, None, 3), (3, 20, 4), (4, 30, 5)])


def test_project_of_constants_keeps_the_number_of_rows(engine):
    plan = Project(input=people(), columns=(("one", number(1)), ("no", Literal(None, pa.string()))))
    check(engine, plan, [(1, None)] * 4)


def test_project_of_constants_over_no_rows(engine):
    nobody = Filter(input=people(), predicate=call("less", Column("id"), number(0)))
    check(engine, Project(input=nobody, columns=(("one", number(1)),)), [])


def test_filter_drops_false_and_null(engine):
    plan = Filter(input=people(), predicate=call("greater", Column("age"), number(25)))
    check(engine, plan, [(1, 30, "a"), (4, 30, "d")])


@pytest.mark.parametrize(("value", "kept"), [(True, 4), (False, 0), (None, 0)])
def test_filter_by_a_constant(engine, value, kept):
    plan = Count(input=Filter(input=people(), predicate=Literal(value, pa.bool_())))
    check(engine, plan, [(kept,)])


def test_filter_over_a_computed_column_used_twice(engine):
    doubled = Project(input=people(), columns=(("d", call("multiply", Column("id"), number(2))),))
    both = call(
        "and",
        call("greater", Column("d"), number(2)),
        call("less", Column("d"), number(8)),
    )
    check(engine, Filter(input=doubled, predicate=both), [(4,), (6,)])


def test_explode(engine):
    lists = memory(k=[1, 2, 3, 4], v=[[1, None], [], None, [2]])
    check(engine, Explode(input=lists, column="v"), [(1, 1), (1, None), (4, 2)])


def test_explode_outer_keeps_rows_without_items(engine):
    lists = memory(k=[1, 2, 3, 4], v=[[1, None], [], None, [2]])
    rows = [(1, 1), (1, None), (2, None), (3, None), (4, 2)]
    check(engine, Explode(input=lists, column="v", outer=True), rows)


def test_explode_a_list_of_lists_gives_lists(engine):
    check(
        engine, Explode(input=memory(v=[[[1], []], [None]]), column="v"), [([1],), ([],), (None,)]
    )


def test_rows_are_the_same_columns(engine):
    check(engine, Rows(input=table(a=[1, 2])), [(1,), (2,)])


def test_to_frame_of_tuples_names_the_columns(engine):
    pairs = Project(input=people(), columns=names("id", "name"), form=Element.TUPLE)
    schema = pa.schema([("number", pa.int64()), ("word", pa.string())])
    check(
        engine,
        ToFrame(input=pairs, columns=schema),
        [(1, "a"), (2, "b"), (3, None), (4, "d")],
    )


# --- order -----------------------------------------------------------------------------------


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("nulls_first", [False, True])
def test_sort_with_nulls_and_nan(engine, descending, nulls_first):
    numbers = [-1.0, 0.5, NAN][:: -1 if descending else 1]
    expected = [None, *numbers] if nulls_first else [*numbers, None]
    plan = Sort(
        input=memory(a=[0.5, None, NAN, -1.0]),
        keys=(SortKey(Column("a"), descending, nulls_first),),
    )
    check(engine, plan, [(value,) for value in expected], ordered=True)


def test_sort_text_by_code_points(engine):
    words = ["b", "B", "é", "z", "", "\U0001f600", "ab"]
    plan = Sort(input=memory(a=words), keys=(SortKey(Column("a")),))
    check(engine, plan, [(word,) for word in sorted(words)], ordered=True)


def test_sort_by_several_keys_one_of_them_constant(engine):
    keys = (
        SortKey(number(1)),
        SortKey(Column("age"), descending=True),
        SortKey(Column("id"), descending=True),
    )
    plan = Project(input=Sort(input=people(), keys=keys), columns=names("id"))
    check(engine, plan, [(4,), (1,), (3,), (2,)], ordered=True)


def test_order_is_seen_through_limit_filter_and_projection(engine):
    ordered = Sort(input=people(), keys=(SortKey(Column("id"), descending=True),))
    limited = Limit(input=ordered, count=3, offset=0)
    kept = Filter(input=limited, predicate=call("less", Column("id"), number(4)))
    doubled = call("add", Column("id"), Column("id"))
    plan = Limit(input=Project(input=kept, columns=(("d", doubled),)), count=None, offset=1)
    check(engine, plan, [(4,)], ordered=True)


def test_sort_by_a_column_that_the_projection_drops(engine):
    ordered = Sort(input=people(), keys=(SortKey(Column("name"), nulls_first=True),))
    twice = call("add", Column("id"), Column("id"))
    computed = Project(input=ordered, columns=(("t", twice),))
    plan = Project(input=computed, columns=(("u", call("add", Column("t"), Column("t"))),))
    check(engine, plan, [(12,), (4,), (8,), (16,)], ordered=True)


def test_sort_groups_by_their_aggregate(engine):
    groups = Aggregate(input=people(), keys=names("age"), aggregates=(("s", total("id")),))
    plan = Sort(input=groups, keys=(SortKey(Column("s"), descending=True),))
    check(engine, plan, [(30, 5), (20, 3), (None, 2)], ordered=True)


@pytest.mark.parametrize(
    ("count", "offset", "kept"), [(2, 0, 2), (2, 3, 1), (None, 1, 3), (0, 0, 0)]
)
def test_limit(engine, count, offset, kept):
    check(engine, Count(input=Limit(input=people(), count=count, offset=offset)), [(kept,)])


def test_limit_of_a_limit(engine):
    ordered = Sort(input=people(), keys=(SortKey(Column("id")),))
    plan = Limit(input=Limit(input=ordered, count=3, offset=1), count=5, offset=1)
    check(engine, Project(input=plan, columns=names("id")), [(3,), (4,)], ordered=True)


# --- sets ------------------------------------------------------------------------------------

ONE = {"a": pa.array([1, 1, None, 2], pa.int32()), "f": [NAN, NAN, -0.0, 1.0]}
TWO = {"a": pa.array([1, None, 3], pa.int64()), "f": [NAN, 0.0, 1.0]}


def test_distinct(engine):
    check(engine, Distinct(input=memory(**ONE)), [(1, NAN), (None, 0.0), (2, 1.0)])


def test_union_all_in_the_common_type(engine):
    plan = Union(members=(memory(**ONE), memory(**TWO)))
    rows = [(1, NAN), (1, NAN), (None, 0.0), (2, 1.0), (1, NAN), (None, 0.0), (3, 1.0)]
    check(engine, plan, rows)


def test_union_distinct(engine):
    plan = Union(members=(memory(**ONE), memory(**TWO), memory(**TWO)), distinct=True)
    check(engine, plan, [(1, NAN), (None, 0.0), (2, 1.0), (3, 1.0)])


def test_union_of_one(engine):
    check(engine, Union(members=(memory(a=[1, 1]),)), [(1,), (1,)])
    check(engine, Union(members=(memory(a=[1, 1]),), distinct=True), [(1,)])


def test_intersect(engine):
    plan = Intersect(left=memory(**ONE), right=memory(**TWO))
    check(engine, plan, [(1, NAN), (None, 0.0)])


def test_except(engine):
    plan = Except(left=memory(**ONE), right=memory(**TWO))
    check(engine, plan, [(2, 1.0)])


def test_set_operations_over_limits_keep_the_limits(engine):
    one = Limit(input=memory(a=[1, 1, 1]), count=2)
    check(engine, Union(members=(one, memory(a=[5]))), [(1,), (1,), (5,)])


def test_sample_takes_distinct_positions(engine):
    plan = Sample(input=memory(a=list(range(100))), count=10, seed=7)
    if refusal(engine, plan) is not None:
        assert engine in ("duckdb", "datafusion", "sqlite", "postgres", "spark")
        return
    expected = sorted(random.Random(7).sample(range(100), 10))
    check(engine, plan, [(position,) for position in expected])
    everything = Sample(input=memory(a=[1, 2]), count=5)
    check(engine, everything, [(1,), (2,)])


@pytest.mark.parametrize(("fraction", "size"), [(0.0, 0), (0.05, 4), (0.1, 9), (1.0, 99)])
def test_sample_of_a_fraction_is_rounded_down(engine, fraction, size):
    plan = Sample(input=memory(a=list(range(99))), fraction=fraction, seed=3)
    if refusal(engine, plan) is not None:
        assert engine in ("duckdb", "datafusion", "sqlite", "postgres", "spark")
        return
    expected = sorted(random.Random(3).sample(range(99), size))
    check(engine, plan, [(position,) for position in expected])


# --- shared operators ------------------------------------------------------------------------


def test_a_shared_limit_gives_the_same_rows_to_all_its_readers(engine):
    few = Limit(input=memory(a=list(range(1000))), count=7)
    same = Intersect(left=few, right=Project(input=few, columns=names("a")))
    check(engine, Count(input=same), [(7,)])


def test_a_shared_order_is_seen_by_each_reader(engine):
    ordered = Sort(input=people(), keys=(SortKey(Column("id"), descending=True),))
    top = Project(input=Limit(input=ordered, count=1), columns=names("id"))
    second = Project(input=Limit(input=ordered, count=1, offset=1), columns=names("id"))
    check(engine, Union(members=(top, second)), [(4,), (3,)])


def test_a_self_join(engine):
    doubled = Filter(input=people(), predicate=call("less", Column("id"), number(3)))
    other = Project(input=doubled, columns=(("other", Column("id")),))
    plan = Join(
        left=Project(input=doubled, columns=names("id")), right=other, on=(("id", "other"),)
    )
    check(engine, plan, [(1, 1), (2, 2)])

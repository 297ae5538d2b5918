"""Every relational operator, on every engine, against rows worked out by hand."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest

from tests.conformance.compare import assert_same_rows
from tests.conformance.engines import ENGINES, memory, platform, refusal, run, table
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Cast,
    Column,
    Expression,
    Frame,
    Literal,
    SortKey,
    WindowCall,
)
from umbel.plan.function_ref import PythonFunction
from umbel.plan.functions import CATALOGUE
from umbel.plan.operators import (
    OBJECT_SCHEMA,
    OPERATORS,
    Aggregate,
    Broadcast,
    Cartesian,
    CoGroup,
    Count,
    Distinct,
    DoWhile,
    Element,
    Except,
    Explode,
    Filter,
    FilterRows,
    FlatMap,
    GroupBy,
    GroupByKey,
    Intersect,
    Join,
    JoinByKey,
    Limit,
    Map,
    MapPartitions,
    Operator,
    Placeholder,
    Project,
    Reduce,
    ReduceBy,
    ReduceByKey,
    Repeat,
    Rows,
    Sample,
    Scan,
    Sort,
    SortBy,
    ToFrame,
    Union,
    Window,
    Write,
    ZipWithId,
)
from umbel.plan.sinks import ParquetSink
from umbel.plan.sources import MemorySource

NAN = float("nan")


@pytest.fixture(params=ENGINES)
def engine(request: Any) -> str:
    return str(request.param)


def check(
    engine: str, plan: Operator, expected: list[tuple[Any, ...]], *, ordered: bool = False
) -> None:
    """Run a plan; its rows and the types of its columns must be as expected."""
    result = run(engine, plan)
    assert result.schema.names == plan.schema.names
    assert result.schema.types == plan.schema.types
    assert_same_rows(result, expected, ordered=ordered, context=engine)


def number(value: int) -> Literal:
    return Literal(value, pa.int64())


def names(*columns: str) -> tuple[tuple[str, Expression], ...]:
    return tuple((name, Column(name)) for name in columns)


def call(function: str, *arguments: Expression) -> Call:
    return Call(function, arguments)


PEOPLE = {"id": [1, 2, 3, 4], "age": [30, None, 20, 30], "name": ["a", "b", None, "d"]}


def people() -> Scan:
    return memory(**PEOPLE)


# --- leaves -----------------------------------------------------------------------------------


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
    elif engine == "duckdb" and not name:
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
    check(engine, plan, [(1, None), (2, None)])


# --- rows one by one --------------------------------------------------------------------------


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


# --- joins ------------------------------------------------------------------------------------

LEFT = {"k": [1, 2, 2, None], "l": ["a", "b", "c", "d"]}
RIGHT = {"j": pa.array([2, 3, None, 2], pa.int32()), "r": ["p", "q", "s", "t"]}
PAIRS = [
    (2, "b", 2, "p"),
    (2, "b", 2, "t"),
    (2, "c", 2, "p"),
    (2, "c", 2, "t"),
]
LEFT_REST = [(1, "a", None, None), (None, "d", None, None)]
RIGHT_REST = [(None, None, 3, "q"), (None, None, None, "s")]

JOINS = {
    "inner": PAIRS,
    "left": PAIRS + LEFT_REST,
    "right": PAIRS + RIGHT_REST,
    "full": PAIRS + LEFT_REST + RIGHT_REST,
    "semi": [(2, "b"), (2, "c")],
    "anti": [(1, "a"), (None, "d")],
}


@pytest.mark.parametrize("how", JOINS)
def test_join_by_keys_of_two_integer_types(engine, how):
    plan = Join(left=memory(**LEFT), right=memory(**RIGHT), how=how, on=(("k", "j"),))
    check(engine, plan, JOINS[how])


RESIDUAL: dict[str, list[tuple[Any, ...]]] = {
    "inner": [(2, "b", 2, "p")],
    "left": [(2, "b", 2, "p"), (1, "a", None, None), (2, "c", None, None), (None, "d", None, None)],
    "right": [
        (2, "b", 2, "p"),
        (None, None, 3, "q"),
        (None, None, None, "s"),
        (None, None, 2, "t"),
    ],
    "semi": [(2, "b")],
    "anti": [(1, "a"), (2, "c"), (None, "d")],
}
RESIDUAL["full"] = RESIDUAL["left"] + RESIDUAL["right"][1:]


@pytest.mark.parametrize("how", RESIDUAL)
def test_join_with_a_residual_condition(engine, how):
    only = call(
        "and",
        call("equal", Column("l"), Literal("b", pa.string())),
        call("equal", Column("r"), Literal("p", pa.string())),
    )
    plan = Join(
        left=memory(**LEFT), right=memory(**RIGHT), how=how, on=(("k", "j"),), residual=only
    )
    check(engine, plan, RESIDUAL[how])


LESS = {
    "inner": [(1, 2), (1, 3), (2, 3)],
    "left": [(1, 2), (1, 3), (2, 3), (4, None), (None, None)],
    "right": [(1, 2), (1, 3), (2, 3), (None, 0)],
    "full": [(1, 2), (1, 3), (2, 3), (4, None), (None, None), (None, 0)],
    "semi": [(1,), (2,)],
    "anti": [(4,), (None,)],
}


@pytest.mark.parametrize("how", LESS)
def test_join_without_keys(engine, how):
    plan = Join(
        left=memory(a=[1, 2, 4, None]),
        right=memory(b=[2, 3, 0]),
        how=how,
        residual=call("less", Column("a"), Column("b")),
    )
    check(engine, plan, LESS[how])


def test_cross_join(engine):
    plan = Join(left=memory(a=[1, None]), right=memory(b=["x", "y"]), how="cross")
    check(engine, plan, [(1, "x"), (1, "y"), (None, "x"), (None, "y")])


@pytest.mark.parametrize("how", ["inner", "semi", "anti"])
def test_nan_keys_match_and_zeros_are_one_key(engine, how):
    expected = {
        "inner": [(NAN, NAN), (0.0, 0.0)],
        "semi": [(NAN,), (0.0,)],
        "anti": [(None,)],
    }
    plan = Join(
        left=memory(a=[NAN, -0.0, None]),
        right=memory(b=[NAN, 0.0, None]),
        how=how,
        on=(("a", "b"),),
    )
    check(engine, plan, expected[how])


def test_join_of_a_signed_and_an_unsigned_64_bit_key(engine):
    plan = Join(
        left=memory(a=pa.array([-1, 2**63 - 1], pa.int64())),
        right=memory(b=pa.array([2**64 - 1, 2**63 - 1], pa.uint64())),
        on=(("a", "b"),),
    )
    check(engine, plan, [(2**63 - 1, 2**63 - 1)])


def test_a_chain_of_joins_with_filters_between(engine):
    first = Join(left=memory(a=[1, 2, 3]), right=memory(b=[1, 2, 4]), how="left", on=(("a", "b"),))
    kept = Filter(input=first, predicate=call("is_null", Column("b")))
    plan = Join(left=kept, right=memory(c=[3, 1]), on=(("a", "c"),))
    check(engine, plan, [(3, None, 3)])


# --- groups -----------------------------------------------------------------------------------


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
    check(engine, plan, [(1, 12, 12, 5, 3), (2, None, None, None, 0)])


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


# --- windows ----------------------------------------------------------------------------------


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


# --- order ------------------------------------------------------------------------------------


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


# --- sets -------------------------------------------------------------------------------------

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
        assert engine == "duckdb"
        return
    expected = sorted(random.Random(7).sample(range(100), 10))
    check(engine, plan, [(position,) for position in expected])
    everything = Sample(input=memory(a=[1, 2]), count=5)
    check(engine, everything, [(1,), (2,)])


# --- shared operators -------------------------------------------------------------------------


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


# --- completeness -----------------------------------------------------------------------------


def _function() -> PythonFunction:
    return PythonFunction.of(str.upper)


def one_of_each() -> dict[str, Operator]:
    """A plan whose root is the operator, for every operator there is."""
    rows = memory(a=[1, 2], l=[[1], [2]])
    other = memory(b=[1, 2])
    objects = Scan(source=MemorySource(schema=OBJECT_SCHEMA, token="o", form="object", data=[1]))
    function = _function()
    single = Project(input=rows, columns=names("a"))
    start = Placeholder(label="round", columns=single.schema)
    window = WindowCall("row_number", order_by=(SortKey(Column("a")),))
    yes = Literal(True, pa.bool_())
    condition = Project(input=start, columns=(("value", yes),), form=Element.VALUE)
    plans: list[Operator] = [
        rows,
        table(a=[1]),
        single,
        Filter(input=rows, predicate=yes),
        Join(left=rows, right=other, on=(("a", "b"),)),
        Aggregate(input=rows, aggregates=(("n", count_rows()),)),
        Window(input=rows, columns=(("n", window),)),
        Sort(input=rows, keys=(SortKey(Column("a")),)),
        Limit(input=rows, count=1),
        Distinct(input=single),
        Union(members=(single, single)),
        Intersect(left=single, right=single),
        Except(left=single, right=single),
        Sample(input=rows, count=1),
        Explode(input=rows, column="l"),
        Map(input=objects, function=function),
        FlatMap(input=objects, function=function),
        FilterRows(input=objects, function=function),
        MapPartitions(input=objects, function=function),
        ReduceByKey(input=objects, function=function),
        ReduceBy(input=objects, key=function, function=function),
        GroupByKey(input=objects),
        GroupBy(input=objects, key=function),
        Reduce(input=objects, function=function),
        JoinByKey(left=objects, right=objects),
        CoGroup(left=objects, right=objects),
        Cartesian(left=objects, right=objects),
        SortBy(input=objects, key=function),
        ZipWithId(input=rows),
        Count(input=rows),
        Rows(input=rows),
        ToFrame(input=Rows(input=single), columns=single.schema),
        Broadcast(input=rows, keyword="k"),
        start,
        Repeat(initial=single, body=start, labels=("round",), times=2),
        DoWhile(initial=single, body=start, labels=("round",), condition=condition),
        Write(input=rows, sink=ParquetSink(path="never-written.parquet")),
    ]
    return {plan.name: plan for plan in plans}


#: What an engine refuses as a whole class; all other operators it compiles.
RELATIONAL = {
    "Scan", "Values", "Placeholder", "Project", "Filter", "Join", "Aggregate", "Window", "Sort",
    "Limit", "Distinct", "Union", "Intersect", "Except", "Sample", "Explode", "Count", "Rows",
    "ToFrame",
}  # fmt: skip
COMPILED = {"polars": RELATIONAL, "duckdb": RELATIONAL - {"Sample"}}


@pytest.mark.parametrize("engine", COMPILED)
def test_every_operator_is_compiled_or_refused_with_a_reason(engine):
    plans = one_of_each()
    assert plans.keys() == OPERATORS.keys()
    for name, plan in plans.items():
        reason = platform(engine).refuse(plan)
        if name in COMPILED[engine]:
            assert reason is None, f"{engine} refuses {name}: {reason}"
        else:
            assert reason, f"{engine} gives no reason against {name}"


@pytest.mark.parametrize("engine", COMPILED)
def test_every_function_has_a_form_or_is_absent(engine):
    module = __import__(f"umbel.platforms.{engine}.functions", fromlist=["forms"])
    assert module.forms().keys() == set(CATALOGUE.names())


@pytest.mark.parametrize("engine", COMPILED)
def test_python_objects_are_refused(engine):
    objects = Scan(source=MemorySource(schema=OBJECT_SCHEMA, token="o", form="object", data=[1]))
    for plan in (objects, Limit(input=objects, count=1)):
        assert "Python objects" in (platform(engine).refuse(plan) or "")


@pytest.mark.parametrize("engine", COMPILED)
def test_a_cast_inside_any_operator_is_asked_for(engine):
    odd = Cast(Column("a"), pa.timestamp("ns", "UTC"))
    plan = Project(input=memory(a=pa.array([0], pa.timestamp("us", "UTC"))), columns=(("b", odd),))
    assert (platform(engine).refuse(plan) is None) == (engine == "polars")

"""A DataFrame's methods build the plan that they say, and find mistakes when they are called."""

from __future__ import annotations

import pyarrow as pa
import pytest

import umbel as ub
from umbel import col
from umbel.plan.expressions import AggregateCall, Call, Column, Literal, SortKey, WindowCall
from umbel.plan.operators import (
    Aggregate,
    Distinct,
    Filter,
    Join,
    Limit,
    Operator,
    Project,
    Scan,
    Sort,
    Union,
    Values,
    Window,
    topological,
)
from umbel.plan.types import type_name

ID, PRICE, CUSTOMER = Column("id"), Column("price"), Column("customer")


def names(frame: ub.DataFrame) -> list[str]:
    """The operators of a plan, the last first."""
    return [operator.name for operator in reversed(topological(frame.plan))]


def types(frame: ub.DataFrame) -> dict[str, str]:
    return {f.name: type_name(f.type) for f in frame.schema}


def integer(value: int) -> Literal:
    return Literal(value, pa.int64())


# --- columns ---------------------------------------------------------------------------------------


def test_select_gives_the_columns_in_the_order_given(orders):
    frame = orders.select("price", ["id", col("customer")], twice=col("id") * 2)
    assert types(frame) == {
        "price": "float64",
        "id": "int64",
        "customer": "string",
        "twice": "int64",
    }
    assert names(frame) == ["Project", "Scan"]


def test_select_of_all_columns_is_no_operator(orders):
    assert orders.select("*").plan is orders.plan
    assert orders.select(ub.all()).columns == orders.columns


def test_aggregates_alone_give_one_row(orders):
    frame = orders.select(ub.len(), (col("price").sum() / ub.len()).alias("mean"))
    assert isinstance(frame.plan, Project)
    aggregate = frame.plan.input
    assert isinstance(aggregate, Aggregate)
    assert [call for _, call in aggregate.aggregates] == [
        AggregateCall("len"),
        AggregateCall("sum", (PRICE,)),
    ]
    assert aggregate.keys == ()
    assert types(frame) == {"len": "int64", "mean": "float64"}


def test_an_aggregate_that_is_a_column_needs_no_projection(orders):
    assert names(orders.select(ub.sum("price"))) == ["Aggregate", "Scan"]


def test_an_aggregate_beside_columns_goes_to_every_row(orders):
    frame = orders.select("id", total=col("price").sum())
    assert names(frame) == ["Project", "Window", "Scan"]
    assert isinstance(frame.plan, Project)
    window = frame.plan.input
    assert isinstance(window, Window)
    assert window.columns == (("total", WindowCall("sum", (PRICE,))),)


def test_constants_alone_give_one_row(orders):
    frame = orders.select(ub.lit(1).alias("one"))
    assert isinstance(frame.plan, Project)
    values = frame.plan.input
    assert isinstance(values, Values)
    assert values.table.num_rows == 1


def test_with_columns_replaces_and_appends(orders):
    frame = orders.with_columns(price=col("price") * 2, cheap=col("price") < 3)
    assert frame.columns == [*orders.columns, "cheap"]
    assert types(frame)["cheap"] == "bool"
    assert isinstance(frame.plan, Project)
    assert dict(frame.plan.columns)["price"] == Call("multiply", (PRICE, integer(2)))


def test_a_new_window_column_is_an_operator_of_its_own(orders):
    frame = orders.with_columns(n=ub.row_number().over("customer", order_by="id"))
    assert names(frame) == ["Window", "Scan"]
    assert frame.columns == [*orders.columns, "n"]


def test_equal_windows_are_computed_once(orders):
    total = col("price").sum().over("customer")
    frame = orders.with_columns(share=col("price") / total, rest=total - col("price"))
    windows = [o for o in topological(frame.plan) if isinstance(o, Window)]
    assert [len(w.columns) for w in windows] == [1]


def test_a_window_over_a_window_is_computed_after_it(orders):
    rank = col("price").rank("min").over("customer")
    frame = orders.with_columns(best=rank.max())
    windows = [o for o in topological(frame.plan) if isinstance(o, Window)]
    assert len(windows) == 2
    assert frame.columns == [*orders.columns, "best"]


def test_text_is_concatenated_and_integers_are_combined_bit_by_bit(orders):
    frame = orders.select(
        name=col("customer") + "!", bits=col("id") & 6, mask=~col("id"), both=(col("id") > 1) & True
    )
    assert isinstance(frame.plan, Project)
    found = dict(frame.plan.columns)
    exclamation = Literal("!", pa.string())
    assert found["name"] == Call("concat", (CUSTOMER, exclamation))
    assert found["bits"] == Call("bitwise_and", (ID, integer(6)))
    assert found["mask"] == Call("bitwise_not", (ID,))
    assert isinstance(found["both"], Call)
    assert found["both"].function == "and"


def test_drop_rename_and_cast(orders):
    assert orders.drop("tags", "day").columns == ["id", "customer", "price"]
    assert orders.drop("nothing", strict=False).plan is orders.plan
    assert orders.rename({"id": "key"}).columns[0] == "key"
    assert types(orders.cast({"id": "int32"}))["id"] == "int32"
    assert types(orders.select("id", "price").cast(str)) == {"id": "string", "price": "string"}


def test_with_row_index_counts_from_the_offset(orders):
    frame = orders.with_row_index("n", offset=1, order_by="id")
    assert frame.columns == ["n", *orders.columns]
    assert types(frame)["n"] == "int64"


# --- rows ------------------------------------------------------------------------------------------


def test_filter_takes_all_predicates_together(orders):
    frame = orders.filter(col("price") > 3, customer="ann")
    assert isinstance(frame.plan, Filter)
    assert frame.plan.predicate == Call(
        "and",
        (
            Call("greater", (PRICE, integer(3))),
            Call("equal", (CUSTOMER, Literal("ann", pa.string()))),
        ),
    )


def test_filter_by_a_window_leaves_no_trace_in_the_columns(orders):
    frame = orders.filter(col("price") > col("price").mean())
    assert names(frame) == ["Project", "Filter", "Window", "Scan"]
    assert frame.schema == orders.schema


def test_sort_puts_nulls_last_unless_asked(orders):
    frame = orders.sort("price", col("id") % 2, descending=[True, False])
    assert isinstance(frame.plan, Sort)
    assert frame.plan.keys == (
        SortKey(PRICE, descending=True),
        SortKey(Call("modulo", (ID, integer(2)))),
    )
    first = orders.sort("price", nulls_last=False).plan
    assert isinstance(first, Sort)
    assert first.keys[0].nulls_first
    assert orders.sort(ub.len().over("customer")).schema == orders.schema


def test_limits(orders):
    for frame, count, offset in [
        (orders.limit(3), 3, 0),
        (orders.head(2), 2, 0),
        (orders.slice(2), None, 2),
        (orders.slice(1, 2), 2, 1),
    ]:
        assert isinstance(frame.plan, Limit)
        assert (frame.plan.count, frame.plan.offset) == (count, offset)


def test_unique_without_a_subset_is_distinct(orders):
    plain = orders.select("id", "customer")
    assert isinstance(plain.unique().plan, Distinct)
    by_customer = plain.unique("customer")
    assert by_customer.schema == plain.schema
    [window] = [o for o in topological(by_customer.plan) if isinstance(o, Window)]
    [(_, call)] = window.columns
    # Any row will do, but every engine must take the same: the first by the other columns.
    assert call == WindowCall("row_number", (), (CUSTOMER,), (SortKey(ID),))


def test_explode_gives_the_items_type(orders):
    assert types(orders.explode("tags"))["tags"] == "string"


# --- groups ----------------------------------------------------------------------------------------


def test_group_by_gives_keys_and_aggregates(orders):
    frame = orders.group_by("customer", year=col("day").dt.year()).agg(
        ub.len(), total=col("price").sum(), span=col("price").max() - col("price").min()
    )
    assert types(frame) == {
        "customer": "string",
        "year": "int64",
        "len": "int64",
        "total": "float64",
        "span": "float64",
    }
    assert names(frame) == ["Project", "Aggregate", "Scan"]


def test_a_key_may_stand_beside_aggregates(orders):
    frame = orders.group_by(col("id") % 2).agg(x=(col("id") % 2) + ub.len())
    assert frame.columns == ["id", "x"]


def test_one_aggregate_used_twice_is_computed_once(orders):
    total = col("price").sum()
    frame = orders.group_by("customer").agg(a=total, b=total * 2)
    [aggregate] = [o for o in topological(frame.plan) if isinstance(o, Aggregate)]
    assert len(aggregate.aggregates) == 1


def test_the_aggregates_of_all_columns(orders):
    plain = orders.drop("tags")
    assert plain.group_by("customer").len().columns == ["customer", "len"]
    assert plain.group_by("customer").sum().columns == ["customer", "id", "price"]
    assert plain.group_by("customer").max().columns == ["customer", "id", "price", "day"]
    assert plain.group_by("customer").agg().columns == ["customer"]


def test_distinct_and_filtered_aggregates(orders):
    frame = orders.select(
        col("price").sum(distinct=True), n=col("price").filter(col("id") > 1).count()
    )
    [aggregate] = [o for o in topological(frame.plan) if isinstance(o, Aggregate)]
    condition = Call("greater", (ID, integer(1)))
    assert dict(aggregate.aggregates) == {
        "price": AggregateCall("sum", (PRICE,), distinct=True),
        "n": AggregateCall("count", (PRICE,), where=condition),
    }


def test_describe_has_a_row_per_statistic_and_a_column_per_column(orders):
    frame = orders.describe()
    assert types(frame) == {
        "statistic": "string",
        "id": "float64",
        "customer": "string",
        "price": "float64",
        "day": "string",
        "tags": "string",
    }
    assert isinstance(frame.plan, Union)
    assert len(frame.plan.members) == 9
    assert len([o for o in topological(frame.plan) if isinstance(o, Aggregate)]) == 1


# --- bookkeeping -----------------------------------------------------------------------------------


def test_every_operator_knows_the_line_that_wrote_it(orders):
    frame = orders.filter(col("id") > 1).group_by("customer").agg(x=ub.len() + 1)
    for operator in topological(frame.plan):
        assert operator.origin is not None
        assert operator.origin.file.endswith(("test_dataframe.py", "conftest.py"))


def test_on_pins_what_the_last_method_does_and_nothing_else(orders):
    frame = orders.filter(col("id") > 1).group_by("customer").agg(x=ub.len() + 1).on("polars")
    pins = {operator.name: operator.pin for operator in topological(frame.plan)}
    assert pins == {"Scan": "", "Filter": "", "Aggregate": "polars", "Project": "polars"}
    joined = orders.join(orders.limit(1), on="id").on("python")
    assert {o.name for o in topological(joined.plan) if o.pin} <= {"Project", "Join"}
    assert [o.pin for o in topological(joined.plan) if isinstance(o, Join)] == ["python"]


def test_a_plan_goes_to_json_and_back(session, orders):
    frame = orders.filter(col("id") > 1).select(x=col("price").round(1))
    scan = topological(frame.plan)[0]
    assert isinstance(scan, Scan)
    read = ub.plan_from_json(frame.to_json())
    assert read == frame.plan
    assert isinstance(session.from_plan(read), ub.DataFrame)


def test_pipe_calls_a_function_on_the_frame(orders):
    assert orders.pipe(lambda frame, n: frame.limit(n), 2).plan == orders.limit(2).plan


# --- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda df: df.select("prise"), r"unknown column 'prise'\n.*did you mean 'price'"),
        (lambda df: df.filter(col("coustomer") == "x"), "did you mean 'customer'"),
        (lambda df: df.select(col("price").dt.year()), "takes"),
        (lambda df: df.filter(col("price")), "must be a boolean"),
        (lambda df: df.select("id", id=col("price")), "'id' is defined twice"),
        (lambda df: df.with_columns(x=col("id"), y=1).select(), "at least one column"),
        (lambda df: df.drop("idd"), "unknown column 'idd' in drop"),
        (lambda df: df.drop(df.columns), "leaves no column"),
        (lambda df: df.rename({"idd": "x"}), "did you mean 'id'"),
        (lambda df: df.rename({"id": "price"}), "defined twice"),
        (lambda df: df.group_by("customer").agg("price"), "neither a key of the group"),
        (lambda df: df.group_by("customer").agg(col("id").sum().alias("customer")), "twice"),
        (lambda df: df.group_by().agg(ub.len()), "at least one key"),
        (lambda df: df.group_by("customer").agg(col("price").first()), "depends on an order"),
        (lambda df: df.group_by("customer").agg(ub.len().over("id")), "among aggregates"),
        (lambda df: df.with_columns(x=col("id").shift()), r"lag depends on an order"),
        (lambda df: df.with_columns(x=col("id").cum_sum()), "depends on an order"),
        (lambda df: df.with_columns(x=ub.row_number()), "depends on an order"),
        (lambda df: df.sort("tags"), "cannot sort by tags"),
        (lambda df: df.sort("id", descending=[True, False]), "1 keys, but 2 values"),
        (lambda df: df.explode("price"), "explode needs a list"),
        (lambda df: df.limit(-1), "cannot be negative"),
        (lambda df: df.union(df.select("id")), "different columns"),
        (lambda df: df.union(df.with_columns(id=ub.lit("x"))), "no common type"),
        (lambda df: df.join([1], on="id"), "join\\(\\) takes DataFrame as other"),
        (lambda df: df.unique("customer", keep="first"), "needs an order"),
        (lambda df: df.unique("customer", keep="best"), "keep is"),
        (lambda df: df.with_row_index(), "needs an order"),
        (lambda df: df.on("duckbd"), "did you mean 'duckdb'"),
        (lambda df: df.select(col("id").cast("list<int64>")), "cast|no common type"),
        (lambda df: bool(df), "no truth value"),
        (lambda df: len(df), r"use \.count\(\)"),
        (lambda df: df.select(x=ub.all()), "takes one column"),
    ],
)
def test_a_mistake_is_an_error_at_the_line_that_wrote_it(orders, build, message):
    with pytest.raises(ub.UmbelError, match=message) as caught:
        build(orders)
    assert str(caught.value).count("\n  at ") == 1
    assert f"{__file__}:" in str(caught.value)


def test_an_operator_that_is_not_on_the_list_is_no_method(orders):
    with pytest.raises(AttributeError):
        orders.pivot


def test_handles_share_operators(orders):
    base: Operator = orders.filter(col("id") > 1).plan
    both = orders.filter(col("id") > 1)
    assert both.plan == base
    joined = both.join(both, on="id", suffix="_2")
    assert sum(isinstance(o, Filter) for o in topological(joined.plan)) == 1

"""Expressions say what they stand for, and refuse what Python would silently misread."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pyarrow as pa
import pytest

import umbel as ub
from umbel import col, lit
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Case,
    Cast,
    Column,
    Frame,
    Literal,
    WindowCall,
)
from umbel.plan.functions import CATALOGUE
from umbel.plan.types import type_name

A, B = Column("a"), Column("b")


@pytest.mark.parametrize(
    ("expression", "function"),
    [
        (col("a") + col("b"), "add"),
        (col("a") - col("b"), "subtract"),
        (col("a") * col("b"), "multiply"),
        (col("a") / col("b"), "divide"),
        (col("a") // col("b"), "floor_divide"),
        (col("a") % col("b"), "modulo"),
        (col("a") ** col("b"), "power"),
        (col("a") == col("b"), "equal"),
        (col("a") != col("b"), "not_equal"),
        (col("a") < col("b"), "less"),
        (col("a") <= col("b"), "less_equal"),
        (col("a") > col("b"), "greater"),
        (col("a") >= col("b"), "greater_equal"),
        (col("a") & col("b"), "and"),
        (col("a") | col("b"), "or"),
        (col("a") ^ col("b"), "xor"),
    ],
)
def test_an_operator_is_a_function_of_both_sides(expression: ub.Expr, function: str):
    assert expression.node == Call(function, (A, B))
    assert function in CATALOGUE


@pytest.mark.parametrize(
    ("expression", "function"),
    [
        (2 + col("a"), "add"),
        (2 - col("a"), "subtract"),
        (2 * col("a"), "multiply"),
        (2 / col("a"), "divide"),
        (2 // col("a"), "floor_divide"),
        (2 % col("a"), "modulo"),
        (2 ** col("a"), "power"),
    ],
)
def test_a_constant_on_the_left_stays_on_the_left(expression: ub.Expr, function: str):
    assert expression.node == Call(function, (Literal(2, pa.int64()), A))


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        (1, "int64"),
        (2**63, "uint64"),
        (2**64, "decimal(38,0)"),
        (True, "bool"),
        (1.5, "float64"),
        ("x", "string"),
        (b"x", "binary"),
        (None, "null"),
        (Decimal("1.10"), "decimal(3,2)"),
        (datetime.date(2020, 1, 1), "date"),
        (datetime.datetime(2020, 1, 1), "timestamp[us]"),
        (datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC), "timestamp[us,UTC]"),
        (datetime.timedelta(days=1), "duration[us]"),
        (datetime.time(1, 2), "time"),
        ([1, 2], "list<int64>"),
        ({"x": 1, "y": "z"}, "struct<x: int64, y: string>"),
    ],
)
def test_a_constant_has_the_type_of_its_python_value(value, dtype):
    node = lit(value).node
    assert isinstance(node, Literal)
    assert type_name(node.dtype) == dtype
    assert node.value == value


def test_a_constant_of_a_numpy_scalar_is_its_value():
    numpy = pytest.importorskip("numpy")
    assert lit(numpy.int32(7)).node == Literal(7, pa.int64())


@pytest.mark.parametrize("value", [object(), "a\ud800", 10**40, Decimal("nan")])
def test_a_value_without_a_type_is_no_constant(value):
    with pytest.raises(ub.TypeClashError, match="cannot be a constant"):
        lit(value)


def test_text_in_an_operator_is_text_and_in_a_function_a_column():
    assert (col("a") == "b").node == Call("equal", (A, Literal("b", pa.string())))
    assert ub.coalesce("a", "b").node == Call("coalesce", (A, B))


def test_names_come_from_the_left():
    def name(expression: ub.Expr) -> str:
        return expression.expand(())[0][0]

    assert name(col("a") + col("b")) == "a"
    assert name(1 + col("a")) == "literal"
    assert name(col("a").sum()) == "a"
    assert name(ub.len()) == "len"
    assert name((col("a") + 1).alias("c")) == "c"
    assert name(ub.when(col("a") > 1).then("b").otherwise(0)) == "b"
    assert name(col("s").struct.field("f")) == "f"
    assert name(col("a").max().name.suffix("_max").name.prefix("the_")) == "the_a_max"


@pytest.mark.parametrize(
    "misuse",
    [
        lambda: bool(col("a")),
        lambda: col("a") and col("b"),
        lambda: not col("a"),
        lambda: 1 < col("a") < 3,
        lambda: 3 if col("a") == 1 else 4,
        lambda: col("a") in [1, 2],
    ],
)
def test_an_expression_has_no_truth_value(misuse):
    with pytest.raises(ub.PlanError, match=r"no truth value.*\n.*use & for `and`"):
        misuse()


def test_python_protocols_that_need_data_say_so():
    with pytest.raises(ub.PlanError, match=r"ub\.len\(\)"):
        len(col("a"))
    with pytest.raises(ub.PlanError, match="is_in"):
        1 in col("a")  # noqa: B015
    with pytest.raises(ub.PlanError, match="cannot be iterated"):
        list(col("a"))


def test_an_error_names_the_line_that_wrote_it_once():
    with pytest.raises(ub.PlanError) as caught:
        col("a").over("g")
    assert str(caught.value).count(f"{__file__}:") == 1


def test_several_columns_expand_where_a_frame_is_known():
    both = (col("a", "b") * 2).name.suffix("2")
    assert [name for name, _ in both.expand(["a", "b", "c"])] == ["a2", "b2"]
    assert [n for n, _ in ub.all().max().expand(["a", "b"])] == ["a", "b"]
    assert [n for n, _ in col("*").expand(["a", "b"])] == ["a", "b"]
    assert [n for n, _ in ub.exclude("a").expand(["a", "b", "c"])] == ["b", "c"]
    with pytest.raises(ub.UnknownNameError, match="did you mean 'price'"):
        col("prise", "a").expand(["price", "a"])
    with pytest.raises(ub.PlanError, match="two selections"):
        col("a", "b") + ub.all()


def test_cast_takes_types_in_many_forms():
    for form in ("decimal(15,2)", pa.decimal128(15, 2)):
        assert col("a").cast(form).node == Cast(A, pa.decimal128(15, 2))
    assert col("a").cast(int, strict=False).node == Cast(A, pa.int64(), strict=False)
    assert col("a").cast(list[str]).node == Cast(A, pa.list_(pa.string()))
    assert col("a").cast(int | None).node == Cast(A, pa.int64())
    with pytest.raises(ub.UnknownNameError, match="did you mean 'int64'"):
        col("a").cast("int46")
    with pytest.raises(ub.TypeClashError, match="not a type"):
        col("a").cast(object)


def test_when_builds_a_case_with_all_branches():
    case = ub.when(col("a") > 1).then(1).when(col("b")).then(2).otherwise(3)
    one, two, three = (Literal(i, pa.int64()) for i in (1, 2, 3))
    assert case.node == Case(((Call("greater", (A, one)), one), (B, two)), three)
    assert ub.when("a", col("b")).then(1).node == Case(((Call("and", (A, B)), one),))


def test_then_is_an_expression_that_can_be_computed_with():
    assert isinstance((ub.when("a").then(1) + 1).node, Call)
    assert ub.when("a").then(1).alias("x").expand(())[0][0] == "x"


def test_filter_goes_into_the_aggregate_from_either_side():
    wanted = AggregateCall("sum", (A,), where=B)
    assert col("a").filter(col("b")).sum().node == wanted
    assert col("a").sum().filter(col("b")).node == wanted
    twice = col("a").filter(col("b")).filter(col("c")).sum().node
    assert twice == AggregateCall("sum", (A,), where=Call("and", (B, Column("c"))))
    assert col("a").filter(col("b")).len().node == AggregateCall("len", where=B)


def test_a_filtered_expression_goes_with_constants_only():
    filtered = col("a").filter(col("b"))
    assert (filtered * 2).sum().node == AggregateCall(
        "sum", (Call("multiply", (A, Literal(2, pa.int64()))),), where=B
    )
    with pytest.raises(ub.PlanError, match="other rows"):
        filtered + col("c")
    with pytest.raises(ub.PlanError, match="fewer rows"):
        filtered.expand(())
    with pytest.raises(ub.PlanError, match="before an aggregate"):
        (col("a").sum() + 1).filter(col("b"))


def test_over_computes_every_aggregate_of_an_expression():
    share = (col("a") / col("a").sum()).over("g")
    assert share.node == Call("divide", (A, WindowCall("sum", (A,), (Column("g"),))))


def test_over_is_of_the_whole_partition_unless_rows_are_given():
    order = col("a").sum().over("g", order_by="b").node
    assert order == WindowCall("sum", (A,), (Column("g"),))
    running = col("a").sum().over("g", order_by="b", rows=(None, 0)).node
    assert isinstance(running, WindowCall)
    assert running.frame == Frame("rows", None, 0)
    first = col("a").first().over("g", order_by="b").node
    assert isinstance(first, WindowCall)
    assert first.frame == Frame("rows", None, None)


def test_a_filtered_aggregate_over_a_window_takes_a_case():
    node = col("a").filter(col("b")).sum().over("g").node
    assert node == WindowCall("sum", (Case(((B, A),)),), (Column("g"),))
    counted = ub.len().filter(col("b")).over("g").node
    assert counted == WindowCall(
        "count", (Case(((B, Literal(True, pa.bool_())),)),), (Column("g"),)
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: col("a").over("g"), "no aggregate or window"),
        (lambda: col("a").sum().over(), "needs columns to partition by"),
        (lambda: col("a").sum().over("g").over("h"), "twice"),
        (lambda: col("a").sum(distinct=True).over("g"), "distinct"),
        (lambda: col("a").sum().over("g", rows=(-1, 0)), "needs an order"),
        (lambda: col("a").rank().over("g", order_by="b"), "order of its own"),
        (lambda: col("a").first().filter(col("b")).over("g"), "takes nulls"),
        (lambda: col("a").cum_sum().over(order_by="b", rows=(-1, 0)), r"takes no rows"),
        (lambda: col("a").quantile(2), "between 0 and 1"),
        (lambda: col("a").std(2), "ddof"),
        (lambda: col("a").is_in("abc"), "list of constants"),
        (lambda: col("a").is_between(1, 2, closed="open"), "closed is"),
        (lambda: col("a").rank("first"), "method is"),
        (lambda: col("a").lag(-1), "use shift"),
        (lambda: col("a").dt.truncate("2d"), "one unit"),
        (lambda: col("a").dt.truncate("1 fortnight"), "unknown unit"),
        (lambda: col("a").replace([1, 2], [3]), "2 old values"),
        (lambda: col(""), "name is text"),
    ],
)
def test_a_mistake_is_named(build, message):
    with pytest.raises(ub.PlanError, match=message):
        build()


def test_polars_replacement_groups_become_the_catalogues():
    node = col("a").str.replace(r"(\d)", r"<$1\>").node
    assert node == Call(
        "regexp_replace",
        (A, Literal(r"(\d)", pa.string()), Literal(r"<\1\\>", pa.string())),
    )
    with pytest.raises(ub.PlanError, match=r"\$ that is no group"):
        col("a").str.replace("x", "$y")


@pytest.mark.parametrize(
    ("offset", "length"), [(0, 2), (1, None), (-3, 2), (-3, 3), (-3, 5), (2, 0), (-2, None)]
)
@pytest.mark.parametrize("text", ["", "a", "ab", "abcd", "abcdef"])
def test_slice_means_what_python_slicing_of_that_many_characters_means(text, offset, length):
    """From `offset` (from the end if negative), the characters at the next `length` places."""
    start = offset if offset >= 0 else len(text) + offset
    places = range(start, len(text) if length is None else start + length)
    expected = "".join(text[i] for i in places if 0 <= i < len(text))
    call = col("a").str.slice(offset, length).node
    assert isinstance(call, Call)
    arguments = [node.value for node in call.arguments[1:] if isinstance(node, Literal)]
    assert CATALOGUE[call.function].reference(text, *arguments) == expected

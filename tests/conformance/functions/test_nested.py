"""Lists and structs: every function on every engine."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from functools import partial
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings

from tests.conformance.functions.check import Raises, call, check, constant, same
from tests.conformance.functions.values import array, tables
from umbel.plan.errors import PlanError
from umbel.plan.expressions import Call, Literal
from umbel.plan.functions import nested
from umbel.plan.typing import infer_type

ITEMS = [
    pa.bool_(), pa.int8(), pa.int64(), pa.uint64(), pa.float32(), pa.float64(),
    pa.decimal128(15, 2), pa.string(), pa.date32(), pa.timestamp("us"),
]  # fmt: skip
NUMBERS = [dtype for dtype in ITEMS if dtype not in (pa.bool_(), *ITEMS[-3:])]
POSITIONS = (-(2**63), -4, -2, -1, 0, 1, 2, 3, 2**31, 2**62, None)


def text(value: str) -> Literal:
    """A constant text."""
    return constant(value, pa.string())


def lists(item: pa.DataType) -> pa.Array:
    """Lists of hostile items, short and long, with nulls."""
    return array(pa.list_(item))


def short(item: pa.DataType, values: list[Any]) -> pa.Array:
    """Lists of up to three of some values."""
    rows = [[], [None], *[[a] for a in values], *[[a, b] for a in values for b in values]]
    rows += [[a, None, b, a] for a in values for b in values]
    return pa.array([*rows, None], pa.list_(item))


@pytest.mark.parametrize("row", nested.ROWS, ids=lambda row: row.name)
def test_the_reference_gives_the_examples(row: Any) -> None:
    """As `check_examples`, which cannot know the types of empty lists."""
    reference = partial(row.reference, dtype=pa.int64()) if row.typed else row.reference
    assert row.examples
    for arguments, want in row.examples:
        row.check_arity(len(arguments))
        assert same(reference(*arguments), want), arguments


@pytest.mark.parametrize("item", ITEMS, ids=str)
@pytest.mark.parametrize(
    "name", ["list_length", "list_min", "list_max", "list_sort", "list_reverse", "list_distinct"]
)
def test_functions_of_one_list(name: str, item: pa.DataType) -> None:
    check(call(name, "x"), {"x": lists(item)})


@pytest.mark.parametrize("name", ["list_min", "list_max", "list_sort", "list_distinct"])
@settings(max_examples=30, deadline=None)
@given(columns=tables({"x": pa.list_(pa.float64())}))
def test_lists_of_any_floats(name: str, columns: dict[str, pa.Array]) -> None:
    check(call(name, "x"), columns)


@pytest.mark.parametrize("item", ITEMS, ids=str)
def test_sorting_downwards(item: pa.DataType) -> None:
    check(call("list_sort", "x", constant(True)), {"x": lists(item)})
    check(call("list_sort", "x", constant(False)), {"x": lists(item)})


@pytest.mark.parametrize(
    ("item", "values"),
    [
        (pa.int8(), [127, -128, 3]),
        (pa.int64(), [2**63 - 1, -(2**63), 7]),
        (pa.uint64(), [2**64 - 1, 0, 7]),
        (pa.float32(), [0.5, float("inf"), float("nan")]),
        (pa.float64(), [0.5, float("-inf"), float("inf"), float("nan"), -0.0]),
        (pa.decimal128(15, 2), [Decimal("9999999999999.99"), Decimal("-0.01")]),
        (pa.decimal128(38, 0), [Decimal(10**38 - 1), Decimal(-1)]),
    ],
    ids=str,
)
def test_sums(item: pa.DataType, values: list[Any]) -> None:
    check(call("list_sum", "x"), {"x": short(item, values)})


def test_a_sum_beyond_its_type_fails() -> None:
    column = {"x": pa.array([[2**63 - 1, 1], [-(2**63), -1], [1, 2]])}
    values = check(call("list_sum", "x"), column)
    assert [isinstance(value, Raises) for value in values] == [True, True, False]


@pytest.mark.parametrize("item", ITEMS, ids=str)
def test_items_by_position(item: pa.DataType) -> None:
    column = lists(item)
    for n in POSITIONS[:-1]:
        check(call("list_get", "x", constant(n, pa.int64())), {"x": column})
    pairs = [(row, n) for row in column.to_pylist() for n in POSITIONS]
    check(
        call("list_get", "x", "n"),
        {
            "x": pa.array([row for row, _ in pairs], column.type),
            "n": pa.array([n for _, n in pairs], pa.int64()),
        },
    )


def test_slices() -> None:
    rows = [[1, 2, None], [], [5], None, [1, 2, 3, 4, 5]]
    triples = [(row, m, n) for row in rows for m in POSITIONS for n in POSITIONS]
    columns = {
        "x": pa.array([row for row, _, _ in triples], pa.list_(pa.int64())),
        "m": pa.array([m for _, m, _ in triples], pa.int64()),
        "n": pa.array([n for _, _, n in triples], pa.int64()),
    }
    check(call("list_slice", "x", "m", "n"), columns)
    check(call("list_slice", "x", "m"), columns)
    for m in (-2, 0, 1):
        check(call("list_slice", "x", constant(m)), columns)
        check(call("list_slice", "x", constant(m), constant(-1)), columns)
        check(call("list_slice", "x", constant(m), constant(2)), columns)


@pytest.mark.parametrize("item", ITEMS, ids=str)
def test_contains(item: pa.DataType) -> None:
    column = lists(item)
    values = array(item).to_pylist()
    pairs = [(row, value) for row in column.to_pylist() for value in values]
    columns = {
        "x": pa.array([row for row, _ in pairs], column.type),
        "v": pa.array([value for _, value in pairs], item),
    }
    check(call("list_contains", "x", "v"), columns)
    check(call("list_contains", "x", constant(values[0], item)), columns)


def test_contains_compares_in_the_common_type() -> None:
    column = {"x": pa.array([[1, 2], [None], [], None], pa.list_(pa.int8()))}
    check(call("list_contains", "x", constant(1.0)), column)
    check(call("list_contains", "x", constant(1000)), column)


def test_concatenation() -> None:
    columns = {
        "x": pa.array([[1], [], None, [None, 2], None], pa.list_(pa.int8())),
        "y": pa.array([[5], [None], [1], None, None], pa.list_(pa.int64())),
        "z": pa.array([[0.5], [], [1.0], [2.0], None], pa.list_(pa.float64())),
    }
    check(call("list_concat", "x"), columns)
    check(call("list_concat", "x", "x"), columns)
    check(call("list_concat", "x", "y"), columns)
    check(call("list_concat", "x", "y", "z"), columns)


@pytest.mark.parametrize("separator", ["", ",", "é\\"])
def test_join(separator: str) -> None:
    rows = [["a", None, "é"], [], [None], None, [""], ["", ""], ["x"]]
    column = {"x": pa.array(rows, pa.list_(pa.string()))}
    check(call("list_join", "x", text(separator)), column)


def test_making_lists() -> None:
    columns = {
        "a": pa.array([1, None], pa.int8()),
        "b": pa.array([0.5, None], pa.float64()),
        "s": pa.array(["x", None]),
        "l": pa.array([[1], None], pa.list_(pa.int64())),
        "r": pa.array([{"k": 1}, None], pa.struct([("k", pa.int64())])),
    }
    check(call("make_list", "a"), columns)
    check(call("make_list", "a", "b", constant(None)), columns)
    check(call("make_list", "s", text("y")), columns)
    check(call("make_list", "l", "l"), columns)
    check(call("make_list", "r"), columns)


def test_ranges() -> None:
    columns = {
        "a": pa.array([0, 5, -3, 3, None, 1], pa.int64()),
        "b": pa.array([3, 0, 3, 3, 1, None], pa.int64()),
    }
    check(call("list_range", "a", "b"), columns)
    for step in (1, 2, -1, -2, 100):
        check(call("list_range", "a", "b", constant(step)), columns)
        check(call("list_range", constant(0), "b", constant(step)), columns)


STRUCT = pa.struct([("a", pa.int64()), ("b c", pa.string()), ("l", pa.list_(pa.int64()))])


@pytest.mark.parametrize("name", ["a", "b c", "l"])
def test_fields(name: str) -> None:
    rows = [{"a": 1, "b c": "x", "l": [1]}, {"a": None, "b c": None, "l": None}, None]
    check(call("struct_field", "x", text(name)), {"x": pa.array(rows, STRUCT)})


def test_making_structs() -> None:
    columns = {"a": pa.array([1, None]), "d": pa.array([date(2024, 1, 1), None])}
    made = call("make_struct", text("k"), "a", text("v 'w' \""), "d", text("l"), constant(3))
    check(made, columns)
    check(call("struct_field", made, text("k")), columns)


SCHEMA = pa.schema([("x", pa.list_(pa.string())), ("s", STRUCT), ("n", pa.int64())])


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        (call("list_sum", "x"), "takes a list of numbers"),
        (call("list_get", "n", "n"), "takes"),
        (call("list_contains", "x", constant(1)), "no common type"),
        (call("struct_field", "s", text("bc")), "unknown field 'bc'.*did you mean 'b c'"),
        (call("struct_field", "s", "n"), "must be a constant"),
        (call("make_struct", text("a")), "takes 2 to 512 arguments"),
        (call("make_struct", text("a"), "n", text("a"), "n"), "the field 'a' twice"),
        (call("list_range", "n", "n", constant(0)), "must not be 0"),
        (call("list_join", "x", constant(None, pa.string())), "must not be null"),
    ],
)
def test_wrong_arguments_are_refused_when_the_plan_is_built(expression: Call, message: str) -> None:
    with pytest.raises(PlanError, match=f"(?s){message}"):
        infer_type(expression, SCHEMA)

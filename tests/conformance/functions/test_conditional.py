"""Nulls, special floats, choices and guards on every engine, against the reference."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tests.conformance.functions.check import Raises, call, check, check_examples, constant
from tests.conformance.functions.values import array, cross
from umbel.plan.expressions import Case, Cast, Column
from umbel.plan.functions import conditional, guards
from umbel.plan.types import type_name

ALL_TYPES = [
    pa.null(),
    pa.bool_(),
    pa.int8(),
    pa.uint64(),
    pa.float32(),
    pa.float64(),
    pa.decimal128(38, 4),
    pa.string(),
    pa.binary(),
    pa.date32(),
    pa.time64("us"),
    pa.timestamp("us"),
    pa.timestamp("us", "Europe/Berlin"),
    pa.duration("us"),
    pa.list_(pa.int64()),
    pa.struct([("a", pa.int64())]),
]
PAIRS = [
    (pa.int64(), pa.int64()),
    (pa.int8(), pa.float64()),
    (pa.float32(), pa.float32()),
    (pa.float64(), pa.decimal128(5, 2)),
    (pa.decimal128(5, 2), pa.decimal128(20, 10)),
    (pa.decimal128(15, 2), pa.int64()),
    (pa.uint64(), pa.int64()),
    (pa.null(), pa.int64()),
    (pa.null(), pa.null()),
    (pa.string(), pa.string()),
    (pa.bool_(), pa.bool_()),
    (pa.date32(), pa.timestamp("us")),
    (pa.timestamp("us", "UTC"), pa.timestamp("us", "UTC")),
    (pa.duration("us"), pa.duration("us")),
    (pa.time64("us"), pa.time64("us")),
    (pa.binary(), pa.binary()),
]


def column(dtype):
    return pa.nulls(2) if pa.types.is_null(dtype) else array(dtype)


@pytest.mark.parametrize("name", [row.name for row in (*conditional.ROWS, *guards.ROWS)])
def test_examples(name):
    check_examples(name)


@pytest.mark.parametrize("name", ["is_null", "is_not_null"])
@pytest.mark.parametrize("dtype", ALL_TYPES, ids=type_name)
def test_null_tests(name, dtype):
    check(call(name, "a"), {"a": column(dtype)})


@pytest.mark.parametrize("name", ["is_nan", "is_finite", "is_infinite"])
@pytest.mark.parametrize(
    "dtype",
    [pa.null(), pa.int8(), pa.uint64(), pa.float32(), pa.float64(), pa.decimal128(5, 2)],
    ids=type_name,
)
def test_float_tests(name, dtype):
    check(call(name, "a"), {"a": column(dtype)})


@pytest.mark.parametrize("name", ["coalesce", "greatest", "least", "null_if"])
@pytest.mark.parametrize(("left", "right"), PAIRS, ids=type_name)
def test_choices(name, left, right):
    columns = cross({"a": left, "b": right}, limit=500) or {"a": pa.nulls(2), "b": pa.nulls(2)}
    check(call(name, "a", "b"), columns)
    check(call(name, "b", "a"), columns)


@pytest.mark.parametrize("name", ["coalesce", "greatest", "least"])
def test_choices_among_many(name):
    columns = cross({"a": pa.int8(), "b": pa.float64(), "c": pa.decimal128(5, 2)}, limit=800)
    check(call(name, "a"), columns)
    check(call(name, "a", "b", "c", constant(1)), columns)


@pytest.mark.parametrize("dtype", [pa.list_(pa.int64()), pa.struct([("a", pa.int64())])], ids=str)
def test_coalesce_of_nested_values(dtype):
    check(call("coalesce", "a", "b"), cross({"a": dtype, "b": dtype}))


def test_require_gives_the_value_or_fails():
    columns = {
        "a": pa.array([1, 2, 3, None, 5], pa.int64()),
        "ok": pa.array([True, False, None, True, True]),
    }
    values = check(call("require", "a", "ok"), columns)
    assert [isinstance(value, Raises) for value in values] == [False, True, True, False, False]
    check(call("require", constant(7), "ok"), columns)
    check(call("require", "a", call("less", "a", constant(3))), columns)


def test_require_alone_in_a_case_holds_for_the_rows_of_its_branch():
    columns = {"a": pa.array([1, 2, 3], pa.int64())}
    guarded = call("require", "a", call("less", "a", constant(3)))
    check(Case(((call("less", "a", constant(3)), guarded),), Column("a")), columns)


def test_a_branch_is_not_evaluated_for_rows_that_another_takes():
    columns = {"s": pa.array(["1", "x", None, "300", "7"]), "n": pa.array([0, 1, 2, 3, None])}
    number = Cast(Column("s"), pa.int8())
    digits = call("is_in", "s", constant("1"), constant("7"))
    values = check(Case(((digits, number),), constant(-1)), columns)
    assert values == [1, -1, -1, -1, 7]
    inner = Case(((call("equal", "n", constant(3)), constant(0)),), number)
    not_x = call("not_equal", "s", constant("x"))
    assert check(Case(((not_x, inner),)), columns) == [1, None, None, 0, 7]


def test_a_condition_is_not_evaluated_for_rows_that_an_earlier_one_takes():
    columns = {"s": pa.array(["1", "x", "7"])}
    positive = call("greater", Cast(Column("s"), pa.int64()), constant(5))
    case = Case(((call("equal", "s", constant("x")), constant(0)), (positive, constant(1))))
    assert check(case, columns) == [None, 0, 1]


def test_a_branch_that_fails_for_its_own_row_fails():
    columns = {"s": pa.array(["1", "x"])}
    case = Case(((call("is_not_null", "s"), Cast(Column("s"), pa.int64())),), constant(0))
    one, failure = check(case, columns)
    assert one == 1
    assert isinstance(failure, Raises)

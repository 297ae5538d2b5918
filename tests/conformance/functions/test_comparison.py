"""Comparison and boolean logic on every engine, against the reference."""

from __future__ import annotations

import itertools
import math
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conformance.functions.check import call, check, check_examples, constant
from tests.conformance.functions.values import array, cross, tables
from umbel.plan.errors import TypeClashError
from umbel.plan.expressions import Case, Column
from umbel.plan.functions import comparison
from umbel.plan.types import type_name
from umbel.plan.typing import infer_type

NUMBERS = [
    pa.int8(),
    pa.int64(),
    pa.uint64(),
    pa.float32(),
    pa.float64(),
    pa.decimal128(15, 2),
    pa.decimal128(38, 10),
    pa.decimal128(38, 38),
    pa.null(),
]
TIMES = [pa.date32(), pa.timestamp("s"), pa.timestamp("us")]
ZONED = [pa.timestamp("us", "UTC"), pa.timestamp("us", "Europe/Berlin")]
OTHERS = [pa.string(), pa.binary(), pa.bool_(), pa.time64("us"), pa.duration("us")]
PAIRS = [
    *itertools.product(NUMBERS, NUMBERS),
    *itertools.product(TIMES, TIMES),
    *itertools.product(ZONED, ZONED),
    *((dtype, dtype) for dtype in OTHERS),
]
COMPARISONS = [
    "equal",
    "not_equal",
    "less",
    "less_equal",
    "greater",
    "greater_equal",
    "is_distinct_from",
    "is_not_distinct_from",
]


@pytest.mark.parametrize("name", [row.name for row in comparison.ROWS])
def test_examples(name):
    check_examples(name)


@pytest.mark.parametrize("name", COMPARISONS)
@pytest.mark.parametrize(("left", "right"), PAIRS, ids=type_name)
def test_comparisons(name, left, right):
    check(call(name, "a", "b"), cross({"a": left, "b": right}, limit=300))


@given(data=st.data())
@settings(max_examples=25)
@pytest.mark.parametrize("name", ["equal", "less", "is_distinct_from"])
def test_drawn_comparisons(name, data):
    left, right = data.draw(st.sampled_from(PAIRS[: len(NUMBERS) ** 2 - 1]))
    if pa.types.is_null(left) or pa.types.is_null(right):
        return
    check(call(name, "a", "b"), data.draw(tables({"a": left, "b": right}, max_rows=8)))


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        (pa.int64(), pa.int64(), pa.int64()),
        (pa.int64(), pa.int64(), pa.float64()),
        (pa.float64(), pa.float64(), pa.float64()),
        (pa.decimal128(5, 2), pa.int64(), pa.decimal128(7, 4)),
        (pa.string(), pa.string(), pa.null()),
        (pa.date32(), pa.date32(), pa.timestamp("us")),
    ],
    ids=type_name,
)
def test_between(value, low, high):
    check(call("between", "a", "b", "c"), cross({"a": value, "b": low, "c": high}, limit=800))


@pytest.mark.parametrize(
    ("dtype", "candidates"),
    [
        (pa.int64(), [1, 2, 3]),
        (pa.int64(), [1, None]),
        (pa.int64(), [1, 0.5, 2.0**53]),
        (pa.int32(), [2**40, 5]),
        (pa.float64(), [math.nan, 0.0, 1]),
        (pa.float64(), [-0.0, Decimal("0.5")]),
        (pa.decimal128(5, 2), [Decimal("0.5"), 2, 0.15]),
        (pa.string(), ["", "a", "nul\0inside"]),
        (pa.string(), [None]),
        (pa.bool_(), [True]),
    ],
)
def test_is_in(dtype, candidates):
    constants = [constant(v, dtype if v is None else None) for v in candidates]
    check(call("is_in", "a", *constants), {"a": array(dtype)})
    check(call("is_in", "a", *constants, "a"), {"a": array(dtype)})


def test_is_in_columns_of_other_types():
    columns = cross({"a": pa.int64(), "b": pa.float64(), "c": pa.int8()}, limit=800)
    check(call("is_in", "a", "b", "c"), columns)
    check(call("is_in", "a", "b", constant(7), "c"), columns)


@pytest.mark.parametrize("name", ["and", "or"])
def test_three_valued_logic(name):
    columns = cross({"a": pa.bool_(), "b": pa.bool_(), "c": pa.bool_()})
    check(call(name, "a"), columns)
    check(call(name, "a", "b"), columns)
    check(call(name, "a", "b", "c"), columns)
    check(call(name, "a", constant(None, pa.null())), columns)


def test_negation_and_exclusive_or():
    columns = cross({"a": pa.bool_(), "b": pa.bool_()})
    check(call("not", "a"), columns)
    check(call("not", constant(None, pa.null())), columns)
    check(call("xor", "a", "b"), columns)
    check(call("not", call("or", "a", call("not", "b"))), columns)
    check(call("and", call("or", "a", "b"), call("not", call("and", "a", "b"))), columns)


def test_integers_and_floats_compare_as_float64():
    # 2**53 + 1 has no float64: it is rounded to 2**53.
    columns = {"a": pa.array([2**53 + 1]), "b": pa.array([2.0**53])}
    assert check(call("equal", "a", "b"), columns) == [True]


def test_comparisons_of_cases():
    columns = cross({"a": pa.int64(), "b": pa.int64()}, limit=200)
    greater = Case(((call("greater", "a", "b"), Column("a")),), Column("b"))
    check(call("equal", greater, call("greatest", "a", "b")), columns)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (pa.string(), pa.int64()),
        (pa.timestamp("us"), pa.timestamp("us", "UTC")),
        (pa.list_(pa.int64()), pa.list_(pa.int64())),
        (pa.bool_(), pa.int64()),
    ],
    ids=str,
)
def test_what_has_no_order_is_a_type_clash(left, right):
    schema = pa.schema([("a", left), ("b", right)])
    with pytest.raises(TypeClashError, match="less"):
        infer_type(call("less", "a", "b"), schema)

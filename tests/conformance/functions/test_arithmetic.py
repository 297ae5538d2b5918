"""Arithmetic: every pair of types on every engine, against the reference."""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conformance.functions.check import (
    Raises,
    call,
    check,
    check_examples,
    constant,
    reference_values,
)
from tests.conformance.functions.values import array, cross, tables
from umbel.plan.errors import TypeClashError
from umbel.plan.expressions import Column
from umbel.plan.functions import arithmetic
from umbel.plan.types import type_name
from umbel.plan.typing import infer_type

NUMBERS = [
    pa.int32(),
    pa.int64(),
    pa.uint32(),
    pa.uint64(),
    pa.float64(),
    pa.decimal128(15, 2),
    pa.decimal128(38, 4),
    pa.null(),
]
NAMES = [row.name for row in arithmetic.ROWS]
BINARY = [name for name in NAMES if name not in ("negate", "power")]
#: Float64 powers may differ in the last bits.
TOLERANCE = {"power": 1e-14}


@pytest.mark.parametrize("name", NAMES)
def test_examples(name):
    check_examples(name)


@pytest.mark.parametrize("name", [*BINARY, "power"])
@pytest.mark.parametrize(
    ("left", "right"), list(itertools.product(NUMBERS, NUMBERS)), ids=type_name
)
def test_numbers(name, left, right):
    columns = cross({"a": left, "b": right}, limit=200)
    check(call(name, "a", "b"), columns, tolerance=TOLERANCE.get(name, 0.0))


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize(
    "value", [0, 1, -1, 2, 3, -3, 7, 2**62, -(2**63), 2**63 - 1, None, 0.5, -0.0, Decimal("1.50")]
)
@pytest.mark.parametrize(
    "dtype", [pa.int64(), pa.int32(), pa.float64(), pa.decimal128(15, 2)], ids=str
)
def test_constants_on_either_side(name, value, dtype):
    literal = constant(value, pa.int64() if value is None else None)
    check(call(name, "a", literal), {"a": array(dtype)})
    check(call(name, literal, "a"), {"a": array(dtype)})


@pytest.mark.parametrize("name", BINARY)
@given(data=st.data())
@settings(max_examples=25)
def test_drawn_numbers(name, data):
    types = data.draw(st.tuples(st.sampled_from(NUMBERS[:-1]), st.sampled_from(NUMBERS[:-1])))
    columns = data.draw(tables({"a": types[0], "b": types[1]}, max_rows=8))
    check(call(name, "a", "b"), columns)


@pytest.mark.parametrize("name", ["negate", "abs"])
@pytest.mark.parametrize(
    "dtype",
    [*NUMBERS, pa.uint8(), pa.decimal128(38, 38), pa.duration("us"), pa.duration("s")],
    ids=str,
)
def test_signs(name, dtype):
    column = pa.nulls(2) if pa.types.is_null(dtype) else array(dtype)
    check(call(name, "a"), {"a": column})


MOMENTS = [
    pa.date32(),
    pa.timestamp("s"),
    pa.timestamp("ms"),
    pa.timestamp("us"),
    pa.timestamp("us", "UTC"),
    pa.timestamp("us", "Europe/Berlin"),
]


@pytest.mark.parametrize("moment", MOMENTS, ids=str)
@pytest.mark.parametrize("unit", ["s", "us"])
def test_times_and_durations(moment, unit):
    columns = cross({"t": moment, "d": pa.duration(unit)})
    check(call("add", "t", "d"), columns)
    check(call("add", "d", "t"), columns)
    check(call("subtract", "t", "d"), columns)


@pytest.mark.parametrize(("left", "right"), list(itertools.product(MOMENTS, MOMENTS)), ids=str)
def test_elapsed_time(left, right):
    expression, columns = call("subtract", "a", "b"), cross({"a": left, "b": right})
    zoned = [bool(getattr(dtype, "tz", None)) for dtype in (left, right)]
    if zoned[0] == zoned[1]:
        check(expression, columns)
    else:
        with pytest.raises(TypeClashError, match="subtract"):
            infer_type(expression, pa.table(columns).schema)


def test_durations():
    columns = cross({"a": pa.duration("us"), "b": pa.duration("ms"), "n": pa.int32()})
    for expression in (
        call("add", "a", "b"),
        call("subtract", "a", "b"),
        call("divide", "a", "b"),
        call("multiply", "a", "n"),
        call("multiply", "n", "b"),
    ):
        check(expression, columns)


def test_clock_changes_do_not_stretch_time():
    # 2020-03-29 02:00 in Berlin does not exist: an hour after 01:30 it is 03:30.
    berlin = ZoneInfo("Europe/Berlin")
    before = pa.array(
        [datetime(2020, 3, 29, 1, 30, tzinfo=berlin)], pa.timestamp("us", "Europe/Berlin")
    )
    (after,) = check(call("add", "t", constant(timedelta(hours=1))), {"t": before})
    assert after == datetime(2020, 3, 29, 3, 30, tzinfo=berlin)


def test_decimal_products_are_exact():
    # The trap: Polars by itself keeps scale 2 and rounds every row, 29.3968 * 2 to 58.78.
    price = pa.array([Decimal("29.39")], pa.decimal128(15, 2))
    (product,) = check(call("multiply", "a", "a"), {"a": price})
    assert product == Decimal("29.39") ** 2 == Decimal("863.7721")


def test_chains_of_decimal_terms_stay_within_38_digits():
    # TPC-H Q1: extendedprice * (1 - discount) * (1 + tax), each decimal(15,2)
    columns = cross({name: pa.decimal128(15, 2) for name in "pdt"}, limit=500)
    expression = call("multiply", "p", call("subtract", constant(1), "d"))
    expression = call("multiply", expression, call("add", constant(1), "t"))
    schema = pa.table(columns).schema
    assert infer_type(expression, schema) == pa.decimal128(38, 6)
    values = check(expression, columns)
    for value, p, d, t in zip(values, *(columns[n].to_pylist() for n in "pdt"), strict=True):
        if None in (p, d, t):
            assert value is None
        elif not isinstance(value, Raises):
            units = int(p * 100) * (100 - int(d * 100)) * (100 + int(t * 100))
            assert Fraction(value) == Fraction(units, 10**6)


def test_scales_beyond_38_are_a_type_clash():
    schema = pa.schema([("a", pa.decimal128(38, 20))])
    with pytest.raises(TypeClashError, match="at most 38"):
        infer_type(call("multiply", "a", "a"), schema)


def test_integer_overflow_fails_the_run():
    table = pa.table({"a": pa.array([2**63 - 1, 1], pa.int64())})
    values = reference_values(call("add", "a", constant(1)), table)
    assert isinstance(values[0], Raises)
    assert values[1] == 2


def test_nested_operations_keep_their_order():
    columns = cross({"a": pa.int32(), "b": pa.int32(), "c": pa.int32()}, limit=300)
    check(call("subtract", "a", call("subtract", "b", "c")), columns)
    check(call("modulo", call("add", "a", "b"), call("add", "c", constant(1))), columns)
    for name in ("modulo", "floor_divide", "remainder", "truncate_divide"):
        nested = call(name, "a", call("add", call("multiply", "b", "c"), "c"))
        check(call(name, call("add", nested, "a"), call("subtract", nested, "b")), columns)
    check(call("negate", call("negate", call("subtract", "a", Column("b")))), columns)

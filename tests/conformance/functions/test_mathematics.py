"""Mathematics on every engine, against the reference."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conformance.functions.check import call, check, check_examples, constant
from tests.conformance.functions.values import array, cross, tables
from umbel.plan.errors import PlanError
from umbel.plan.functions import CATALOGUE, mathematics
from umbel.plan.types import type_name
from umbel.plan.typing import infer_type

NUMBERS = [
    pa.int8(),
    pa.int64(),
    pa.uint64(),
    pa.float32(),
    pa.float64(),
    pa.decimal128(5, 2),
    pa.decimal128(38, 0),
    pa.decimal128(38, 10),
    pa.null(),
]
INTEGERS = [pa.int8(), pa.int64(), pa.uint32(), pa.null()]
NAMES = [row.name for row in mathematics.ROWS]
REAL = [
    "sqrt",
    "cbrt",
    "exp",
    "ln",
    "log10",
    "log2",
    "sin",
    "cos",
    "tan",
    "asin",
    "acos",
    "atan",
    "sinh",
    "cosh",
    "tanh",
    "degrees",
    "radians",
]
ROUNDING = ["round", "round_half_even", "truncate"]


def tolerance(name):
    """1e-14, some 45 units in the last place, for rows that say that the last bits may differ."""
    return 1e-14 if "last bits may differ" in CATALOGUE[name].semantics else 0.0


def column(dtype):
    return pa.nulls(2) if pa.types.is_null(dtype) else array(dtype)


@pytest.mark.parametrize("name", NAMES)
def test_examples(name):
    check_examples(name, tolerance(name))


@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("dtype", NUMBERS, ids=type_name)
def test_real_functions(name, dtype):
    check(call(name, "a"), {"a": column(dtype)}, tolerance=tolerance(name))


@pytest.mark.parametrize("name", ["log", "atan2"])
def test_real_functions_of_two(name):
    for types in ((pa.float64(), pa.float64()), (pa.int64(), pa.decimal128(5, 2))):
        columns = cross({"a": types[0], "b": types[1]})
        check(call(name, "a", "b"), columns, tolerance=tolerance(name))


@pytest.mark.parametrize("name", ["pi", "e"])
def test_constants(name):
    check(call(name), {"a": pa.array([1, 2])})


@pytest.mark.parametrize("name", ["abs", "sign", "ceil", "floor", *ROUNDING])
@pytest.mark.parametrize("dtype", NUMBERS, ids=type_name)
def test_whole_numbers(name, dtype):
    check(call(name, "a"), {"a": column(dtype)})


@pytest.mark.parametrize("name", ROUNDING)
@pytest.mark.parametrize("digits", [-20, -2, -1, 0, 1, 2, 9, 20])
@pytest.mark.parametrize("dtype", NUMBERS, ids=type_name)
def test_rounding_to_digits(name, digits, dtype):
    check(call(name, "a", constant(digits)), {"a": column(dtype)})


@given(data=st.data())
@settings(max_examples=25)
@pytest.mark.parametrize("name", ROUNDING)
def test_drawn_rounding(name, data):
    digits = data.draw(st.integers(-6, 6))
    dtype = data.draw(st.sampled_from(NUMBERS[:-1]))
    check(call(name, "a", constant(digits)), data.draw(tables({"a": dtype}, max_rows=8)))


@pytest.mark.parametrize("digits", [39, -39, None])
def test_too_many_digits_are_an_error_in_the_plan(digits):
    expression = call("round", "a", constant(digits, pa.int64()))
    with pytest.raises(PlanError, match="-38 to 38"):
        infer_type(expression, pa.schema([("a", pa.float64())]))


@pytest.mark.parametrize("name", ["bitwise_and", "bitwise_or", "bitwise_xor"])
@pytest.mark.parametrize(
    ("left", "right"),
    [*itertools.product(INTEGERS, INTEGERS), (pa.uint64(), pa.uint64()), (pa.uint64(), pa.uint8())],
    ids=type_name,
)
def test_bits(name, left, right):
    check(call(name, "a", "b"), cross({"a": left, "b": right}, limit=400))


@pytest.mark.parametrize("dtype", [*INTEGERS, pa.uint64()], ids=type_name)
def test_bitwise_not(dtype):
    check(call("bitwise_not", "a"), {"a": column(dtype)})


@pytest.mark.parametrize("name", ["shift_left", "shift_right"])
@pytest.mark.parametrize("bits", [0, 1, 7, 31, 62, 63, 64, 100])
@pytest.mark.parametrize("dtype", [*INTEGERS, pa.uint64()], ids=type_name)
def test_shifts(name, bits, dtype):
    check(call(name, "a", constant(bits)), {"a": column(dtype)})


def test_negative_shifts_are_an_error_in_the_plan():
    with pytest.raises(PlanError, match="0 or more bits"):
        infer_type(call("shift_left", "a", constant(-1)), pa.schema([("a", pa.int64())]))
    with pytest.raises(PlanError, match="shift_left"):
        infer_type(call("shift_left", "a", constant("one")), pa.schema([("a", pa.int64())]))

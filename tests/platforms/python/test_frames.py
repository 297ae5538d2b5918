"""From Python values to columns: what fits, what does not, and what the error says."""

from __future__ import annotations

import datetime
from collections import namedtuple
from decimal import Decimal

import pyarrow as pa
import pytest

from tests.platforms.python.helpers import NAN, collection, objects, of, relation, rows
from umbel.plan.errors import EvaluationError
from umbel.plan.operators import Map, Rows, ToFrame

INT, FLOAT, TEXT = pa.int64(), pa.float64(), pa.string()
UTC = datetime.UTC


def frame(dtype, *values, nullable=True):
    schema = pa.schema([pa.field("x", dtype, nullable)])
    return [value for (value,) in rows(ToFrame(input=collection(list(values)), columns=schema))]


PAIR = pa.struct([("item_0", INT), ("item_1", TEXT)])
FITTING = [
    (INT, [2**63 - 1, -(2**63), None]),
    (pa.uint8(), [0, 255]),
    (FLOAT, [1.5, NAN, -0.0, float("inf"), None]),
    (TEXT, ["", "ß\u0301\U0001f600", None]),
    (pa.bool_(), [True, False, None]),
    (pa.binary(), [b"", b"\xff"]),
    (pa.date32(), [datetime.date(1, 1, 1), datetime.date(9999, 12, 31)]),
    (pa.timestamp("us"), [datetime.datetime(2020, 2, 29, 23, 59, 59, 999999)]),
    (pa.duration("us"), [datetime.timedelta(days=-1, microseconds=1)]),
    (pa.time64("us"), [datetime.time(23, 59, 59, 999999)]),
    (pa.decimal128(38, 2), [Decimal("9" * 36 + ".99"), Decimal("-0.01")]),
    (pa.list_(INT), [[1, None], [], None]),
]


@pytest.mark.parametrize(("dtype", "values"), FITTING, ids=lambda x: str(x)[:20])
def test_values_of_the_columns_type_come_back_unchanged(dtype, values):
    made = frame(dtype, *values)
    assert list(map(repr, made)) == list(map(repr, values))


def test_numbers_change_their_type_only_where_nothing_is_lost():
    assert list(map(repr, frame(FLOAT, 1, 2**60))) == ["1.0", "1.152921504606847e+18"]
    assert frame(pa.decimal128(5, 2), 3, Decimal("1.5")) == [Decimal("3.00"), Decimal("1.50")]
    assert str(frame(pa.decimal128(5, 2), Decimal("1.5"))[0]) == "1.50"


@pytest.mark.parametrize(
    ("dtype", "value", "says"),
    [
        (INT, 2**63, "out of range"),
        (INT, 1.0, "float 1.0"),
        (INT, True, "bool True"),
        (INT, "1", "str '1'"),
        (pa.int8(), 128, "out of range"),
        (pa.uint8(), -1, "out of range"),
        (FLOAT, 2**53 + 1, "too few digits"),
        (FLOAT, 10**400, "out of range"),
        (FLOAT, "1.5", "str '1.5'"),
        (TEXT, 1, "int 1"),
        (TEXT, b"a", "bytes b'a'"),
        (TEXT, "\ud800", "lone surrogates"),
        (pa.bool_(), 1, "int 1"),
        (pa.binary(), "a", "str 'a'"),
        (pa.date32(), datetime.datetime(2020, 1, 1), "datetime"),
        (pa.timestamp("us"), datetime.date(2020, 1, 1), "date"),
        (pa.timestamp("us"), datetime.datetime(2020, 1, 1, tzinfo=UTC), "has a time zone"),
        (pa.timestamp("us", "UTC"), datetime.datetime(2020, 1, 1), "has no time zone"),
        (pa.timestamp("s"), datetime.datetime(2020, 1, 1, 0, 0, 0, 1), "finer than"),
        (pa.decimal128(5, 2), Decimal("1.005"), "more than 2 digits after"),
        (pa.decimal128(5, 2), Decimal(1000), "more than 3 digits before"),
        (pa.decimal128(5, 2), Decimal("NaN"), "finite"),
        (pa.decimal128(5, 2), 1.5, "float 1.5"),
        (pa.list_(INT), [1, "2"], r"item 1: it is str, not int64"),
        (PAIR, {"item_0": 1}, "its fields are not"),
        (pa.null(), 1, "int 1"),
    ],
    ids=str,
)
def test_a_value_that_does_not_fit_is_named_with_its_row_and_column(dtype, value, says):
    fits = [None] * 1500
    with pytest.raises(EvaluationError, match=rf"row 1501: column 'x' wants .*{says}"):
        frame(dtype, *fits, value)


def test_a_null_in_a_column_without_nulls_is_named():
    with pytest.raises(EvaluationError, match=r"row 2: column 'x' .* not nullable"):
        frame(INT, 1, None, nullable=False)


SCHEMA = pa.schema([("a", INT), ("b", TEXT)])


def test_elements_may_be_tuples_mappings_or_named_tuples():
    swapped = namedtuple("swapped", "b a")
    plan = ToFrame(input=objects((1, "x"), {"b": "y", "a": 2}, swapped("z", 3)), columns=SCHEMA)
    assert rows(plan) == [(1, "x"), (2, "y"), (3, "z")]


def test_records_of_a_relation_go_by_their_columns_names():
    table = relation({"b": TEXT, "a": INT}, ("x", 1))
    assert rows(ToFrame(input=Rows(input=table), columns=SCHEMA)) == [(1, "x")]
    odd = relation({"a b": INT, "class": TEXT}, (1, "x"))
    assert rows(ToFrame(input=Rows(input=odd), columns=odd.schema)) == [(1, "x")]


def test_structs_whose_fields_are_items_hold_tuples():
    assert frame(PAIR, ((1, "x"),), {"item_0": 2, "item_1": "y"}) == [
        {"item_0": 1, "item_1": "x"},
        {"item_0": 2, "item_1": "y"},
    ]


@pytest.mark.parametrize(
    ("element", "says"),
    [
        ((1,), "a tuple of 1 items does not fit 2 columns"),
        ({"a": 1}, "lacks column 'b'"),
        ({"a": 1, "b": "x", "c": 0}, "has no column for 'c'"),
        (7, "int 7 does not fit 2 columns"),
    ],
    ids=str,
)
def test_an_element_of_the_wrong_shape_is_named(element, says):
    plan = ToFrame(input=objects((1, "x"), element), columns=SCHEMA)
    with pytest.raises(EvaluationError, match=rf"row 2: .*{says}"):
        rows(plan)


def test_results_of_functions_become_columns():
    plan = ToFrame(
        input=Map(input=objects(1, 2), function=of(lambda n: (n, str(n)))), columns=SCHEMA
    )
    assert rows(plan) == [(1, "1"), (2, "2")]

"""Items become columns only where each comes back as it was given."""

from __future__ import annotations

import collections
import datetime
import math
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import umbel as ub
from umbel.api.items import items_source
from umbel.plan.types import type_name

Pair = collections.namedtuple("Pair", "a b")


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("items", "types"),
    [
        ([1, -(2**63), 2**63 - 1], ["int64"]),
        ([True, False], ["bool"]),
        ([1.5, math.nan, -0.0], ["float64"]),
        (["a", "é", ""], ["string"]),
        ([b"a"], ["binary"]),
        ([datetime.date(2020, 1, 1)], ["date"]),
        ([datetime.datetime(2020, 1, 1, 2, 3, 4, 5)], ["timestamp[us]"]),
        ([datetime.timedelta(days=-1)], ["duration[us]"]),
        ([datetime.time(1, 2)], ["time"]),
        ([Decimal("1.50"), Decimal("-20.05")], ["decimal(4,2)"]),
        ([("a", 1), ("b", 2)], ["string", "int64"]),
        ([(1, ("a", 2.0))], ["int64", "struct<item_0: string, item_1: float64>"]),
    ],
)
def test_items_of_one_type_are_columns(items, types):
    source = items_source(items)
    assert source.form == ("tuple" if isinstance(items[0], tuple) else "value")
    assert [type_name(f.type) for f in source.schema] == types
    assert not any(f.nullable for f in source.schema)


@pytest.mark.parametrize(
    "items",
    [
        [],
        [1, True],
        [1, 1.0],
        [1, None],
        [2**63],
        ["a", Text("b")],
        ["\ud800"],
        [("a", 1), ("b",)],
        [("a", 1), ("b", 2.0)],
        [()],
        [Pair(1, 2)],
        [[1], [2]],
        [{"a": 1}],
        [datetime.datetime(2020, 1, 1), datetime.date(2020, 1, 1)],
        [datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)],
        [datetime.datetime(2020, 10, 25, 2, 30, fold=1)],
        [datetime.timedelta.max],
        [Decimal("1.5"), Decimal("1.50")],
        [Decimal("-0.0"), Decimal("1.0")],
        [Decimal("NaN")],
        [Decimal("1E+5")],
        [Decimal(10) ** 40],
    ],
)
def test_other_items_are_objects(items):
    source = items_source(items)
    assert source.form == "object"
    assert source.data == items or any(x != x for x in items)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(),
    st.dates(), st.datetimes(), st.timedeltas(), st.times(), st.decimals(),
)  # fmt: skip
ITEMS = st.one_of(
    st.lists(SCALARS),
    st.one_of(
        *(st.lists(kind) for kind in (st.integers(), st.floats(), st.text(), st.decimals(places=2)))
    ),
    st.lists(st.tuples(st.text(), st.integers(), st.tuples(st.dates(), st.floats()))),
)


def exactly(value: Any) -> Any:
    """A form of a value in which equal forms mean the same type and the same digits."""
    if isinstance(value, tuple):
        return (type(value), *map(exactly, value))
    return (type(value), repr(value))


@given(ITEMS)
def test_every_item_comes_back_exactly_as_it_was_given(items):
    collected = ub.connect(progress=False).from_items(items).collect()
    assert sorted(map(repr, map(exactly, collected))) == sorted(map(repr, map(exactly, items)))

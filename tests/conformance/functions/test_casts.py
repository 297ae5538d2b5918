"""Casts: every pair of types on every engine."""

from __future__ import annotations

import datetime
import itertools
from decimal import Decimal

import pyarrow as pa
import pytest

from tests.conformance.functions.check import check
from tests.conformance.functions.values import array
from umbel.plan.casting import cast_value, refuse_cast
from umbel.plan.errors import EvaluationError, TypeClashError
from umbel.plan.expressions import Cast, Column
from umbel.plan.types import type_name

TYPES = [
    pa.null(),
    pa.bool_(),
    pa.int8(),
    pa.int64(),
    pa.uint8(),
    pa.uint64(),
    pa.float32(),
    pa.float64(),
    pa.decimal128(5, 2),
    pa.decimal128(18, 4),
    pa.decimal128(38, 0),
    pa.decimal128(38, 10),
    pa.string(),
    pa.binary(),
    pa.date32(),
    pa.time64("us"),
    pa.timestamp("s"),
    pa.timestamp("ms"),
    pa.timestamp("us"),
    pa.timestamp("us", "UTC"),
    pa.timestamp("us", "Europe/Berlin"),
    pa.duration("s"),
    pa.duration("us"),
]
PAIRS = [
    pytest.param(a, b, id=f"{type_name(a)}-{type_name(b)}")
    for a, b in itertools.product(TYPES, TYPES)
    if a != b and refuse_cast(a, b) is None
]


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "try"])
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_engines_cast_like_the_reference(source, target, strict):
    column = pa.nulls(3) if pa.types.is_null(source) else array(source)
    check(Cast(Column("a"), target, strict), {"a": column})


@pytest.mark.parametrize(
    ("value", "source", "target", "expected"),
    [
        (2.7, pa.float64(), pa.int64(), 2),
        (-2.7, pa.float64(), pa.int64(), -2),
        (Decimal("-2.7"), pa.decimal128(2, 1), pa.int64(), -2),
        ("-12", pa.string(), pa.int8(), -12),
        ("1e400", pa.string(), pa.float64(), float("inf")),
        ("1.255", pa.string(), pa.decimal128(5, 2), Decimal("1.26")),
        (Decimal("-1.25"), pa.decimal128(5, 2), pa.decimal128(5, 1), Decimal("-1.3")),
        # 2.675 * 100 is 267.5 in float64, though 2.675 is less than its text says
        (2.675, pa.float64(), pa.decimal128(5, 2), Decimal("2.68")),
        (1.0, pa.float64(), pa.string(), "1.0"),
        (1e20, pa.float64(), pa.string(), "1e+20"),
        (float("nan"), pa.float64(), pa.string(), "nan"),
        (Decimal("0E-10"), pa.decimal128(20, 10), pa.string(), "0.0000000000"),
        (True, pa.bool_(), pa.string(), "true"),
        (
            datetime.datetime(2020, 1, 2, 3, 4, 5),
            pa.timestamp("us"),
            pa.string(),
            "2020-01-02T03:04:05",
        ),
        ("2020-01-02", pa.string(), pa.timestamp("us"), datetime.datetime(2020, 1, 2)),
        (
            datetime.datetime(1969, 12, 31, 23, 59, 59, 999999),
            pa.timestamp("us"),
            pa.timestamp("s"),
            datetime.datetime(1969, 12, 31, 23, 59, 59),
        ),
        ([1, None], pa.list_(pa.int64()), pa.list_(pa.float64()), [1.0, None]),
    ],
)
def test_reference_casts_as_documented(value, source, target, expected):
    got = cast_value(value, source, target, strict=True)
    assert type(got) is type(expected)
    assert got == expected


@pytest.mark.parametrize(
    ("value", "source", "target"),
    [
        (float("nan"), pa.float64(), pa.int64()),
        (2.0**63, pa.float64(), pa.int64()),
        (300, pa.int64(), pa.uint8()),
        (" 1", pa.string(), pa.int64()),
        ("1.0", pa.string(), pa.int64()),
        ("1_0", pa.string(), pa.float64()),
        ("yes", pa.string(), pa.bool_()),
        ("2020-02-30", pa.string(), pa.date32()),
        (1e300, pa.float64(), pa.float32()),
        (b"\xff", pa.binary(), pa.string()),
        (Decimal("999.99"), pa.decimal128(5, 2), pa.decimal128(4, 2)),
    ],
)
def test_values_without_a_form_fail_or_are_null(value, source, target):
    with pytest.raises(EvaluationError, match="cannot cast"):
        cast_value(value, source, target, strict=True)
    assert cast_value(value, source, target, strict=False) is None


def test_a_refused_cast_is_a_type_clash():
    with pytest.raises(TypeClashError, match="no cast from int64 to date"):
        cast_value(1, pa.int64(), pa.date32(), strict=True)


@pytest.mark.parametrize("strict", [True, False], ids=["strict", "try"])
@pytest.mark.parametrize(
    ("source", "target"),
    [
        (pa.list_(pa.int64()), pa.list_(pa.float64())),
        (pa.list_(pa.int8()), pa.list_(pa.int64())),
        (
            pa.struct([("a", pa.int8()), ("b", pa.list_(pa.float32()))]),
            pa.struct([("a", pa.int64()), ("b", pa.list_(pa.float64()))]),
        ),
    ],
    ids=str,
)
def test_lists_and_structs_cast_element_by_element(source, target, strict):
    check(Cast(Column("a"), target, strict), {"a": array(source)})

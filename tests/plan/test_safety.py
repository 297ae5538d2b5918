"""What is held to be safe never fails; and what is plainly safe is known to be."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel.plan.casting import integer_bounds
from umbel.plan.errors import UmbelError
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Case,
    Cast,
    Column,
    Expression,
    Literal,
    WindowCall,
)
from umbel.plan.safety import cannot_fail, examine
from umbel.plan.types import INT64, STRING, is_integer
from umbel.platforms.python.expressions import compile_expression

INTEGERS = [pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint32(), pa.uint64()]
DECIMALS = [pa.decimal128(5, 2), pa.decimal128(15, 2), pa.decimal128(18, 0), pa.decimal128(30, 4)]


def number(draw: st.DrawFn, dtype: pa.DataType) -> Any:
    """A number of a type, most often one at its bounds."""
    if is_integer(dtype):
        low, high = integer_bounds(dtype)
        return draw(st.sampled_from([low, high, 0, 1, 7]) | st.integers(low, high))
    most = 10**dtype.precision - 1
    digits = draw(st.sampled_from([-most, most, 0, 1]) | st.integers(-most, most))
    return Decimal((digits < 0, tuple(map(int, str(abs(digits)))), -dtype.scale))


@st.composite
def cases(draw: st.DrawFn) -> tuple[Expression, pa.Schema, tuple[Any, ...]]:
    """An expression of numbers, and a row for it."""
    types = draw(st.lists(st.sampled_from([*INTEGERS, *DECIMALS]), min_size=1, max_size=3))
    schema = pa.schema([(f"c{i}", dtype) for i, dtype in enumerate(types)])

    def expression(depth: int) -> Expression:
        kind = draw(st.integers(0, 5)) if depth else 0
        if kind == 0:
            return Column(draw(st.sampled_from(schema.names)))
        if kind == 1:
            return Literal(draw(st.sampled_from([-1, 0, 2, 10**6])), INT64)
        if kind == 2:
            return Call(draw(st.sampled_from(["negate", "abs"])), (expression(depth - 1),))
        if kind == 3:
            return Cast(expression(depth - 1), draw(st.sampled_from([*INTEGERS, *DECIMALS])))
        names = ["add", "subtract", "multiply", "floor_divide", "truncate_divide", "modulo"]
        names += ["greatest", "least", "coalesce"]
        function = draw(st.sampled_from(names))
        return Call(function, (expression(depth - 1), expression(depth - 1)))

    return expression(3), schema, tuple(number(draw, dtype) for dtype in types)


@settings(max_examples=500, deadline=None)
@given(cases())
def test_what_is_safe_has_a_value_within_its_bounds(
    case: tuple[Expression, pa.Schema, tuple[Any, ...]],
) -> None:
    expression, schema, row = case
    try:
        outcome = examine(expression, schema)
    except UmbelError:
        return  # the types do not fit: no plan holds it
    if not outcome.safe:
        return
    value = compile_expression(expression, schema)(row)
    if value is not None and outcome.bounds is not None:
        assert outcome.bounds[0] <= Fraction(value) <= outcome.bounds[1]


A, B = Column("a"), Column("b")
NUMBERS = pa.schema([("a", INT64), ("b", pa.int32()), ("d", pa.decimal128(15, 2)), ("s", STRING)])


@pytest.mark.parametrize(
    "expression",
    [
        Call("multiply", (B, B)),
        Call("add", (Call("length", (Column("s"),)), Literal(1, INT64))),
        Call("multiply", (Column("d"), Call("subtract", (Literal(1, INT64), Column("d"))))),
        Call("floor_divide", (A, Literal(7, INT64))),
        Call("subtract", (Literal(5, INT64), Literal(7, INT64))),
        Cast(A, STRING),
        Cast(A, INT64),
        Cast(Column("s"), INT64, strict=False),
        AggregateCall("sum", (B,)),
        AggregateCall("sum", (Column("d"),)),
        AggregateCall("max", (A,)),
    ],
    ids=str,
)
def test_plainly_safe(expression: Expression) -> None:
    assert cannot_fail(expression, NUMBERS)


@pytest.mark.parametrize(
    "expression",
    [
        Call("add", (A, Literal(1, INT64))),
        Call("abs", (A,)),
        Call("floor_divide", (A, B)),
        Cast(Column("s"), INT64),
        Cast(A, pa.int32()),
        Cast(Column("d"), pa.decimal128(15, 1)),
        Call("chr", (B,)),
        Case(((Call("greater", (A, B)), Call("negate", (A,))),)),
        AggregateCall("sum", (A,)),
        AggregateCall("max", (Call("negate", (A,)),)),
        Call("require", (A, Call("is_not_null", (A,)))),
        Call("chr", (Literal(-1, INT64),)),
    ],
    ids=str,
)
def test_may_fail(expression: Expression) -> None:
    assert not cannot_fail(expression, NUMBERS)


def test_bounds_make_safe() -> None:
    total = Call("add", (Call("multiply", (A, A)), A))
    assert cannot_fail(total, NUMBERS, {"a": (-(10**9), 10**9)})
    assert not cannot_fail(total, NUMBERS, {"a": (-(10**10), 10**10)})
    assert cannot_fail(AggregateCall("sum", (A,)), NUMBERS, {"a": (0, 2**30)})


DATES = pa.schema([("d", pa.date32()), ("t", pa.timestamp("us")), ("n", pa.int32())])
DAY = Literal("day", STRING)
YEARS = {  # microseconds since 1970 of 1990-01-01 and 2010-01-01
    "d": (7305 * 86_400_000_000, 14610 * 86_400_000_000),
    "t": (7305 * 86_400_000_000, 14610 * 86_400_000_000),
    "n": (-100, 100),
}


@pytest.mark.parametrize(
    ("expression", "safe"),
    [
        (Call("date_add", (DAY, Column("d"), Literal(5, INT64))), True),
        (Call("date_add", (DAY, Cast(Column("d"), pa.timestamp("us")), Column("n"))), True),
        (Call("date_add", (Literal("month", STRING), Column("t"), Column("n"))), True),
        (Call("date_add", (DAY, Cast(Column("t"), pa.date32()), Literal(-5, INT64))), True),
        # 2010 and 8000 years are beyond 9999, whatever the day.
        (Call("date_add", (Literal("year", STRING), Column("d"), Literal(8000, INT64))), False),
        (Call("date_add", (DAY, Column("d"), Literal(-800_000, INT64))), False),
        (Call("date_diff", (DAY, Column("d"), Column("d"))), True),
    ],
    ids=str,
)
def test_dates_within_bounds_can_be_moved(expression: Expression, safe: bool) -> None:
    assert cannot_fail(expression, DATES, YEARS) is safe
    assert not cannot_fail(expression, DATES)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["year", "quarter", "month", "week", "day"]),
    st.dates(),
    st.integers(-120_000, 120_000),
)
def test_a_date_that_is_moved_stays_within_its_bounds(unit: str, day: date, count: int) -> None:
    moved = Call("date_add", (Literal(unit, STRING), Column("d"), Literal(count, INT64)))
    at = (day - date(1970, 1, 1)).days * 86_400_000_000
    outcome = examine(moved, DATES, {"d": (at, at)})
    if outcome.safe:
        found = compile_expression(moved, DATES)((day, None, None))
        assert outcome.bounds is not None
        low, high = outcome.bounds
        assert low <= (found - date(1970, 1, 1)).days * 86_400_000_000 <= high


def test_numbers_that_are_rounded() -> None:
    half = Literal(1, INT64)
    assert cannot_fail(Call("round", (Column("d"), half)), NUMBERS)
    assert not cannot_fail(Call("round", (A, Literal(-1, INT64))), NUMBERS)
    widest = pa.schema([("w", pa.decimal128(38, 2))])
    assert not cannot_fail(Call("round", (Column("w"), half)), widest)


def test_ranks_have_room() -> None:
    assert cannot_fail(Call("add", (Column("r"), Literal(1, INT64))), pa.schema([("r", INT64)]),
                       {"r": examine(WindowCall("rank"), NUMBERS).bounds or (0, 0)})  # fmt: skip

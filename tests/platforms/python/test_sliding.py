"""Aggregates over frames that slide, against a fresh accumulator for every frame."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel.plan.errors import EvaluationError
from umbel.plan.functions import CATALOGUE, Kind
from umbel.platforms.python.sliding import slide, sliding

INT, FLOAT, BOOL, MONEY = pa.int64(), pa.float64(), pa.bool_(), pa.decimal128(38, 2)

#: Floats whose sums and products are exact in any order, and those that nothing may survive.
FLOATS = st.sampled_from([0.0, -0.0, 1.0, -2.0, 0.5, float("inf"), float("-inf"), float("nan")])
NUMBERS = st.integers(-(2**40), 2**40)
MONIES = st.integers(-(10**30), 10**30).map(lambda n: Decimal(n).scaleb(-2))
KINDS = {
    INT: st.none() | NUMBERS,
    FLOAT: st.none() | FLOATS,
    BOOL: st.none() | st.booleans(),
    MONEY: st.none() | MONIES,
}

#: Function, type of its arguments, type of its result.
CASES = [
    *[("sum", t, {BOOL: INT}.get(t, t)) for t in KINDS],
    *[("mean", t, FLOAT) for t in KINDS],
    *[(name, t, t) for t in (INT, FLOAT, MONEY) for name in ("min", "max")],
    *[(name, t, t) for t in (INT, FLOAT) for name in ("min_by", "max_by")],
    *[("product", FLOAT, FLOAT), ("len", INT, INT), ("count", FLOAT, INT)],
    *[(name, FLOAT, FLOAT) for name in ("first", "last", "first_non_null", "last_non_null")],
    *[(name, INT, INT) for name in ("any_value", "bit_and", "bit_or", "bit_xor")],
    *[(name, BOOL, BOOL) for name in ("any", "all")],
]


def bounds(count, start, end):
    lows = [0 if start is None else max(0, i + start) for i in range(count)]
    highs = [count if end is None else min(count, i + end + 1) for i in range(count)]
    return lows, highs


def one_by_one(name, dtype, rows, lows, highs):
    made = []
    for low, high in zip(lows, highs, strict=True):
        state = CATALOGUE[name].reference(dtype)
        for arguments in rows[low : max(low, high)]:
            state.add(*arguments)
        made.append(state.result())
    return made


@pytest.mark.parametrize(("name", "given_type", "dtype"), CASES, ids=str)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_sliding_frame_gives_what_its_rows_give(name, given_type, dtype, data):
    arity = CATALOGUE[name].arity[0]
    row = st.tuples(*[KINDS[given_type]] * arity)
    rows = data.draw(st.lists(row, max_size=30))
    start = data.draw(st.none() | st.integers(-6, 6))
    end = data.draw(st.none() | st.integers(-6, 6))
    lows, highs = bounds(len(rows), start, end)
    made = slide(sliding(name, dtype), rows, lows, highs)
    wanted = one_by_one(name, dtype, rows, lows, highs)
    assert list(map(repr, made)) == list(map(repr, wanted))


def test_every_aggregate_slides_or_is_known_not_to():
    names = {name for name in CATALOGUE.names() if CATALOGUE[name].kind is Kind.AGGREGATE}
    slow = {name for name in names if sliding(name, FLOAT) is None}
    assert names - slow == {name for name, _, _ in CASES}
    assert slow == {
        "n_unique", "nth", "median", "quantile", "quantile_discrete", "join_strings", "list",
        "var_sample", "std_sample", "var_population", "std_population",
        "covariance_sample", "covariance_population", "correlation",
    }  # fmt: skip


@pytest.mark.parametrize("width", [1, 10, 1000])
def test_the_work_does_not_grow_with_the_frame(width):
    """At most three combinations a row: into the newer part, into the older one, of both."""
    combined = 0
    adding = sliding("sum", INT)

    def counted(left, right):
        nonlocal combined
        combined += 1
        return left + right

    count = 5000
    lows, highs = bounds(count, -width, 0)
    rows = [(n,) for n in range(count)]
    made = slide(replace(adding, combine=counted), rows, lows, highs)
    assert made == [sum(range(max(0, n - width), n + 1)) for n in range(count)]
    assert combined <= 3 * count


def test_an_infinity_leaves_no_trace():
    lows, highs = bounds(5, -1, 0)
    rows = [(1.0,), (float("inf"),), (float("nan"),), (1e300,), (1.0,)]
    made = slide(sliding("sum", FLOAT), rows, lows, highs)
    assert list(map(repr, made)) == ["1.0", "inf", "nan", "nan", "1e+300"]
    assert slide(sliding("sum", FLOAT), [*rows, (2.0,)], *bounds(6, -1, 0))[-1] == 3.0


def test_only_a_frame_that_overflows_fails():
    rows = [(2**63 - 1,), (-1,), (1,), (2**62,)]
    lows, highs = bounds(3, -1, 0)
    assert slide(sliding("sum", INT), rows[:3], lows, highs) == [2**63 - 1, 2**63 - 2, 0]
    with pytest.raises(EvaluationError, match="does not fit into int64"):
        slide(sliding("sum", INT), [(2**63 - 1,), (1,)], [0, 0], [1, 2])

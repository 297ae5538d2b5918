"""Joins against the definition of a join, spelt out as two loops."""

from __future__ import annotations

import itertools
import math

import pyarrow as pa
import pytest

from tests.platforms.python.helpers import NAN, relation, rows
from umbel.plan.expressions import Column
from umbel.plan.operators import Join

INT, FLOAT, TEXT = pa.int64(), pa.float64(), pa.string()
LEFT = relation(
    {"a": FLOAT, "l": TEXT},
    (1.0, "l1"),
    (NAN, "l2"),
    (None, "l3"),
    (-0.0, "l4"),
    (1.0, "l5"),
    (9.0, "l6"),
)
RIGHT = relation(
    {"b": INT, "c": FLOAT, "r": TEXT},
    (1, NAN, "r1"),
    (1, 0.0, "r2"),
    (None, None, "r3"),
    (0, NAN, "r4"),
    (7, 1.0, "r5"),
)
ALL = ["inner", "left", "right", "full", "semi", "anti"]


def equal(left, right):
    if left is None or right is None:
        return False
    return left == right or (math.isnan(left) and math.isnan(right))


def join_by_definition(left, right, how, matches):
    pairs = [
        (i, j)
        for (i, x), (j, y) in itertools.product(enumerate(left), enumerate(right))
        if matches(x, y)
    ]
    matched_left, matched_right = {i for i, _ in pairs}, {j for _, j in pairs}
    if how in ("semi", "anti"):
        return [x for i, x in enumerate(left) if (i in matched_left) is (how == "semi")]
    made = [left[i] + right[j] for i, j in pairs]
    if how in ("left", "full"):
        made += [x + (None,) * len(right[0]) for i, x in enumerate(left) if i not in matched_left]
    if how in ("right", "full"):
        made += [(None,) * len(left[0]) + y for j, y in enumerate(right) if j not in matched_right]
    return made


def as_bag(values):
    return sorted(map(repr, values))


@pytest.mark.parametrize("limit", [1 << 30, 1], ids=["memory", "spilled"])
@pytest.mark.parametrize("how", ALL)
@pytest.mark.parametrize("key", ["b", "c"])
def test_join_on_a_key_does_as_two_loops_do(how, key, limit):
    position = ("b", "c").index(key)
    left, right = rows(LEFT), rows(RIGHT)
    wanted = join_by_definition(left, right, how, lambda x, y: equal(x[0], y[position]))
    plan = Join(left=LEFT, right=RIGHT, how=how, on=(("a", key),))
    assert as_bag(rows(plan, limit=limit)) == as_bag(wanted)


@pytest.mark.parametrize("limit", [1 << 30, 1], ids=["memory", "spilled"])
@pytest.mark.parametrize("how", ALL)
@pytest.mark.parametrize("on", [(), (("a", "b"),)], ids=["condition", "key and condition"])
def test_join_on_a_condition_does_as_two_loops_do(how, on, limit):
    flagged = relation(
        {"b": INT, "late": pa.bool_()}, (1, True), (1, None), (None, True), (0, True), (7, False)
    )
    left, right = rows(LEFT), rows(flagged)
    wanted = join_by_definition(
        left, right, how, lambda x, y: y[1] is True and (not on or equal(x[0], y[0]))
    )
    plan = Join(left=LEFT, right=flagged, how=how, on=on, residual=Column("late"))
    assert as_bag(rows(plan, limit=limit)) == as_bag(wanted)


def test_cross_join_pairs_everything():
    plan = Join(left=LEFT, right=RIGHT, how="cross")
    wanted = [x + y for x in rows(LEFT) for y in rows(RIGHT)]
    assert as_bag(rows(plan)) == as_bag(wanted)


def test_keys_of_two_columns_match_when_both_do_and_neither_is_null():
    left = relation({"a": INT, "b": TEXT}, (1, "x"), (1, None), (2, "x"))
    right = relation({"c": INT, "d": TEXT}, (1, "x"), (1, None), (None, "x"))
    plan = Join(left=left, right=right, how="inner", on=(("a", "c"), ("b", "d")))
    assert rows(plan) == [(1, "x", 1, "x")]

    left = relation({"a": INT}, (2**53 + 1,))
    right = relation({"b": FLOAT}, (2.0**53,))
    assert rows(Join(left=left, right=right, on=(("a", "b"),))) == [(2**53 + 1, 2.0**53)]

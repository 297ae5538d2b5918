"""Grouping: keys, modifiers, and groups beyond the memory limit."""

from __future__ import annotations

from collections import defaultdict

import pyarrow as pa
import pytest

from tests.platforms.python.helpers import NAN, relation, rows
from umbel.plan.errors import EvaluationError
from umbel.plan.expressions import AggregateCall, Column, SortKey
from umbel.plan.operators import Aggregate, Element

INT, FLOAT, TEXT, BOOL = pa.int64(), pa.float64(), pa.string(), pa.bool_()


def call(function, *columns, **modifiers):
    return AggregateCall(function, tuple(Column(name) for name in columns), **modifiers)


def aggregate(table, *keys, **calls):
    return Aggregate(
        input=table,
        keys=tuple((key, Column(key)) for key in keys),
        aggregates=tuple(calls.items()),
    )


def test_nulls_nan_and_the_zeros_are_one_group_each():
    table = relation(
        {"k": FLOAT, "n": INT}, (NAN, 1), (None, 2), (-0.0, 4), (NAN, 8), (0.0, 16), (None, 32)
    )
    made = rows(aggregate(table, "k", s=call("sum", "n")))
    assert {repr(abs(k)) if k is not None else None: s for k, s in made} == {
        "nan": 9, None: 34, "0.0": 20,
    }  # fmt: skip


def test_without_keys_there_is_one_row_even_for_no_rows():
    empty = relation({"n": INT})
    assert rows(aggregate(empty, s=call("sum", "n"), c=call("len"))) == [(None, 0)]


def test_distinct_counts_each_value_once():
    table = relation({"x": FLOAT}, (NAN,), (NAN,), (0.0,), (-0.0,), (2.5,), (None,))
    plan = aggregate(table, d=call("count", "x", distinct=True), c=call("count", "x"))
    assert rows(plan) == [(3, 5)]


def test_where_takes_only_rows_for_which_it_is_true():
    table = relation({"x": INT, "ok": BOOL}, (1, True), (2, False), (4, None), (8, True))
    plan = aggregate(table, s=call("sum", "x", where=Column("ok")), a=call("sum", "x"))
    assert rows(plan) == [(9, 15)]


def test_order_by_feeds_rows_in_that_order():
    table = relation({"k": TEXT, "x": INT}, ("a", 3), ("a", 1), ("b", 9), ("a", 2))
    down = (SortKey(Column("x"), descending=True),)
    plan = aggregate(
        table,
        "k",
        f=call("first", "x", order_by=down),
        l=call("list", "x", order_by=(SortKey(Column("x")),)),
    )
    assert sorted(rows(plan)) == [("a", 3, [1, 2, 3]), ("b", 9, [9])]


def test_an_integer_sum_that_overflows_fails_and_names_the_group():
    table = relation({"k": TEXT, "x": INT}, ("a", 2**62), ("a", 2**62))
    with pytest.raises(EvaluationError, match=r"Aggregate.*9223372036854775808.*\n.*'a'"):
        rows(aggregate(table, "k", s=call("sum", "x")))


@pytest.mark.parametrize("function", ["sum", "median"])
def test_groups_beyond_the_memory_limit_are_the_same_groups(function):
    data = [(f"key {n % 700}", n) for n in range(7000)]
    groups = defaultdict(list)
    for key, n in data:
        groups[key].append(n)
    wanted = {k: sum(v) if function == "sum" else (v[4] + v[5]) / 2 for k, v in groups.items()}
    table = relation({"k": TEXT, "n": INT}, *data)
    made = rows(aggregate(table, "k", s=call(function, "n")), limit=20_000)
    assert len(made) == len(wanted)
    assert dict(made) == wanted


def test_form_says_how_python_sees_a_group():
    table = relation({"k": TEXT}, ("a",), ("a",))
    plan = Aggregate(
        input=table,
        keys=(("item_0", Column("k")),),
        aggregates=(("item_1", call("len")),),
        form=Element.TUPLE,
    )
    assert rows(plan) == [("a", 2)]

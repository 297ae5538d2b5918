"""Datasets: the plans that their methods build, their results, and what they refuse."""

from __future__ import annotations

import datetime
from decimal import Decimal

import pyarrow as pa
import pytest

import umbel as ub
from umbel.plan.operators import (
    Broadcast,
    DoWhile,
    Element,
    Map,
    Placeholder,
    Repeat,
    topological,
)
from umbel.plan.types import type_name

PAIRS = [("a", 1), ("b", 2), ("a", 3)]


def add(left, right):
    return left + right


# --- results ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda s: s.from_items([1, 2]).map(lambda x: x + 1), [2, 3]),
        (lambda s: s.from_items(["a b", "c"]).flat_map(str.split), ["a", "b", "c"]),
        (lambda s: s.from_items([1, 2, 3]).filter(lambda x: x % 2), [1, 3]),
        (lambda s: s.from_items([1, 2]).map_partitions(lambda xs: [x * 2 for x in xs]), [2, 4]),
        (lambda s: s.from_items([3, 4]).key_by(lambda x: x % 2), [(0, 4), (1, 3)]),
        (lambda s: s.from_items(PAIRS).reduce_by_key(add), [("a", 4), ("b", 2)]),
        (lambda s: s.from_items([1, 2, 3]).reduce_by(lambda x: x % 2, add), [2, 4]),
        (lambda s: s.from_items([1, 2, 3]).reduce(add), [6]),
        (lambda s: s.from_items([]).reduce(add), []),
        (lambda s: s.from_items([2, 1, 2]).distinct(), [1, 2]),
        (lambda s: s.from_items([1, 2]).union(s.from_items([2])), [1, 2, 2]),
        (lambda s: s.from_items([1, 2]).intersect(s.from_items([2, 2, 3])), [2]),
        (lambda s: s.from_items([1]).cartesian(s.from_items(["x", "y"])), [(1, "x"), (1, "y")]),
        (lambda s: s.from_items(PAIRS).join(s.from_items([("b", 9)])), [("b", (2, 9))]),
        (lambda s: s.from_items([1, 2, 3]).repeat(2, lambda d: d.map(lambda x: x * 2)), [4, 8, 12]),
        (lambda s: s.from_items([1, 2]).repeat(0, lambda d: d.map(lambda x: x * 2)), [1, 2]),
    ],
)
def test_results(session, build, expected):
    assert sorted(build(session).collect()) == expected


def test_groups_hold_all_their_values(session):
    grouped = session.from_items(PAIRS).group_by_key().collect()
    assert {key: sorted(values) for key, values in grouped} == {"a": [1, 3], "b": [2]}
    by_length = session.from_items(["x", "yy", "z"]).group_by(len).collect()
    assert {key: sorted(values) for key, values in by_length} == {1: ["x", "z"], 2: ["yy"]}
    both = session.from_items(PAIRS).co_group(session.from_items([("b", 9), ("c", 8)])).collect()
    assert {k: (sorted(a), sorted(b)) for k, (a, b) in both} == {
        "a": ([1, 3], []),
        "b": ([2], [9]),
        "c": ([], [8]),
    }


def test_sorting_ids_and_samples(session):
    items = session.from_items(["bb", "a", "ccc"])
    assert items.sort_by().collect() == ["a", "bb", "ccc"]
    assert items.sort_by(len, descending=True).collect() == ["ccc", "bb", "a"]
    assert items.sort_by(len).take(2) == ["a", "bb"]
    with_ids = items.zip_with_id().collect()
    assert len({i for i, _ in with_ids}) == 3
    assert sorted(x for _, x in with_ids) == ["a", "bb", "ccc"]
    sample = items.sample(2, seed=3).collect()
    assert len(set(sample)) == 2
    assert set(sample) < {"a", "bb", "ccc"}


def test_what_runs_at_once(session):
    items = session.from_items([3, 1, 2])
    assert (items.count(), items.sum(), items.sort_by().first(), items.take(0)) == (3, 6, 1, [])
    empty = session.from_items([])
    assert (empty.count(), empty.sum(), empty.take(1)) == (0, 0, [])
    with pytest.raises(ub.RunError, match="no first element"):
        empty.first()
    assert session.from_items(["a", "b"]).sum() in ("ab", "ba")
    assert session.from_items([2**62, 2**62]).sum() == 2**63


def test_a_broadcast_is_handed_to_the_function_as_a_list(session):
    weights = session.from_items([10, 20])
    items = session.from_items([1, 2])
    total = items.map(lambda x, w: x * sum(w), broadcast={"w": weights})
    assert sorted(total.collect()) == [30, 60]
    assert [o.keyword for o in topological(total.plan) if isinstance(o, Broadcast)] == ["w"]
    keyed = items.key_by(lambda x, w: x in w, broadcast={"w": items})
    assert sorted(keyed.collect()) == [(True, 1), (True, 2)]


def test_elements_keep_their_types_in_a_union_of_different_ones(session):
    mixed = session.from_items([1]).union(session.from_items([1.0, 2.5])).collect()
    assert sorted(map(repr, mixed)) == ["1", "1.0", "2.5"]


def test_rows_of_a_frame_are_named_tuples(orders):
    [row] = orders.filter(id=2).rows().collect()
    assert (row.id, row.customer, row.price, row.day) == (2, "bob", 2.5, datetime.date(2020, 1, 2))
    assert row._fields == ("id", "customer", "price", "day", "tags")
    assert sorted(orders.rows().map(lambda r: r.id * 2).collect()) == [2, 4, 6, 8]


# --- frames ----------------------------------------------------------------------------------------


def test_to_frame_takes_schemas_in_many_forms(session):
    items = session.from_items([("a", 1)]).map(lambda x: x)
    wanted = pa.schema([("w", pa.string()), ("n", pa.int64())])
    for schema in (wanted, {"w": str, "n": "int64"}, [("w", pa.string()), ("n", int)]):
        frame = items.to_frame(schema)
        assert frame.schema == wanted
        assert frame.to_dicts() == [{"w": "a", "n": 1}]


def test_to_frame_knows_the_types_of_typed_items(session):
    frame = session.from_items([("a", 1)]).to_frame(["w", "n"])
    assert [type_name(t) for t in frame.dtypes] == ["string", "int64"]
    assert session.from_items([1, 2]).to_frame(["x"]).select(ub.sum("x")).to_dicts() == [{"x": 3}]


def test_python_types_in_a_schema(session):
    schema = {"a": bool, "b": float, "c": datetime.date, "d": datetime.datetime, "e": Decimal}
    frame = session.from_items([]).to_frame(schema)
    assert [type_name(t) for t in frame.dtypes] == [
        "bool",
        "float64",
        "date",
        "timestamp[us]",
        "decimal(38,18)",
    ]


# --- loops -----------------------------------------------------------------------------------------


def test_a_body_becomes_a_plan_over_a_placeholder(session):
    items = session.from_items([1, 2]).map(lambda x: x)
    plan = items.repeat(3, lambda d: d.map(lambda x: x + 1)).plan
    assert isinstance(plan, Repeat)
    assert (plan.times, plan.labels, plan.invariants) == (3, ("round",), ())
    assert [o.name for o in topological(plan.body)] == ["Placeholder", "Map"]


def test_what_a_body_uses_from_outside_is_computed_once(session):
    outside = session.from_items([(1, 5)]).map(lambda p: p)
    start = session.from_items([(1, 0)]).map(lambda p: p)
    loop = start.repeat(4, lambda d: d.join(outside).map(lambda kv: (kv[0], kv[1][0] + kv[1][1])))
    assert isinstance(loop.plan, Repeat)
    assert loop.plan.invariants == (outside.plan,)
    assert loop.plan.labels == ("round", "invariant_0")
    assert loop.collect() == [(1, 20)]


def test_a_broadcast_from_outside_is_an_invariant_too(session):
    step = session.from_items([5]).map(lambda x: x)
    start = session.from_items([0]).map(lambda x: x)
    loop = start.repeat(3, lambda d: d.map(lambda x, by: x + by[0], broadcast={"by": step}))
    assert isinstance(loop.plan, Repeat)
    assert loop.plan.invariants == (step.plan,)
    assert loop.collect() == [15]


def test_typed_items_enter_a_loop_as_objects_if_the_body_gives_objects(session):
    loop = session.from_items([("a", 1)]).repeat(2, lambda d: d.map(lambda p: (p[0], p[1] * 2)))
    assert isinstance(loop.plan, Repeat)
    assert loop.plan.initial.element is Element.OBJECT
    assert isinstance(loop.plan.initial, Map)
    assert loop.collect() == [("a", 4)]


def test_typed_items_stay_typed_if_the_body_keeps_them_so(session):
    loop = session.from_items([2, 1]).repeat(2, lambda d: d.sort_by().limit(5))
    assert isinstance(loop.plan, Repeat)
    assert loop.plan.body.element is Element.VALUE
    assert sorted(loop.collect()) == [1, 2]


def test_do_while_ends_when_the_condition_is_false(session):
    loop = session.from_items([1, 3]).do_while(
        lambda d: d.reduce(max).map(lambda x: x < 20),
        lambda d: d.map(lambda x: x * 2),
        expected=3,
        limit=50,
    )
    assert isinstance(loop.plan, DoWhile)
    assert (loop.plan.expected, loop.plan.limit) == (3, 50)
    assert sorted(loop.collect()) == [8, 24]


def test_a_loop_in_a_loop(session):
    step = session.from_items([1]).map(lambda x: x)
    start = session.from_items([0]).map(lambda x: x)

    def inner(d):
        return d.map(lambda x, by: x + by[0], broadcast={"by": step})

    loop = start.repeat(2, lambda outer: outer.repeat(3, inner))
    assert loop.collect() == [6]


def test_a_body_that_ignores_its_input_gives_the_other_dataset(session):
    other = session.from_items(["x"]).map(lambda x: x)
    loop = session.from_items(["a"]).map(lambda x: x).repeat(2, lambda d: other)
    assert isinstance(loop.plan, Repeat)
    assert isinstance(loop.plan.body, Placeholder)
    assert loop.collect() == ["x"]


# --- mistakes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda d: d.map(5), "takes a function as function, not 5"),
        (lambda d: d.union([1]), "union takes another Dataset"),
        (lambda d: d.map(len, broadcast={"x y": d}), "named by a keyword"),
        (lambda d: d.map(len, broadcast={"x": [1]}), "broadcast 'x' takes another Dataset"),
        (lambda d: d.sample(-1), "cannot be negative"),
        (lambda d: d.sample(), "either a size or a fraction"),
        (lambda d: d.sample(1, fraction=0.5), "either a size or a fraction"),
        (lambda d: d.sample(fraction=1.5), "between 0 and 1"),
        (lambda d: d.sample(fraction=float("nan")), "between 0 and 1"),
        (lambda d: d.map(str).to_frame(["a"]), "not known when the plan is built"),
        (lambda d: d.map(str).to_frame(), "not known when the plan is built"),
        (lambda d: d.to_frame(["a", "b"]), "1 items, but 2 names"),
        (lambda d: d.to_frame({"a": "strin"}), "did you mean 'string'"),
        (lambda d: d.to_frame({"a": object}), "column 'a'"),
        (lambda d: d.repeat(-1, lambda x: x), "cannot run -1 times"),
        (lambda d: d.repeat(2, lambda x: 5), "must give a Dataset, not int"),
        (lambda d: d.repeat(2, lambda x: x.map(lambda y: y).collect()), "cannot be run"),
        (lambda d: d.do_while(lambda x: True, lambda x: x), "condition of do_while must give"),
        (lambda d: d.do_while(lambda x: x, lambda x: x, limit=0), "at least 1"),
        (lambda d: d.on("spork"), "unknown platform 'spork'"),
    ],
)
def test_a_mistake_is_an_error_at_the_line_that_wrote_it(session, build, message):
    with pytest.raises(ub.UmbelError, match=message) as caught:
        build(session.from_items([1, 2]))
    assert str(caught.value).count("\n  at ") == 1
    assert f"{__file__}:" in str(caught.value)

"""Operators that run Python functions, one by one."""

from __future__ import annotations

import itertools
import operator
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from tests.platforms.python.helpers import NAN, Context, collection, objects, of, relation, run
from umbel.plan.errors import CancelledError
from umbel.plan.operators import (
    Broadcast,
    Cartesian,
    CoGroup,
    Count,
    Distinct,
    Except,
    FilterRows,
    FlatMap,
    GroupBy,
    GroupByKey,
    Intersect,
    JoinByKey,
    Limit,
    Map,
    MapPartitions,
    Reduce,
    ReduceBy,
    ReduceByKey,
    Rows,
    Sample,
    SortBy,
    Union,
    ZipWithId,
)

HOSTILE = [None, NAN, -0.0, 0, True, "", "ß\u0301", 10**40, (1, [2]), b"\x00"]


def double(x):
    return x * 2


def add(a, b):
    return a + b


def test_map_applies_functions_written_in_python_and_in_c():
    assert run(Map(input=objects(1, "a"), function=of(double))) == [2, "aa"]
    assert run(Map(input=objects(1, None), function=of(str))) == ["1", "None"]


def test_map_keeps_every_kind_of_value():
    assert run(Map(input=collection(HOSTILE), function=of(lambda x: x))) == HOSTILE


def test_filter_rows_takes_python_truth():
    kept = run(FilterRows(input=collection(HOSTILE), function=of(lambda x: x)))
    assert kept == [x for x in HOSTILE if x]
    assert run(FilterRows(input=collection(HOSTILE), function=of(bool))) == kept


def test_flat_map_gives_every_item_of_any_iterable():
    items = objects([1, 2], (), "ab", {"k": 1}, (n for n in (7, 8)))
    assert run(FlatMap(input=items, function=of(lambda x: x))) == [1, 2, "a", "b", "k", 7, 8]


def test_flat_map_takes_kinds_of_iterables_by_turns_over_many_pieces():
    makers = (list, tuple, iter, str, set, lambda items: (item for item in items))

    def spread(x: int) -> Any:
        return makers[x % 7 % 6]([str(x % 10)] * (x % 3 > 0))

    numbers = list(range(20_000))
    wanted = [item for x in numbers for item in spread(x + 1)]
    source = collection(numbers)
    shifted = Map(input=source, function=of(lambda x: x + 1))
    assert run(FlatMap(input=shifted, function=of(spread))) == wanted


def test_loops_joined_with_maps_do_what_they_do_apart():
    numbers = list(range(20_000))
    pairs = Map(input=collection(numbers), function=of(lambda x: (x % 7, x)))
    doubled = Map(input=pairs, function=of(lambda pair: (pair[0], 2 * pair[1])))
    by_key = {key: [2 * x for x in numbers if x % 7 == key] for key in range(7)}
    reduced = ReduceByKey(input=doubled, function=of(operator.add))
    assert dict(run(reduced)) == {key: sum(values) for key, values in by_key.items()}
    assert dict(run(GroupByKey(input=doubled))) == by_key
    grouped = GroupBy(input=doubled, key=of(lambda pair: pair[0]))
    assert dict(run(grouped)) == {k: [(k, value) for value in v] for k, v in by_key.items()}
    values = Map(input=doubled, function=of(lambda pair: pair[1]))
    assert run(Reduce(input=values, function=of(max))) == [2 * 19_999]
    least = ReduceBy(input=values, key=of(lambda x: x % 3), function=of(min))
    assert sorted(run(least)) == [0, 2, 4]  # 0, 2 and 4 leave 0, 2 and 1


def test_what_a_loop_makes_goes_to_disk_beyond_the_limit():
    context = Context(memory_limit=1 << 20)
    made = run(
        Map(input=collection(list(range(30_000))), function=of(lambda x: f"{x:0200}")),
        context=context,
    )
    assert context.files  # 250 bytes each, 7.5 MB in all
    assert list(made) == [f"{x:0200}" for x in range(30_000)]


def test_cartesian_of_many_with_few_is_cut_into_pieces():
    numbers = list(range(5_000))
    pairs = Cartesian(left=collection(numbers), right=collection(numbers[:3]))
    assert sorted(run(pairs)) == [(x, y) for x in numbers for y in numbers[:3]]


def test_limit_stops_an_endless_flat_map():
    endless = FlatMap(input=objects(5), function=of(itertools.count))
    assert run(Limit(input=endless, count=3, offset=1)) == [6, 7, 8]


def test_map_partitions_sees_every_element_once_even_if_it_stops_early():
    numbers = list(range(50_000))

    def two_of_each_part(part):
        yield next(part)
        yield next(part)

    whole = run(MapPartitions(input=collection(numbers), function=of(lambda part: part)))
    assert whole == numbers
    few = run(MapPartitions(input=collection(numbers), function=of(two_of_each_part)))
    assert len(few) == len(set(few))
    assert few[:2] == [0, 1]
    assert run(MapPartitions(input=objects(), function=of(two_of_each_part))) == []


def test_broadcast_inputs_come_as_lists_by_keyword():
    def known(x, *, words):
        assert isinstance(words, list)
        return x in words

    side = Broadcast(input=Map(input=objects("a", "b"), function=of(str.upper)), keyword="words")
    plan = FilterRows(input=objects("A", "C"), broadcasts=(side,), function=of(known, "words"))
    assert run(plan) == ["A"]


def test_reduce_by_key_reduces_the_values_of_each_key():
    words = ["b", "a", "b", None, "b"]
    pairs = collection([(word, 1) for word in words])
    assert dict(run(ReduceByKey(input=pairs, function=of(add)))) == dict(Counter(words))


def test_keys_compare_as_python_compares_them():
    pairs = objects((1, "a"), (1.0, "b"), (True, "c"))
    assert run(ReduceByKey(input=pairs, function=of(add))) == [(1, "abc")]
    assert run(GroupByKey(input=pairs)) == [(1, ["a", "b", "c"])]
    assert run(JoinByKey(left=objects((1, "x")), right=pairs)) == [
        (1, ("x", "a")),
        (1, ("x", "b")),
        (1, ("x", "c")),
    ]


def test_reduce_by_gives_elements_and_group_by_pairs():
    items = objects("aa", "b", "cc", "d")
    by_length = ReduceBy(input=items, key=of(len), function=of(add))
    assert sorted(run(by_length)) == ["aacc", "bd"]
    assert dict(run(GroupBy(input=items, key=of(len)))) == {2: ["aa", "cc"], 1: ["b", "d"]}


def test_reduce_folds_everything_and_nothing():
    assert run(Reduce(input=collection(list(range(5000))), function=of(add))) == [4999 * 2500]
    assert run(Reduce(input=objects(None), function=of(add))) == [None]
    assert run(Reduce(input=objects(), function=of(add))) == []


def test_co_group_has_the_keys_of_both_sides():
    plan = CoGroup(left=objects(("a", 1), ("a", 2)), right=objects(("b", 3), ("a", 4)))
    assert dict(run(plan)) == {"a": ([1, 2], [4]), "b": ([], [3])}


def test_cartesian_pairs_everything():
    left, right = list(range(100)), list(range(2000))
    made = run(Cartesian(left=collection(left), right=collection(right)))
    assert made == list(itertools.product(left, right))


def test_sort_by_is_stable_in_both_directions():
    items = objects("bb", "a", "cc", "d")
    assert run(SortBy(input=items, key=of(len))) == ["a", "d", "bb", "cc"]
    assert run(SortBy(input=items, key=of(len), descending=True)) == ["bb", "cc", "a", "d"]
    assert run(SortBy(input=items)) == ["a", "bb", "cc", "d"]


def test_ids_are_distinct():
    made = run(ZipWithId(input=collection(list("abc") * 1000)))
    assert [element for _, element in made] == list("abc") * 1000
    assert len({number for number, _ in made}) == 3000
    assert all(isinstance(number, int) and number >= 0 for number, _ in made)


def test_count_counts_elements():
    assert run(Count(input=collection([None] * 12_345))) == [12_345]
    assert run(Count(input=objects())) == [0]


def test_rows_are_named_tuples_with_names_that_python_takes():
    table = relation({"a": pa.int64(), "class": pa.string()}, (1, "x"))
    (record,) = run(Rows(input=table))
    assert record == (1, "x")
    assert record.a == 1
    assert record._1 == "x"


def test_set_operators_on_objects_go_by_python_equality():
    left, right = objects(1, 1, (2, "b"), None), objects(1.0, None, "c")
    assert run(Union(members=(left, right))) == [1, 1, (2, "b"), None, 1.0, None, "c"]
    assert run(Union(members=(left, right), distinct=True)) == [1, (2, "b"), None, "c"]
    assert run(Distinct(input=left)) == [1, (2, "b"), None]
    assert run(Intersect(left=left, right=right)) == [1, None]
    assert run(Except(left=left, right=right)) == [(2, "b")]


def test_sample_takes_the_positions_that_a_seeded_generator_draws():
    import random

    items = [f"item {n}" for n in range(5000)]
    wanted = sorted(random.Random(7).sample(range(5000), 10))
    assert run(Sample(input=collection(items), count=10, seed=7)) == [items[n] for n in wanted]
    assert run(Sample(input=objects("a"), count=10)) == ["a"]


def test_an_operator_read_twice_runs_once():
    calls = []

    def note(x):
        calls.append(x)
        return x

    shared = Map(input=objects(1, 2), function=of(note))
    assert run(Union(members=(shared, shared))) == [1, 2, 1, 2]
    assert calls == [1, 2]


def test_a_chain_of_a_thousand_operators_runs():
    plan = objects(0)
    for _ in range(1000):
        plan = Map(input=plan, function=of(lambda x: x + 1))
    assert run(plan) == [1000]


def test_rows_are_measured_per_operator_and_times_where_they_can_be_told_apart():
    context = Context()
    words = Map(input=collection(list(range(10_000))), function=of(str))
    even = FilterRows(input=words, function=of(lambda x: int(x) % 2 == 0))
    fours = FilterRows(input=even, function=of(lambda x: int(x) % 4 == 0))
    run(Reduce(input=fours, function=of(max)), context=context)
    assert context.measured == [
        ("Scan", 10_000), ("Map", 10_000), ("FilterRows", 5_000), ("FilterRows", 2_500),
        ("Reduce", 1),
    ]  # fmt: skip
    # The map and the first filter run in one loop.
    assert set(context.seconds) == {"Scan", "FilterRows", "Reduce"}
    assert all(seconds > 0 for seconds in context.seconds.values())


def test_a_slow_function_meets_a_cancellation_within_few_elements():
    import time

    done = []

    def slow(x):
        time.sleep(0.002)
        done.append(x)

    with pytest.raises(CancelledError):
        run(
            Map(input=collection(list(range(100_000))), function=of(slow)),
            context=Context(cancel_after=6),
        )
    assert len(done) < 1000


def test_a_stage_reads_python_and_arrow_inputs():
    from umbel.plan.operators import OBJECT_SCHEMA, Element, Placeholder

    schema = pa.schema([("value", pa.string())])
    words = Placeholder(label="w", columns=schema, form=Element.VALUE)
    table = pa.table({"value": ["a", None]}, schema)
    assert run(Map(input=words, function=of(double_or_none)), w=table) == ["aa", None]
    things = Placeholder(label="t", columns=OBJECT_SCHEMA, form=Element.OBJECT)
    assert run(Map(input=things, function=of(double)), t=[[1]]) == [[1, 1]]
    assert run(Count(input=things), t=range(9)) == [9]


def double_or_none(x):
    return None if x is None else x * 2

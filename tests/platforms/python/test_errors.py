"""What a user reads when a function of theirs fails."""

from __future__ import annotations

import dataclasses

import pytest

from tests.platforms.python.helpers import collection, objects, of, relation, run
from umbel.plan.errors import FunctionError, RunError
from umbel.plan.operators import (
    CoGroup,
    Distinct,
    FilterRows,
    FlatMap,
    GroupBy,
    GroupByKey,
    Intersect,
    JoinByKey,
    Map,
    MapPartitions,
    Reduce,
    ReduceBy,
    ReduceByKey,
    SortBy,
)
from umbel.plan.operators.control import Write
from umbel.plan.origin import Origin
from umbel.plan.sinks import TextSink
from umbel.platforms.python import engine


def parse(text):
    number = int(text)
    text = "another value under the same name"
    return 100 // number


LINE = parse.__code__.co_firstlineno


def good_and(bad, count=3000):
    return collection(["1"] * count + [bad] + ["2"] * 5)


def test_the_error_names_function_line_operator_origin_and_value():
    plan = Map(input=good_and("x1"), function=of(parse), origin=Origin("pipe.py", 12))
    with pytest.raises(FunctionError) as caught:
        run(plan)
    text = str(caught.value)
    assert f"Map at pipe.py:12: function parse ({__file__}:{LINE}) raised ValueError" in text
    assert f"at line {LINE + 1}: invalid literal for int() with base 10: 'x1'" in text
    assert "the value that broke it: 'x1'" in text
    assert isinstance(caught.value.__cause__, ValueError)


def test_the_value_is_the_one_given_even_if_the_function_changed_its_name():
    with pytest.raises(FunctionError, match="the value that broke it: '0'"):
        run(Map(input=good_and("0"), function=of(parse)))


@pytest.mark.parametrize("function", [int, parse], ids=["C", "Python"])
@pytest.mark.parametrize("make", [
    lambda source, f: Map(input=source, function=f),
    lambda source, f: FilterRows(input=source, function=f),
    lambda source, f: FlatMap(input=source, function=f),
    lambda source, f: SortBy(input=source, key=f),
    lambda source, f: GroupBy(input=source, key=f),
    lambda source, f: ReduceBy(input=source, key=f, function=of(max)),
], ids=["map", "filter", "flat_map", "sort_by", "group_by", "reduce_by"])  # fmt: skip
def test_every_operator_finds_the_value_that_broke_a_function(make, function):
    source = collection(["bad"]) if make(objects(), of(str)).name == "FlatMap" else good_and("bad")
    with pytest.raises(FunctionError, match=r"ValueError.*\n.*broke it: 'bad'"):
        run(make(source, of(function)))


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("make", [Map, FilterRows, FlatMap])
@pytest.mark.parametrize("wrap", [lambda f: f, lambda f: f.__call__], ids=["Python", "C"])
def test_stop_iteration_does_not_end_the_data(make, position, wrap):
    items = ["a", "b", "c"]

    def stop(x):
        if x == items[position]:
            raise StopIteration
        return x

    plan = make(input=collection(items), function=of(wrap(stop)))
    with pytest.raises(FunctionError, match=rf"StopIteration.*\n.*'{items[position]}'"):
        run(plan)


def test_a_result_that_cannot_be_iterated_is_a_failure_of_flat_map():
    with pytest.raises(FunctionError, match=r"'int' object is not iterable\n.*broke it: 7"):
        run(FlatMap(input=objects(7), function=of(lambda x: x)))
    with pytest.raises(FunctionError, match="'NoneType' object is not iterable"):
        run(MapPartitions(input=objects(7), function=of(lambda part: None)))


def test_reducing_functions_name_both_values():
    pairs = objects(("k", 1), ("j", "x"), ("k", "2"))
    with pytest.raises(FunctionError, match=r"TypeError.*\n.*broke it: \(1, '2'\)"):
        run(ReduceByKey(input=pairs, function=of(lambda a, b: a + b)))
    with pytest.raises(FunctionError, match=r"TypeError.*\n.*broke it: \('x', \['y'\]\)"):
        run(ReduceBy(input=objects("x", ["y"]), key=of(len), function=of(lambda a, b: a + b)))
    with pytest.raises(FunctionError, match=r"TypeError.*\n.*broke it: '3'"):
        run(Reduce(input=objects(1, 2, "3"), function=of(lambda a, b: a + b)))


@pytest.mark.parametrize("bad", [7, (1,), (1, 2, 3), None, "abc"], ids=str)
@pytest.mark.parametrize("make", [
    lambda source: ReduceByKey(input=source, function=of(max)),
    lambda source: GroupByKey(input=source),
    lambda source: JoinByKey(left=source, right=source),
    lambda source: JoinByKey(left=source, right=objects()),
    lambda source: CoGroup(left=objects(), right=source),
], ids=["reduce_by_key", "group_by_key", "join", "join left", "co_group"])  # fmt: skip
def test_elements_that_are_no_pairs_are_named(make, bad):
    with pytest.raises(RunError, match=r"takes \(key, value\) pairs, not") as caught:
        run(make(objects(("k", 1), bad)))
    assert repr(bad) in str(caught.value)


@pytest.mark.parametrize("make", [
    lambda source: ReduceByKey(input=source, function=of(max)),
    lambda source: GroupByKey(input=source),
    lambda source: GroupBy(input=source, key=of(lambda pair: pair[0])),
    lambda source: JoinByKey(left=source, right=objects()),
    lambda source: Distinct(input=source),
    lambda source: Intersect(left=source, right=source),
], ids=["reduce_by_key", "group_by_key", "group_by", "join", "distinct", "intersect"])  # fmt: skip
def test_keys_without_a_hash_are_named(make):
    with pytest.raises(RunError, match=r"\['k'\].*cannot be hashed\n.*tuple for a list"):
        run(make(objects(("a", 1), (["k"], 1))))


def test_keys_without_a_common_order_are_named():
    with pytest.raises(RunError, match=r"keys have no common order.*'NoneType' and 'int'"):
        run(SortBy(input=objects(1, None), key=of(lambda x: x)))
    with pytest.raises(RunError, match="elements have no common order"):
        run(SortBy(input=objects(1, "a")))


def test_large_and_hostile_values_are_shown_short():
    @dataclasses.dataclass
    class Hostile:
        def __repr__(self):
            raise RuntimeError("no")

    for value in ("x" * 10**6, list(range(10**6)), Hostile()):
        with pytest.raises(FunctionError) as caught:
            run(Map(input=objects(value), function=of(lambda x: 1 // 0)))
        assert len(caught.value.hint) < 240


def test_an_error_below_a_partition_function_is_not_blamed_on_it():
    below = Map(input=good_and("x"), function=of(parse))
    with pytest.raises(FunctionError, match="Map: function parse"):
        run(MapPartitions(input=below, function=of(list)))


def test_what_the_executor_does_is_refused_with_the_reason():
    write = Write(input=relation({}), sink=TextSink("out.txt"))
    reason = engine().refuse(write)
    assert reason is not None
    assert "executor" in reason


def test_a_chain_of_functions_says_which_one_failed_and_on_what():
    def plus(x):
        return x + 1

    def positive(x):
        return 1 // x >= 0

    def invert(x):
        return 10 // (x - 5)

    def chain(*items):
        first = Map(input=objects(*items), function=of(plus))
        return Map(input=FilterRows(input=first, function=of(positive)), function=of(invert))

    assert run(chain(1, 2, 9)) == [10 // -3, 10 // -2, 2]
    with pytest.raises(FunctionError, match=r"^Map: function .*plus.*\n.*broke it: 'x'"):
        run(chain(1, "x"))
    with pytest.raises(FunctionError, match=r"^FilterRows: function .*positive.*\n.*broke it: 0"):
        run(chain(1, -1))
    with pytest.raises(FunctionError, match=r"^Map: function .*invert.*\n.*broke it: 5"):
        run(chain(1, 4))


def test_operators_joined_to_one_loop_are_told_apart_when_one_fails():
    def inverse(x):
        return 100 // x

    def spread(x):
        yield x
        yield inverse(x - 10)

    shifted = Map(input=collection(list(range(3000))), function=of(lambda x: x - 2000))
    with pytest.raises(FunctionError, match=r"^FlatMap: function .*spread") as caught:
        run(FlatMap(input=shifted, function=of(spread)))
    assert "the value that broke it: 10" in str(caught.value)
    inverted = Map(input=shifted, function=of(inverse))
    keyed = Map(input=inverted, function=of(lambda x: (x, x)))
    for plan in (
        ReduceByKey(input=keyed, function=of(max)),
        GroupByKey(input=keyed),
        GroupBy(input=inverted, key=of(str)),
        ReduceBy(input=inverted, key=of(str), function=of(max)),
        Reduce(input=inverted, function=of(max)),
        FlatMap(input=inverted, function=of(lambda x: [x])),
    ):
        with pytest.raises(FunctionError, match=r"^Map: function .*inverse") as caught:
            run(plan)
        assert "the value that broke it: 0" in str(caught.value)

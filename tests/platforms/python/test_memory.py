"""Bounded memory: the same answers with almost none, and no more held than allowed."""

from __future__ import annotations

import gzip
import itertools
import threading
import tracemalloc
from collections import Counter, defaultdict

import pyarrow as pa
import pytest

from tests.platforms.python.helpers import Context, collection, of, relation, run
from umbel.plan.expressions import Column, SortKey
from umbel.plan.operators import (
    Cartesian,
    CoGroup,
    Count,
    Distinct,
    Except,
    FlatMap,
    GroupBy,
    GroupByKey,
    Intersect,
    JoinByKey,
    Limit,
    Map,
    ReduceBy,
    ReduceByKey,
    Sample,
    Scan,
    Sort,
    SortBy,
    Union,
)
from umbel.plan.sources import TextSource

TINY = 40_000
NUMBERS = [n * 7919 % 10_007 for n in range(10_000)]
PAIRS = [(f"key {n % 500}", n) for n in NUMBERS]


def spilled(plan):
    """Run with a tiny memory limit, with the result only counted before it is read."""
    context = Context(TINY)
    run(Count(input=plan), context=context)
    assert context.files > 0, "nothing was spilled, so the test shows nothing"
    return list(run(plan, limit=TINY))


def test_reduce_and_group_by_key_spill():
    sums = Counter()
    groups = defaultdict(list)
    for key, n in PAIRS:
        sums[key] += n
        groups[key].append(n)
    add = of(lambda a, b: a + b)
    assert Counter(dict(spilled(ReduceByKey(input=collection(PAIRS), function=add)))) == sums
    made = spilled(GroupByKey(input=collection(PAIRS)))
    assert len(made) == len(groups)
    assert {k: sorted(v) for k, v in made} == {k: sorted(v) for k, v in groups.items()}


def test_reduce_by_and_group_by_spill():
    tens = of(lambda n: n // 2)
    groups = defaultdict(list)
    for n in NUMBERS:
        groups[n // 2].append(n)
    made = spilled(GroupBy(input=collection(NUMBERS), key=tens))
    assert len(made) == len(groups)
    assert {k: sorted(v) for k, v in made} == {k: sorted(v) for k, v in groups.items()}
    largest = spilled(ReduceBy(input=collection(NUMBERS), key=tens, function=of(max)))
    assert sorted(largest) == sorted(max(v) for v in groups.values())


def test_join_and_co_group_spill():
    right = [(f"key {n}", -n) for n in range(0, 1000, 2)] * 2
    made = spilled(JoinByKey(left=collection(PAIRS), right=collection(right)))
    index = defaultdict(list)
    for key, n in right:
        index[key].append(n)
    wanted = [(key, (n, other)) for key, n in PAIRS for other in index.get(key, [])]
    assert sorted(made) == sorted(wanted)
    grouped = dict(spilled(CoGroup(left=collection(PAIRS), right=collection(right))))
    assert set(grouped) == {key for key, _ in PAIRS} | set(index)
    assert all(sorted(rights) == sorted(index.get(k, [])) for k, (_, rights) in grouped.items())


@pytest.mark.parametrize("descending", [False, True])
def test_sorts_spill_and_stay_stable(descending):
    items = list(enumerate(n % 100 for n in NUMBERS))
    wanted = sorted(items, key=lambda item: item[1], reverse=descending)
    plan = SortBy(input=collection(items), key=of(lambda item: item[1]), descending=descending)
    assert spilled(plan) == wanted
    table = relation({"i": pa.int64(), "n": pa.int64()}, *items)
    key = SortKey(Column("n"), descending=descending)
    assert list(run(Sort(input=table, keys=(key,)), limit=TINY)) == wanted


def test_sets_and_samples_spill():
    import random

    left, right = NUMBERS + NUMBERS[:50], NUMBERS[5000:]
    sides = {"left": collection(left), "right": collection(right)}
    assert sorted(spilled(Distinct(input=sides["left"]))) == sorted(set(left))
    assert sorted(spilled(Intersect(**sides))) == sorted(set(left) & set(right))
    assert sorted(spilled(Except(**sides))) == sorted(set(left) - set(right))
    both = Union(members=tuple(sides.values()), distinct=True)
    assert sorted(spilled(both)) == sorted(set(left) | set(right))
    wanted = [left[n] for n in sorted(random.Random(5).sample(range(len(left)), 20))]
    assert spilled(Sample(input=sides["left"], count=20, seed=5)) == wanted


def test_a_large_product_and_a_shared_input_spill():
    right = list(range(3000))
    plan = Cartesian(left=collection([1, 2]), right=collection(right))
    assert sorted(spilled(plan)) == list(itertools.product([1, 2], right))
    shared = Map(input=collection(NUMBERS), function=of(lambda n: n))
    assert spilled(Union(members=(shared, shared))) == NUMBERS + NUMBERS


def test_values_that_cannot_be_pickled_stay_in_memory():
    locks = [threading.Lock() for _ in range(3000)]
    assert run(SortBy(input=collection(locks), key=of(id)), limit=TINY) == sorted(locks, key=id)
    made = run(Distinct(input=collection(locks + locks)), limit=TINY)
    assert sorted(made, key=id) == sorted(locks, key=id)
    pairs = collection([(n % 7, lock) for n, lock in enumerate(locks)])
    assert sum(len(v) for _, v in run(GroupByKey(input=pairs), limit=TINY)) == 3000


def test_a_spilled_result_can_be_read_again_and_leaves_no_file():
    context = Context(TINY)
    made = run(Map(input=collection(NUMBERS), function=of(str)), context=context)
    assert len(made) == len(NUMBERS)
    assert list(made) == list(made) == list(map(str, NUMBERS))
    assert list(context.folder.iterdir())
    del made
    assert not list(context.folder.iterdir())


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A text of about 50 MB, and the number of its words."""
    path = tmp_path_factory.mktemp("corpus") / "words.txt"
    line = " ".join(f"word{n:04d}" for n in range(100)) + "\n"
    with path.open("w") as file:
        for _ in range(52_000_000 // len(line)):
            file.write(line)
    return path, 52_000_000 // len(line)


def scan(path):
    return Scan(source=TextSource(schema=pa.schema([("value", pa.string())]), paths=(str(path),)))


def test_a_text_of_50_megabytes_streams_through_a_few(corpus):
    path, lines = corpus
    words = FlatMap(input=Limit(input=scan(path), count=8000), function=of(str.split))
    pairs = Map(input=words, function=of(lambda word: (word, 1)))
    lengths = Map(input=scan(path), function=of(len))
    tracemalloc.start()
    try:
        counts = run(ReduceByKey(input=pairs, function=of(lambda a, b: a + b)), limit=1 << 20)
        assert run(Count(input=lengths), limit=1 << 20) == [lines]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sorted(counts) == [(f"word{n:04d}", 8000) for n in range(100)]
    assert peak < 24 << 20  # a block of 4 MiB as bytes, as text and as lines


def test_sorting_holds_no_more_than_its_budget(corpus):
    path, _ = corpus
    backwards = Map(input=scan(path), function=of(lambda line: line[::-1]))
    tracemalloc.start()
    try:
        made = run(Count(input=SortBy(input=Limit(input=backwards, count=20_000))), limit=4 << 20)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert made == [20_000]  # of 1000 characters each
    assert peak < 24 << 20


def test_a_limit_reads_no_further_than_it_must(tmp_path):
    path = tmp_path / "broken.txt.gz"
    lines = "".join(f"line {n}\n" for n in range(1_000_000)).encode()
    # Reading to the end, beyond the blocks that are looked into, would fail.
    path.write_bytes(gzip.compress(lines + b"\xff\n", compresslevel=1))
    context = Context()
    made = run(Limit(input=scan(path), count=3), context=context)
    assert made == ["line 0", "line 1", "line 2"]
    assert context.rows["Scan"] < 5000

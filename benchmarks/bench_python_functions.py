"""Python functions over a million elements: umbel's python engine against loops written by hand.

The functions cannot be lifted (they branch), so each is called once per element on both sides.
`python -m benchmarks.harness` runs whole processes; here both sides are warm, in one process, in
turns, and the median of the ratios within a round is what counts.

    python -m benchmarks.bench_python_functions [--elements N] [--rounds N] [--json FILE]
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from umbel.catalog.commits import Commit
from umbel.plan.function_ref import PythonFunction
from umbel.plan.operators import (
    OBJECT_SCHEMA,
    Cartesian,
    Distinct,
    FilterRows,
    FlatMap,
    GroupByKey,
    JoinByKey,
    Map,
    MapPartitions,
    Operator,
    Reduce,
    ReduceBy,
    ReduceByKey,
    Scan,
    SortBy,
)
from umbel.plan.sources import MemorySource
from umbel.platforms.base import PYTHON, Stage
from umbel.platforms.python import engine


def change(x: int) -> int:
    return x * 3 + 1 if x % 2 else x // 2


def keep(x: int) -> bool:
    return x % 3 != 0 if x % 2 else x % 5 != 0


def around(x: int) -> tuple[int, int]:
    return (x, x + 1) if x % 2 else (x, x - 1)


def with_key(x: int) -> tuple[int, int]:
    return (x % 1000, x) if x % 2 else (x % 500, 1)


def add(a: int, b: int) -> int:
    return a + b


def larger(a: int, b: int) -> int:
    return a if a % 1000 >= b % 1000 else b


def bucket(x: int) -> int:
    return x * 7919 % 1009 if x % 2 else x * 31 % 2003


def pair(x: int) -> tuple[int, int]:
    return (x, x) if x >= 0 else (x, -x)


def changed(part: Iterator[int]) -> Iterator[int]:
    for x in part:
        yield x * 3 + 1 if x % 2 else x // 2


def map_by_hand(items: list[int]) -> list[Any]:
    out = []
    for x in items:
        out.append(change(x))  # noqa: PERF401
    return out


def chain_by_hand(items: list[int]) -> list[Any]:
    out = []
    for x in items:
        y = change(x)
        if keep(y):
            out.append(change(y))
    return out


def flat_map_by_hand(items: list[int]) -> list[Any]:
    out = []
    for x in items:
        for y in around(x):
            out.append(y)  # noqa: PERF402
    return out


def reduce_by_key_by_hand(items: list[int]) -> list[Any]:
    table: dict[int, int] = {}
    for x in items:
        key, value = with_key(x)
        if key in table:
            table[key] = add(table[key], value)
        else:
            table[key] = value
    return list(table.items())


def builtin_by_hand(items: list[int]) -> list[Any]:
    out = []
    for x in items:
        out.append(str(x))  # noqa: PERF401
    return out


def reduce_by_hand(items: list[int]) -> list[Any]:
    rest = iter(items)
    result = next(rest)
    for x in rest:
        result = larger(result, x)
    return [result]


def reduce_by_by_hand(items: list[int]) -> list[Any]:
    table: dict[int, int] = {}
    for x in items:
        key = bucket(x)
        if key in table:
            table[key] = add(table[key], x)
        else:
            table[key] = x
    return list(table.values())


def group_by_key_by_hand(items: list[int]) -> list[Any]:
    table: dict[int, list[int]] = defaultdict(list)
    for x in items:
        key, value = with_key(x)
        table[key].append(value)
    return list(table.items())


def sort_by_by_hand(items: list[int]) -> list[Any]:
    return sorted(items, key=bucket)


def distinct_by_hand(items: list[int]) -> list[Any]:
    seen = set()
    out = []
    for x in items:
        y = bucket(x)
        if y not in seen:
            seen.add(y)
            out.append(y)
    return out


def join_by_hand(items: list[int]) -> list[Any]:
    table: dict[int, list[int]] = {}
    for x in items[:1000]:
        table.setdefault(x, []).append(x)
    out = []
    for x in items:
        key, value = with_key(x)
        for other in table.get(key, ()):
            out.append((key, (value, other)))  # noqa: PERF401
    return out


def cartesian_by_hand(items: list[int]) -> list[Any]:
    out = []
    for x in items:
        for y in items[:4]:
            out.append((x, y))  # noqa: PERF401
    return out


def map_partitions_by_hand(items: list[int]) -> list[Any]:
    return list(changed(iter(items)))


def _of(function: Callable[..., Any]) -> PythonFunction:
    return PythonFunction.of(function)


def _chain(source: Operator) -> Operator:
    kept = FilterRows(input=Map(input=source, function=_of(change)), function=_of(keep))
    return Map(input=kept, function=_of(change))


def _few(source: Operator, count: int) -> Operator:
    if not isinstance(source, Scan) or not isinstance(source.source, MemorySource):
        raise TypeError("not a scan of the elements")
    few = replace(source.source, token=f"first {count}", data=source.source.data[:count])
    return Scan(source=few)


CASES: dict[str, tuple[Callable[[list[int]], list[Any]], Callable[[Operator], Operator]]] = {
    "map": (map_by_hand, lambda source: Map(input=source, function=_of(change))),
    "map, filter, map": (chain_by_hand, _chain),
    "flat_map": (flat_map_by_hand, lambda source: FlatMap(input=source, function=_of(around))),
    "map, reduce_by_key": (
        reduce_by_key_by_hand,
        lambda source: ReduceByKey(
            input=Map(input=source, function=_of(with_key)), function=_of(add)
        ),
    ),
    "reduce": (reduce_by_hand, lambda source: Reduce(input=source, function=_of(larger))),
    "reduce_by": (
        reduce_by_by_hand,
        lambda source: ReduceBy(input=source, key=_of(bucket), function=_of(add)),
    ),
    "map, group_by_key": (
        group_by_key_by_hand,
        lambda source: GroupByKey(input=Map(input=source, function=_of(with_key))),
    ),
    "sort_by": (sort_by_by_hand, lambda source: SortBy(input=source, key=_of(bucket))),
    "map, distinct": (
        distinct_by_hand,
        lambda source: Distinct(input=Map(input=source, function=_of(bucket))),
    ),
    "map, join": (
        join_by_hand,
        lambda source: JoinByKey(
            left=Map(input=source, function=_of(with_key)),
            right=Map(input=_few(source, 1000), function=_of(pair)),
        ),
    ),
    "cartesian with 4": (
        cartesian_by_hand,
        lambda source: Cartesian(left=source, right=_few(source, 4)),
    ),
    "map_partitions": (
        map_partitions_by_hand,
        lambda source: MapPartitions(input=source, function=_of(changed)),
    ),
    "map(str)": (builtin_by_hand, lambda source: Map(input=source, function=_of(str))),
}


class Services:
    """The least that a stage needs to run."""

    memory_limit = 1 << 30
    profile = False
    run_id = ""
    commit: Commit | None = None

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch

    def check_cancelled(self) -> None:
        """Nobody cancels."""

    def on_cancel(self, interrupt: Callable[[], None]) -> None:
        """Nobody cancels."""

    def measure(self, operator: Operator, rows: int, seconds: float | None = None) -> None:
        """Nobody looks."""

    def progress(self, operator: Operator, rows: int) -> None:
        """Nobody looks."""


def timed(function: Callable[..., Any], *arguments: Any) -> float:
    """CPU seconds of a call; its result is dropped, so that each call finds the same memory."""
    gc.collect()
    start = time.process_time()
    result = function(*arguments)
    seconds = time.process_time() - start
    del result
    return seconds


def compare(elements: int, rounds: int, scratch: Path) -> dict[str, dict[str, float]]:
    """Run every case by hand and by umbel, in turns; give medians, and of the ratios too."""
    items = list(range(elements))
    source = Scan(
        source=MemorySource(schema=OBJECT_SCHEMA, token="items", form="object", data=items)
    )
    figures = {}
    for name, (by_hand, plan) in CASES.items():
        stage = engine().compile(Stage(plan(source), {}, PYTHON))
        if stage.run({}, Services(scratch)) != by_hand(items):
            raise SystemExit(f"{name}: the results differ")
        pairs = []
        for turn in range(rounds):
            if turn % 2:
                hand = timed(by_hand, items)
                own = timed(stage.run, {}, Services(scratch))
            else:
                own = timed(stage.run, {}, Services(scratch))
                hand = timed(by_hand, items)
            pairs.append((hand, own))
        figures[name] = {
            "by_hand_seconds": statistics.median(hand for hand, _ in pairs),
            "umbel_seconds": statistics.median(own for _, own in pairs),
            "ratio": statistics.median(own / hand for hand, own in pairs),
        }
    return figures


def main(arguments: Sequence[str] | None = None) -> int:
    """Print a line per case; below 1 umbel is faster."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--elements", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        figures = compare(options.elements, options.rounds, Path(scratch))
    for name, row in figures.items():
        print(
            f"{name:20} by hand {row['by_hand_seconds']:.3f} s"
            f"   umbel {row['umbel_seconds']:.3f} s   ratio {row['ratio']:.2f}"
        )
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Compare ways to do the same work inside one warm process: interleaved, by medians and ratios.

Each round does the work once in each way, in an order that rotates from round to round, so that a
busy machine slows all of them alike. What a way costs beyond the best is a ratio within a round,
and the median over the rounds is taken.
"""

from __future__ import annotations

import gc
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

#: Times of each way, by round.
Times = Mapping[str, Sequence[float]]


def interleaved(ways: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Do the work in every way once a round; give the seconds. The first round is thrown away."""
    names = list(ways)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            gc.collect()
            start = time.perf_counter()
            result = ways[name]()
            seconds = time.perf_counter() - start
            del result
            if turn:
                times[name].append(seconds)
    return times


def fastest(times: Times, among: Sequence[str]) -> str:
    """The way with the least median."""
    return min(among, key=lambda name: statistics.median(times[name]))


def ratio(times: Times, way: str, other: str, slack: float = 0.0) -> float:
    """How many times longer one way takes than another: the median over rounds.

    Args:
        times: seconds of all ways.
        way: the one way.
        other: the other.
        slack: seconds that the one way may take more.

    >>> ratio({"a": [2.0, 2.0, 9.0], "b": [1.0, 1.0, 3.0]}, "a", "b")
    2.0
    """
    pairs = zip(times[way], times[other], strict=True)
    return statistics.median(max(a - slack, 1e-9) / b for a, b in pairs)


def geometric_mean(values: Sequence[float]) -> float:
    """The mean of ratios.

    >>> geometric_mean([0.5, 2.0])
    1.0
    """
    return math.exp(statistics.fmean(math.log(value) for value in values))


def machine() -> dict[str, Any]:
    """What figures were measured on, and how busy it was."""
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "memory_mb": round(psutil.virtual_memory().total / 1e6),
        "load": os.getloadavg()[0],
    }


def write_json(path: Path | None, document: Mapping[str, Any]) -> None:
    """Write results with what they were measured on."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine(), **document}, indent=2) + "\n")


__all__ = ["Times", "fastest", "geometric_mean", "interleaved", "machine", "ratio", "write_json"]

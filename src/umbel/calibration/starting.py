"""What a new process measures: how long an engine takes until its first stage has run."""

from __future__ import annotations

import time

import pyarrow as pa

from umbel.api.expressions import col
from umbel.api.session import Session
from umbel.executor.context import Cancellation, Scratch, StageContext
from umbel.executor.memory import default_memory_limit
from umbel.platforms.base import Stage
from umbel.platforms.registry import Registry


def seconds_to_start(name: str) -> float:
    """Run a small stage twice; what the first takes longer is the start.

    >>> seconds_to_start("python") < 1
    True
    """
    registry = Registry.discover()
    platform = registry[name]
    session = Session(platforms=registry, progress=False)
    frame = session.from_arrow(pa.table({"a": [1, 2], "s": ["x", "y"]}))
    plan = frame.filter(col("a") > 1).select("s", b=col("a") + 1).plan
    scratch = Scratch()
    taken = []
    for _ in range(2):
        context = StageContext(Cancellation(), scratch, default_memory_limit())
        start = time.perf_counter()
        platform.compile(Stage(plan)).run({}, context)
        taken.append(time.perf_counter() - start)
        context.close()
    scratch.close()
    return max(0.0, taken[0] - taken[1])


__all__ = ["seconds_to_start"]

"""Python's cyclic garbage collector while modules and runs make many objects that stay."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

#: Objects that are made between two looks at the young ones while a run is under way.
YOUNG = 20_000


class _Watch:
    """Counts the runs under way, and sets the collector's threshold with the first and last."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs = 0
        self._before = gc.get_threshold()

    def begin(self) -> None:
        with self._lock:
            self._runs += 1
            if self._runs == 1:
                self._before = gc.get_threshold()
                if 0 < self._before[0] < YOUNG:
                    gc.set_threshold(YOUNG, *self._before[1:])

    def end(self) -> None:
        with self._lock:
            self._runs -= 1
            # What somebody else has set meanwhile stays.
            if not self._runs and gc.get_threshold() == (YOUNG, *self._before[1:]):
                gc.set_threshold(*self._before)


_WATCH = _Watch()


@contextmanager
def fewer_collections() -> Iterator[None]:
    """Let the collector look less often until the last that asked for it is done.

    Modules, plans and rows are objects by the hundred thousand without a cycle among them. To look
    through them after every 700 takes up to a fifth of the time of making them. What the user has
    set counts: a collector that is off, or looks less often still, is left alone.

    >>> import gc
    >>> before = gc.get_threshold()
    >>> with fewer_collections():
    ...     gc.get_threshold()[0] >= YOUNG
    True
    >>> gc.get_threshold() == before
    True
    """
    _WATCH.begin()
    try:
        yield
    finally:
        _WATCH.end()

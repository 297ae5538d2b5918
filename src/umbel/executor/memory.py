"""How much memory runs may take, and what happens at that bound.

Engines that spill do so by themselves, at `memory_limit`. What comes out of a stage is kept as
Arrow, and there `Gathered` spills it if the engine gives it in pieces. For all else there is
`WATCH`: one thread looks at what this process holds while runs are under way, and stops the newest
run when that is more than the run's budget, before the kernel ends the process.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from umbel.dataclass import dataclass

#: A stage may use this part of the machine's memory before it spills, and at least so many bytes.
_MEMORY_PART, _LEAST_MEMORY = 4, 256 << 20
#: A run is stopped when the process holds more than this part of the machine's memory.
_MOST = 0.8
#: Seconds between two looks, and those that a run which was stopped has to let go of its memory.
_EVERY, _PATIENCE = 0.05, 2.0
#: Seconds without a run after which the thread that looks ends.
_IDLE = 1.0
#: Bytes by which the process must have grown since a run began for the run to be at fault.
_AT_FAULT = 32 << 20

_CGROUPS, _OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def machine_memory(cgroups: Path = _CGROUPS, own: Path = _OWN_CGROUP) -> int:
    """Bytes of memory that this process can have: the machine's, or its control group's if fewer.

    Args:
        cgroups: where the control groups are.
        own: says in which of them this process is.
    """
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):  # not a POSIX system
        total = 4 << 30
    return min((total, *_group_limits(cgroups, own)))


def _group_limits(cgroups: Path, own: Path) -> Iterator[int]:
    """The limits of the control groups around this process, of version 1 and 2."""
    try:
        lines = own.read_text().splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        version_1 = controllers == "memory"
        base = cgroups / "memory" if version_1 else cgroups
        name = "memory.limit_in_bytes" if version_1 else "memory.max"
        group = base / path.lstrip("/")
        # Inside of a container the path may be that of the host; then the root is what holds.
        while True:
            try:
                limit = (group / name).read_text().strip()
            except OSError:
                limit = ""
            if limit.isdecimal():
                yield int(limit)
            if group in (base, group.parent):
                break
            group = group.parent


def default_memory_limit() -> int:
    """Bytes a stage may use before it spills: a quarter of the memory that there is."""
    return max(_LEAST_MEMORY, machine_memory() // _MEMORY_PART)


def default_memory_budget() -> int:
    """Bytes that this process may hold while it runs something: four fifths of what there is."""
    return int(machine_memory() * _MOST)


def memory_in_use() -> int:
    """Bytes that this process holds and that could not be read again from a file; 0 if unknown."""
    try:
        with open("/proc/self/statm", "rb") as file:  # noqa: PTH123 (quick: every run asks)
            _, resident, shared, *_ = file.read().split()
    except OSError:  # not Linux: nothing is known, and nothing is stopped
        return 0
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


@dataclass(eq=False)
class _Watched:
    """A run that is under way."""

    budget: int
    stop: Callable[[int], bool]
    before: int
    stopped: bool = False


class MemoryWatch:
    """Stops runs that take too much memory. There is one for the process, `WATCH`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._runs: list[_Watched] = []
        self._some = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def over(self, budget: int, stop: Callable[[int], bool]) -> Iterator[None]:
        """Watch a run for as long as the block lasts.

        Args:
            budget: bytes that the process may hold.
            stop: stops the run, given the bytes that the process holds; says whether there was
                something to stop. It is called on another thread.
        """
        watched = _Watched(budget, stop, memory_in_use())
        with self._lock:
            self._runs.append(watched)
            self._some.set()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._watch, name="umbel-memory", daemon=True
                )
                self._thread.start()
        try:
            yield
        finally:
            with self._lock:
                self._runs.remove(watched)
                if not self._runs:
                    self._some.clear()

    def _watch(self) -> None:
        while True:
            if not self._some.wait(_IDLE):
                with self._lock:
                    if not self._runs:
                        self._thread = None
                        return
            time.sleep(_EVERY)
            used = memory_in_use()
            with self._lock:
                over = [
                    run
                    for run in self._runs
                    if not run.stopped and used > run.budget and used - run.before > _AT_FAULT
                ]
            if over:
                newest = over[-1]
                newest.stopped = newest.stop(used)
                if newest.stopped:
                    time.sleep(_PATIENCE)


#: Watches over the runs of this process.
WATCH = MemoryWatch()
os.register_at_fork(after_in_child=WATCH.__init__)  # type: ignore[misc]


class Gathered:
    """Rows as they come from an engine: in memory, and in a file once they are too many.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     rows = Gathered(pa.schema([("a", pa.int64())]), limit=20, folder=lambda: Path(folder))
    ...     rows(pa.table({"a": [1, 2]})), rows(pa.table({"a": [3, 4]})), rows(pa.table({"a": [5]}))
    ...     rows.spilled, rows.table().column("a").to_pylist()
    (None, None, None)
    (True, [1, 2, 3, 4, 5])
    """

    def __init__(self, schema: pa.Schema, limit: int, folder: Callable[[], Path]) -> None:
        """Prepare.

        Args:
            schema: of the rows.
            limit: bytes to keep in memory.
            folder: gives where to make a file; asked only if it is needed.
        """
        self._schema = schema
        self._limit = limit
        self._folder = folder
        self._pieces: list[pa.Table] = []
        self._size = 0
        self._path: Path | None = None
        self._writer: Any = None

    @property
    def spilled(self) -> bool:
        """Whether the rows lie in a file."""
        return self._path is not None

    def __call__(self, rows: pa.Table) -> None:
        """Take the next rows."""
        self._pieces.append(rows)
        self._size += rows.nbytes
        if self._size > self._limit:
            self._spill()

    def _spill(self) -> None:
        if self._writer is None:
            handle, name = tempfile.mkstemp(dir=self._folder(), suffix=".arrow")
            os.close(handle)
            self._path = Path(name)
            self._writer = pa.ipc.new_file(name, self._schema)
        for piece in self._pieces:
            self._writer.write_table(piece)
        self._pieces.clear()

    def table(self) -> pa.Table:
        """All rows. Those in a file are read as they are looked at, and need no memory.

        The table stays valid when the file's name is removed.
        """
        if self._path is None:
            if not self._pieces:
                return self._schema.empty_table()
            return pa.concat_tables(self._pieces)
        self._spill()
        self._writer.close()
        with pa.memory_map(str(self._path)) as source:
            return pa.ipc.open_file(source).read_all()


__all__ = [
    "WATCH",
    "Gathered",
    "MemoryWatch",
    "default_memory_budget",
    "default_memory_limit",
    "machine_memory",
    "memory_in_use",
]

"""Statements that run: a few at a time, each on a thread, their rows handed on as they come.

A statement ends with its reader: when the client is gone, cancels or takes too long, the run is
cancelled, and its place is free once it has really ended.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator

import pyarrow as pa

from umbel.door.backend import Settings, Statement
from umbel.door.failures import log
from umbel.executor import Cancellation
from umbel.plan.errors import CancelledError, RunError, UmbelError

#: Pieces that wait for the client; more make the run wait.
_WAITING = 3
#: Bytes of a batch that is sent; clients commonly refuse messages of more than 4 MiB or 16 MiB.
BATCH_BYTES = 2 << 20
#: Seconds between looks at whether the client is still there.
_LOOK = 0.05


class BusyError(UmbelError):
    """There is no place for another statement."""


class StatementTimeoutError(RunError):
    """A statement took longer than it may."""


class Execution:
    """One run of a statement, read by one client."""

    def __init__(self, statement: Statement, seconds: float | None) -> None:
        self._statement = statement
        self._seconds = seconds
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._pieces: deque[pa.Table] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._error: Exception | None = None
        self._cancellation = Cancellation()
        self.rows = 0

    def run(self) -> None:
        """Run the statement; for the thread that it gets."""
        try:
            self._statement.run(self._put, self._cancellation)
        except Exception as error:  # noqa: BLE001 - raised again where the rows are read
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def cancel(self) -> None:
        """Stop the run; its reader gets a `CancelledError`."""
        self._cancellation.cancel()
        with self._changed:
            self._changed.notify_all()

    def batches(self, gone: Callable[[], bool]) -> Iterator[pa.RecordBatch]:
        """Yield the rows; the run is stopped when the reader closes this iterator.

        Args:
            gone: whether the client is.

        Raises:
            UmbelError: the statement failed, was cancelled, or took too long.
        """
        try:
            while (piece := self._take(gone)) is not None:
                self.rows += piece.num_rows
                yield from cut(piece)
        finally:
            self.cancel()

    def _put(self, piece: pa.Table) -> None:
        with self._changed:
            while len(self._pieces) >= _WAITING:
                self._check_time()
                self._cancellation.check()
                self._changed.wait(_LOOK)
            self._cancellation.check()
            self._pieces.append(piece)
            self._changed.notify_all()

    def _take(self, gone: Callable[[], bool]) -> pa.Table | None:
        with self._changed:
            while not self._pieces:
                self._check_time()
                if self._ended:
                    if self._error is not None:
                        raise self._error
                    return None
                if self._cancellation.cancelled:
                    raise CancelledError("the statement was cancelled")
                if gone():
                    raise CancelledError("the client is gone")
                self._changed.wait(_LOOK)
            piece = self._pieces.popleft()
            self._changed.notify_all()
            return piece

    def _check_time(self) -> None:
        if self._deadline is not None and time.monotonic() > self._deadline:
            raise StatementTimeoutError(
                f"the statement was stopped: it took longer than {self._seconds:g} seconds",
                hint="ask for less, or serve with a longer --timeout",
            )


class Places:
    """Room for a number of statements at a time."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._freed = threading.Condition()
        self._running: dict[int, tuple[Execution, bytes]] = {}
        self._count = 0
        self._closed = False

    def __len__(self) -> int:
        return len(self._running)

    def start(self, statement: Statement, handle: bytes, gone: Callable[[], bool]) -> Execution:
        """Run a statement as soon as there is room.

        Args:
            statement: what to run.
            handle: by which it can be cancelled.
            gone: whether the client is; then nothing is started.

        Raises:
            BusyError: there was none for a while, or the door closes.
        """
        execution = Execution(statement, self._settings.timeout)
        with self._freed:
            self._wait(gone)
            self._count += 1
            number = self._count
            self._running[number] = execution, handle
        threading.Thread(
            target=self._run, args=(number, execution), name=f"umbel-door-{number}", daemon=True
        ).start()
        return execution

    def _wait(self, gone: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._settings.patience
        while len(self._running) >= self._settings.statements or self._closed:
            if self._closed:
                raise BusyError("the server is shutting down")
            if gone():
                raise CancelledError("the client is gone")
            if time.monotonic() > deadline:
                raise BusyError(
                    f"{self._settings.statements} statements are running, and none has ended for "
                    f"{self._settings.patience:g} seconds",
                    hint="try again later, or serve with more --statements",
                )
            self._freed.wait(_LOOK)

    def _run(self, number: int, execution: Execution) -> None:
        began = time.monotonic()
        try:
            execution.run()
        finally:
            with self._freed:
                del self._running[number]
                self._freed.notify_all()
            log.info("statement %d ended after %.3f s", number, time.monotonic() - began)

    def cancel(self, handle: bytes) -> bool:
        """Stop what runs under a handle; say whether there was any."""
        with self._freed:
            found = [execution for execution, known in self._running.values() if known == handle]
        for execution in found:
            execution.cancel()
        return bool(found)

    def close(self, grace: float) -> None:
        """Start nothing more; let what runs end within some seconds, and then cancel it."""
        with self._freed:
            self._closed = True
            self._freed.notify_all()
            self._freed.wait_for(lambda: not self._running, grace)
            running = [execution for execution, _ in self._running.values()]
        for execution in running:
            execution.cancel()
        with self._freed:
            self._freed.wait_for(lambda: not self._running, _PATIENCE)


#: Seconds that cancelled statements have to end when the door closes.
_PATIENCE = 5.0


def cut(piece: pa.Table) -> Iterator[pa.RecordBatch]:
    """Cut rows into batches that clients take: of `BATCH_BYTES`, as far as a row is not larger.

    >>> [b.num_rows for b in cut(pa.table({"a": ["x" * (1 << 20)] * 3}))]
    [1, 1, 1]
    """
    size = max(1, piece.nbytes)
    rows = max(1, min(piece.num_rows, piece.num_rows * BATCH_BYTES // size))
    yield from piece.to_batches(max_chunksize=rows)


__all__ = ["BATCH_BYTES", "BusyError", "Execution", "Places", "StatementTimeoutError", "cut"]

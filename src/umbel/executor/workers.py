"""Threads that each run one stage, and that can be left behind.

A function of the user's that computes without end cannot be stopped from outside. So the threads
are daemons: when a run is cancelled, one that does not come to its end within a moment gets an
exception raised in its Python code, and is waited for no longer.
"""

from __future__ import annotations

import contextvars
import ctypes
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue

from umbel.executor.context import Cancellation

#: Seconds that cancelled work has to end by itself, and then once it was interrupted.
PATIENCE, LAST_PATIENCE = 1.0, 0.3
#: Seconds between interrupts: an engine that was about to begin has not heard the first.
_AGAIN = 0.05
#: Stands for the key of no work.
_WAKE = -1


class LeftBehindError(BaseException):
    """Raised in a thread whose run is over; not an `Exception`, so that no function handles it."""


class Workers:
    """Runs pieces of work on threads, and tells which has ended."""

    def __init__(
        self, cancellation: Cancellation, attend: Callable[[], None] = lambda: None
    ) -> None:
        """Prepare.

        Args:
            cancellation: of the run.
            attend: called by the thread that waits, when it begins to and whenever it is woken.
        """
        self._cancellation = cancellation
        self._attend = attend
        self._threads: dict[int, threading.Thread] = {}
        self._ended: SimpleQueue[tuple[int, BaseException | None]] = SimpleQueue()

    def __len__(self) -> int:
        return len(self._threads)

    def start(self, key: int, work: Callable[[], None]) -> None:
        """Begin some work under a key of its own, in the context variables of this thread."""
        # Among them is the precision of decimals, which the user's functions may rely on.
        context = contextvars.copy_context()
        thread = threading.Thread(
            target=context.run,
            args=(self._run, key, work),
            name=f"umbel-stage-{key}",
            daemon=True,
        )
        self._threads[key] = thread
        thread.start()

    def _run(self, key: int, work: Callable[[], None]) -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as raised:  # noqa: BLE001 - raised again in the thread that waits
            error = raised
        self._ended.put((key, error))

    def wait(self) -> int:
        """Wait until some work ends; give its key.

        Raises:
            BaseException: what the work raised.
            CancelledError: the run was cancelled.
            KeyboardInterrupt: the user pressed Ctrl-C (in the main thread only).
        """
        self._cancellation.register(self.wake)
        try:
            key, error = _WAKE, None
            while key == _WAKE:
                self._cancellation.check()
                self._attend()
                key, error = self._ended.get()
        finally:
            self._cancellation.unregister(self.wake)
        self._joined(key)
        if error is not None:
            raise error
        return key

    def _joined(self, key: int) -> None:
        """Let a thread whose work has ended come to its own end.

        It may still be letting go of an engine's objects; a process that exits meanwhile would
        end the thread inside the engine, which engines answer by aborting.
        """
        thread = self._threads.pop(key, None)
        if thread is not None:
            thread.join(PATIENCE)

    def wake(self) -> None:
        """Let the thread that waits look up."""
        self._ended.put((_WAKE, None))

    def stop(self) -> None:
        """Cancel all work and wait for its end; leave behind what does not end."""
        self._drain(PATIENCE)
        for thread in self._threads.values():
            _interrupt(thread)
        self._drain(LAST_PATIENCE)

    def _drain(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self._threads and (left := deadline - time.monotonic()) > 0:
            self._cancellation.cancel()
            try:
                key, _ = self._ended.get(timeout=min(left, _AGAIN))
            except Empty:
                continue
            self._joined(key)


def _interrupt(thread: threading.Thread) -> None:
    """Raise `LeftBehindError` in a thread, as soon as it runs Python code."""
    if thread.ident is not None and thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(thread.ident), ctypes.py_object(LeftBehindError)
        )

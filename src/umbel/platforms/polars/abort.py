"""Stops queries that are under way, which Polars does for Ctrl-C only.

Polars 2.1 has a handler for SIGINT: it marks all its queries as interrupted, and their threads
look at the mark every few thousand rows. No function of its API sets the mark; `InProcessQuery`
stops a query only between the operators of the in-memory engine. So its handler is called here, as
if the signal had come, while Python (whose handler it calls too) looks away.

The mark is one for the whole process. Queries that umbel did not mean to stop run again
(`aborts` and `disturbing` tell); a query of the user's own on another thread raises `KeyboardInterrupt`.
"""

from __future__ import annotations

import ctypes
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from umbel.platforms.handlers import current_action, handler_of, restore_action

_LIBRARY = "_polars_runtime"

#: Seconds for which queries of others that were interrupted too may keep the mark.
_LINGERS = 1.0

_Handler = ctypes.PYFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_Pending = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)


class Aborter:
    """Interrupts Polars' queries. There is one for the process, `aborter`."""

    def __init__(self) -> None:
        self._address = handler_of(_LIBRARY)
        self._lock = threading.Lock()
        self._wanted: list[Callable[[], bool]] = []
        self._stopping: list[Callable[[], bool]] = []
        self._count = 0
        self._last = -_LINGERS
        self._pending = _Pending(self._called_by_main_thread)  # must live as long as the process

    @property
    def aborts(self) -> int:
        """How often queries were interrupted."""
        return self._count

    @property
    def disturbing(self) -> bool:
        """Whether a query that starts now may find itself interrupted.

        The mark stays until the last query that was interrupted is gone.
        """
        with self._lock:
            self._stopping = [running for running in self._stopping if running()]
            return bool(self._stopping) or time.monotonic() - self._last < _LINGERS

    def abort(self, running: Callable[[], bool]) -> None:
        """Interrupt the queries, unless `running` says that there is nothing left to stop.

        Only the main thread may change Python's handlers; called from another thread, it is asked
        to do so as soon as it runs Python code.
        """
        with self._lock:
            self._wanted.append(running)
        if threading.current_thread() is threading.main_thread():
            self._fire()
        else:
            ctypes.pythonapi.Py_AddPendingCall(self._pending, None)

    def _called_by_main_thread(self, _: Any) -> int:
        self._fire()
        return 0

    def _fire(self) -> None:
        with self._lock:
            wanted, self._wanted = self._wanted, []
        if not any(running() for running in wanted):
            return
        self._address = self._address or handler_of(_LIBRARY)
        before = signal.getsignal(signal.SIGINT)
        if self._address is None or before is None:  # a handler that is not Python's to put back
            return
        with self._lock:
            self._count += 1
            self._last = time.monotonic()
            self._stopping += wanted
        heard: list[int] = []
        action = current_action()
        wakeup = signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, lambda number, frame: heard.append(number))
        try:
            # No siginfo_t comes with it; the handler wants one that is there, and reads none of it.
            nothing = ctypes.create_string_buffer(1024)
            where = ctypes.addressof(nothing)
            _Handler(self._address)(signal.SIGINT, where, where)
            ctypes.pythonapi.PyErr_CheckSignals()  # calls the function above, now and not later
        finally:
            signal.signal(signal.SIGINT, before)
            restore_action(action)
            signal.set_wakeup_fd(wakeup)
        if len(heard) > 1:  # the user pressed Ctrl-C at this very moment
            signal.raise_signal(signal.SIGINT)


aborter = Aborter()

__all__ = ["Aborter", "aborter"]

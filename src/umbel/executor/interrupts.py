"""Keeps Ctrl-C with Python while a plan runs.

An engine may put a handler of its own in the place of Python's when it is imported, as Polars
does. That handler keeps the signal for a query that is under way, even if the query runs on
another thread and does not look; the main thread, which waits and could cancel, never hears of it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from types import TracebackType
from typing import Any, Self

#: More than the size of a `struct sigaction` anywhere. It is kept as the system gave it; only the
#: address of the handler is looked at, with which it begins.
_SIZE = 512
_ADDRESS = ctypes.sizeof(ctypes.c_void_p)


class Interrupts:
    """Python's handler for SIGINT, put back in its place while a run goes on.

    Afterwards an engine's handler is where the engine put it, for queries outside of umbel. On
    other threads than the main one, and where there are no POSIX signals, nothing is done.
    """

    def __init__(self) -> None:
        main = threading.current_thread() is threading.main_thread()
        self._python = signal.getsignal(signal.SIGINT) if main and os.name == "posix" else None
        self._libc: Any = None
        self._own = b""
        self._others = b""

    def __enter__(self) -> Self:
        if self._python is not None:
            self._libc = ctypes.CDLL(None)
            self._others = self._action()
            signal.signal(signal.SIGINT, self._python)
            self._own = self._action()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._libc is not None:
            self.keep()
            self._libc.sigaction(signal.SIGINT, self._others, None)

    def keep(self) -> None:
        """Put Python's handler back if an engine has taken its place."""
        if self._libc is None:
            return
        current = self._action()
        if current[:_ADDRESS] != self._own[:_ADDRESS]:
            self._others = current
            self._libc.sigaction(signal.SIGINT, self._own, None)

    def _action(self) -> bytes:
        """The handler of the process, as the system describes it."""
        action = ctypes.create_string_buffer(_SIZE)
        self._libc.sigaction(signal.SIGINT, None, action)
        return action.raw


__all__ = ["Interrupts"]

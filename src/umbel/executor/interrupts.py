"""Keeps Ctrl-C with Python while a plan runs.

An engine may put a handler of its own in the place of Python's when it is imported, as Polars
does. That handler keeps the signal for a query that is under way, even if the query runs on
another thread and does not look; the main thread, which waits and could cancel, never hears of it.
"""

from __future__ import annotations

import os
import signal
import threading
from types import TracebackType
from typing import Self

from umbel.platforms.handlers import address_of, current_action, displaced, restore_action


class Interrupts:
    """Python's handler for SIGINT, put back in its place while a run goes on.

    Afterwards an engine's handler is where the engine put it, for queries outside of umbel. On
    other threads than the main one, and where there are no POSIX signals, nothing is done.
    """

    def __init__(self) -> None:
        main = threading.current_thread() is threading.main_thread()
        self._python = signal.getsignal(signal.SIGINT) if main and os.name == "posix" else None
        self._own = b""
        self._others = b""

    def __enter__(self) -> Self:
        if self._python is not None:
            self._others = current_action()
            signal.signal(signal.SIGINT, self._python)
            self._own = current_action()
            self._remember()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._own:
            self.keep()
            restore_action(self._others)

    def keep(self) -> None:
        """Put Python's handler back if an engine has taken its place."""
        if not self._own:
            return
        current = current_action()
        if address_of(current) != address_of(self._own):
            self._others = current
            restore_action(self._own)
            self._remember()

    def _remember(self) -> None:
        """Let the engine find the handler that gave way."""
        if address_of(self._others) != address_of(self._own):
            displaced.add(address_of(self._others))


__all__ = ["Interrupts"]

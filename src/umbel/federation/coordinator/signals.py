"""Wakes coroutines from the threads in which runs go on, so that nobody polls."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Signal:
    """Says that something is new, to any number of coroutines of any loops."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def set(self) -> None:
        """Wake all who listen; from any thread."""
        with self._lock:
            waiting = list(self._waiting.items())
        for event, loop in waiting:
            with contextlib.suppress(RuntimeError):  # a loop that was closed meanwhile
                loop.call_soon_threadsafe(event.set)

    @contextmanager
    def listen(self) -> Iterator[Listening]:
        """Listen from now on; look for what is new before each wait."""
        event = asyncio.Event()
        with self._lock:
            self._waiting[event] = asyncio.get_running_loop()
        try:
            yield Listening(event)
        finally:
            with self._lock:
                del self._waiting[event]


class Listening:
    """One who listens to a signal."""

    def __init__(self, event: asyncio.Event) -> None:
        self._event = event

    async def wait(self, seconds: float) -> bool:
        """Wait for the signal; give whether it came."""
        try:
            async with asyncio.timeout(seconds):
                await self._event.wait()
        except TimeoutError:
            return False
        self._event.clear()
        return True

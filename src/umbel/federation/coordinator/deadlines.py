"""Ends runs that take too long; what they wait for people does not count."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Deadline:
    """The end of a run's time, which moves on while the run waits for a person."""

    def __init__(
        self, seconds: float, overdue: Callable[[], None], waited: Callable[[], float]
    ) -> None:
        """Prepare.

        Args:
            seconds: that the run may take.
            overdue: is called when they are over.
            waited: gives for how long the run has waited so far.
        """
        self._overdue = overdue
        self._waited = waited
        self._counted = 0.0
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._next(seconds)

    def cancel(self) -> None:
        """Let it go: the run is over."""
        with self._lock:
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _next(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._look)
        self._timer.daemon = True
        self._timer.start()

    def _look(self) -> None:
        with self._lock:
            if self._timer is None:
                return
            waited = self._waited()
            more, self._counted = waited - self._counted, waited
            if more > 0:
                self._next(more)
                return
        self._overdue()


__all__ = ["Deadline"]

"""Waits for a coordinator that is away for a while: it is started anew, or the line is broken."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

from umbel.executor import Cancellation
from umbel.federation.errors import CoordinatorError, UnreachedError
from umbel.plan.errors import PlanError

_T = TypeVar("_T")

#: Seconds for which a coordinator may be away, and between two tries to reach it.
PATIENCE = 120.0
_FIRST, _LONGEST, _GROWTH = 0.05, 2.0, 1.6


class Patience:
    """How long one run waits for its coordinator.

    Args:
        seconds: for which the coordinator may be away at a time.
        cancellation: ends the waiting.
        run_id: the run that is waited for, for people.
    """

    def __init__(self, seconds: float, cancellation: Cancellation, run_id: str) -> None:
        self._seconds = seconds
        self._cancellation = cancellation
        self._run_id = run_id
        self._since: float | None = None
        self._pause = _FIRST

    def heard(self) -> None:
        """Note that the coordinator is there."""
        self._since, self._pause = None, _FIRST

    def wait(self, error: UnreachedError) -> None:
        """Wait a moment, for the coordinator was not reached.

        Raises:
            CoordinatorError: it has been away for too long.
            CancelledError: the run was cancelled meanwhile.
        """
        self._cancellation.check()
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since + self._pause > self._seconds:
            raise CoordinatorError(
                f"{error.message}; it was waited for {self._seconds:g} s",
                hint=f"if it has the run it goes on with it: umbel runs resume {self._run_id} "
                "--coordinator URL, or session.resume(…), gives the answer",
            ) from None
        over = threading.Event()
        self._cancellation.register(over.set)
        try:
            over.wait(self._pause)
        finally:
            self._cancellation.unregister(over.set)
        self._pause = min(_LONGEST, self._pause * _GROWTH)
        self._cancellation.check()

    def ask(self, ask: Callable[[], _T]) -> _T:
        """Ask until there is an answer; what is asked must do no harm when it is asked twice."""
        while True:
            try:
                found = ask()
            except UnreachedError as error:
                self.wait(error)
            else:
                self.heard()
                return found


def check_patience(seconds: float) -> float:
    """Give back what can be a patience.

    Raises:
        PlanError: it is less than nothing.
    """
    if not seconds >= 0:
        raise PlanError(f"patience cannot be {seconds!r} seconds", hint="0 waits for nobody")
    return seconds


__all__ = ["PATIENCE", "Patience", "check_patience"]

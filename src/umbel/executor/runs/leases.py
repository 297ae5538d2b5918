"""Who runs a run: a lease that its owner renews, and a lock that ends with its process.

A run has one owner. Another process takes it over when the lease is over, or, on the same machine,
at once when the lock says that the owner is dead. Each owner has a number, the fence; what an owner
that lost the run still wants to keep is refused by it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from umbel.executor.runs.errors import LostRunError, StoreError

#: Seconds that a lease lasts, and between two looks at whether somebody wants the run to end.
LEASE, LOOK = 30.0, 0.5
#: How often a lock is tried, and the seconds between.
_TRIES, _MOMENT = 3, 0.01


def this_host() -> str:
    """The machine's name."""
    return socket.gethostname()


def this_process() -> str:
    """This process, for people."""
    return f"process {os.getpid()} on {this_host()}"


class Lock:
    """A lock on a file, which the system lets go of when this process ends, however it does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    def take(self, tries: int = _TRIES) -> bool:
        """Try to take the lock; False if another process has it, or files here have no locks."""
        try:
            import fcntl
        except ImportError:  # not a POSIX system: the lease alone decides
            return False
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = self._path.open("ab")
        except OSError:
            return False
        for _ in range(tries):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                time.sleep(_MOMENT)  # somebody may only be looking whether it is free
            else:
                self._file = file
                return True
        file.close()
        return False

    def release(self) -> None:
        """Let go of the lock."""
        if self._file is not None:
            self._file.close()
            self._file = None


class Heartbeat:
    """Renews a lease from a thread of its own, and looks whether the run is to be cancelled.

    Args:
        renew: renews the lease; raises `LostRunError` if another has the run.
        wanted: whether somebody wants the run to end.
        stop: called once, when somebody does, or when the run is lost.
    """

    def __init__(
        self, renew: Callable[[], None], wanted: Callable[[], bool], stop: Callable[[], None]
    ) -> None:
        self._renew, self._wanted, self._stop = renew, wanted, stop
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="umbel-lease", daemon=True)
        self._thread.start()

    def _beat(self) -> None:
        looks = 0
        while not self._over.wait(LOOK):
            looks += 1
            try:
                if looks % int(LEASE / LOOK / 3) == 0:
                    self._renew()
                stop = self._wanted()
            except LostRunError:
                stop = True
            except StoreError:
                continue  # away for a while; if for longer than the lease, the fence decides
            if stop:
                self._stop()
                return

    def end(self) -> None:
        """Stop renewing."""
        self._over.set()
        if self._thread is not threading.current_thread():
            self._thread.join()


__all__ = ["LEASE", "Heartbeat", "Lock", "this_host", "this_process"]

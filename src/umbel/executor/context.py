"""The services that the executor gives to running stages: scratch space, cancelling, measuring."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from umbel.catalog.commits import Commit
from umbel.dataclass import dataclass
from umbel.plan.errors import CancelledError
from umbel.plan.operators import Operator

#: Seconds between two events of progress.
_PROGRESS = 0.2


class Cancellation:
    """Asks a run to stop; safe to use from any thread and from signal handlers.

    >>> cancellation = Cancellation()
    >>> cancellation.cancel()
    >>> cancellation.check()
    Traceback (most recent call last):
    umbel.plan.errors.CancelledError: the run was cancelled
    """

    def __init__(self) -> None:
        self._cancelled = False
        # Reentrant, for a signal handler may interrupt the thread that holds it.
        self._lock = threading.RLock()
        self._interrupts: list[Callable[[], None]] = []

    def cancel(self) -> None:
        """Ask everything that runs to stop. Asking again interrupts the engines again."""
        self._cancelled = True
        with self._lock:
            interrupts = list(self._interrupts)
        for interrupt in interrupts:
            # An engine that has just ended may refuse to be interrupted, which is as good.
            with contextlib.suppress(Exception):
                interrupt()

    @property
    def cancelled(self) -> bool:
        """Whether the run was asked to stop."""
        return self._cancelled

    def check(self) -> None:
        """Raise `CancelledError` if the run was asked to stop."""
        if self._cancelled:
            raise CancelledError("the run was cancelled")

    def register(self, interrupt: Callable[[], None]) -> None:
        """Call `interrupt` when the run is cancelled; at once if it is already."""
        with self._lock:
            self._interrupts.append(interrupt)
        if self._cancelled:
            interrupt()

    def unregister(self, interrupt: Callable[[], None]) -> None:
        """Forget an interrupt whose work is done."""
        with self._lock:
            if interrupt in self._interrupts:
                self._interrupts.remove(interrupt)

    @contextmanager
    def part(self) -> Iterator[Cancellation]:
        """Give a cancellation of a part of the run: cancelled with the whole, but not it with it.

        >>> whole = Cancellation()
        >>> with whole.part() as part:
        ...     part.cancel()
        >>> whole.cancelled
        False
        """
        part = Cancellation()
        self.register(part.cancel)
        try:
            yield part
        finally:
            self.unregister(part.cancel)


class Scratch:
    """A folder for a run's temporary files; made when first asked for, removed by `close`."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._closed = False
        self._lock = threading.Lock()

    @property
    def path(self) -> Path:
        """The folder.

        Raises:
            CancelledError: the run is over; what still asks was left behind by it.
        """
        with self._lock:
            if self._closed:
                raise CancelledError("the run is over")
            if self._path is None:
                self._path = Path(tempfile.mkdtemp(prefix="umbel-"))
            return self._path

    def close(self) -> None:
        """Remove the folder with all that is in it."""
        with self._lock:
            self._closed = True
            if self._path is not None:
                shutil.rmtree(self._path, ignore_errors=True)
                self._path = None


@dataclass
class Measurement:
    """Rows that an operator gave, and seconds spent in it if they are known."""

    operator: Operator
    rows: int = 0
    seconds: float | None = None


class StageContext:
    """What one running stage sees of the executor; implements `umbel.platforms.base.RunContext`."""

    def __init__(
        self,
        cancellation: Cancellation,
        scratch: Scratch,
        memory_limit: int,
        progress: Callable[[Operator, int], None] = lambda operator, rows: None,
        *,
        waits: Callable[[str], None] = lambda why: None,
        profile: bool = False,
        run_id: str = "",
        commit: Commit | None = None,
    ) -> None:
        self.profile = profile
        self.run_id = run_id
        self.commit = commit
        self._progress = progress
        self._waits = waits
        self._told = time.monotonic()
        self._cancellation = cancellation
        self._scratch = scratch
        self.memory_limit = memory_limit
        self._interrupt: Callable[[], None] | None = None
        self._measured: dict[int, Measurement] = {}

    @property
    def scratch(self) -> Path:
        """A folder for temporary files."""
        return self._scratch.path

    def check_cancelled(self) -> None:
        """Raise `CancelledError` if the run was cancelled."""
        self._cancellation.check()

    def on_cancel(self, interrupt: Callable[[], None]) -> None:
        """Register what stops the engine."""
        self._interrupt = interrupt
        self._cancellation.register(interrupt)

    def measure(self, operator: Operator, rows: int, seconds: float | None = None) -> None:
        """Keep how many rows an operator gave; calls for one operator add up."""
        known = self._measured.setdefault(id(operator), Measurement(operator))
        known.rows += rows
        if seconds is not None:
            known.seconds = (known.seconds or 0.0) + seconds

    def progress(self, operator: Operator, rows: int) -> None:
        """Tell how many rows an operator gave so far; most calls tell nobody."""
        now = time.monotonic()
        if now - self._told >= _PROGRESS:
            self._told = now
            self._progress(operator, rows)

    def waits(self, why: str) -> None:
        """Tell that the stage waits for a person."""
        self._waits(why)

    def measured(self, operator: Operator) -> Measurement | None:
        """What was measured of an operator of the stage; told apart by identity."""
        return self._measured.get(id(operator))

    def close(self) -> None:
        """Let go of the interrupt."""
        if self._interrupt is not None:
            self._cancellation.unregister(self._interrupt)

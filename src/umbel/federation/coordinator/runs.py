"""What users run: each run in a thread, its rows in a spool, its events for whoever watches."""

from __future__ import annotations

import enum
import json
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from umbel.api.located import written_at
from umbel.executor import Cancellation, Result
from umbel.executor.events import Event, RunFinished
from umbel.federation.access import Permission, Principal
from umbel.federation.coordinator.narration import narrate
from umbel.federation.coordinator.settings import LimitsSection
from umbel.federation.coordinator.signals import Signal
from umbel.federation.coordinator.spool import Folder, Quota, Spool
from umbel.federation.errors import AccessError
from umbel.federation.protocol import error_to_json
from umbel.plan.errors import CancelledError, RunError, UmbelError, UnknownNameError

log = logging.getLogger("umbel.coordinator")

#: Events and runs that are remembered; of a run's first events all.
_MOST_EVENTS, _MOST_RUNS = 10_000, 1_000

#: Runs a plan: delivers rows, tells events, stops when it is cancelled.
Work = Callable[[Cancellation, Callable[[pa.Table], None], Callable[[Event], None]], Result]


class State(enum.Enum):
    """How far a run is."""

    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def over(self) -> bool:
        """Whether nothing more happens."""
        return self not in (State.QUEUED, State.RUNNING)


@dataclass(eq=False)
class HostedRun:
    """A run of a user's.

    Attributes:
        id: names it.
        user: whose it is.
        submitted: when it came.
        spool: where its rows wait.
        missing: the sites without which it goes on.
        state: how far it is.
        events: what happened so far, as plain data.
        error: why it failed, as plain data.
        record: what was measured, once it is over.
        ended: when it was over, by the clock that only goes on.
        signal: is set at each change.
    """

    id: str
    user: str
    submitted: datetime
    spool: Spool
    missing: tuple[str, ...] = ()
    state: State = State.QUEUED
    events: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, Any] | None = None
    record: dict[str, Any] | None = None
    ended: float | None = None
    signal: Signal = field(default_factory=Signal)
    cancellation: Cancellation = field(default_factory=Cancellation)
    _overdue: bool = False

    def to_json(self) -> dict[str, Any]:
        """Describe it."""
        return {
            "id": self.id,
            "user": self.user,
            "submitted": self.submitted.isoformat(),
            "state": self.state.value,
            "rows": self.spool.counter.rows,
            "bytes": self.spool.counter.bytes,
            "missing": list(self.missing),
            "error": self.error,
            "record": self.record,
        }

    def tell(self, event: Event) -> None:
        """Note an event."""
        if len(self.events) < _MOST_EVENTS and not isinstance(event, RunFinished):
            self.events.append(narrate(event))
            self.signal.set()

    def overdue(self) -> None:
        """Stop it for it takes too long."""
        self._overdue = True
        self.cancellation.cancel()

    def work(self, work: Work, limit: float) -> None:
        """Do the work, and note how it ended."""
        if self.state.over:
            return
        self.state = State.RUNNING
        timer = threading.Timer(limit, self.overdue)
        timer.daemon = True
        timer.start()
        state = State.FAILED
        try:
            self.cancellation.check()
            with written_at(None):  # no script here wrote the plan
                result = work(self.cancellation, self._deliver, self.tell)
            self.record = json.loads(result.run.to_json())
            state = State.FINISHED
        except CancelledError as error:
            late = RunError(f"the run took longer than the {limit:g} seconds that are allowed")
            self.error = error_to_json(late if self._overdue else error)
            state = State.FAILED if self._overdue else State.CANCELLED
        except UmbelError as error:
            self.error = error_to_json(error)
        except Exception as error:  # noqa: BLE001 - the user gets a number, the log the rest
            self.error = error_to_json(unexpected(error))
        finally:
            timer.cancel()
            self.end(state)

    def _deliver(self, rows: pa.Table) -> None:
        self.cancellation.check()
        self.spool.write(rows)
        self.signal.set()

    def end(self, state: State) -> None:
        """Say that it is over."""
        self.spool.seal()
        if state is not State.FINISHED:
            self.spool.drop()
        self.ended = time.monotonic()
        self.state = state
        self.signal.set()


class Runs:
    """The runs of all users.

    Args:
        folder: where rows wait.
        limits: what users may take.
    """

    def __init__(self, folder: Folder, limits: LimitsSection) -> None:
        self._folder = folder
        self._limits = limits
        self._quota = Quota(limits.result_bytes, "results")
        self._runs: dict[str, HostedRun] = {}
        self._futures: dict[str, Future[None]] = {}
        #: Runs that were cancelled before they came.
        self._unwanted: deque[tuple[str, str]] = deque(maxlen=_MOST_RUNS)
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(limits.runs, thread_name_prefix="umbel-run")

    def start(
        self, name: str, who: Principal, work: Work, *, missing: Sequence[str] = ()
    ) -> HostedRun:
        """Begin a run, or let it wait for its turn; one that is there already is not begun again.

        Args:
            name: what it is called from now on.
            who: whose it is.
            work: does it.
            missing: the sites without which it goes on.

        Raises:
            AccessError: the name is that of another user's run.
        """
        self._forget()
        with self._lock:
            known = self._runs.get(name)
            if known is not None:
                if known.user != who.user:
                    raise AccessError("this name of a run is taken", hint="choose another")
                return known
            # The name is of hexadecimal digits alone, so it names a file in the folder.
            spool = Spool(self._folder.path / f"{name}.rows", self._quota)
            run = self._runs[name] = HostedRun(
                name, who.user, datetime.now(UTC), spool, missing=tuple(missing)
            )
            if (who.user, name) in self._unwanted:
                run.cancellation.cancel()
            self._futures[name] = self._pool.submit(run.work, work, self._limits.seconds)
        return run

    def seen_by(self, who: Principal) -> list[HostedRun]:
        """The runs that somebody may see, the newest first."""
        every = who.may(Permission.AUDIT)
        with self._lock:
            found = [run for run in self._runs.values() if every or run.user == who.user]
        return found[::-1]

    def find(self, name: str, who: Principal, *others: Permission) -> HostedRun:
        """Give a run.

        Args:
            name: the run's.
            who: asks for it.
            others: what lets one have the runs of other users.

        Raises:
            UnknownNameError: there is none, or none that the user may know of.
            AccessError: it is another's, which the user may see, but no more.
        """
        run = self._runs.get(name)
        if run is not None and (run.user == who.user or any(map(who.may, others))):
            return run
        if run is not None and who.may(Permission.AUDIT):
            raise AccessError(f"the run {name} is {run.user!r}'s, not {who.user!r}'s")
        raise UnknownNameError("run", name, [run.id for run in self.seen_by(who)[:10]])

    def cancel_by_name(self, name: str, who: Principal) -> None:
        """Stop a run, also one that has not come yet.

        Raises:
            AccessError: it is another's, which the user may see, but not stop.
        """
        try:
            run = self.find(name, who, Permission.OPERATE)
        except UnknownNameError:
            with self._lock:
                if name not in self._runs:
                    self._unwanted.append((who.user, name))
                    return
            raise
        self.cancel(run)

    def cancel(self, run: HostedRun) -> None:
        """Stop a run; one that is over stays as it is."""
        run.cancellation.cancel()
        future = self._futures.get(run.id)
        if future is not None and future.cancel() and not run.state.over:
            run.error = error_to_json(CancelledError("the run was cancelled"))
            run.end(State.CANCELLED)

    def close(self) -> None:
        """Stop all runs, and wait for their ends."""
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            if not run.state.over:
                self.cancel(run)
        self._pool.shutdown(wait=True)
        for run in runs:
            run.spool.drop()

    def _forget(self) -> None:
        """Drop rows that nobody fetched for long, and the oldest runs."""
        now = time.monotonic()
        with self._lock:
            over = [run for run in self._runs.values() if run.ended is not None]
            for run in over:
                if run.ended is not None and now - run.ended > self._limits.keep_seconds:
                    run.spool.drop()
            for run in over[: max(0, len(self._runs) - _MOST_RUNS)]:
                run.spool.drop()
                del self._runs[run.id], self._futures[run.id]


def unexpected(error: BaseException) -> UmbelError:
    """Log what should not have happened, under a number; give the error that says the number."""
    number = secrets.token_hex(4)
    log.error("error %s: %s", number, type(error).__name__, exc_info=error)
    return RunError(
        f"something went wrong inside of the coordinator (error {number})",
        hint="its log says more under this number",
    )


__all__ = ["HostedRun", "Runs", "State", "unexpected"]

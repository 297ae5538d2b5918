"""One run of a user's: how far it is, its rows in a spool, its events for whoever watches."""

from __future__ import annotations

import enum
import json
import time
from collections.abc import Callable, Iterable
from dataclasses import field
from typing import Any

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.executor import Cancellation, Result
from umbel.executor.events import Event, RunFinished
from umbel.executor.runs import History, Noted, StoredRun
from umbel.executor.runs.history import CANCELLED, FAILED, FINISHED, RunEvent
from umbel.federation.coordinator.narration import narrate
from umbel.federation.coordinator.signals import Signal
from umbel.federation.coordinator.spool import Spool
from umbel.federation.coordinator.timeline import Timeline, moment
from umbel.federation.protocol import error_to_json
from umbel.federation.store import TaskRecord
from umbel.plan.errors import CancelledError, RunError, UmbelError

#: Events that are remembered of a run: its first.
_MOST_EVENTS = 10_000


class State(enum.Enum):
    """How far a run is."""

    QUEUED = "queued"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    FINISHED = FINISHED
    FAILED = FAILED
    CANCELLED = CANCELLED

    @property
    def over(self) -> bool:
        """Whether nothing more happens, unless somebody resumes it."""
        return self in (State.FINISHED, State.FAILED, State.CANCELLED)


@dataclass(eq=False)
class HostedRun:
    """A run of a user's.

    Attributes:
        id: names it.
        user: whose it is.
        title: what it does, in a line.
        submitted: when it came, in seconds since 1970.
        asked: identifies what the client sent.
        schema: the columns of its rows, as JSON.
        missing, covers: the sites without which it goes on, and those that it asks.
        tasks: gives what sites were asked for.
        waited: gives for how many seconds it has waited for people at sites.
        state: how far it is.
        fence: counts its tries: rows of one try do not continue those of another.
        spool: where its rows wait; None before it begins.
        rows, bytes: of the result, once it is over.
        events: what happened so far in this try, as plain data.
        stages: what is known of its stages, once it is over.
        error: why it failed, as plain data.
        record: what was measured, once it is over.
        ended: when it was over, by the clock that only goes on.
        signal: is set when the state is another, or there are more rows.
        telling: is set when the state is another, or there are more events: whoever waits for rows
            alone is not woken for each of these.
        cancellation: stops it.
        unwanted: somebody wants it to end.
        hung_up: those who watch it, or read its rows, are to ask again.
    """

    id: str
    user: str
    title: str
    submitted: float
    asked: str
    schema: Any
    missing: tuple[str, ...] = ()
    covers: tuple[str, ...] = ()
    tasks: Callable[[str], list[TaskRecord]] = lambda run: []
    waited: Callable[[], float] = lambda: 0.0
    state: State = State.QUEUED
    fence: int = 0
    spool: Spool | None = None
    rows: int = 0
    bytes: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    stages: list[dict[str, Any]] = field(default_factory=list)
    error: dict[str, Any] | None = None
    record: dict[str, Any] | None = None
    ended: float | None = None
    signal: Signal = field(default_factory=Signal)
    telling: Signal = field(default_factory=Signal)
    cancellation: Cancellation = field(default_factory=Cancellation)
    unwanted: bool = False
    hung_up: bool = False
    _overdue: bool = False
    _timeline: Timeline = field(default_factory=Timeline)

    @classmethod
    def of(cls, stored: StoredRun, tasks: Callable[[str], list[TaskRecord]]) -> HostedRun:
        """Give a run as the store knows it, to be run again."""
        about = stored.options
        return cls(
            id=stored.id,
            user=str(about["user"]),
            title=stored.title,
            submitted=stored.created,
            asked=str(about["asked"]),
            schema=about["schema"],
            missing=tuple(about["missing"]),
            covers=tuple(about["covers"]),
            tasks=tasks,
            state=State.INTERRUPTED,
            fence=stored.fence,
        )

    def recall(self, state: State, history: History, spool: Spool | None) -> None:
        """Bring back how it ended."""
        noted = history.noted
        self.state, self.spool, self.ended = state, spool, time.monotonic()
        self.rows, self.bytes = int(noted.get("rows", 0)), int(noted.get("bytes", 0))
        self.stages = list(noted.get("stages", []))
        self.missing = tuple(noted.get("missing", self.missing))
        self.covers = tuple(noted.get("covers", self.covers))
        self.error = noted.get("error")
        if state is State.CANCELLED:
            self.error = error_to_json(CancelledError("the run was cancelled"))
        elif state is State.FAILED and self.error is None:
            self.error = error_to_json(RunError(history.error, hint=history.hint))

    def has_waited(self) -> float:
        """Give for how many seconds it has waited for people; its tries do not add up."""
        return self.waited()

    def to_json(self) -> dict[str, Any]:
        """Describe it in short."""
        return {
            "id": self.id,
            "user": self.user,
            "title": self.title,
            "submitted": moment(self.submitted),
            "state": self.state.value,
            "rows": self.rows,
            "bytes": self.bytes,
            "missing": list(self.missing),
            "covers": list(self.covers),
            "error": self.error,
        }

    def described(self) -> dict[str, Any]:
        """Describe it with its stages, and with what whoever reads its rows must know."""
        stages = self.stages if self.state.over else self._timeline.to_json(self.tasks(self.id))
        waits = self.spool is not None and self.spool.path.exists()
        return {
            **self.to_json(),
            "tries": self.fence,
            "stages": stages,
            "schema": self.schema,
            "waiting": waits and self.state is State.FINISHED,
            "record": self.record,
        }

    # --- a try --------------------------------------------------------------------------------

    def changed(self) -> None:
        """Wake all who look at the run: its state is another."""
        self.signal.set()
        self.telling.set()

    def begin(self, fence: int, spool: Spool) -> None:
        """Begin a try."""
        self.fence, self.spool = fence, spool
        self.rows = self.bytes = 0
        self.events, self.error, self.record, self.ended = [], None, None, None
        self._timeline = Timeline()
        self.state = State.RUNNING
        self.changed()

    def again(self) -> None:
        """Give up a try, whose rows are taken back: another begins at once."""
        if self.spool is not None:
            self.spool.drop()
        self.spool, self.state = None, State.QUEUED
        self.changed()

    def tell(self, event: Event) -> None:
        """Note an event."""
        self._timeline.tell(event)
        if len(self.events) < _MOST_EVENTS and not isinstance(event, RunFinished):
            self.events.append(narrate(event))
            self.telling.set()

    def deliver(self, rows: pa.Table) -> None:
        """Take rows of the result."""
        self.cancellation.check()
        if self.spool is None:
            raise RunError(f"run {self.id} gives rows before it has begun")
        self.spool.write(rows)
        self.rows, self.bytes = self.spool.counter.rows, self.spool.counter.bytes
        self.signal.set()

    def overdue(self) -> None:
        """Stop it for it takes too long."""
        self._overdue = True
        self.cancellation.cancel()

    def stopped(self, error: CancelledError, limit: float) -> UmbelError:
        """Give the error for a try that was stopped: by whom, is known here alone."""
        if self._overdue and not self.unwanted:
            return RunError(f"the run took longer than the {limit:g} seconds that are allowed")
        return error

    def finished(self, result: Result) -> Iterable[RunEvent]:
        """Bring the rows to safety; give what is to be kept with the run's end."""
        self.record = json.loads(result.run.to_json())
        self.stages = self._timeline.to_json(self.tasks(self.id), result.run)
        sites = {"missing": list(self.missing), "covers": list(self.covers)}
        if self.spool is not None:
            self.spool.finish({"record": self.record, **sites})
        size = 0 if self.spool is None else self.spool.whole
        facts = {"stages": self.stages, "rows": self.rows, "bytes": self.bytes, "size": size}
        return [Noted({**facts, **sites})]

    def failed(self, error: BaseException) -> Iterable[RunEvent]:
        """Give what is to be kept with a failure."""
        self.stages = self._timeline.to_json(self.tasks(self.id))
        return [Noted({"stages": self.stages, "error": error_to_json(error)})]

    def end(self, state: State, error: BaseException | None = None) -> None:
        """Say that the try is over."""
        if self.spool is not None:
            if state is State.FINISHED:
                self.spool.publish()
            else:
                self.spool.drop()
        self.error = None if error is None else error_to_json(error)
        self.ended = time.monotonic()
        self.state = state
        self.changed()


__all__ = ["HostedRun", "State"]

"""What all stages of one run share."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import field
from typing import Any

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.executor.context import Cancellation, Scratch, StageContext
from umbel.executor.events import Listener, StageProgress, StageWaiting
from umbel.executor.failures import explain_memory
from umbel.executor.interrupts import Interrupts
from umbel.executor.journal import Journal
from umbel.executor.preparations import Prepared
from umbel.executor.record import compiled_operators
from umbel.optimizer.execution_plan import PlannedStage
from umbel.optimizer.movement import ChannelGraph
from umbel.plan.operators import Operator, Write
from umbel.platforms.base import CompiledStage


@dataclass(frozen=True)
class Failure:
    """The stage that failed first, and the error that the user sees."""

    stage: PlannedStage
    error: BaseException


@dataclass
class Services:
    """What all stages of a run share, those in the bodies of loops too.

    Attributes:
        cancellation: stops this try of the run.
        scratch: a folder for temporary files.
        memory_limit: bytes that each stage may use before it spills.
        memory_budget: bytes that this process may hold while the run is under way.
        graph: the conversions between channels.
        listener: told of events.
        interrupts: who hears of Ctrl-C.
        wake: lets the main thread look up.
        profile: engines measure also what costs some time to measure.
        began: when the run began.
        deliver: takes the rows of the plan's result in pieces; None to keep them.
        journal: keeps what is finished; None unless the run is durable.
        run_id: names the run.
        prepared: keeps compiled stages for the next run of the plan; None if nothing does.
        failure: the first stage that failed by itself, not because it was stopped.
        running: the stages that are running.
    """

    cancellation: Cancellation
    scratch: Scratch
    memory_limit: int
    memory_budget: int
    graph: ChannelGraph
    listener: Listener
    interrupts: Interrupts
    wake: Callable[[], None] = lambda: None
    profile: bool = False
    began: float = field(default_factory=time.perf_counter)
    deliver: Callable[[pa.Table], None] | None = None
    journal: Journal | None = None
    run_id: str = ""
    prepared: Prepared | None = None
    failure: Failure | None = None
    running: list[PlannedStage] = field(default_factory=list)
    _closed: bool = False
    _compiled: dict[int, CompiledStage] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _telling: threading.RLock = field(default_factory=threading.RLock)

    def tell(self, event: Callable[..., Any], *details: Any) -> None:
        """Send an event, one at a time; none of what was left behind by a run that is over."""
        with self._telling:
            if not self._closed:
                self.listener(event(time.perf_counter() - self.began, *details))

    def close(self) -> None:
        """Tell no more, and let go of what was compiled."""
        with self._telling:
            self._closed = True
            self._compiled.clear()

    def context(self, planned: PlannedStage, depth: int) -> StageContext:
        """Make what a stage sees of the run."""

        def progress(operator: Operator, rows: int) -> None:
            compiled = compiled_operators(planned)
            position = next((i for i, op in enumerate(compiled) if op is operator), None)
            whole = 0.0 if position is None else planned.operators[position].estimate.expected
            fraction = min(1.0, rows / whole) if whole else None
            self.tell(StageProgress, planned, operator.name, rows, fraction, depth)

        root, commit = planned.stage.root, None
        if self.journal is not None and isinstance(root, Write):
            commit = self.journal.commit(root)
        return StageContext(
            self.cancellation,
            self.scratch,
            self.memory_limit,
            progress,
            waits=lambda why: self.tell(StageWaiting, planned, why, depth),
            profile=self.profile,
            run_id=self.run_id,
            commit=commit,
        )

    def compiled(self, planned: PlannedStage) -> CompiledStage:
        """Compile a stage, once for all rounds of a loop and all runs of a prepared plan."""
        with self._lock:
            known = self._compiled.get(id(planned))
        if known is None:
            known = None if self.prepared is None else self.prepared.take(planned)
            if known is None:
                known = planned.platform.compile(planned.stage)
            with self._lock:
                self._compiled[id(planned)] = known
            self.wake()  # the engine may have been imported just now, see `Interrupts`
        return known

    def give_back(self) -> None:
        """Leave what was compiled to the next run of the plan, when all stages have ended well."""
        if self.prepared is not None:
            with self._lock:
                self.prepared.give_back(self._compiled)
                self._compiled.clear()

    def exceeded(self, used: int) -> bool:
        """Stop this try of the run, as the process holds too many bytes; whether it was running."""
        running = list(self.running)
        if not running:
            return False
        self.fail(running[-1], explain_memory(running, used, self.memory_budget))
        self.cancellation.cancel()
        return True

    def fail(self, stage: PlannedStage, error: BaseException) -> None:
        """Remember a failure if it is the first."""
        with self._lock:
            if self.failure is None:
                self.failure = Failure(stage, error)

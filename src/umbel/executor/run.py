"""Plan, run, and, where a lifted function turns out not to be equal on this data, run again."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

import pyarrow as pa

from umbel.catalog.lakes import check_lake_sink
from umbel.catalog.writers import check_sink
from umbel.dataclass import dataclass
from umbel.executor.context import Cancellation, Scratch
from umbel.executor.events import Listener, RunFinished, RunStarted, Unlifted
from umbel.executor.failures import at_write
from umbel.executor.interrupts import Interrupts
from umbel.executor.journal import Journal, JournalError
from umbel.executor.memory import WATCH, default_memory_budget, default_memory_limit
from umbel.executor.preparations import Prepared, Preparing
from umbel.executor.progress import ProgressDisplay
from umbel.executor.record import Result, Run, stage_records
from umbel.executor.scheduler import Scheduler
from umbel.executor.services import Failure, Services
from umbel.executor.tracing import traced_plan, traced_run
from umbel.garbage import fewer_collections
from umbel.optimizer import Budget, ExecutionPlan, optimize
from umbel.optimizer.driver import DRIVER
from umbel.optimizer.movement import ChannelGraph
from umbel.plan.errors import (
    CancelledError,
    FunctionError,
    MemoryLimitError,
    PlacementError,
    PlanError,
    RunError,
    UmbelError,
)
from umbel.plan.operators import Operator, Write, topological
from umbel.plan.sinks import FileSink, LakeSink, RelationSink
from umbel.platforms.registry import Registry

#: Rows that are delivered at once of a table that is whole.
_PIECE = 2**16


def run(
    root: Operator,
    *,
    platforms: Registry,
    budget: Budget | None = None,
    progress: bool | None = None,
    cancellation: Cancellation | None = None,
    listener: Listener | None = None,
    measured: Mapping[str, float] | None = None,
    memory_limit: int | None = None,
    memory_budget: int | None = None,
    lifting: bool | None = None,
    profile: bool = False,
    deliver: Callable[[pa.Table], None] | None = None,
    journal: Journal | None = None,
    up: frozenset[str] | None = None,
    preparing: Preparing | None = None,
) -> Result:
    """Plan and run a plan.

    Args:
        root: what to run.
        platforms: what may run it.
        budget: bounds on the estimated cost.
        progress: show a line per stage; None shows it if standard error is a terminal.
        cancellation: lets another thread stop the run.
        listener: told of every event.
        measured: rows that earlier runs counted, by operator digest.
        memory_limit: bytes a stage may use before it spills; None takes a part of the machine's.
        memory_budget: bytes that this process may hold while the run is under way; beyond them the
            run is stopped. None takes four fifths of the machine's.
        lifting: run Python functions as equal expressions, or as written; None for the faster.
        profile: measure also what costs a few percent of the time to measure.
        deliver: takes the rows of a relational plan in pieces, in the order of the plan, while it
            runs where an engine can give them so; the result then holds no rows. It is called on
            a thread of the run, may wait, and raises to stop the run.
        journal: keeps the stages that finish, and knows those that finished before; the rows are
            then delivered when all are there, unless the journal says that they are kept there.
        up: names of the platforms to plan with as started; None asks them.
        preparing: knows the plans of earlier runs, and the rows that were counted.

    Returns:
        The data and the record of the run.

    Raises:
        PlacementError: no platform can run some operator, or no plan fits the budget.
        RunError: a stage failed; says which, where it was written, and what the engine said.
        MemoryLimitError: the run took too much memory, and was stopped.
        CancelledError: the run was cancelled; nothing is left behind.
    """
    if memory_limit is not None and memory_limit <= 0:
        raise PlanError(f"a memory limit cannot be {memory_limit:,} bytes")
    if memory_budget is not None and memory_budget <= 0:
        raise PlanError(f"a memory budget cannot be {memory_budget:,} bytes")
    with ProgressDisplay(progress) as display:

        def tell(event: Any) -> None:
            display(event)
            if listener is not None:
                listener(event)

        attempts = _Attempts(
            root=root,
            platforms=platforms,
            budget=budget,
            measured=measured,
            cancellation=cancellation or Cancellation(),
            memory_limit=memory_limit or default_memory_limit(),
            memory_budget=memory_budget or default_memory_budget(),
            listener=tell,
            profile=profile,
            delivery=None if deliver is None else _Delivery(deliver),
            journal=journal,
            up=up,
            preparing=preparing,
        )
        with fewer_collections(), traced_run() as trace:
            try:
                result = attempts.run(lifting=lifting)
            except KeyboardInterrupt:
                cancelled = CancelledError("the run was cancelled by an interrupt")
                attempts.finished(cancelled)
                raise cancelled from None
            except BaseException as error:
                attempts.finished(error)
                raise
            trace(result.run)
        attempts.finished(None)
        return result


class _Delivery:
    """Hands rows to whoever reads them, and counts."""

    def __init__(self, deliver: Callable[[pa.Table], None]) -> None:
        self._deliver = deliver
        self.rows = 0

    def __call__(self, rows: pa.Table) -> None:
        if rows.num_rows:
            self.rows += rows.num_rows
            self._deliver(rows)

    def rest(self, data: pa.Table) -> pa.Table:
        """Deliver what an engine has given as a whole; give what is left: nothing."""
        schema = data.schema
        for start in range(0, data.num_rows, _PIECE):
            self(data.slice(start, _PIECE))
        return schema.empty_table()


@dataclass
class _Attempts:
    """One or two tries to run a plan: with lifted functions, and as it was written."""

    root: Operator
    platforms: Registry
    budget: Budget | None
    measured: Mapping[str, float] | None
    cancellation: Cancellation
    memory_limit: int
    memory_budget: int
    listener: Listener
    profile: bool = False
    delivery: _Delivery | None = None
    journal: Journal | None = None
    up: frozenset[str] | None = None
    preparing: Preparing | None = None
    prepared: Prepared | None = None
    began: float = field(default_factory=time.perf_counter)
    planning: float = 0.0

    def finished(self, error: BaseException | None) -> None:
        """Say that the run is over."""
        self.listener(RunFinished(self._now(), error))

    def run(self, *, lifting: bool | None) -> Result:
        """Run the plan; a second time if a lifted function fails."""
        for operator in topological(self.root):
            # Before anything runs, not only when all is done.
            if isinstance(operator, Write) and not self._is_written(operator):
                self._check(operator)
        plan = self._plan(lifting=lifting)
        self.listener(RunStarted(self._now(), plan))
        result = self._try(plan)
        if isinstance(result, Result):
            return result
        # The expressions are equal to the Python functions unless they fail; so when they fail
        # the functions themselves decide, and raise what they raise.
        failed = result
        try:
            plan = self._plan(lifting=False)
        except PlacementError:
            raise failed from None  # pinned to an engine that runs no Python functions
        self.listener(Unlifted(self._now(), failed.message))
        result = self._try(plan)
        if not isinstance(result, Result):
            raise result
        result.run.unlifted = failed.message
        return result

    def _is_written(self, write: Write) -> bool:
        return self.journal is not None and self.journal.written(write)

    def _check(self, write: Write) -> None:
        """Raise if rows cannot be written where they should."""
        try:
            match write.sink:
                case FileSink() as sink:
                    check_sink(sink)
                case LakeSink() as sink:
                    check_lake_sink(sink, write.input.schema)
                case RelationSink() as sink if sink.platform in self.platforms:
                    self.platforms.store(sink.platform).check_sink(sink, write.input.schema)
        except UmbelError as error:
            raise at_write(write, error) from error.__cause__

    def _plan(self, *, lifting: bool | None) -> ExecutionPlan:
        self.cancellation.check()
        start = time.perf_counter()

        def make(measured: Mapping[str, float] | None) -> ExecutionPlan:
            return optimize(
                self.root,
                self.platforms,
                budget=self.budget,
                lifting=lifting,
                measured=measured,
                up=self.up,
            )

        with traced_plan():
            if self.preparing is None or lifting is not None or self.journal is not None:
                self.prepared, plan = None, make(self.measured)
            else:
                self.prepared = self.preparing.plan(
                    self.root, self.platforms, self.budget, self.up, make
                )
                plan = self.prepared.plan
        self.planning += time.perf_counter() - start
        return plan

    def _try(self, plan: ExecutionPlan) -> Result | RunError:
        """Run a plan; give an error instead if the plan without lifting may do without it."""
        records = stage_records(plan.stages)
        scratch = Scratch()
        try:
            with self.cancellation.part() as part, Interrupts() as interrupts:
                graph = ChannelGraph(self.platforms.conversions)
                journal = self.journal
                if journal is not None:
                    journal.planned(plan, graph)
                services = Services(
                    cancellation=part,
                    scratch=scratch,
                    memory_limit=self.memory_limit,
                    memory_budget=self.memory_budget,
                    graph=graph,
                    listener=self.listener,
                    interrupts=interrupts,
                    began=self.began,
                    profile=self.profile,
                    deliver=self.delivery if journal is None or journal.streams() else None,
                    journal=journal,
                    run_id=secrets.token_hex(8) if journal is None else journal.run_id,
                    prepared=self.prepared,
                )
                try:
                    with WATCH.over(self.memory_budget, services.exceeded):
                        data = Scheduler(plan, records, services).run()
                    services.give_back()
                    if self.delivery is not None and isinstance(data, pa.Table):
                        data = self.delivery.rest(data)
                except RunError as error:
                    # What is delivered cannot be taken back.
                    begun = self.delivery is not None and self.delivery.rows > 0
                    if plan.lifted and not begun and _may_be_unequal(services.failure, error):
                        return _bare(error)
                    raise
                finally:
                    services.close()
            if not isinstance(data, pa.Table | list):
                data = list(data)  # as long as what is spilled is there
        finally:
            scratch.close()
        seconds = self._now() - self.planning
        run_id = "" if self.journal is None else self.journal.run_id
        before = self.prepared is not None and self.prepared.before
        run = Run(plan, records, seconds, self.planning, id=run_id, prepared=before)
        return Result(data, run)

    def _now(self) -> float:
        return time.perf_counter() - self.began


def _may_be_unequal(failure: Failure | None, error: RunError) -> bool:
    """Whether a failure can be one of an expression that stands for a Python function.

    What umbel itself failed at (a write, a loop without end), and functions that raised in Python,
    would fail again. A stage of a loop's body fails first, and then the loop on account of it.
    """
    causes: list[BaseException] = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    return (
        failure is not None
        and any(failure.error is cause for cause in causes)
        and failure.stage.platform.name != DRIVER
        and not isinstance(error, FunctionError | JournalError | MemoryLimitError)
    )


def _bare(error: RunError) -> RunError:
    """An error without its traceback, whose frames hold the data of the failed try."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


__all__ = ["run"]

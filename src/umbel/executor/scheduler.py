"""Runs the stages of an execution plan: independent ones at once, each when its inputs are there.

What a loop does in its rounds is in `umbel.executor.loops`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import pyarrow as pa

from umbel.catalog.lakes import write_lake
from umbel.catalog.writers import write
from umbel.executor import loops
from umbel.executor.context import StageContext
from umbel.executor.events import (
    ConversionFinished,
    StageCancelled,
    StageFailed,
    StageFinished,
    StageQueued,
    StageStarted,
)
from umbel.executor.failures import explain_failure
from umbel.executor.handover import Bound, Handover, unread
from umbel.executor.memory import Gathered
from umbel.executor.record import StageRecord
from umbel.executor.services import Services
from umbel.executor.tracing import traced_stage
from umbel.executor.workers import Workers
from umbel.optimizer.driver import DRIVER
from umbel.optimizer.execution_plan import ExecutionPlan, PlannedStage
from umbel.plan.errors import CancelledError, UmbelError
from umbel.plan.operators import Loop, Placeholder, Write
from umbel.plan.sinks import FileSink, LakeSink
from umbel.platforms.base import ARROW, CompiledStage, Elsewhere, Noted, Streams

#: Stages that run at the same time on this machine; engines use the cores by themselves. Stages
#: that only wait for another site do not count.
CONCURRENT = 4


class Scheduler:
    """Runs one execution plan once; each round of a loop's body gets a scheduler of its own."""

    def __init__(
        self,
        plan: ExecutionPlan,
        records: Sequence[StageRecord],
        services: Services,
        bound: Mapping[str, Bound] | None = None,
        depth: int = 0,
    ) -> None:
        """Prepare.

        Args:
            plan: what to run.
            records: one per stage, to be filled in.
            services: what stages share.
            bound: what stands for each placeholder.
            depth: number of loops around the plan.
        """
        self._plan = plan
        self._records = records
        self._services = services
        self._bound = bound or {}
        self._depth = depth
        self._journal = None if depth else services.journal
        self._finished = {s.index for s in plan.stages if self._is_finished(s)}
        self._needed = self._find_needed()
        running = [s for s in self._needed if s.index not in self._finished]
        self._handover = Handover(plan, running)
        roots = [stage.stage.root for stage in plan.stages]
        self._unread = unread(root.label for root in roots if isinstance(root, Placeholder))

    def run(self) -> Any:
        """Run all stages and give the data at the plan's result location.

        Raises:
            UmbelError: the first stage that failed; the others were stopped.
            CancelledError: the run was cancelled.
        """
        services = self._services
        workers = Workers(services.cancellation)
        if not self._depth:
            workers = Workers(services.cancellation, services.interrupts.keep)
            services.wake = workers.wake
        try:
            self._run_stages(workers)
        except BaseException as error:
            workers.stop()
            failure = services.failure
            if isinstance(error, CancelledError) and failure is not None:
                raise failure.error from failure.error.__cause__
            raise
        return self._handover.take(self._plan.result)

    def _is_finished(self, planned: PlannedStage) -> bool:
        return self._journal is not None and self._journal.finished(planned)

    def _find_needed(self) -> list[PlannedStage]:
        """The stages that the result needs: nothing below one that an earlier try has finished."""
        if not self._finished:
            return list(self._plan.stages)
        needed = {self._plan.result[0]}
        for planned in reversed(self._plan.stages):
            if planned.index in needed and planned.index not in self._finished:
                needed.update(index for index, _ in planned.sources.values())
        return [planned for planned in self._plan.stages if planned.index in needed]

    def _run_stages(self, workers: Workers) -> None:
        waiting = {
            s.index: set()
            if s.index in self._finished
            else {index for index, _ in s.sources.values()}
            for s in self._needed
        }
        stages = {stage.index: stage for stage in self._plan.stages}
        queued: set[int] = set()
        here: set[int] = set()
        while waiting or workers:
            ready = sorted(index for index, needs in waiting.items() if not needs)
            for index in ready:
                if index not in queued:
                    queued.add(index)
                    self._services.tell(StageQueued, stages[index], self._depth)
            if self._depth and len(ready) == 1 and not workers:
                # A round's stages mostly wait for one another: no thread is worth its while. The
                # outermost plan leaves this thread free, for Ctrl-C comes to it.
                ended = ready[0]
                del waiting[ended]
                self._run_stage(stages[ended])
            else:
                for index in ready:
                    elsewhere = isinstance(stages[index].platform, Elsewhere)
                    if not elsewhere:
                        if len(here) >= CONCURRENT:
                            continue
                        here.add(index)
                    del waiting[index]
                    workers.start(index, partial(self._run_stage, stages[index]))
                ended = workers.wait()
                here.discard(ended)
            for needs in waiting.values():
                needs.discard(ended)

    def _run_stage(self, planned: PlannedStage) -> None:
        with traced_stage(planned, self._depth, self._services.run_id) as trace:
            trace(*self._run_untraced(planned))

    def _run_untraced(self, planned: PlannedStage) -> tuple[int | None, int | None]:
        """Run a stage; give the rows and bytes that came of it."""
        services, record = self._services, self._records[planned.index]
        services.cancellation.check()
        services.tell(StageStarted, planned, self._depth)
        if planned.index in self._finished:
            return self._take_over(planned, record)
        context = services.context(planned, self._depth)
        start = time.perf_counter()
        services.running.append(planned)
        try:
            if self._journal is not None:
                self._journal.started(planned)
            inputs = {label: self._handover.take(at) for label, at in planned.sources.items()}
            given = {label: len(data) for label, data in inputs.items() if hasattr(data, "__len__")}
            streamed = self._streamed(planned, inputs, context, record)
            if streamed is None:
                output = self._output(planned, inputs, context, record)
                inputs.clear()
                rows, size = _rows(output), _bytes(output)
                seconds = time.perf_counter() - start
                if self._journal is not None:
                    self._journal.keep(planned, output, seconds)
                self._hand_on(planned, output)
                del output
            else:
                rows, size = streamed, None
                seconds = time.perf_counter() - start
        except Exception as error:
            failure = self._failure(planned, error)
            cancelled = isinstance(failure, CancelledError)
            kind = StageCancelled if cancelled else StageFailed
            services.tell(kind, planned, failure, self._depth)
            if failure is error:
                raise
            raise failure from (None if cancelled else error)
        finally:
            services.running.remove(planned)
            context.close()
        record.note(planned, context, rows, seconds, given)
        record.handover_seconds += time.perf_counter() - start - seconds
        services.tell(StageFinished, planned, rows, seconds, self._depth, size)
        return rows, size

    def _take_over(
        self, planned: PlannedStage, record: StageRecord
    ) -> tuple[int | None, int | None]:
        """Hand on what an earlier try of the run has kept of a stage."""
        start = time.perf_counter()
        if self._journal is None:
            raise UmbelError(f"stage {planned.index} is finished, but nothing keeps its output")
        output = self._journal.restore(planned)
        rows, size = _rows(output), _bytes(output)
        self._hand_on(planned, output)
        seconds = time.perf_counter() - start
        record.take_over(rows, seconds)
        self._services.tell(StageFinished, planned, rows, seconds, self._depth, size)
        return rows, size

    def _failure(self, planned: PlannedStage, error: Exception) -> UmbelError:
        """The error that the user sees; remembered if it is the stage's own."""
        services = self._services
        if services.cancellation.cancelled:
            return error if isinstance(error, CancelledError) else CancelledError(
                "the run was cancelled"
            )  # fmt: skip
        failure = explain_failure(planned, error)
        if not isinstance(failure, CancelledError):
            services.fail(planned, failure)
        return failure

    def _streamed(
        self,
        planned: PlannedStage,
        inputs: dict[str, Any],
        context: StageContext,
        record: StageRecord,
    ) -> int | None:
        """Deliver the plan's result while it is computed; None if this stage does not, or cannot."""
        deliver = self._services.deliver
        if deliver is None or self._depth or isinstance(planned.stage.root, Loop | Write):
            return None
        if self._plan.result != (planned.index, ARROW) or planned.stage.output != ARROW:
            return None
        if planned.platform.name == DRIVER:
            return None
        compiled = self._services.compiled(planned)
        if not isinstance(compiled, Streams):
            return None
        record.text = record.text or compiled.text
        rows = compiled.stream(inputs, context, deliver)
        _note(record, compiled)
        inputs.clear()
        self._handover.put(planned.index, {ARROW: planned.stage.root.schema.empty_table()})
        return rows

    def _output(
        self,
        planned: PlannedStage,
        inputs: dict[str, Any],
        context: StageContext,
        record: StageRecord,
    ) -> Any:
        services, root = self._services, planned.stage.root
        if planned.platform.name != DRIVER:
            compiled = services.compiled(planned)
            if self._may_be_large(planned) and isinstance(compiled, Streams):
                rows = Gathered(root.schema, context.memory_limit, lambda: context.scratch)
                compiled.stream(inputs, context, rows)
                output = rows.table()
            else:
                output = compiled.run(inputs, context)
            record.text = record.text or compiled.text  # some know it best when they have run
            _note(record, compiled)
            return output
        match root:
            case Placeholder(label=label):
                self._unread[label] -= 1
                return self._bound[label].read(
                    services.graph, planned.stage.output, last=self._unread[label] == 0
                )
            case Write():
                return _write(root, inputs, context)
            case Loop():
                run_body = partial(Scheduler, services=services, depth=self._depth + 1)
                return loops.run_loop(
                    root, planned, inputs, record, services, self._depth, run_body
                )
        raise UmbelError(f"umbel itself cannot run {root.name}")

    def _may_be_large(self, planned: PlannedStage) -> bool:
        """Whether a stage's output, as Arrow, may be more than a stage may keep in memory."""
        estimate = planned.root.estimate
        most = estimate.rows.high * estimate.width
        if planned.stage.output != ARROW or isinstance(planned.stage.root, Write):
            return False
        return most > self._services.memory_limit

    def _hand_on(self, planned: PlannedStage, output: Any) -> None:
        """Convert the output as planned, and keep the forms that somebody reads."""
        root = planned.stage.root
        forms = {planned.stage.output: output}
        for conversion in planned.conversions:
            self._services.cancellation.check()
            start = time.perf_counter()
            converted = conversion.convert(forms[conversion.source], root.schema, root.element)
            forms[conversion.target] = converted
            self._services.tell(
                ConversionFinished,
                planned,
                conversion.source,
                conversion.target,
                _rows(converted),
                _bytes(converted),
                time.perf_counter() - start,
                self._depth,
            )
        self._handover.put(planned.index, forms)


def _note(record: StageRecord, compiled: CompiledStage) -> None:
    if isinstance(compiled, Noted):
        record.notes.extend(note for note in compiled.notes if note not in record.notes)


def _rows(data: Any) -> int | None:
    return len(data) if hasattr(data, "__len__") else None


def _bytes(data: Any) -> int | None:
    """The bytes of data that knows them; of Python objects nobody does."""
    size = getattr(data, "nbytes", None)
    return size if isinstance(size, int) else None


def _write(root: Write, inputs: Mapping[str, Any], context: StageContext) -> pa.Table:
    (data,) = inputs.values()
    source = root.input
    if isinstance(root.sink, LakeSink):
        report = write_lake(
            root.sink, data, source.schema, source.element, context.check_cancelled, context.commit
        )
        return pa.table({"path": [report.path], "rows": [report.rows]}, schema=root.schema)
    if not isinstance(root.sink, FileSink):
        raise UmbelError(f"umbel itself does not write {root.sink.describe()}")
    report = write(
        root.sink, data, source.schema, source.element, context.check_cancelled, context.commit
    )
    return pa.table({"path": [report.path], "rows": [report.rows]}, schema=root.schema)


__all__ = ["CONCURRENT", "Scheduler"]

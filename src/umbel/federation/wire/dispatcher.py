"""Takes tasks to sites over the wire: the coordinator's side of the seam."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pyarrow as pa

from umbel.federation.errors import ApprovalError, FederationError, SiteError
from umbel.federation.store import SegmentRecord
from umbel.federation.store.tasks import CANCELLED, DONE
from umbel.federation.tasks import Data, Outcome, Sealed, Task
from umbel.federation.wire import segments
from umbel.federation.wire.board import Work
from umbel.federation.wire.endpoint import FlightEndpoint
from umbel.federation.wire.lines import Line
from umbel.federation.wire.messages import SegmentEntry
from umbel.federation.work_trace import measure
from umbel.plan.errors import CancelledError
from umbel.platforms.base import RunContext, TellsWaiting
from umbel.telemetry.logs import say

log = logging.getLogger("umbel.coordinator")

#: How often a result that was damaged on the coordinator's disk is asked for anew.
_MOST_REDONE = 2
#: Seconds after which a site is asked again that waits for a person's approval.
_ASK_AGAIN = 5.0


class WireDispatcher:
    """Has tasks run by the sites that are connected to an endpoint."""

    def __init__(
        self,
        endpoint: FlightEndpoint,
        *,
        patience: float | None = None,
        waiting: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Dispatch over an endpoint.

        Args:
            endpoint: where the sites connect.
            patience: seconds for which a site may be away before its task fails; None: for ever.
            waiting: is open while a task waits for a person.
        """
        self._waiting = waiting
        self._endpoint = endpoint
        self._patience = patience

    def run(
        self,
        task: Task,
        inputs: Mapping[str, Data],
        context: RunContext,
        deliver: Callable[[Data], None],
    ) -> Outcome:
        """Have a task run; return when its site has committed and its rows are delivered.

        Raises:
            SiteError: the site could not do it, is away, or sent what it must not.
            PolicyError: the site's rules do not allow it.
            CancelledError: the run was cancelled.
        """
        cancelled = threading.Event()
        context.on_cancel(cancelled.set)
        told = False
        while True:
            try:
                return self._once(task, inputs, context, deliver)
            except ApprovalError as error:
                # Nobody at the site holds it meanwhile: it is asked for again.
                _log(task, "task.waits", logging.INFO, cause=error)
                if not told and isinstance(context, TellsWaiting):
                    context.waits(error.message)
                told = True
                with self._waiting():
                    cancelled.wait(_ASK_AGAIN)
                context.check_cancelled()

    def stand(self, task: Task) -> Line:
        """Ask a site to take a standing question; see `umbel.federation.standing`."""
        return Line(self._endpoint.board, task, self._patience)

    def _once(
        self,
        task: Task,
        inputs: Mapping[str, Data],
        context: RunContext,
        deliver: Callable[[Data], None],
    ) -> Outcome:
        board = self._endpoint.board
        work = board.submit(task, inputs)
        try:
            context.on_cancel(lambda: board.interrupt(work))
            for _ in range(_MOST_REDONE + 1):
                board.wait(work, self._patience)
                context.check_cancelled()
                outcome = self._outcome(work, task)
                records = work.records
                if records is None:
                    records = self._endpoint.store.tasks.segments(task.id)
                if outcome.direct or self._whole(task, records):
                    if task.to:
                        deliver(self._sealed(work, task, records, outcome))
                    else:
                        self._deliver(work, task, records, context, deliver)
                    size = sum(record.bytes for record in records)
                    measure(task, outcome, size)
                    _log(task, "task.done", logging.INFO, rows=outcome.rows, bytes=size)
                    return outcome
                # Damaged here after it came whole: the site has it no more, but can do it again.
                self._endpoint.arrivals.forget(task.id)
                board.redo(work)
            raise SiteError(
                f"the coordinator cannot keep the result of site {task.site!r} whole",
                hint="its disk is failing: segments differ from what was written",
                site=task.site,
            )
        finally:
            board.leave(work)

    def _outcome(self, work: Work, task: Task) -> Outcome:
        if work.failure is not None:
            error = work.failure.error(task.site)
            _log(task, "task.failed", logging.WARNING, error=type(error).__name__)
            raise error
        if work.state == CANCELLED:
            raise CancelledError("the run was cancelled")
        if work.state != DONE or work.outcome is None:
            raise SiteError("the coordinator is being stopped", site=task.site, retryable=True)
        return work.outcome

    def _whole(self, task: Task, records: Sequence[SegmentRecord]) -> bool:
        """Whether all segments are still what they were when they came."""
        for record in records:
            try:
                content, known = self._endpoint.content(task.id, record)
            except FederationError:
                return False
            if not known and segments.digest(content) != record.digest:
                return False
        return True

    def _sealed(
        self, work: Work, task: Task, records: Sequence[SegmentRecord], outcome: Outcome
    ) -> Sealed:
        """What stands for an output that cannot be read here."""
        if not outcome.envelope:
            self._endpoint.board.reject(work, "it is not sealed")
            raise SiteError(
                f"site {task.site!r} has not sealed what goes to {', '.join(task.to)}",
                hint="its umbel is broken, or it means harm",
                site=task.site,
            )
        rows = sum(record.rows for record in records)
        return Sealed(
            task.id,
            task.site,
            task.to,
            rows,
            outcome.bytes,
            outcome.envelope,
            direct=outcome.direct,
        )

    def _deliver(
        self,
        work: Work,
        task: Task,
        records: Sequence[SegmentRecord],
        context: RunContext,
        deliver: Callable[[pa.Table], None],
    ) -> None:
        rows = size = 0
        schema = task.schema
        for record in records:
            context.check_cancelled()
            content, _ = self._endpoint.content(task.id, record)
            entry = SegmentEntry(digest=record.digest, bytes=record.bytes, rows=record.rows)
            try:
                table = segments.unseal(content, entry, schema, known=True)
                rows, size = rows + table.num_rows, size + table.nbytes
                if rows > task.limits.rows or size > task.limits.bytes:
                    raise FederationError(
                        f"the result has more than the {task.limits.rows:,} rows or "
                        f"{task.limits.bytes:,} bytes that may come"
                    )
            except FederationError as error:
                self._endpoint.board.reject(work, error.message)
                raise SiteError(
                    f"site {task.site!r} sent what cannot be taken: {error.message}",
                    hint=error.hint or "its umbel is broken, or it means harm",
                    site=task.site,
                ) from None
            deliver(table)
        if not records:
            deliver(schema.empty_table())


def _log(task: Task, event: str, level: int, **more: Any) -> None:
    fields: dict[str, Any] = {"stage": task.stage, "site": task.site, "task": task.id, **more}
    say(log, level, event, **fields)

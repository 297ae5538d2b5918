"""One task at a site: fetch its inputs, run it, seal the result, bring it to the coordinator.

Segments go out while later ones are being made. Whatever breaks on the way is tried again from
what has arrived; only when the site's own sealed result is damaged is the task run anew.
"""

from __future__ import annotations

import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import replace
from typing import TypeVar

import pyarrow as pa

from umbel.executor.context import Cancellation
from umbel.federation.errors import FederationError
from umbel.federation.tasks import Execute, Failure, FailureCode, Input, Outcome, Task
from umbel.federation.wire import messages, segments
from umbel.federation.wire.connection import Connection, UnreachableError, within
from umbel.federation.wire.messages import Buffer, Refused, RefusedError, SegmentEntry
from umbel.federation.wire.routes import Route
from umbel.federation.wire.seals import Seals
from umbel.federation.wire.spool import Draft, Spool
from umbel.federation.wire.witness import Witness
from umbel.federation.work_trace import executing, transfer
from umbel.plan.errors import CancelledError
from umbel.plan.operators import Placeholder, topological
from umbel.plan.operators.base import table_digest
from umbel.telemetry.logs import about, say

_LOG = logging.getLogger(__name__)

#: Seconds before another try, and the most of them; each is drawn from half to the whole.
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 10.0
#: How often a result is sent whose manifest the coordinator cannot fulfil.
_MOST_COMMITS = 3
#: What a run says of an output whose straight way did not hold.
_BY_COORDINATOR = "by way of the coordinator, and not straight to"
#: Segments that wait in memory to be sent while later ones are being made.
_MOST_AHEAD = 6

_T = TypeVar("_T")


class Backoff:
    """How long to wait before the next try: ever longer, and not in step with others."""

    def __init__(self) -> None:
        self._seconds = _FIRST_WAIT

    def next(self) -> float:
        """Give the seconds of the next wait."""
        seconds, self._seconds = self._seconds, min(2 * self._seconds, _LONGEST_WAIT)
        return seconds * random.uniform(0.5, 1.0)  # noqa: S311 - no secret hangs on it


class Job:
    """A task that this site has."""

    def __init__(
        self,
        task: str,
        token: str,
        connection: Connection,
        work: Task | Draft,
        seals: Seals,
        witness: Witness,
        trace: str = "",
    ) -> None:
        """Make a job.

        Args:
            task: the task's id.
            token: of its lease.
            connection: to the coordinator.
            work: the task, or the result that an earlier life has sealed.
            seals: seals to other sites, and opens what they sealed.
            witness: has the coordinator countersign the site's audit log.
            trace: the traceparent of the coordinator's attempt; empty if it does not trace.
        """
        self.id = task
        self.token = token
        self._trace = trace
        self._witness = witness
        self._connection = connection
        self._seals = seals
        self._work = work
        #: Whether all who read it have the result, and whether the coordinator may lack some of it.
        self._straight = isinstance(work, Draft) and Outcome.from_json(work.manifest.outcome).direct
        self._gaps = isinstance(work, Draft)
        self._cancellation = Cancellation()
        self._changed = threading.Condition()
        self._dropped = False

    def release(self, token: str) -> None:
        """Go on under a new lease."""
        with self._changed:
            self.token = token
            self._changed.notify_all()

    def drop(self) -> None:
        """Stop: nobody wants this any more."""
        with self._changed:
            self._dropped = True
            self._changed.notify_all()
        self._cancellation.cancel()

    def run(self, execute: Execute, spool: Spool, uploads: Executor) -> None:
        """Do it, from wherever it stands, until the coordinator has the result or wants none."""
        with about(task=self.id, **_about(self._work)):
            self._run(execute, spool, uploads)

    def _run(self, execute: Execute, spool: Spool, uploads: Executor) -> None:
        task = self._work
        draft: Draft | None = None
        try:
            draft = spool.begin() if isinstance(task, Task) else task
            with executing(task if isinstance(task, Task) else None, self._trace) as self._trace:
                if isinstance(task, Task):
                    say(_LOG, logging.INFO, "task.started")
                    self._execute(task, execute, draft, uploads)
                with transfer(self._trace, "from", *_size(draft)):
                    self._commit(draft, uploads)
            rows = sum(entry.rows for entry in draft.entries)
            size = sum(entry.bytes for entry in draft.entries)
            say(_LOG, logging.INFO, "task.done", rows=rows, bytes=size)
        except DroppedError:
            say(_LOG, logging.INFO, "task.dropped", "nobody wants it any more")
        except Exception as error:  # noqa: BLE001 - told to the coordinator, and logged
            if self._dropped:
                say(_LOG, logging.INFO, "task.stopped")
            else:
                self._report(error)
        finally:
            if draft is not None and not (draft.sealed and self._stopping):
                draft.remove()

    #: Whether the agent is stopping, so that a sealed result stays for its next life.
    _stopping = False

    def stop(self) -> None:
        """Stop because the agent does; what is sealed stays."""
        self._stopping = True
        self.drop()

    # --- Running it.

    def _execute(self, task: Task, execute: Execute, draft: Draft, uploads: Executor) -> None:
        inputs = {given.label: self._fetch(task, given) for given in task.inputs}
        cards = self._cards(task)
        sealer = self._seals.sealer(task, cards) if task.to else None
        route = self._seals.route(task, cards) if task.to else None
        pending: deque[Future[None]] = deque()
        schema = task.schema

        def deliver(table: pa.Table) -> None:
            segments.check_schema(table.schema, schema)
            for segment in segments.seal(table):
                self._cancellation.check()
                if sealer is not None:
                    content = pa.py_buffer(sealer.segment(segment.content))
                    segment = segments.Segment(content, segment.rows)  # noqa: PLW2901
                entry = draft.add(segment)
                if entry.bytes > messages.LARGEST_INLINE or pending or route is not None:
                    # Whoever computes faster than the line carries waits here.
                    while len(pending) > _MOST_AHEAD:
                        pending.popleft().result()
                    content = memoryview(segment.content)
                    pending.append(uploads.submit(self._send_ahead, content, entry, route))

        late = threading.Event()
        timer: threading.Timer | None = None
        if task.limits.seconds is not None:
            timer = threading.Timer(task.limits.seconds, self._late, (late,))
            timer.daemon = True
            timer.start()
        try:
            outcome = execute(task, inputs, self._cancellation, deliver)
        except Exception:
            if late.is_set():
                raise FederationError(
                    f"the work took longer than the {task.limits.seconds:g} s that it may"
                ) from None
            raise
        finally:
            if timer is not None:
                timer.cancel()
        self._wanted()
        if sealer is not None:
            outcome = replace(outcome, envelope=sealer.close(draft.entries))
        if route is not None:
            while pending:
                pending.popleft().result()
            route.close()
            self._straight, self._gaps = not route.failed, bool(route.failed)
            went = f"{_BY_COORDINATOR} {', '.join(task.to)}: {route.failed}" if route.failed else ""
            outcome = replace(outcome, direct=self._straight, note=went)
        draft.seal(self.id, self.token, outcome.to_json())
        for future in pending:
            future.result()

    def _late(self, late: threading.Event) -> None:
        late.set()
        self._cancellation.cancel()

    def _cards(self, task: Task) -> dict[str, str]:
        """Get the cards of the sites to which the output goes, as soon as these have shown them."""
        cards: dict[str, str] = {}
        for site in task.to:

            def ask() -> str:
                return self._connection.ask(
                    lambda session: messages.AskCard(
                        session=session,
                        task=self.id,
                        token=self.token,
                        site=site,  # noqa: B023
                    ),
                    messages.CardComes,
                )[0].card

            while not cards.get(site):
                cards[site] = self._insist(ask)
        return cards

    def _fetch(self, task: Task, given: Input) -> pa.Table:
        """Get an input, checked: every segment, and the whole against the task's identity."""
        label = given.label
        schema = next(
            op.schema
            for op in topological(task.plan)
            if isinstance(op, Placeholder) and op.label == label
        )

        def ask(*, lost: bool = False) -> tuple[messages.InputComes, Iterator[pa.Buffer]]:
            return self._connection.ask(
                lambda session: messages.AskInput(
                    session=session, task=self.id, token=self.token, label=label, lost=lost
                ),
                messages.InputComes,
            )

        def once() -> pa.Table:
            comes, parts = ask()
            cut: Iterable[tuple[SegmentEntry, Buffer]] = _cut(comes.segments, parts)
            if comes.direct:
                try:
                    cut = self._seals.brought(given, comes)
                except FederationError as error:
                    say(_LOG, logging.WARNING, "input.lost", "it is made anew", cause=error)
                    ask(lost=True)  # which is refused, with what to do
            if given.site:
                tables = self._seals.opened(task, given, comes, cut, schema)
            else:
                tables = [
                    segments.unseal(content, entry, schema, known=False) for entry, content in cut
                ]
            return pa.concat_tables(tables) if tables else schema.empty_table()

        with transfer(self._trace, "to") as fetched:
            table = self._insist(once)
            fetched(table)
        if not given.site and table_digest(table) != given.digest:
            raise FederationError(f"input {label!r} is not the one that the task names")
        return table

    # --- Bringing it to the coordinator.

    def _commit(self, draft: Draft, uploads: Executor) -> None:
        inline = b""
        small = len(draft.entries) == 1 and draft.entries[0].bytes <= messages.LARGEST_INLINE
        if small and not self._straight:
            inline = draft.path(draft.entries[0]).read_bytes()

        def commit() -> None:
            head = self._witness.unsigned()
            committed, _ = self._connection.ask(
                lambda session: messages.Commit(
                    session=session,
                    task=self.id,
                    token=self.token,
                    segments=draft.entries,
                    outcome=draft.manifest.outcome,
                    head=head,
                ),
                messages.Committed,
                inline,
            )
            self._witness.hear(head, committed.countersigned)

        for attempt in range(_MOST_COMMITS):
            if not inline and not self._straight and (attempt or self._gaps):
                self._send_missing(draft, uploads)
            try:
                self._insist(commit)
            except RefusedError as refusal:
                if refusal.why is not Refused.PROTOCOL or attempt + 1 == _MOST_COMMITS or inline:
                    raise
            else:
                return

    def _send_missing(self, draft: Draft, uploads: Executor) -> None:
        """Send the segments that have not arrived."""
        have = set(
            self._insist(
                lambda: self._connection.ask(
                    lambda session: messages.Have(session=session, task=self.id, token=self.token),
                    messages.Arrived,
                )[0]
            ).digests
        )
        missing = [entry for entry in draft.entries if entry.digest not in have]
        for future in [uploads.submit(self._upload, draft, entry) for entry in missing]:
            future.result()

    def _upload(self, draft: Draft, entry: SegmentEntry) -> None:
        """Send a segment, part by part, each from where the coordinator says."""
        self._send(memoryview(draft.path(entry).read_bytes()), entry)

    def _send_ahead(self, content: memoryview, entry: SegmentEntry, route: Route | None) -> None:
        """Send a segment while later ones are being made."""
        if route is not None and route.give(entry, content):
            return
        with transfer(self._trace, "from", entry.bytes, entry.rows):
            self._send(content, entry)

    def _send(self, content: memoryview, entry: SegmentEntry) -> None:
        offset = 0
        while offset < entry.bytes:
            part = content[offset : offset + messages.PART]
            start = offset
            offset = self._insist(lambda: self._put(entry, start, part))  # noqa: B023

    def _put(self, entry: SegmentEntry, offset: int, part: memoryview) -> int:
        stored, _ = self._connection.ask(
            lambda session: messages.Put(
                session=session,
                task=self.id,
                token=self.token,
                digest=entry.digest,
                bytes=entry.bytes,
                offset=offset,
            ),
            messages.Stored,
            part,
        )
        return stored.next

    def _report(self, error: Exception) -> None:
        """Tell the coordinator that it did not go well."""
        say(_LOG, logging.WARNING, "task.failed", cause=error)
        failure = Failure.of(error)
        if isinstance(error, CancelledError) and not self._dropped:
            failure = Failure(FailureCode.RETRYABLE, "the work was interrupted at the site")

        def fail() -> None:
            self._connection.ask(
                lambda session: messages.Fail(
                    session=session, task=self.id, token=self.token, failure=failure.to_json()
                ),
                messages.Done,
            )

        try:
            self._insist(fail)
        except (DroppedError, FederationError) as late:
            say(_LOG, logging.INFO, "task.failed", "nobody takes the word", cause=late)

    def _insist(self, call: Callable[[], _T]) -> _T:
        """Try until there is an answer, the lease is lost for good, or nobody wants it.

        Raises:
            RefusedError: another try would not help.
        """
        backoff = Backoff()
        while True:
            self._wanted()
            token = self.token
            try:
                return call()
            except UnreachableError:
                self._pause(backoff.next())
            except RefusedError as refusal:
                match refusal.why:
                    case Refused.RESOURCE | Refused.INTERNAL | Refused.SESSION:
                        say(_LOG, logging.WARNING, "task.waits", refusal.message)
                        self._pause(backoff.next())
                    case Refused.LOST:
                        # The next poll says how it goes on: a new lease, or none.
                        with self._changed:
                            self._changed.wait_for(
                                lambda: self._dropped or self.token != token  # noqa: B023
                            )
                    case _:
                        raise

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._dropped, seconds)

    def _wanted(self) -> None:
        if self._dropped:
            raise DroppedError


def _about(work: Task | Draft) -> dict[str, object]:
    """What the log says of a task."""
    if not isinstance(work, Task):
        return {}
    user = work.requester.name
    return {"run": work.run, "stage": work.stage, "site": work.site, "user": user}


def _size(draft: Draft) -> tuple[int, int]:
    """The bytes and rows that go with the commit itself; larger results go ahead of it."""
    match draft.entries:
        case [only] if only.bytes <= messages.LARGEST_INLINE:
            return only.bytes, only.rows
    return 0, 0


class DroppedError(Exception):
    """Nobody wants the job any more."""


def _cut(
    entries: list[SegmentEntry], parts: Iterator[pa.Buffer]
) -> Iterator[tuple[SegmentEntry, bytes]]:
    """Cut a stream of bytes into segments."""
    content = bytearray()
    parts = within(parts, sum(entry.bytes for entry in entries))
    for entry in entries:
        while len(content) < entry.bytes:
            part = next(parts, None)
            if part is None:
                raise UnreachableError("the coordinator broke off")
            content += part
        yield entry, bytes(content[: entry.bytes])
        del content[: entry.bytes]


__all__ = ["Backoff", "DroppedError", "Job"]

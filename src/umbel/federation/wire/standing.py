"""A standing question at a site: an exchange that the site dials, and the rounds that come in it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import Any

from umbel.federation.errors import FederationError
from umbel.federation.failures import Failure
from umbel.federation.standing import Answer, Change, Held, Stand, largest
from umbel.federation.tasks import Execute, Task
from umbel.federation.wire import frames, messages
from umbel.federation.wire.connection import UnreachableError
from umbel.federation.wire.jobs import DroppedError, Job
from umbel.federation.wire.spool import Spool
from umbel.learning.secure.vectors import learned
from umbel.plan.operators import Summing
from umbel.telemetry.logs import about, say

_LOG = logging.getLogger(__name__)

#: Seconds between signs of life of a site that works on a round.
_BEAT = 1.0


class StandingJob(Job):
    """A question that this site has taken, until the coordinator asks no more."""

    def run(self, execute: Execute, spool: Spool, uploads: Executor) -> None:
        """Take it, and answer the rounds that come."""
        task = self._work
        if not isinstance(task, Task):
            raise FederationError("a result that was sealed is no standing question")
        with about(task=self.id, run=task.run, site=task.site, user=task.requester.name):
            try:
                self._stand(task, execute)
            except DroppedError:
                say(_LOG, logging.INFO, "question.done", "it is asked no more")
            except Exception as error:  # noqa: BLE001 - told to the coordinator, and logged
                if not self._dropped:
                    self._report(error)

    def _stand(self, task: Task, execute: Execute) -> None:
        if not isinstance(execute, Stand):
            raise FederationError("this site takes no standing questions")
        held = execute.stand(task, self._cancellation)
        say(_LOG, logging.INFO, "question.stands")
        try:
            while True:
                self._insist(lambda: self._attend(task, held))
        finally:
            held.close()

    def _attend(self, task: Task, held: Held) -> None:
        """Answer rounds until the exchange ends."""
        writer, reader = self._connection.attend(
            lambda session: messages.Attend(session=session, task=self.id, token=self.token)
        )
        self._cancellation.register(reader.cancel)
        signs = _Signs(writer)
        most = largest(learned(task.plan)) if isinstance(task.plan, Summing) else 0
        try:
            while True:
                kind, number, content = frames.receive(reader, lambda _: most)
                if kind == frames.REFUSED:
                    messages.read_answer(messages.Done, bytes(content))
                if kind != frames.ROUND:
                    raise FederationError("the coordinator sent something else than a round")
                with signs.working():
                    answer = _answer(held, content)
                head, buffers = answer.written()
                frames.send(writer, frames.ANSWER, number, [head, *buffers])
        except frames.EndedError:
            self._wanted()
            raise UnreachableError("the exchange has ended") from None
        finally:
            signs.end()
            self._cancellation.unregister(reader.cancel)
            _closed(writer, reader)


def _answer(held: Held, content: memoryview) -> Answer:
    try:
        return held.answer(Change.read(content))
    except Exception as error:  # noqa: BLE001 - told to the coordinator, and logged
        say(_LOG, logging.WARNING, "round.failed", cause=error)
        return Answer(failure=Failure.of(error))


class _Signs:
    """Gives signs of life while a round takes long."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer
        self._lock = threading.Lock()
        self._busy = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="umbel-alive", daemon=True)
        self._thread.start()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Give them while a block runs."""
        self._busy = True
        try:
            yield
        finally:
            with self._lock:
                self._busy = False

    def end(self) -> None:
        """Give none any more."""
        self._over.set()

    def _beat(self) -> None:
        while not self._over.wait(_BEAT):
            with self._lock:
                try:
                    if self._busy:
                        frames.send(self._writer, frames.ALIVE)
                except frames.EndedError:
                    return  # whoever works finds out


def _closed(writer: Any, reader: Any) -> None:
    """Hang up; a line that is broken is hung up already."""
    try:
        reader.cancel()
        writer.close()
    except Exception as error:  # noqa: BLE001 - gRPC says anew why the line is broken
        say(_LOG, logging.DEBUG, "exchange.closed", cause=error)


__all__ = ["StandingJob"]

"""The coordinator's side of standing questions: one open exchange for each site that has one.

A line is asked by whoever trains, and served by the exchange that its site has dialled. When an
exchange ends, whatever the reason, its site dials again, and the round that has no answer is asked
again: the same question gives the same answer. Nothing of a round is written into the store.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from umbel.executor import Cancellation
from umbel.federation.errors import FederationError, SiteError
from umbel.federation.standing import Answer, Change, largest
from umbel.federation.tasks import Task
from umbel.federation.wire import frames
from umbel.federation.wire.board import Board, Work
from umbel.federation.wire.messages import Refused, RefusedError
from umbel.learning.secure.vectors import learned
from umbel.plan.errors import CancelledError, UmbelError
from umbel.plan.operators import Summing


class Line:
    """One standing question at one site; `umbel.federation.standing.Line`."""

    def __init__(self, board: Board, task: Task, patience: float | None) -> None:
        """Ask a site to take a question.

        Args:
            board: where it is pinned.
            task: the question.
            patience: seconds for which the site may be away; None: for ever.
        """
        if not isinstance(task.plan, Summing):
            raise FederationError(f"{task.plan.name} is no question that can stand")
        self._board, self._task, self._patience = board, task, patience
        self._most = largest(learned(task.plan))
        self._work = board.submit(task, {})
        self._changed = self._work.changed
        self._asked: dict[int, Change] = {}
        self._since: dict[int, float] = {}
        self._answers: dict[int, Answer | UmbelError] = {}
        self._exchange: object | None = None
        self._closed = False
        with self._changed:
            self._work.line = self

    # --- The side of whoever asks.

    def ask(self, number: int, change: Change) -> None:
        """Ask a round; see `umbel.federation.standing.Line`."""
        with self._changed:
            self._asked[number], self._since[number] = change, time.monotonic()
            self._changed.notify_all()

    def answer(
        self, number: int, cancellation: Cancellation, until: float | None = None
    ) -> Answer | None:
        """Wait for an answer; None if there is none at a time; see `Line`."""
        with self._changed:
            self._board.wait(
                self._work,
                self._patience,
                lambda: number in self._answers or cancellation.cancelled or self._closed,
                until,
            )
            found = self._answers.pop(number, None)
            if found is not None:
                if isinstance(found, UmbelError):
                    raise found
                return found
            cancellation.check()
            work = self._work
            if work.failure is not None:
                raise work.failure.error(self._task.site)
            if until is not None and time.monotonic() >= until and work.open:
                return None
        if self._closed:
            raise CancelledError("the question does not stand any more")
        raise SiteError(
            f"site {self._task.site!r} has left a question that stands",
            site=self._task.site,
            retryable=True,
        )

    def drop(self, number: int) -> None:
        """Wait for a round's answer no more."""
        with self._changed:
            self._asked.pop(number, None)
            self._answers.pop(number, None)
            self._since.pop(number, None)

    def close(self) -> None:
        """Ask no more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._board.leave(self._work)

    # --- The side of the site's exchange.

    def serve(self, token: str, check: Callable[[], None], reader: Any, writer: Any) -> None:
        """Bring rounds to the site and its answers here, as long as the exchange is the newest.

        Args:
            token: of the site's lease.
            check: raises `RefusedError` if the site may not speak any more.
            reader: of the exchange.
            writer: of the exchange.
        """
        with self._changed:
            mine = self._exchange = object()
            self._changed.notify_all()

        def over() -> bool:
            lost = self._work.token != token or self._board.ending
            return self._closed or self._exchange is not mine or lost

        while True:
            with self._changed:
                while not over() and not self._open_rounds():
                    self._changed.wait()
                if over():
                    return
                number = min(self._open_rounds())
                change = self._asked[number]
            check()
            head, buffers = change.written()
            frames.send(writer, frames.ROUND, number, [head, *buffers])
            found = self._answered(number, over, reader)
            if found is None:
                return
            check()
            with self._changed:
                if self._asked.pop(number, None) is not None:
                    if isinstance(found, Answer):
                        found = replace(found, seconds=time.monotonic() - self._since[number])
                    self._answers[number] = found
                self._work.attempts = 0  # it does not end its site, however often that is stopped
                self._changed.notify_all()

    def _open_rounds(self) -> list[int]:
        return [number for number in self._asked if number not in self._answers]

    def _answered(
        self, number: int, over: Callable[[], bool], reader: Any
    ) -> Answer | UmbelError | None:
        while True:
            kind, answered, content = frames.receive(reader, self._bytes)
            if kind == frames.ALIVE:
                with self._changed:
                    if over():
                        return None
                continue
            if kind != frames.ANSWER or answered != number:
                raise RefusedError(Refused.PROTOCOL, "an answer to what was not asked")
            try:
                found = Answer.read(content)
            except FederationError as error:
                return SiteError(
                    f"site {self._task.site!r} sent what cannot be taken: {error.message}",
                    hint="its umbel is broken, or it means harm",
                    site=self._task.site,
                )
            return found

    def _bytes(self, kind: int) -> int:
        return {frames.ANSWER: self._most, frames.ALIVE: 0}.get(kind, 0)


def line_of(work: Work) -> Line:
    """The line of a task.

    Raises:
        RefusedError: it is no standing question.
    """
    if not isinstance(work.line, Line):
        raise RefusedError(Refused.PROTOCOL, "this task is no standing question")
    return work.line


__all__ = ["Line", "line_of"]

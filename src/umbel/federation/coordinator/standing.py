"""Questions that stand, for users: opened once, asked in rounds, and let go."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from fastapi import Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from umbel.dataclass import dataclass
from umbel.executor import Cancellation
from umbel.federation.errors import AccessError
from umbel.federation.protocol import HEARTBEAT, error_to_json
from umbel.federation.rounds import Asks, written_answers, written_error
from umbel.federation.standing import Bytes
from umbel.learning.gathering import Patience
from umbel.plan.errors import UmbelError, UnknownNameError
from umbel.telemetry.logs import say

if TYPE_CHECKING:
    from umbel.federation.coordinator.calls import Call
    from umbel.federation.planning.standing import StandingQuestions

log = logging.getLogger("umbel.coordinator")

#: Seconds after which a question that nobody asks is let go, and how many one user may have.
_IDLE, _MOST = 900.0, 32
#: Units of what one plan may have, for the plans of a question and for the numbers of a round.
_PLANS, _NUMBERS = 16, 256


@dataclass
class _Open:
    user: str
    asked: StandingQuestions
    cancellation: Cancellation
    used: float
    busy: int = 0


class OpenQuestions:
    """The questions that stand at a coordinator; after a restart there are none."""

    def __init__(self, let_go: Callable[[str], None]) -> None:
        """Prepare; `let_go` forgets what sites were asked for under a name."""
        self._let_go = let_go
        self._open: dict[str, _Open] = {}
        self._lock = threading.Lock()

    def add(self, name: str, user: str, asked: StandingQuestions) -> None:
        """Take a question up.

        Raises:
            AccessError: the user has too many.
        """
        self._sweep()
        with self._lock:
            if sum(one.user == user for one in self._open.values()) < _MOST:
                self._open[name] = _Open(user, asked, Cancellation(), time.monotonic())
                return
        asked.close()
        raise AccessError(f"{user!r} has {_MOST} questions that stand", hint="let one go")

    def ask(self, name: str, user: str, asks: Asks) -> list[Bytes]:
        """Ask a round; give the answer as it travels.

        Raises:
            UnknownNameError: there is no such question, or it is another user's.
        """
        found = self._mine(name, user)
        with self._lock:
            found.busy += 1
        try:
            patience = Patience(asks.quorum, asks.deadline)
            given, away = found.asked.change(asks.changes, patience, found.cancellation)
        finally:
            with self._lock:
                found.busy -= 1
                found.used = time.monotonic()
        return written_answers(given, away)

    def remove(self, name: str, user: str) -> None:
        """Let a question go; one that is not there is gone already."""
        with self._lock:
            found = self._open.get(name)
            if found is None or found.user != user:
                return
            del self._open[name]
        self._end(name, found)

    def close(self) -> None:
        """Let all go."""
        with self._lock:
            ending, self._open = self._open, {}
        for name, found in ending.items():
            self._end(name, found)

    def _mine(self, name: str, user: str) -> _Open:
        with self._lock:
            found = self._open.get(name)
            if found is None or found.user != user:
                mine = [n for n, one in self._open.items() if one.user == user]
                raise UnknownNameError("question", name, mine)
            found.used = time.monotonic()
            return found

    def _sweep(self) -> None:
        now = time.monotonic()
        with self._lock:
            old = [n for n, one in self._open.items() if not one.busy and now - one.used > _IDLE]
            ending = {name: self._open.pop(name) for name in old}
        for name, found in ending.items():
            say(log, logging.INFO, "question.forgotten", user=found.user)
            self._end(name, found)

    def _end(self, name: str, found: _Open) -> None:
        found.cancellation.cancel()
        found.asked.close()
        self._let_go(name)


async def open_question(call: Call) -> Response:
    """Have sites take a question."""
    from umbel.federation.coordinator.calls import Stand
    from umbel.federation.coordinator.questions import Ways

    limit = _PLANS * call.coordinator.settings.limits.plan_bytes
    asked = await call.read(Stand, limit)
    ways = Ways(None, asked.purpose, asked.missing)

    def work() -> Mapping[str, Any]:
        name = call.coordinator.stand(call.who, asked.plans, ways)
        return {"planned": True} if name is None else {"name": name}

    return JSONResponse(await run_in_threadpool(work))


async def ask_round(call: Call) -> Response:
    """Ask a round of a question; spaces come while sites work, and then the answers."""
    body = await call.body(_NUMBERS * call.coordinator.settings.limits.plan_bytes)
    asks = Asks.read(memoryview(body))

    def work() -> list[Bytes]:
        try:
            return call.coordinator.questions.ask(call.name, call.who.user, asks)
        except UmbelError as error:
            return written_error(error_to_json(error))

    return StreamingResponse(_alive(work), media_type="application/octet-stream")


async def _alive(work: Callable[[], list[Bytes]]) -> AsyncIterator[bytes | memoryview]:
    task = asyncio.ensure_future(run_in_threadpool(work))
    while not task.done():
        await asyncio.wait([task], timeout=HEARTBEAT)
        if not task.done():
            yield b" "
    for part in task.result():
        yield part


async def drop_question(call: Call) -> Response:
    """Let a question go."""
    await run_in_threadpool(call.coordinator.questions.remove, call.name, call.who.user)
    return Response(status_code=204)


__all__ = ["OpenQuestions", "ask_round", "drop_question", "open_question"]

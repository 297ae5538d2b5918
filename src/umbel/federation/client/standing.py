"""Questions that stand at a coordinator: opened with plans, then asked with numbers alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from umbel.executor import Cancellation
from umbel.federation.client.asking_sites import lies_there
from umbel.federation.client.patience import Patience as Waiting
from umbel.federation.protocol import FAIL, WAIT
from umbel.federation.rounds import Asks, read_answers
from umbel.federation.standing import Change
from umbel.learning.gathering import OWN_ERRORS, Gathered, Patience
from umbel.plan.codec import plan_to_json
from umbel.plan.errors import UnknownNameError
from umbel.plan.operators import Operator, Summing

if TYPE_CHECKING:
    from umbel.federation.client.session import RemoteSession


class RemoteQuestions:
    """Asks sites by way of a coordinator; `umbel.learning.standing.Standing`."""

    def __init__(self, session: RemoteSession, plans: Mapping[str, Operator], name: str) -> None:
        self._session, self._plans, self._name = session, dict(plans), name

    @classmethod
    def opened(
        cls, session: RemoteSession, plans: Mapping[str, Operator]
    ) -> RemoteQuestions | None:
        """Have sites take questions; None if the coordinator has to plan something of it."""
        if not all(lies_there(session, plan) for plan in plans.values()):
            return None
        name = _opened(session, plans)
        return None if name is None else cls(session, plans, name)

    def ask(self, asks: Mapping[str, Operator], patience: Patience) -> Gathered:
        """Ask a round; see `umbel.learning.standing.Standing`."""
        changes = {p: Change.of(plan) for p, plan in asks.items() if isinstance(plan, Summing)}
        body = b"".join(Asks(changes, patience.quorum, patience.deadline).written())
        try:
            given, away = read_answers(self._posted(body))
        except UnknownNameError:
            # The coordinator was started anew: sites take the question again, and get the same.
            self._name = _opened(self._session, self._plans) or self._name
            given, away = read_answers(self._posted(body))
        for error in away.values():
            if isinstance(error, OWN_ERRORS):
                raise error
        rows: dict[str, Any] = {part: answer.row(part) for part, answer in given.items()}
        seconds = {part: answer.seconds for part, answer in given.items()}
        return Gathered(rows, {part: error.message for part, error in away.items()}, seconds)

    def _posted(self, body: bytes) -> bytes:
        # Sites give the same answer to the same question, so asking twice does no harm.
        path = f"/v1/questions/{self._name}"
        waiting = Waiting(self._session.patience, Cancellation(), "")
        return waiting.ask(lambda: self._session.connection.send(path, body))

    def close(self) -> None:
        """Ask no more."""
        waiting = Waiting(0.0, Cancellation(), "")
        waiting.ask(lambda: self._session.connection.delete(f"/v1/questions/{self._name}"))


def _opened(session: RemoteSession, plans: Mapping[str, Operator]) -> str | None:
    body = {
        "plans": {name: plan_to_json(plan) for name, plan in plans.items()},
        "purpose": session.purpose,
        "missing": WAIT if session.on_missing_site == WAIT else FAIL,
    }
    waiting = Waiting(session.patience, Cancellation(), "")
    found = waiting.ask(lambda: session.connection.post("/v1/questions", body))
    return None if found.get("planned") else str(found["name"])


__all__ = ["RemoteQuestions"]

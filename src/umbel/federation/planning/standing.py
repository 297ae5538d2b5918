"""Standing questions to several sites: rounds over lines that stay open."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from time import monotonic
from typing import Any

from umbel.executor import Cancellation
from umbel.federation.standing import Answer, Change, Line
from umbel.learning.gathering import OWN_ERRORS, Gathered, Patience
from umbel.plan.errors import RunError, UmbelError
from umbel.plan.operators import Operator, Summing


class StandingQuestions:
    """Asks sites that have taken a question, in rounds; `umbel.learning.standing.Standing`."""

    def __init__(self, lines: Mapping[str, Line]) -> None:
        """Prepare; `lines` are those to the sites, by the names of what lies there."""
        self._lines = dict(lines)
        self._numbers = itertools.count(1)

    def ask(self, asks: Mapping[str, Operator], patience: Patience) -> Gathered:
        """Ask all at the same time; see `umbel.learning.standing.Standing`."""
        changes = {p: Change.of(plan) for p, plan in asks.items() if isinstance(plan, Summing)}
        given, away = self.change(changes, patience, Cancellation())
        rows: dict[str, Any] = {part: answer.row(part) for part, answer in given.items()}
        seconds = {part: answer.seconds for part, answer in given.items()}
        return Gathered(rows, {part: error.message for part, error in away.items()}, seconds)

    def change(
        self, changes: Mapping[str, Change], patience: Patience, cancellation: Cancellation
    ) -> tuple[dict[str, Answer], dict[str, UmbelError]]:
        """Ask for states; give what came, and why the rest did not.

        Raises:
            PolicyError: a site's rules do not allow it.
        """
        number = next(self._numbers)
        given: dict[str, Answer] = {}
        away: dict[str, UmbelError] = {}
        end = None if patience.deadline is None else monotonic() + patience.deadline
        late: list[str] = []
        for part, change in changes.items():
            self._lines[part].ask(number, change)
        try:
            for part in changes:
                self._one(part, number, cancellation, end, given, away, late)
            # Who is late is waited for as long as the others are too few.
            for part in late:
                until = None if len(given) < patience.needed(len(changes)) else monotonic()
                self._one(part, number, cancellation, until, given, away, [])
        finally:
            for part in changes:
                self._lines[part].drop(number)
        for part in late:
            if part not in given and part not in away:
                away[part] = RunError(f"it has not answered within {patience.deadline:g} s")
        return given, away

    def _one(
        self,
        part: str,
        number: int,
        cancellation: Cancellation,
        until: float | None,
        given: dict[str, Answer],
        away: dict[str, UmbelError],
        late: list[str],
    ) -> None:
        try:
            answer = self._lines[part].answer(number, cancellation, until)
            if answer is not None and answer.failure is not None:
                raise answer.failure.error(part)
        except OWN_ERRORS:
            raise
        except UmbelError as error:
            away[part] = error
            return
        if answer is None:
            late.append(part)
        else:
            given[part] = answer

    def close(self) -> None:
        """Ask no more."""
        for line in self._lines.values():
            line.close()


__all__ = ["StandingQuestions"]

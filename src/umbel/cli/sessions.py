"""Sessions that go by the command's options, also those that a script makes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from umbel.api.session import Session
from umbel.cli.settings import Settings
from umbel.plan.operators import Operator

if TYPE_CHECKING:
    from umbel.executor import Result
    from umbel.optimizer import Budget


class CommandSession(Session):
    """A session that goes by the command's options, which win over the script's."""

    settings = Settings()

    def __init__(self, **options: Any) -> None:
        if self.settings.budget is not None:
            options["budget"] = self.settings.budget
        if self.settings.progress is not None:
            options["progress"] = self.settings.progress
        if self.settings.on:
            options["platforms"] = self.settings.platforms()
        if self.settings.keeping is not None:
            options["durable"] = self.settings.keeping
        super().__init__(**options)

    def bounds(self, budget: Budget | None) -> Budget | None:
        """The budget of a run for which the script gives one, or none."""
        return self.settings.budget or budget or self.budget

    def run(self, plan: Operator, budget: Budget | None = None, **options: Any) -> Result:
        """Run a plan; explain it before and show its record after, if that was asked for."""
        budget = self.bounds(budget)
        if self.settings.explain:
            from umbel.optimizer import explain

            print(explain(plan, self.platforms(), budget=budget), file=sys.stderr, flush=True)
        result = super().run(plan, budget, **options)
        if self.settings.record:
            print(result.run, file=sys.stderr, flush=True)
        return result


@contextmanager
def sessions_are(kind: type[Session]) -> Iterator[None]:
    """Let `umbel.connect` make sessions of a kind for a while."""
    import umbel.api.session as sessions

    before = sessions.session_class
    sessions.session_class = kind
    try:
        yield
    finally:
        sessions.session_class = before


def session_kind(settings: Settings) -> type[CommandSession]:
    """Make the kind of session that goes by some settings."""
    return type("CommandSession", (CommandSession,), {"settings": settings})

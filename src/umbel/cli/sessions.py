"""Sessions that go by the command's options, also those that a script makes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from umbel.api.located import written_at
from umbel.api.session import Session
from umbel.cli.settings import Settings
from umbel.plan.errors import PlanError
from umbel.plan.operators import Operator

if TYPE_CHECKING:
    from umbel.executor import Result
    from umbel.federation.client import RemoteSession
    from umbel.optimizer import Budget


class CommandSession(Session):
    """A session that goes by the command's options, which win over the script's."""

    settings = Settings()

    def __init__(self, *given: Any, **options: Any) -> None:
        if self.settings.budget is not None:
            options["budget"] = self.settings.budget
        if self.settings.progress is not None:
            options["progress"] = self.settings.progress
        if self.settings.on:
            options["platforms"] = self.settings.platforms()
        if self.settings.keeping is not None:
            options["durable"] = self.settings.keeping
        super().__init__(*given, **options)

    def bounds(self, budget: Budget | None) -> Budget | None:
        """The budget of a run for which the script gives one, or none."""
        return self.settings.budget or budget or self.budget

    def run(self, plan: Operator, budget: Budget | None = None, **options: Any) -> Result:
        """Run a plan; explain it before and show its record after, if that was asked for."""
        budget = self.bounds(budget)
        if self.settings.explain:
            print(self.explain(plan, budget), file=sys.stderr, flush=True)
        result = super().run(plan, budget, **options)
        if self.settings.record:
            self.show_record(result)
        return result

    def show_record(self, result: Result) -> None:
        """Show what was measured of a run."""
        print(result.run, file=sys.stderr, flush=True)


@contextmanager
def sessions_are(kind: type[Session]) -> Iterator[None]:
    """Let `umbel.connect` make sessions of a kind for a while; a command's also for a coordinator."""
    import umbel.api.session as sessions

    before = sessions.session_class, sessions.remote_class
    sessions.session_class = kind
    if issubclass(kind, CommandSession):
        sessions.remote_class = partial(with_coordinator, kind)
    try:
        yield
    finally:
        sessions.session_class, sessions.remote_class = before


def session_kind(settings: Settings) -> type[CommandSession]:
    """Make the kind of session that goes by some settings."""
    return type("CommandSession", (CommandSession,), {"settings": settings})


def with_coordinator(kind: type[CommandSession]) -> type[RemoteSession]:
    """Make the kind of session with a coordinator that goes by the options of another kind."""
    from umbel.federation.client import RemoteSession

    class RemoteCommandSession(kind, RemoteSession):  # type: ignore[misc, valid-type]
        """A session with a coordinator that goes by the command's options."""

        def run(self, plan: Operator, budget: Budget | None = None, **options: Any) -> Result:
            if self.settings.on and self.asks(plan):
                raise PlanError(
                    f"--on {self.settings.on[0]} chooses among the platforms of this machine, and "
                    "the plan reads tables of a federation",
                    hint="in a script, .on('NAME') pins a part of it to a site or an engine",
                )
            return super().run(plan, budget, **options)

    return RemoteCommandSession


@contextmanager
def opened(settings: Settings, config: Path | None = None) -> Iterator[CommandSession]:
    """Give a session for one command: here, or with the coordinator that it names.

    Args:
        settings: how to run plans, and where.
        config: the configuration; None looks where sessions look.
    """
    kind = session_kind(settings)
    with ExitStack() as stack:
        with written_at(None):  # there is no script whose line could be shown
            if settings.coordinator is None:
                session = kind()
            else:
                from umbel.federation.client import connect_to

                made = connect_to(
                    settings.coordinator, token=settings.token, kind=with_coordinator(kind)
                )
                stack.callback(made.close)
                session = cast("CommandSession", made)
            session.configure(config)
        yield session

"""`umbel run`: a script, or a plan whose result is shown or written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from umbel.cli.results import check_form, show_result
from umbel.cli.script import execute
from umbel.cli.sessions import CommandSession, opened, session_kind, sessions_are
from umbel.cli.settings import Settings
from umbel.cli.sinks import sink_for
from umbel.plan.codec import plan_from_json
from umbel.plan.errors import PlanError, SourceError
from umbel.plan.operators import Limit, Operator, Write


def run_script(file: Path, arguments: Sequence[str], settings: Settings) -> None:
    """Run a script; its sessions go by the settings."""
    settings.platforms()  # a wrong --on is an error before the script does anything
    with sessions_are(session_kind(settings)):
        execute(file, arguments)


def run_plan(
    file: Path,
    settings: Settings,
    *,
    output: Path | None = None,
    limit: int | None = None,
    form: str | None = None,
) -> None:
    """Run a plan, and show or write what it gives.

    Args:
        file: the plan as JSON.
        settings: how to run it.
        output: write the result there; None shows it.
        limit: take at most so many rows.
        form: how to show it: table, csv or json; None is table.
    """
    with opened(settings) as session:
        show_plan(session, read_plan(file), output=output, limit=limit, form=form)


def show_plan(
    session: CommandSession,
    plan: Operator,
    *,
    output: Path | None,
    limit: int | None,
    form: str | None,
) -> None:
    """Run a plan in a session, and show or write what it gives; see `run_plan`."""
    form = check_form(form)
    if limit is not None:
        plan = _limited(plan, limit)
    if output is not None:
        if isinstance(plan, Write):
            raise PlanError(
                f"the plan itself writes {plan.sink.describe()}",
                hint="leave out --output, or take the write out of the plan",
            )
        plan = Write(input=plan, sink=sink_for(output))
    show_result(session.run(plan), form)


def read_plan(file: Path) -> Operator:
    """Read a plan file.

    Raises:
        SourceError: the file cannot be read.
        PlanFormatError: it is not a plan of this version.
    """
    try:
        text = file.read_bytes()
    except OSError as error:
        raise SourceError(
            f"cannot read the plan {file}: {error.strerror}", hint="name a file that is there"
        ) from None
    return plan_from_json(text)


def _limited(plan: Operator, limit: int) -> Operator:
    if isinstance(plan, Write):
        raise PlanError(
            f"--limit is for results, but the plan writes {plan.sink.describe()}",
            hint="leave out --limit",
        )
    return Limit(input=plan, count=limit)

"""`umbel explain`: how a plan would run, without running it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from umbel.api.handle import Handle
from umbel.catalog.writers import write
from umbel.cli.run import read_plan
from umbel.cli.script import execute
from umbel.cli.sessions import CommandSession, opened, session_kind, sessions_are
from umbel.cli.settings import Settings
from umbel.plan.errors import PlanError, UnknownNameError
from umbel.plan.operators import Element, Operator
from umbel.plan.sinks import TextSink

if TYPE_CHECKING:
    from umbel.executor import Result
    from umbel.optimizer import Budget, Explanation

FORMS = ("text", "json", "mermaid", "svg")
_BY_SUFFIX = {".json": "json", ".mmd": "mermaid", ".md": "mermaid", ".svg": "svg", ".txt": "text"}


class FirstRun(BaseException):
    """Ends a script where it would run its first plan.

    It is no `Exception`, so that the script does not catch it by accident.
    """

    def __init__(self, explanation: Explanation | None) -> None:
        super().__init__("the script would run a plan here")
        self.explanation = explanation


def explain_plan(file: Path, settings: Settings, form: str | None, output: Path | None) -> None:
    """Explain a plan file."""
    form = form_of(form, output)
    with opened(settings) as session:
        found = session.explain(read_plan(file), settings.budget)
    _show([found], form, output)


def explain_script(
    file: Path,
    arguments: Sequence[str],
    settings: Settings,
    form: str | None,
    output: Path | None,
    *,
    name: str | None = None,
    every: bool = False,
) -> None:
    """Explain what a script runs.

    Args:
        file: the script.
        arguments: its arguments.
        settings: platforms and budget.
        form: text, json, mermaid or svg; None goes by the name of the output.
        output: a file to write to; None shows it.
        name: the variable whose plan to explain; None explains the first that would be run.
        every: run the script to its end, and explain each plan that it runs.
    """
    form = form_of(form, output)
    settings.platforms()
    found = _every(file, arguments, settings) if every else [_one(file, arguments, settings, name)]
    _show(found, form, output)


def _every(file: Path, arguments: Sequence[str], settings: Settings) -> list[Explanation]:
    found: list[Explanation] = []

    class Recording(session_kind(settings)):  # type: ignore[misc]
        def run(self, plan: Operator, budget: Budget | None = None, **options: Any) -> Result:
            found.append(self.explain(plan, self.bounds(budget)))
            return cast("Result", super().run(plan, budget, **options))

    with sessions_are(Recording):
        execute(file, arguments)
    if not found:
        raise PlanError(f"{file} runs no plan", hint="leave out --all to explain its last frame")
    return found


def _one(file: Path, arguments: Sequence[str], settings: Settings, name: str | None) -> Explanation:
    class Stopping(session_kind(settings)):  # type: ignore[misc]
        def run(
            self: CommandSession, plan: Operator, budget: Budget | None = None, **options: Any
        ) -> Result:
            # Now, for a session with a coordinator may be closed when the script ends.
            raise FirstRun(None if name else self.explain(plan, self.bounds(budget)))

    names: dict[str, Any] = {}
    first: FirstRun | None = None
    with sessions_are(Stopping):
        try:
            execute(file, arguments, names)
        except FirstRun as stopped:
            first = stopped
    if first is not None and first.explanation is not None:
        return first.explanation
    handles = {key: value for key, value in names.items() if isinstance(value, Handle)}
    if name is not None and name not in handles:
        where = str(file) if first is None else f"{file} before it runs its first plan"
        raise UnknownNameError("frame or dataset", name, handles, where=where)
    if not handles:
        raise PlanError(
            f"{file} runs no plan, and has no DataFrame or Dataset in a variable",
            hint="give the plan's last handle a name in the script",
        )
    return handles[name or list(handles)[-1]].explain()


def show_explanation(found: Explanation, form: str | None, output: Path | None) -> None:
    """Show an explanation, or write it to a file; the form goes by the file's name if None."""
    _show([found], form_of(form, output), output)


def form_of(form: str | None, output: Path | None) -> str:
    """Give the form that was asked for, by name or by the name of the output.

    Raises:
        UnknownNameError: there is no such form.

    >>> form_of(None, Path("plan.svg")), form_of(None, None)
    ('svg', 'text')
    """
    if form is None:
        return "text" if output is None else _BY_SUFFIX.get(output.suffix.lower(), "text")
    if form not in FORMS:
        raise UnknownNameError("format", form, FORMS)
    return form


def _show(found: Sequence[Explanation], form: str, output: Path | None) -> None:
    if form == "svg" and len(found) > 1:
        raise PlanError(
            f"the script runs {len(found)} plans, and a drawing holds one",
            hint="leave out --all, or choose --format text, json or mermaid",
        )
    match form:
        case "json" if len(found) > 1:
            text = "[\n" + ",\n".join(e.to_json() for e in found) + "\n]"
        case "json":
            text = found[0].to_json()
        case "mermaid":
            text = "\n\n".join(e.to_mermaid() for e in found)
        case "svg":
            text = found[0].to_svg()
        case _:
            text = "\n\n".join(e.text() for e in found)
    if output is None:
        print(text)
    else:
        # The file appears whole or not at all.
        write(TextSink(str(output)), text.splitlines(), pa.schema([]), Element.OBJECT)

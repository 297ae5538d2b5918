"""Turns what an engine raised into an error that says which operator, line, engine and value."""

from __future__ import annotations

import re
from collections.abc import Sequence

from umbel.catalog.diagnose import diagnose
from umbel.optimizer import PlannedStage
from umbel.plan.errors import EvaluationError, MemoryLimitError, RunError, UmbelError
from umbel.plan.operators import Operator, Scan, Write
from umbel.plan.sources import CsvSource
from umbel.platforms.streams import scanned_columns

#: Where a message of an engine's goes on to what is of no use to the user.
_NOISE = re.compile(
    r"\n\n|\nStack|\nLINE \d|\nResolved plan|\nThis error occurred|\nTraceback|\nCandidate"
)
_LONGEST = 500
#: In a message, that a value has no form in a type; otherwise something else went wrong.
_MISFIT = re.compile(r"overflow|out of range|conversion|does not fit", re.IGNORECASE)


def explain_failure(planned: PlannedStage, error: Exception) -> UmbelError:
    """Give the error that the user sees for a stage that failed.

    Errors of umbel's own that name their operator pass unchanged. For an engine's error a scan's
    files are read again, to say which row of which file is at fault.
    """
    evaluation = isinstance(error, EvaluationError)
    if isinstance(error, UmbelError) and (not evaluation or _names_operator(planned, error)):
        advice = "" if error.hint or not evaluation else _advice(error.message)
        if advice:
            return EvaluationError(error.message, hint=advice)
        root = planned.stage.root
        return at_write(root, error) if isinstance(root, Write) else error
    for operator in _operators(planned):
        # Of all that is read only CSV is converted by expressions.
        if isinstance(operator, Scan) and (
            not evaluation or isinstance(operator.source, CsvSource)
        ):
            found = diagnose(operator.source, error, scanned_columns(operator))
            if found is not None:
                return found
    if isinstance(error, UmbelError):
        what, hint = _without_noise(error.message), error.hint
    else:
        what, hint = first_lines(error), ""
    evaluation = evaluation or _MISFIT.search(what) is not None
    return (EvaluationError if evaluation else RunError)(
        f"stage {planned.index} failed on platform {planned.platform.name!r} "
        f"at {_chain(planned)}: {what}",
        hint=hint or _advice(what),
    )


def at_write(write: Operator, error: UmbelError) -> UmbelError:
    """Give an error of writing the line of the script that asked for it.

    An error that says the line already, or is more than a failure of the run, stays as it is.
    """
    if type(error) is not RunError or write.origin is None or str(write.origin) in error.message:
        return error
    return RunError(f"{write.name} at {write.origin}: {error.message}", hint=error.hint)


def first_lines(error: BaseException) -> str:
    r"""The first lines of an engine's message, without its stack trace.

    >>> first_lines(ValueError("no\nStack trace:\n..."))
    'ValueError: no'
    """
    return f"{type(error).__name__}: {_without_noise(str(error)) or 'no message'}"


def _without_noise(text: str) -> str:
    return _NOISE.split(text.strip(), maxsplit=1)[0].strip()[:_LONGEST]


def _operators(planned: PlannedStage) -> list[Operator]:
    return [p.operator for p in planned.operators]


def _names_operator(planned: PlannedStage, error: UmbelError) -> bool:
    """Whether a message begins with one of the stage's operators and its line."""
    return any(
        error.message.startswith(
            f"{operator.name}: " if operator.origin is None else f"{operator.name} at "
        )
        for operator in _operators(planned)
    )


def _chain(planned: PlannedStage) -> str:
    operators = _operators(planned)
    return ("… > " if len(operators) > 4 else "") + " > ".join(map(_named, operators[-4:]))


def _named(operator: Operator) -> str:
    return operator.name + (f" ({operator.origin})" if operator.origin is not None else "")


def _advice(what: str) -> str:
    lowered = what.lower()
    if "memory" in lowered:
        return "the data does not fit the memory limit: filter or aggregate earlier"
    if "no space" in lowered or "disk" in lowered:
        return "free some space, or set TMPDIR to a folder with more"
    if _MISFIT.search(what):
        return "a value does not fit its type: cast to a wider one, or use try_cast for null"
    return ""


def explain_memory(running: Sequence[PlannedStage], used: int, budget: int) -> MemoryLimitError:
    """Give the error of a run that was stopped for the memory that the process holds."""
    where = ", and ".join(
        f"stage {planned.index} on platform {planned.platform.name!r} at {_chain(planned)}"
        for planned in running
    )
    return MemoryLimitError(
        f"the run was stopped for want of memory: this process holds {used / 1e9:.2f} GB, and "
        f"{budget / 1e9:.2f} GB is what it may while it runs {where}",
        hint="filter or aggregate earlier, run it on an engine that spills, or write the rows to "
        "files; umbel.connect(memory_budget=…) gives more",
    )


__all__ = ["explain_failure", "explain_memory", "first_lines"]

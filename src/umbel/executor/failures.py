"""Turns what an engine raised into an error that says which operator, line, engine and site."""

from __future__ import annotations

from umbel.catalog.diagnose import diagnose
from umbel.optimizer import PlannedStage
from umbel.plan.errors import EvaluationError, FunctionError, RunError, SourceError, UmbelError
from umbel.plan.operators import Operator, Scan


def explain_failure(planned: PlannedStage, error: BaseException) -> UmbelError:
    """Give the error that the user sees for a stage that failed.

    Errors of umbel's own that name their operator pass unchanged. For an engine's error a scan's
    files are read again, to say which row of which file is at fault.
    """
    if isinstance(error, FunctionError | SourceError):
        return error
    if isinstance(error, UmbelError) and not isinstance(error, EvaluationError):
        return error
    for operator in (p.operator for p in planned.operators):
        if isinstance(operator, Scan):
            found = diagnose(operator.source, error)
            if found is not None:
                return found
    what = error.message if isinstance(error, EvaluationError) else first_lines(error)
    kind = EvaluationError if isinstance(error, EvaluationError) else RunError
    return kind(
        f"stage {planned.index} failed on platform {planned.platform.name!r} "
        f"at {_operators(planned)}: {what}",
        hint=_advice(what),
    )


def first_lines(error: BaseException, length: int = 500) -> str:
    """The first lines of an engine's message, without its stack trace.

    >>> first_lines(ValueError("no"))
    'ValueError: no'
    """
    text = str(error).strip() or "no message"
    kept = text.split("\n\n")[0].split("\nStack")[0]
    return f"{type(error).__name__}: {kept[:length]}"


def _operators(planned: PlannedStage) -> str:
    shown = [_named(p.operator) for p in planned.operators[-4:]]
    more = len(planned.operators) - len(shown)
    return ("… > " if more > 0 else "") + " > ".join(shown)


def _named(operator: Operator) -> str:
    return operator.name + (f" ({operator.origin})" if operator.origin is not None else "")


def _advice(what: str) -> str:
    lowered = what.lower()
    if "memory" in lowered:
        return "the data does not fit the memory limit: filter or aggregate earlier"
    if any(word in lowered for word in ("overflow", "out of range", "conversion")):
        return "a value does not fit its type: cast to a wider one, or use try_cast for null"
    return ""

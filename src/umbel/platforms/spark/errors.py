"""What Spark's errors say, in a line: without Java's stack traces and advice on its settings."""

from __future__ import annotations

import json
import re
from typing import Any

from umbel.plan import errors
from umbel.plan.errors import EvaluationError, RunError, UmbelError

#: Stands before an error of umbel's own in the text of a worker's error.
MARK = "umbel-error:"

#: Conditions that mean that an expression has no value for some row.
_OF_VALUES = re.compile(
    r"OVERFLOW|CAST_INVALID_INPUT|DIVIDE_BY_ZERO|OUT_OF_RANGE|USER_RAISED|INVALID_UTF8|"
    r"CODING|DATETIME|CANNOT_PARSE_TIMESTAMP|INVALID_ARRAY_INDEX"
)
_NOISE = re.compile(
    r"\n|\s*JVM stacktrace|\s*If necessary set |\s*Use `try_|\s*Use 'try_|\s*SQLSTATE: ?\w+|"
    r"\s*== SQL|\s*\(of type|\s*To return NULL"
)
_CONDITION = re.compile(r"\[([A-Z0-9_.]+)\] *")


def marked(error: UmbelError) -> str:
    """Write an error of umbel's own so that it is found again in what Spark says of a worker.

    >>> marked(RunError("no", hint="yes"))
    'umbel-error:{"type": "RunError", "message": "no", "hint": "yes"}:'
    """
    told = {"type": type(error).__name__, "message": error.message, "hint": error.hint}
    return f"{MARK}{json.dumps(told)}:"


def condense(error: BaseException) -> UmbelError:
    r"""Turn an exception of Spark's client into an error that a person can read.

    >>> condense(
    ...     ValueError("[DIVIDE_BY_ZERO] Division by zero. Use `try_divide` to\n at org")
    ... ).message
    'Division by zero.'
    """
    said = str(error)
    own = _unmarked(said)
    if own is not None:
        return own
    condition = _condition(error, said)
    shown = _NOISE.split(_CONDITION.sub("", said.strip(), count=1), maxsplit=1)[0].strip()[:500]
    kind = EvaluationError if _OF_VALUES.search(condition) else RunError
    if "PYTHON_EXCEPTION" in condition or "PythonException" in said[:200]:
        shown = _last_line(said) or shown
    return kind(shown or type(error).__name__)


def is_lost(error: BaseException) -> bool:
    """Whether an exception of Spark's client says that nobody answers, or no longer."""
    said = str(error)
    return (
        "StatusCode.UNAVAILABLE" in said or "SESSION_CHANGED" in said or "RETRIES_EXCEEDED" in said
    )


def _condition(error: BaseException, said: str) -> str:
    ask = getattr(error, "getCondition", None)
    condition = ask() if callable(ask) else None
    if condition:
        return str(condition)
    match = _CONDITION.search(said)
    return match[1] if match else ""


def _unmarked(said: str) -> UmbelError | None:
    start = said.find(MARK)
    if start < 0:
        return None
    try:
        told, _ = json.JSONDecoder().raw_decode(said, start + len(MARK))
    except json.JSONDecodeError:
        return None
    kind: Any = getattr(errors, told["type"], RunError)
    if not (isinstance(kind, type) and issubclass(kind, UmbelError)):
        kind = RunError
    try:
        return kind(told["message"], hint=told["hint"])
    except TypeError:
        return RunError(told["message"], hint=told["hint"])


def _last_line(said: str) -> str:
    """The line of a Python worker's traceback that names its exception."""
    python = said.partition("JVM stacktrace")[0].partition("\n\tat ")[0]
    lines = [line.strip() for line in python.split("\n") if line.strip()]
    return lines[-1][:500] if lines else ""

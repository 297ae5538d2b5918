"""Errors of a run that say which function, which line and which value."""

from __future__ import annotations

import reprlib
import traceback
from collections.abc import Iterator
from operator import length_hint
from typing import Any, NoReturn

from umbel.plan.errors import EvaluationError, FunctionError, RunError
from umbel.plan.function_ref import PythonFunction
from umbel.plan.operators import Operator
from umbel.platforms.python.run import Piece

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 200
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = _SHORT.maxset = 8


def shorten(value: Any) -> str:
    """Show a value in about 200 characters, whatever it is.

    >>> len(shorten("x" * 10_000))
    200
    >>> shorten(list(range(100)))
    '[0, 1, 2, 3, 4, 5, 6, 7, ...]'
    """
    text = _SHORT.repr(value)
    return text if len(text) <= 200 else f"{text[:98]}...{text[-99:]}"


def where(operator: Operator) -> str:
    """Name an operator and the line that wrote it."""
    return operator.name if operator.origin is None else f"{operator.name} at {operator.origin}"


def current(iterator: Iterator[Any], piece: Piece) -> Any:
    """Give the element that was being worked on when the loop over `iter(piece)` failed.

    A list's iterator knows how many elements it has yet to give, so that no loop has to count.

    >>> numbers = [3, 1, 0, 2]
    >>> iterator = iter(numbers)
    >>> try:
    ...     list(map(lambda number: 6 // number, iterator))
    ... except ZeroDivisionError:
    ...     current(iterator, numbers)
    0
    """
    return piece[len(piece) - length_hint(iterator) - 1]


def unfinished(iterator: Iterator[Any]) -> bool:
    """Whether a loop over a list's iterator ended before the iterator did.

    A function that raises StopIteration ends `map` and `filter` as if the data had ended. An
    iterator that came to its end has let go of its list, one that was left has not.

    >>> iterator = iter([1, 2])
    >>> list(iterator), unfinished(iterator)
    ([1, 2], False)
    """
    state = iterator.__reduce__()
    return isinstance(state, tuple) and len(state) > 2


def function_error(
    operator: Operator, function: PythonFunction, error: BaseException, value: Any
) -> FunctionError:
    """Make the error for a Python function that raised; `value` is what it was given."""
    place = f" ({function.file}:{function.line})" if function.file and function.line else ""
    line = _raising_line(function, error)
    said = str(error)
    kind = type(error).__name__
    return FunctionError(
        f"{where(operator)}: function {function}{place} raised {kind}{line}"
        f"{': ' + said if said else ''}",
        hint=f"the value that broke it: {shorten(value)}",
    )


def _raising_line(function: PythonFunction, error: BaseException) -> str:
    """Say at which of its own lines the function raised, if that is not its first."""
    code = getattr(function.code, "__code__", None)
    for frame, line in traceback.walk_tb(error.__traceback__):
        if frame.f_code is code and code is not None:
            return f" at line {line}" if line != function.line else ""
    return ""


def stopped(operator: Operator, function: PythonFunction, value: Any) -> FunctionError:
    """Make the error for a function that raised StopIteration, which loops would swallow."""
    return function_error(operator, function, StopIteration(), value)


def raise_for_pair(operator: Operator, error: Exception, element: Any) -> None:
    """Raise if `element` is not a pair whose first item can be a key; otherwise return."""
    try:
        key, _ = element
    except (TypeError, ValueError):
        raise RunError(
            f"{where(operator)} takes (key, value) pairs, not "
            f"{type(element).__name__} {shorten(element)}",
            hint="make pairs first: .map(lambda x: (key, value)), or .key_by(...)",
        ) from error
    raise_for_key(operator, key)


def raise_for_key(operator: Operator, key: Any) -> None:
    """Raise if `key` cannot be hashed; otherwise return."""
    try:
        hash(key)
    except Exception as cause:
        raise unhashable(operator, key, "key") from cause


def unhashable(operator: Operator, value: Any, what: str) -> RunError:
    """Make the error for a value that cannot be looked up."""
    return RunError(
        f"{where(operator)}: the {what} {shorten(value)} of type {type(value).__name__} "
        "cannot be hashed",
        hint="use an immutable value instead, such as a tuple for a list, or a frozenset for a set",
    )


def evaluation_error(operator: Operator, error: Exception, row: Any) -> EvaluationError:
    """Make the error for an expression that has no value for a row."""
    if isinstance(error, EvaluationError):
        kind, said = type(error), error.message
    else:
        kind, said = EvaluationError, f"{type(error).__name__}: {error}"
    values = tuple(row)
    return kind(
        f"{where(operator)}: {said}", hint=f"in the row {shorten(values)}" if values else ""
    )


def fail(operator: Operator, message: str, *, hint: str = "") -> NoReturn:
    """Raise `EvaluationError` for an operator."""
    raise EvaluationError(f"{where(operator)}: {message}", hint=hint)

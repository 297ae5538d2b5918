"""The errors that users meet, from a wrong plan to a failed run.

They live in the lowest layer so that every layer can raise them. Each message says what is wrong,
names the thing, and says what to do; the `hint` is kept apart so that a display can set it off.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UmbelError(Exception):
    """Anything that umbel raises on purpose.

    Attributes:
        message: what is wrong, naming the offender.
        hint: what to do about it; empty when the message says it all.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message if not hint else f"{message}\n  {hint}")
        self.message = message
        self.hint = hint


class PlanError(UmbelError):
    """A plan that cannot mean anything: found when it is built, before anything runs."""

    exit_code = 2


class UnknownNameError(PlanError):
    """A column, function, platform or format that does not exist."""

    def __init__(self, what: str, name: str, known: Iterable[str], *, where: str = "") -> None:
        """Name the offender and the closest names that exist.

        >>> print(UnknownNameError("column", "prise", ["price", "part"]))
        unknown column 'prise'
          did you mean 'price'? There are: part, price
        """
        names = sorted(set(known))
        close = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
        meant = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
        shown = ", ".join(names[:30]) + (f", … ({len(names)} in all)" if len(names) > 30 else "")
        there = f"There are: {shown}" if names else "There are none"
        place = f" in {where}" if where else ""
        super().__init__(f"unknown {what} {name!r}{place}", hint=meant + there)
        self.name = name
        self.known = tuple(names)


class TypeClashError(PlanError):
    """An expression or operator given a type that it does not take."""


class PlanFormatError(PlanError):
    """A JSON plan that is refused: wrong version, unknown node, too deep or too large."""

    exit_code = 3


class SourceError(UmbelError):
    """A source that is missing, empty or malformed; names the file and, where known, the row."""

    exit_code = 4


class PlacementError(UmbelError):
    """No platform can run an operator, or the pinned one cannot."""

    exit_code = 5


class RunError(UmbelError):
    """A run that failed; says the operator, the user's line, the platform and its message."""

    exit_code = 6


class MemoryLimitError(RunError):
    """A run that was stopped because it took more memory than it may; names what was running."""


class FunctionError(RunError):
    """A Python function that raised; names the function, its line and the value that broke it."""


class EvaluationError(RunError):
    """An expression that has no value for some row: overflow, a failed cast, a failed guard."""


class CancelledError(UmbelError):
    """The run was cancelled."""

    exit_code = 130

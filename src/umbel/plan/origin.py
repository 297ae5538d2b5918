"""Where in the user's script an operator was written, so that errors can point there."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

_PACKAGE = str(Path(__file__).resolve().parents[1])


@dataclass(frozen=True, slots=True)
class Origin:
    """A line of the user's script."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


def caller_origin() -> Origin | None:
    """Find the innermost frame outside the umbel package.

    >>> import umbel.plan.origin
    >>> umbel.plan.origin.caller_origin().line > 0
    True
    """
    frame = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back  # type: ignore[assignment]
    if frame is None:
        return None
    return Origin(frame.f_code.co_filename, frame.f_lineno)

"""Where in the user's script an operator was written, so that errors can point there."""

from __future__ import annotations

from umbel.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """A line of the user's script."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

"""Errors of SQL text: what is wrong, with its line and column and the line itself."""

from __future__ import annotations

from sqlglot import expressions as exp

from umbel.plan.errors import PlanError


class SqlError(PlanError):
    """SQL text that has no meaning here; points at the place in the text.

    Attributes:
        line: the line in the text, from 1; 0 if the place is not known.
        column: the character in the line, from 1.
    """

    def __init__(
        self, message: str, *, hint: str = "", text: str = "", start: int | None = None
    ) -> None:
        r"""Point at character `start` of `text`.

        >>> print(SqlError("unknown column 'b'", text="select a,\n  b from t", start=12))
        unknown column 'b' at line 2, column 3
          |   b from t
          |   ^
        """
        self.line = self.column = 0
        self.bare = message
        if start is not None:
            before = text[:start]
            self.line = before.count("\n") + 1
            self.column = start - (before.rfind("\n") + 1) + 1
            shown, caret = _excerpt(text, start)
            message = (
                f"{message} at line {self.line}, column {self.column}\n  | {shown}\n  | {caret}"
            )
        super().__init__(message, hint=hint)


#: Characters of a line that are shown around the place.
_SHOWN = 100


def _excerpt(text: str, start: int) -> tuple[str, str]:
    begin = text.rfind("\n", 0, start) + 1
    end = text.find("\n", start)
    line = text[begin : len(text) if end < 0 else end]
    at = start - begin
    if len(line) > _SHOWN:
        cut = max(0, min(at - _SHOWN // 2, len(line) - _SHOWN))
        line, at = line[cut : cut + _SHOWN], at - cut
    # A tab in front of the caret stays a tab, so that both lines stand alike.
    return line, "".join("\t" if c == "\t" else " " for c in line[:at]) + "^"


def start_of(node: exp.Expr, text: str = "") -> int | None:
    """Find where a node begins in the text: the least position of a token in it.

    Literals, names and calls know their place; other nodes go by what they are made of, words
    without arguments by where they stand in `text`, and the rest by what they stand in.
    """
    around: exp.Expr | None = node
    while around is not None:
        starts = [inner.meta["start"] for inner in around.walk() if "start" in (inner._meta or {})]
        if starts:
            return min(starts)
        word = around.sql_name() if isinstance(around, exp.Func) else type(around).__name__
        found = text.upper().find(word.upper())
        if found >= 0:
            return found
        around = around.parent
    return None

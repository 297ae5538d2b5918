"""Lines of the user's script, which the coordinator knows by the names of files only."""

from __future__ import annotations

import re
from pathlib import PurePath

from umbel.plan.errors import UmbelError
from umbel.plan.operators import DoWhile, Loop, Operator, topological
from umbel.plan.origin import Origin


class Lines:
    """The lines that wrote a plan; puts them into errors that come back.

    >>> from umbel.plan.errors import PlanError
    >>> lines = Lines()
    >>> lines.add(Origin("/home/ann/late.py", 7))
    >>> print(lines.restored(PlanError("Filter (late.py:7): no")))
    Filter (/home/ann/late.py:7): no
    """

    def __init__(self, plan: Operator | None = None) -> None:
        self._known: dict[tuple[str, int], Origin | None] = {}
        if plan is not None:
            self._collect(plan)

    def _collect(self, plan: Operator) -> None:
        for operator in topological(plan):
            if operator.origin is not None:
                self.add(operator.origin)
            if isinstance(operator, Loop):
                self._collect(operator.body)
            if isinstance(operator, DoWhile):
                self._collect(operator.condition)

    def add(self, origin: Origin) -> None:
        """Remember a line; of two files of one name neither is."""
        key = PurePath(origin.file).name, origin.line
        before = self._known.get(key, origin)
        self._known[key] = origin if before == origin else None

    def restored(self, error: UmbelError) -> UmbelError:
        """Name whole files again in an error, in its text and in its line."""
        message = error.message
        for (name, line), origin in self._known.items():
            if origin is not None and name in message:
                pattern = rf"(?<![\w/.-]){re.escape(name)}:{line}(?!\d)"
                message = re.sub(pattern, lambda _, o=origin: str(o), message)  # type: ignore[misc]
        if message != error.message:
            UmbelError.__init__(error, message, hint=error.hint)
        found = vars(error).get("origin")
        if isinstance(found, Origin):
            whole = self._known.get((found.file, found.line))
            if whole is not None:
                error.__dict__["origin"] = whole
                error.args = (f"{error}\n  at {whole}",)
        return error


__all__ = ["Lines"]

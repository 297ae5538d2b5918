"""Where the rows of operators lie before anything moves: in which database, or in files."""

from __future__ import annotations

from collections.abc import Iterable

from umbel.plan import operators as ops
from umbel.plan.sources import AttachedSource

#: The home of rows that every engine can read: of files, and of data in memory.
ANYWHERE = ""


def homes_of(order: Iterable[ops.Operator]) -> dict[int, str | None]:
    """Find for each operator the one place in which all that it reads lies.

    Args:
        order: operators, inputs before consumers.

    Returns:
        By the operator's identity the name of a database's platform, or of the one that it is
        pinned to; `ANYWHERE` for what has no place of its own; None for what comes from several.
    """
    homes: dict[int, str | None] = {}
    for operator in order:
        below = {homes[id(child)] for child in operator.inputs}
        if isinstance(operator, ops.Scan) and isinstance(operator.source, AttachedSource):
            below = {operator.source.platform}
        elif operator.pin:
            below = (below - {ANYWHERE}) | {operator.pin}
        homes[id(operator)] = (below.pop() if len(below) == 1 else None) if below else ANYWHERE
    return homes


__all__ = ["ANYWHERE", "homes_of"]

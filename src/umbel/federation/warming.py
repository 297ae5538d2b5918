"""Brings an engine up when a daemon starts, so that no question pays for it, or does without it.

A planner weighs what an engine takes to start. In a process that answers one question that is
right; in one that answers for weeks, each small question would be left to plain Python for ever.
"""

from __future__ import annotations

import logging

from umbel.api.session import Session
from umbel.executor import run
from umbel.plan.errors import UmbelError
from umbel.plan.expressions import Call, Column, Literal
from umbel.plan.operators import Filter
from umbel.plan.types import INT64
from umbel.telemetry.logs import say

log = logging.getLogger("umbel.federation")


def warm(session: Session) -> None:
    """Start the engine that starts the soonest of those that are installed and not up.

    Args:
        session: knows the engines; nothing of its tables is read.
    """
    platforms = session.platforms()
    down = [platform.name for platform in platforms if not platform.started()]
    if not down:
        return
    rows = session.from_dict({"n": [1, 2]}).plan
    question = Filter(input=rows, predicate=Call("greater", (Column("n"), Literal(1, INT64))))
    try:
        run(question, platforms=platforms.only(*down), progress=False)
    except UmbelError as error:
        say(log, logging.WARNING, "engine.start", "none was started", cause=error)


__all__ = ["warm"]

"""Durable runs: kept in a store while they run, so that another process can go on with them.

What is here needs SQLAlchemy, and is imported only when a durable run is asked for.
"""

from umbel.executor.runs.durable import (
    Ready,
    begin,
    keeping,
    restored,
    resume,
    run_durable,
    run_ready,
)
from umbel.executor.runs.errors import (
    LostRunError,
    RunInterruptedError,
    RunInUseError,
    StoreError,
)
from umbel.executor.runs.history import History, Noted
from umbel.executor.runs.rows import StoredRun, TimedEvent
from umbel.executor.runs.scripts import ScriptRun, begin_script, resume_script
from umbel.executor.runs.sinks import forget_begun
from umbel.executor.runs.store import RunStore

__all__ = [
    "History",
    "LostRunError",
    "Noted",
    "Ready",
    "RunInUseError",
    "RunInterruptedError",
    "RunStore",
    "ScriptRun",
    "StoreError",
    "StoredRun",
    "TimedEvent",
    "begin",
    "begin_script",
    "forget_begun",
    "keeping",
    "restored",
    "resume",
    "resume_script",
    "run_durable",
    "run_ready",
]

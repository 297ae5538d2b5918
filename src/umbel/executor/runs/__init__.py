"""Durable runs: kept in a store while they run, so that another process can go on with them.

What is here needs SQLAlchemy, and is imported only when a durable run is asked for.
"""

from umbel.executor.runs.durable import keeping, resume, run_durable
from umbel.executor.runs.errors import LostRunError, RunInUseError, StoreError
from umbel.executor.runs.history import History
from umbel.executor.runs.rows import StoredRun, TimedEvent
from umbel.executor.runs.scripts import ScriptRun, begin_script, resume_script
from umbel.executor.runs.sinks import forget_begun
from umbel.executor.runs.store import RunStore

__all__ = [
    "History",
    "LostRunError",
    "RunInUseError",
    "RunStore",
    "ScriptRun",
    "StoreError",
    "StoredRun",
    "TimedEvent",
    "begin_script",
    "forget_begun",
    "keeping",
    "resume",
    "resume_script",
    "run_durable",
]

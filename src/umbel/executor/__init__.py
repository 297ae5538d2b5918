"""The executor: runs an execution plan and records what happened."""

from umbel.executor.context import Cancellation
from umbel.executor.events import Event, Listener
from umbel.executor.record import OperatorRecord, Result, Run, StageRecord
from umbel.executor.run import run

__all__ = [
    "Cancellation",
    "Event",
    "Listener",
    "OperatorRecord",
    "Result",
    "Run",
    "StageRecord",
    "run",
]

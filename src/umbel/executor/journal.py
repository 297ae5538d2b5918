"""What the executor tells a durable run's journal, and asks it. `umbel.executor.runs` has one."""

from __future__ import annotations

from typing import Any, Protocol

from umbel.catalog.commits import Commit
from umbel.optimizer.execution_plan import ExecutionPlan, PlannedStage
from umbel.optimizer.movement import ChannelGraph
from umbel.plan.errors import RunError
from umbel.plan.operators import Write


class JournalError(RunError):
    """What is finished cannot be kept, or no longer by this process; the plan is not at fault."""


class Journal(Protocol):
    """Keeps the finished stages of one run, and gives them back when the run is resumed."""

    @property
    def run_id(self) -> str:
        """The run's id."""

    def written(self, write: Write) -> bool:
        """Whether a sink holds the run's rows already; then it is neither checked nor written."""

    def planned(self, plan: ExecutionPlan, graph: ChannelGraph) -> None:
        """A plan is about to run.

        Raises:
            RunError: what is finished does not fit the sources as they are now.
        """

    def finished(self, planned: PlannedStage) -> bool:
        """Whether a stage's output is at hand, so that neither it nor its inputs need to run."""

    def restore(self, planned: PlannedStage) -> Any:
        """Give a finished stage's output in the stage's channel."""

    def started(self, planned: PlannedStage) -> None:
        """A stage begins."""

    def keep(self, planned: PlannedStage, output: Any, seconds: float) -> None:
        """Keep a stage's output before anything reads it.

        Raises:
            RunError: it cannot be kept; or another process took the run over.
        """

    def streams(self) -> bool:
        """Whether who takes the rows while they are computed also keeps them.

        Else the result is kept like any other stage, and delivered when all of it is there.
        """

    def commit(self, write: Write) -> Commit:
        """Give what writes a sink the token to write it with."""


__all__ = ["Journal", "JournalError"]

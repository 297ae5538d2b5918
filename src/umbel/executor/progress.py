"""A progress line per stage, on standard error, and only where somebody looks at it."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Any, Self

from umbel.executor.events import (
    Event,
    RoundFinished,
    StageFailed,
    StageFinished,
    StageStarted,
    Unlifted,
)
from umbel.optimizer.driver import DRIVER
from umbel.optimizer.execution_plan import PlannedStage


class ProgressDisplay:
    """Listens to a run's events and shows them with rich.

    Args:
        enabled: True shows them, False does not, None shows them if standard error is a terminal.
    """

    def __init__(self, enabled: bool | None = None) -> None:
        self._enabled = sys.stderr.isatty() if enabled is None else enabled
        self._progress: Any = None
        self._tasks: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if self._enabled:
            from rich.console import Console
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            console = Console(stderr=True)
            self._progress = Progress(
                SpinnerColumn(finished_text="✓"),
                TextColumn("{task.description}"),
                TextColumn("[dim]{task.fields[note]}"),
                TimeElapsedColumn(),
                console=console,
                transient=console.is_terminal,  # elsewhere the last state is all that is shown
            )
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if self._progress is None:
            return
        match event:
            case StageStarted(stage=stage, depth=0):
                self._tasks[stage.index] = self._progress.add_task(
                    _title(stage), total=1, note=_expectation(stage)
                )
            case RoundFinished(stage=stage, round=number) if stage.index in self._tasks:
                self._progress.update(self._tasks[stage.index], note=f"round {number}")
            case StageFinished(stage=stage, rows=rows, depth=0):
                note = "" if rows is None else f"{rows:,} rows"
                self._progress.update(self._tasks[stage.index], completed=1, note=note)
            case StageFailed(stage=stage, depth=0) if stage.index in self._tasks:
                self._progress.update(self._tasks[stage.index], note="failed")
            case Unlifted():
                self._progress.console.print("[dim]running the Python functions as written")
                self._tasks.clear()


def _title(stage: PlannedStage) -> str:
    names = [planned.operator.name for planned in stage.operators]
    shown = " > ".join(names if len(names) <= 4 else [names[0], "…", *names[-2:]])
    where = "" if stage.platform.name == DRIVER else f" on {stage.platform.name}"
    return f"stage {stage.index}{where}: {shown}"


def _expectation(stage: PlannedStage) -> str:
    return f"about {stage.root.estimate.expected:,.0f} rows"

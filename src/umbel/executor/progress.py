"""A progress line per stage, on standard error, and only where somebody looks at it."""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import Any, Self

from umbel.dataclass import dataclass
from umbel.executor.events import (
    Event,
    RoundFinished,
    StageCancelled,
    StageFailed,
    StageFinished,
    StageProgress,
    StageStarted,
    StageWaiting,
    Unlifted,
)
from umbel.optimizer.driver import DRIVER
from umbel.optimizer.execution_plan import PlannedStage

#: Seconds after which a run is shown; shorter ones would only flicker.
PAUSE = 0.3


@dataclass
class _Line:
    """What is shown of one stage; `task` is rich's number for it once it is shown."""

    title: str
    note: str
    done: bool = False
    task: Any = None


class ProgressDisplay:
    """Listens to a run's events and shows them with rich.

    Args:
        enabled: True shows them, False does not, None shows them if standard error is a terminal
            and the run takes longer than a moment.
    """

    def __init__(self, enabled: bool | None = None) -> None:
        self._enabled = sys.stderr.isatty() if enabled is None else enabled
        self._delay = PAUSE if enabled is None else 0.0
        self._progress: Any = None
        self._lines: dict[int, _Line] = {}
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Self:
        if self._enabled and self._delay:
            self._timer = threading.Timer(self._delay, self._show)
            self._timer.daemon = True
            self._timer.start()
        elif self._enabled:
            self._show()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._enabled = False
            if self._progress is not None:
                self._progress.stop()

    def _show(self) -> None:
        """Begin to show, with what is known so far."""
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        with self._lock:
            if not self._enabled:
                return
            console = Console(stderr=True)
            self._progress = Progress(
                SpinnerColumn(finished_text="✓"),
                TextColumn("{task.description}", markup=False),
                TextColumn("{task.fields[note]}", style="dim", markup=False),
                TimeElapsedColumn(),
                console=console,
                transient=console.is_terminal,  # elsewhere the last state is all that is shown
            )
            for line in self._lines.values():
                self._draw(line)
            self._progress.start()

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if not self._enabled:
            return
        with self._lock:
            match event:
                case StageStarted(stage=stage, depth=0):
                    self._lines[stage.index] = _Line(_title(stage), _expectation(stage))
                    self._draw(self._lines[stage.index])
                case RoundFinished(stage=stage, round=number, depth=0):
                    self._change(stage, f"round {number:,}")
                case StageFinished(stage=stage, rows=rows, depth=0):
                    self._change(stage, "" if rows is None else f"{rows:,} rows", done=True)
                case StageProgress(stage=stage, rows=rows, depth=0):
                    self._change(stage, f"{rows:,} rows so far")
                case StageWaiting(stage=stage, why=why):
                    self._change(stage, why)
                case StageCancelled(stage=stage, depth=0):
                    self._change(stage, "cancelled")
                case StageFailed(stage=stage, depth=0):
                    self._change(stage, "failed")
                case Unlifted():
                    self._begin_anew()

    def _change(self, stage: PlannedStage, note: str, *, done: bool = False) -> None:
        line = self._lines.get(stage.index)
        if line is not None:
            line.note, line.done = note, done
            self._draw(line)

    def _draw(self, line: _Line) -> None:
        if self._progress is None:
            return
        if line.task is None:
            line.task = self._progress.add_task(line.title, total=1, note=line.note)
        self._progress.update(line.task, completed=int(line.done), note=line.note)

    def _begin_anew(self) -> None:
        if self._progress is not None:
            for line in self._lines.values():
                self._progress.remove_task(line.task)
            self._progress.console.print("running the Python functions as written", style="dim")
        self._lines.clear()


def _title(stage: PlannedStage) -> str:
    names = [planned.operator.name for planned in stage.operators]
    shown = " > ".join(names if len(names) <= 4 else [names[0], "…", *names[-2:]])
    where = "" if stage.platform.name == DRIVER else f" on {stage.platform.name}"
    return f"stage {stage.index}{where}: {shown}"


def _expectation(stage: PlannedStage) -> str:
    return f"about {stage.root.estimate.expected:,.0f} rows"


__all__ = ["PAUSE", "ProgressDisplay"]

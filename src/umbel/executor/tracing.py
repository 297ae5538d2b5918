"""Runs, plannings and stages as spans of OpenTelemetry's, where somebody has configured it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from umbel.plan.errors import CancelledError
from umbel.telemetry import active

if TYPE_CHECKING:
    from umbel.executor.record import Run
    from umbel.optimizer.execution_plan import PlannedStage


@contextmanager
def traced_run() -> Iterator[Callable[[Run], None]]:
    """Trace a run; what the block is given takes the run's record, once it ended well."""
    instruments = active()
    if instruments is None:
        yield _ignore
        return
    state = "failed"
    try:
        with instruments.span("umbel.run") as span:

            def ended(run: Run) -> None:
                instruments.note(span, stages=len(run.stages))

            yield ended
        state = "finished"
    except (CancelledError, KeyboardInterrupt):
        state = "cancelled"
        raise
    finally:
        instruments.run_ended(state)


@contextmanager
def traced_plan() -> Iterator[None]:
    """Trace the planning of a run."""
    instruments = active()
    if instruments is None:
        yield
        return
    with instruments.span("umbel.plan"):
        yield


@contextmanager
def traced_stage(
    planned: PlannedStage, depth: int, run: str
) -> Iterator[Callable[[int | None, int | None], None]]:
    """Trace a stage, on the thread that runs it; what the block is given takes rows and bytes."""
    instruments = active()
    if instruments is None:
        yield _ignore
        return
    platform, state = planned.platform.name, "failed"
    operators = " > ".join(operator.operator.name for operator in planned.operators)
    try:
        with instruments.span(
            "umbel.stage",
            run=run,
            stage=planned.index,
            depth=depth,
            platform=platform,
            operators=operators,
        ) as span:

            def ended(rows: int | None, size: int | None) -> None:
                if rows is not None:
                    instruments.note(span, rows=rows)
                if size is not None:
                    instruments.note(span, bytes=size)

            yield ended
        state = "finished"
    except CancelledError:
        state = "cancelled"
        raise
    finally:
        instruments.stage_ended(platform, state)


def _ignore(*ignored: object) -> None:
    """Take what nobody wants to know."""


__all__ = ["traced_plan", "traced_run", "traced_stage"]

"""Tasks as spans and measurements of OpenTelemetry's, at the coordinator and at sites.

The coordinator's span of an attempt travels as a traceparent; what the site does is below it. So a
run is one trace over all who took part.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from umbel.federation.tasks import Outcome, Task
from umbel.telemetry import active


@contextmanager
def asking() -> Iterator[dict[str, str]]:
    """Trace a question to a coordinator; gives the headers by which it joins the trace."""
    instruments = active()
    if instruments is None:
        yield {}
        return
    with instruments.span("umbel.ask", kind="CLIENT") as span:
        trace = instruments.traceparent(span)
        yield {"traceparent": trace} if trace else {}


@contextmanager
def answering(trace: str) -> Iterator[None]:
    """Trace the answer to a question.

    Args:
        trace: the traceparent of who asks; empty if they do not trace.
    """
    instruments = active()
    if instruments is None:
        yield
        return
    with instruments.span("umbel.answer", parent=trace, kind="SERVER"):
        yield


@contextmanager
def attempt(task: Task) -> Iterator[str]:
    """Trace an attempt in the same process; gives its traceparent."""
    instruments = active()
    if instruments is None:
        yield ""
        return
    with instruments.span(
        "umbel.task",
        kind="CLIENT",
        run=task.run,
        stage=task.stage,
        site=task.site,
        task=task.id,
        attempt=1,
    ) as span:
        yield instruments.traceparent(span)


@contextmanager
def executing(task: Task | None, trace: str) -> Iterator[str]:
    """Trace what a site does for a task; gives the traceparent of it.

    Args:
        task: the work; None if it was done in an earlier life, and is only sent.
        trace: the traceparent of the coordinator's attempt; empty if it does not trace.
    """
    instruments = active()
    if instruments is None:
        yield ""
        return
    known: dict[str, Any] = {}
    if task is not None:
        known = {"run": task.run, "stage": task.stage, "site": task.site, "task": task.id}
    with instruments.span("umbel.site.task", parent=trace, kind="SERVER", **known) as span:
        yield instruments.traceparent(span)


@contextmanager
def transfer(
    trace: str, direction: str, size: int | None = None, rows: int | None = None
) -> Iterator[Callable[[pa.Table], None]]:
    """Trace the sending of rows; what the block is given takes a table that came.

    Args:
        trace: the traceparent of the task at the site, for this may be another thread.
        direction: "from" the site, or "to" it.
        size: the bytes, if they are known beforehand.
        rows: the rows.
    """
    instruments = active()
    if instruments is None:
        yield lambda table: None
        return
    known: dict[str, Any] = {"direction": direction}
    if size is not None and rows is not None:
        known |= {"bytes": size, "rows": rows}
    with instruments.span("umbel.transfer", parent=trace, **known) as span:
        yield lambda table: instruments.note(span, bytes=table.nbytes, rows=table.num_rows)


def measure(task: Task, outcome: Outcome, received: int, sent: int = 0) -> None:
    """Measure a task that ended well.

    Args:
        task: the work.
        outcome: what its site says of it.
        received: bytes that crossed the site's border from it.
        sent: bytes that went to it, where nobody else counts them.
    """
    instruments = active()
    if instruments is None:
        return
    instruments.task_took(task.site, outcome.seconds)
    instruments.crossed(task.site, "from", received)
    if sent:
        instruments.crossed(task.site, "to", sent)


__all__ = ["answering", "asking", "attempt", "executing", "measure", "transfer"]

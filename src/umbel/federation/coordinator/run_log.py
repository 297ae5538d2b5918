"""The beginnings and ends of users' runs, for the coordinator's log."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

from umbel.federation.coordinator.hosted import HostedRun, State
from umbel.telemetry.logs import about, say

log = logging.getLogger("umbel.coordinator")


@contextmanager
def logged(run: HostedRun) -> Iterator[None]:
    """Log how a run begins and ends; what is logged in between names it and its user."""
    began = time.perf_counter()
    with about(run=run.id, user=run.user):
        say(log, logging.INFO, "run.started")
        yield
        level = logging.INFO if run.state is State.FINISHED else logging.WARNING
        told = run.to_json()
        say(
            log, level, "run.ended",
            state=run.state.value,
            seconds=round(time.perf_counter() - began, 3),
            rows=told["rows"],
            bytes=told["bytes"],
            error=(run.error or {}).get("class"),
        )  # fmt: skip


__all__ = ["logged"]

"""Sinks of durable runs: their tokens, and whether they hold the run's rows."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from umbel.catalog.commits import forget_staged, settle_file
from umbel.catalog.lakes import lake_commit
from umbel.executor.runs.history import FINISHED, WriteDone, WriteIntended, WriteUndone
from umbel.executor.runs.preparing import everywhere, short_digest
from umbel.executor.runs.rows import StoredRun
from umbel.executor.runs.store import Owned
from umbel.failpoints import reach
from umbel.plan.codec import plan_from_json
from umbel.plan.errors import PlanError, UmbelError
from umbel.plan.operators import Operator, Write
from umbel.plan.sinks import DeltaSink, FileSink, IcebergSink, LakeSink, RelationSink, Sink
from umbel.plan.sources import dotted
from umbel.platforms.base import CommitsOnce
from umbel.platforms.registry import Registry


def token_of(run_id: str, sink: Sink) -> str:
    """Name what a run writes to a sink: the same whenever the run is resumed."""
    return f"umbel-{run_id}-{short_digest(repr(sink))}"


def place_of(sink: Sink) -> str:
    """Name the place that a sink writes to, as its one row of result does."""
    match sink:
        case FileSink(path=path) | DeltaSink(path=path):
            return path
        case IcebergSink():
            return dotted((sink.catalog, *sink.table))
        case RelationSink():
            return dotted((sink.platform, *sink.relation))
    return sink.describe()


def written_row(write: Write, rows: int) -> pa.Table:
    """Make the one row that a sink gives."""
    return pa.table({"path": [place_of(write.sink)], "rows": [rows]}, schema=write.schema)


def check_sinks(root: Operator, platforms: Registry) -> None:
    """Raise `PlanError` if some sink could not be written exactly once."""
    places: set[str] = set()
    for operator in everywhere(root):
        if not isinstance(operator, Write):
            continue
        sink = operator.sink
        if (place := place_of(sink)) in places:
            raise PlanError(
                f"the plan writes twice to {place}", hint="write to two places, or by two runs"
            )
        places.add(place)
        if isinstance(sink, RelationSink):
            store = platforms.store(sink.platform)
            reason = (
                store.refuse_once(sink)
                if isinstance(store, CommitsOnce)
                else f"{sink.platform!r} cannot tell whether it was written"
            )
            if reason:
                raise PlanError(
                    f"a durable run cannot write {sink.describe()} exactly once: {reason}",
                    hint="write files or a Delta table, or run it without durable",
                )


class SinkCommit:
    """The token of one sink, and what is to be put in place; `umbel.catalog.commits.Commit`."""

    def __init__(self, owned: Owned, token: str) -> None:
        self._owned = owned
        self._token = token

    @property
    def token(self) -> str:
        """The name."""
        return self._token

    def intend(self, facts: Mapping[str, Any]) -> None:
        """Keep what is about to be put in place."""
        self._owned.add(WriteIntended(self._token, dict(facts)))
        reach("write-intended")

    def undo(self) -> None:
        """Keep that what was intended is not put in place."""
        self._owned.add(WriteUndone(self._token))


def settle(owned: Owned, sink: Sink, platforms: Registry) -> bool:
    """Find out whether an earlier try of the run has written a sink, and keep it if it has.

    What it has only begun is brought to its end, or taken away.
    """
    token = token_of(owned.run.id, sink)
    rows: int | None = None
    match sink:
        case FileSink():
            facts = owned.history.intended.get(token)
            if facts is not None and settle_file(sink, token, facts):
                rows = int(facts["rows"])
            else:
                if facts is not None:
                    owned.add(WriteUndone(token))
                forget_staged(sink, token)
        case LakeSink():
            rows = lake_commit(sink, token)
        case RelationSink():
            store = platforms.store(sink.platform)
            rows = store.committed(sink, token) if isinstance(store, CommitsOnce) else None
    if rows is None:
        return False
    owned.add(WriteDone(token, rows, sink.describe()))
    return True


def forget_begun(run: StoredRun) -> None:
    """Remove what a run that is given up has left beside the places of its files."""
    if run.state == FINISHED or not run.plan:
        return
    for operator in everywhere(plan_from_json(run.plan)):
        if isinstance(operator, Write) and isinstance(operator.sink, FileSink):
            forget_staged(operator.sink, token_of(run.id, operator.sink))


def forget(owned: Owned, sink: Sink, platforms: Registry) -> None:
    """Drop a token once the run's own store knows that the sink was written."""
    if isinstance(sink, RelationSink):
        store = platforms.store(sink.platform)
        if isinstance(store, CommitsOnce):
            with contextlib.suppress(UmbelError):  # what is left behind is one row
                store.forget_commit(sink, token_of(owned.run.id, sink))


__all__ = ["SinkCommit", "check_sinks", "forget", "forget_begun", "place_of", "settle", "token_of"]

"""The rows of a store of runs: read, written and translated."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from umbel.dataclass import dataclass
from umbel.executor.runs.errors import LostRunError
from umbel.executor.runs.history import (
    RUNNING,
    History,
    RunEvent,
    event_from_json,
    event_to_json,
)
from umbel.executor.runs.leases import Lock, this_host
from umbel.executor.runs.tables import EVENTS, RUNS, explained
from umbel.plan.errors import UnknownNameError

#: What a run that says it is running is called when nobody runs it.
INTERRUPTED = "interrupted"

#: The kinds of runs: one plan, or a script with the runs that it asks for.
PLAN, SCRIPT = "plan", "script"


@dataclass(frozen=True)
class StoredRun:
    """A run as the store knows it.

    Attributes:
        id: its name.
        kind: "plan" or "script".
        script: the id of the script's run that it is part of; empty for others.
        state: running, interrupted, finished, failed or cancelled.
        created, updated: in seconds since 1970.
        title: what it does, in a line.
        owner: who runs it, or ran it last.
        digest: of its plan, or of its script's text.
        plan: as JSON; empty for a script.
        options: how it was asked for.
        fence: counts its owners.
    """

    id: str
    kind: str
    script: str
    state: str
    created: float
    updated: float
    title: str
    owner: str
    digest: str
    plan: str = field(repr=False)
    options: Mapping[str, Any] = field(repr=False)
    fence: int = 0


@dataclass(frozen=True)
class TimedEvent:
    """An event of a run, and when it was kept, in seconds since 1970."""

    at: float
    event: RunEvent


class Rows:
    """What a store does with its rows; every change is one transaction.

    Attributes:
        name: where the store is, for people.
        folder: for sealed outputs.
    """

    name: str
    folder: Path
    _engine: Engine

    def row_of(self, connection: Connection, run_id: str, *, lock: bool = False) -> Any:
        """Find a run's row; `lock` keeps others from changing it before the transaction ends."""
        query = sa.select(RUNS).where(RUNS.c.id == run_id)
        if lock and connection.dialect.name != "sqlite":
            query = query.with_for_update()
        row = connection.execute(query).one_or_none()
        if row is None:
            known = connection.execute(sa.select(RUNS.c.id)).scalars().all()
            raise UnknownNameError("run", run_id, known, where=self.name)
        return row

    def stored(self, connection: Connection, row: Any) -> StoredRun:
        """Read a row."""
        return StoredRun(
            id=row.id,
            kind=row.kind,
            script=row.script,
            state=self.state_of(connection, row),
            created=row.created,
            updated=row.updated,
            title=row.title,
            owner=row.owner,
            digest=row.digest,
            plan=row.plan,
            options=json.loads(row.options),
            fence=row.fence,
        )

    def state_of(self, connection: Connection, row: Any) -> str:
        """The state of a run; one whose owner is gone is interrupted."""
        if row.state != RUNNING or row.lease == 0.0:
            return row.state if row.state != RUNNING else INTERRUPTED
        if row.lease < self.now(connection):
            return INTERRUPTED
        if row.locked and row.host == this_host():
            lock = self.lock_of(row.id)
            if lock.take(tries=1):
                lock.release()
                return INTERRUPTED
        return RUNNING

    def events_of(self, connection: Connection, run_id: str) -> list[TimedEvent]:
        """List what happened to a run."""
        query = sa.select(EVENTS).where(EVENTS.c.run == run_id).order_by(EVENTS.c.seq)
        return [
            TimedEvent(row.at, event_from_json(row.kind, row.detail))
            for row in connection.execute(query)
        ]

    def history_of(self, connection: Connection, run_id: str) -> History:
        """Fold what happened to a run."""
        return History.of(timed.event for timed in self.events_of(connection, run_id))

    def insert(self, connection: Connection, run_id: str, now: float, event: RunEvent) -> None:
        """Keep an event as the last of a run."""
        last = sa.select(sa.func.coalesce(sa.func.max(EVENTS.c.seq), 0))
        number = connection.execute(last.where(EVENTS.c.run == run_id)).scalar_one() + 1
        row = {"run": run_id, "seq": number, "at": now, "kind": event.kind}
        connection.execute(EVENTS.insert().values(**row, detail=event_to_json(event)))

    def update(self, connection: Connection, run_id: str, fence: int, **values: Any) -> None:
        """Change a run's row under its fence; raises `LostRunError` if another owns it."""
        where = (RUNS.c.id == run_id) & (RUNS.c.fence == fence)
        if connection.execute(RUNS.update().where(where).values(**values)).rowcount != 1:
            raise lost(run_id)

    def lock_of(self, run_id: str) -> Lock:
        """The lock of whoever runs a run on this machine."""
        return Lock(self.folder / run_id / "lock")

    def now(self, connection: Connection) -> float:
        """The time by the store's clock: machines that share it may differ."""
        if connection.dialect.name == "sqlite":
            return time.time()
        return float(
            connection.execute(sa.text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one()
        )

    @contextmanager
    def writing(self, *, lazy: bool = False) -> Iterator[Connection]:
        """Begin a transaction that writes; a lazy one the machine's power may take back."""
        with (
            explained(self.name),
            self._engine.connect().execution_options(umbel_lazy=lazy) as connection,
            connection.begin(),
        ):
            if lazy and connection.dialect.name != "sqlite":
                connection.exec_driver_sql("SET LOCAL synchronous_commit TO OFF")
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Begin a transaction that only reads."""
        with (
            explained(self.name),
            self._engine.connect().execution_options(umbel_reads=True) as connection,
        ):
            yield connection


def lost(run_id: str) -> LostRunError:
    """Make the error for a run that another process has taken over."""
    return LostRunError(
        f"another process has taken run {run_id} over; what this one still does is not kept",
        hint=f"see who has it: umbel runs show {run_id}",
    )


__all__ = ["INTERRUPTED", "PLAN", "SCRIPT", "Rows", "StoredRun", "TimedEvent", "lost"]

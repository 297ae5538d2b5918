"""The store of runs: their plans and events in a database, and sealed outputs in a folder."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from umbel.catalog.address import Address
from umbel.executor.run_ids import check_id
from umbel.executor.runs.errors import RunInUseError
from umbel.executor.runs.history import (
    CANCELLED,
    FINISHED,
    RUNNING,
    Begun,
    Cancelled,
    History,
    RunEvent,
    SourcesSeen,
)
from umbel.executor.runs.leases import LEASE, Lock, this_host, this_process
from umbel.executor.runs.rows import INTERRUPTED, Rows, StoredRun, TimedEvent, lost
from umbel.executor.runs.seals import cannot_write
from umbel.executor.runs.tables import (
    EVENTS,
    RUNS,
    open_postgres,
    open_sqlite,
    upgrade,
)
from umbel.failpoints import reach
from umbel.plan.errors import PlanError

#: The variable that names the store: a folder, or the URL of a PostgreSQL database.
VARIABLE = "UMBEL_RUNS"


class Owned:
    """A run that this process runs: what is kept of it is kept under its fence.

    Attributes:
        run: what the store knew when it was taken.
        folder: for its sealed outputs.
        history: what has happened to it so far.
    """

    def __init__(self, store: RunStore, run: StoredRun, history: History, lock: Lock) -> None:
        self.store = store
        self.run = run
        self.folder = store.folder / run.id
        self.history = history
        self._lock = lock
        self._adding = threading.Lock()

    def add(self, *events: RunEvent, lazy: bool = False) -> None:
        """Keep events, all or none; they last when this returns. The last may end the run.

        Args:
            events: what happened.
            lazy: they need not outlive the machine's power.

        Raises:
            LostRunError: another process has taken the run over; nothing was kept.
            StoreError: the store cannot keep it.
        """
        with self._adding:
            self.store.add(self.run.id, self.run.fence, *events, lazy=lazy)
            for event in events:
                self.history.add(event)

    def renew(self) -> None:
        """Renew the lease."""
        self.store.renew(self.run.id, self.run.fence)

    def is_unwanted(self) -> bool:
        """Whether somebody asked to cancel the run; raises if it is lost."""
        return self.store.is_unwanted(self.run.id, self.run.fence)

    def release(self) -> None:
        """Give the run up: who resumes it need not wait."""
        self._lock.release()
        if self.history.state == RUNNING:  # else its end has ended the lease
            self.store.release(self.run.id, self.run.fence)


class RunStore(Rows):
    """Runs, their events and their sealed outputs.

    Attributes:
        name: where it is, for people.
        folder: for sealed outputs; of a store that several machines share, one that all of them
            see.
    """

    def __init__(self, place: str | os.PathLike[str] | None = None) -> None:
        """Open a store, or make it.

        Args:
            place: a folder, or `postgresql://…/database?folder=/a/shared/folder`; None for what
                the variable UMBEL_RUNS names, or the folder of the user's data.

        Raises:
            StoreError: it cannot be opened, is damaged, or is of a newer version.
        """
        text = os.fspath(place) if place is not None else os.environ.get(VARIABLE, "")
        text = text or str(default_folder())
        if "://" in text:
            self.name, self.folder, self._engine = _shared(text)
        else:
            root = Path(text).expanduser().absolute()
            self.folder = root / "data"
            self.name = f"the store of runs {root / 'runs.db'}"
            self._engine = open_sqlite(root / "runs.db")
        upgrade(self._engine, self.name)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise cannot_write(self.folder, error) from None

    def __repr__(self) -> str:
        return f"RunStore({self.name})"

    def close(self) -> None:
        """Close its connections."""
        self._engine.dispose()

    # --- asking -------------------------------------------------------------------------------

    def runs(self) -> list[StoredRun]:
        """List the runs, the latest first."""
        with self.reading() as connection:
            query = sa.select(RUNS).order_by(RUNS.c.created.desc(), RUNS.c.id.desc())
            return [self.stored(connection, row) for row in connection.execute(query)]

    def run(self, run_id: str) -> StoredRun:
        """Find a run.

        Raises:
            UnknownNameError: there is none of that id.
        """
        check_id(run_id)
        with self.reading() as connection:
            return self.stored(connection, self.row_of(connection, run_id))

    def find(self, run_id: str) -> StoredRun | None:
        """Find a run; None if there is none of that id. It costs the same however many there are.

        Raises:
            PlanError: no run can have that id.
        """
        query = sa.select(RUNS).where(RUNS.c.id == check_id(run_id))
        with self.reading() as connection:
            row = connection.execute(query).one_or_none()
            return None if row is None else self.stored(connection, row)

    def runs_of(self, script: str) -> list[StoredRun]:
        """List the runs that a script's run has asked for, in their order."""
        with self.reading() as connection:
            query = sa.select(RUNS).where(RUNS.c.script == check_id(script))
            found = [self.stored(connection, row) for row in connection.execute(query)]
        return sorted(found, key=lambda run: int(run.id.rpartition(".")[2]))

    def events(self, run_id: str) -> list[TimedEvent]:
        """List what happened to a run, in order."""
        with self.reading() as connection:
            return self.events_of(connection, check_id(run_id))

    def history(self, run_id: str) -> History:
        """Fold what happened to a run."""
        return History.of(timed.event for timed in self.events(run_id))

    # --- running ------------------------------------------------------------------------------

    def create(
        self,
        run_id: str,
        *,
        kind: str,
        title: str,
        digest: str,
        plan: str,
        options: Mapping[str, Any],
        versions: Mapping[str, str | None],
        script: str = "",
    ) -> Owned:
        """Keep a new run, which this process owns."""
        check_id(run_id)
        lock = self.lock_of(run_id)
        locked = lock.take()
        begun = (Begun(this_process()), SourcesSeen(versions))
        try:
            with self.writing() as connection:
                now = self.now(connection)
                connection.execute(
                    RUNS.insert().values(
                        id=run_id,
                        kind=kind,
                        script=script,
                        state=RUNNING,
                        created=now,
                        updated=now,
                        title=title,
                        digest=digest,
                        plan=plan,
                        options=json.dumps(options, allow_nan=False),
                        owner=this_process(),
                        host=this_host(),
                        locked=locked,
                        fence=1,
                        lease=now + LEASE,
                        cancel=False,
                    )
                )
                for event in begun:
                    self.insert(connection, run_id, now, event)
                run = self.stored(connection, self.row_of(connection, run_id))
        except BaseException:
            lock.release()
            raise
        reach("run-created")
        return Owned(self, run, History.of(begun), lock)

    def acquire(self, run_id: str) -> Owned:
        """Take a run over that nobody runs.

        Raises:
            RunInUseError: another process runs it.
        """
        check_id(run_id)
        lock = self.lock_of(run_id)
        locked = lock.take()
        try:
            with self.writing() as connection:
                row = self.row_of(connection, run_id, lock=True)
                now = self.now(connection)
                died = locked and row.locked and row.host == this_host()
                if row.state == RUNNING and row.lease > now and not died:
                    raise RunInUseError(
                        f"run {run_id} is being run by {row.owner}, "
                        f"last heard of {max(0.0, now - row.lease + LEASE):.0f} s ago",
                        hint=f"wait for it, or stop it: umbel runs cancel {run_id}",
                    )
                history = self.history_of(connection, run_id)
                begun = Begun(this_process())
                connection.execute(
                    RUNS.update()
                    .where(RUNS.c.id == run_id)
                    .values(
                        state=RUNNING,
                        updated=now,
                        owner=this_process(),
                        host=this_host(),
                        locked=locked,
                        fence=row.fence + 1,
                        lease=now + LEASE,
                        cancel=False,
                    )
                )
                self.insert(connection, run_id, now, begun)
                run = self.stored(connection, self.row_of(connection, run_id))
        except BaseException:
            lock.release()
            raise
        history.add(begun)
        return Owned(self, run, history, lock)

    def add(self, run_id: str, fence: int, *events: RunEvent, lazy: bool = False) -> None:
        """Keep events of a run under a fence; see `Owned.add`."""
        with self.writing(lazy=lazy) as connection:
            now = self.now(connection)
            state = History.of(events).state
            values: dict[str, Any] = {"updated": now, "lease": now + LEASE}
            if state != RUNNING:
                values.update(state=state, lease=0.0, locked=False)
            self.update(connection, run_id, fence, **values)
            for event in events:
                self.insert(connection, run_id, now, event)

    def renew(self, run_id: str, fence: int) -> None:
        """Renew a lease."""
        with self.writing() as connection:
            self.update(connection, run_id, fence, lease=self.now(connection) + LEASE)

    def release(self, run_id: str, fence: int) -> None:
        """End a lease."""
        with self.writing() as connection:
            where = (RUNS.c.id == run_id) & (RUNS.c.fence == fence)
            connection.execute(RUNS.update().where(where).values(lease=0.0, locked=False))

    def is_unwanted(self, run_id: str, fence: int) -> bool:
        """Whether somebody asked to cancel a run; raises if it is not this owner's."""
        with self.reading() as connection:
            query = sa.select(RUNS.c.cancel, RUNS.c.fence).where(RUNS.c.id == run_id)
            row = connection.execute(query).one_or_none()
        if row is None or row.fence != fence:
            raise lost(run_id)
        return bool(row.cancel)

    # --- what people do with runs ---------------------------------------------------------------

    def cancel(self, run_id: str) -> bool:
        """Ask whoever runs a run to stop; a run that nobody runs is cancelled at once.

        Returns:
            Whether somebody runs it, and will hear of it within a second.

        Raises:
            PlanError: it is finished.
        """
        check_id(run_id)
        with self.writing() as connection:
            row = self.row_of(connection, run_id, lock=True)
            if row.state in (FINISHED, CANCELLED):
                raise PlanError(f"run {run_id} is {row.state} already")
            if self.state_of(connection, row) == RUNNING:
                connection.execute(RUNS.update().where(RUNS.c.id == run_id).values(cancel=True))
                return True
            now = self.now(connection)
            connection.execute(
                RUNS.update()
                .where(RUNS.c.id == run_id)
                .values(state=CANCELLED, fence=row.fence + 1, updated=now)
            )
            self.insert(connection, run_id, now, Cancelled())
            return False

    def prune(
        self,
        *,
        seconds: float,
        everything: bool = False,
        dry: bool = False,
        which: Callable[[StoredRun], bool] = lambda run: True,
        before: Callable[[StoredRun], None] = lambda run: None,
    ) -> list[StoredRun]:
        """Forget runs, and remove what was kept of them.

        Args:
            seconds: for which nothing has happened to them.
            everything: those too that could be resumed: failed and interrupted ones.
            dry: only say which.
            which: whether a run may be forgotten at all.
            before: called with each run before it is forgotten.

        Returns:
            The runs; none that somebody runs is among them.
        """
        states = {FINISHED, CANCELLED, *(("failed", INTERRUPTED) if everything else ())}
        with self.reading() as connection:
            latest = self.now(connection) - seconds
        found = [r for r in self.runs() if r.state in states and r.updated <= latest and which(r)]
        kept = {r.id for r in self.runs()} - {r.id for r in found}
        # A script's run is of use only with all that it has asked for.
        found = [r for r in found if r.script not in kept]
        parts = {r.script for r in self.runs() if r.id in kept}
        found = [r for r in found if r.id not in parts]
        if dry:
            return found
        for run in found:
            before(run)
            with self.writing() as connection:
                where = (RUNS.c.id == run.id) & (RUNS.c.fence == run.fence)
                if connection.execute(RUNS.delete().where(where)).rowcount:
                    connection.execute(EVENTS.delete().where(EVENTS.c.run == run.id))
            shutil.rmtree(self.folder / run.id, ignore_errors=True)
        self._sweep()
        return found

    def _sweep(self) -> None:
        """Remove the data of processes that no run needs any more."""
        needed = {
            seal["file"] for run in self.runs() for seal in run.options.get("inputs", {}).values()
        }
        for path in (self.folder / "inputs").glob("*"):
            old = time.time() - path.stat().st_mtime > LEASE  # else a run may be about to be made
            if path.name not in needed and old:
                path.unlink(missing_ok=True)


def default_folder() -> Path:
    """The folder for runs among the user's data."""
    base = os.environ.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "umbel" / "runs"


def _shared(url: str) -> tuple[str, Path, Any]:
    address = Address.of(url)
    if address.scheme not in ("postgresql", "postgres"):
        raise PlanError(
            f"no store of runs is reached by {address.scheme}://",
            hint="name a folder, or postgresql://user@host/database?folder=/a/shared/folder",
        )
    options = dict(address.options)
    folder = options.pop("folder", "")
    if not folder:
        raise PlanError(
            f"the store of runs {address} does not say where finished stages are kept",
            hint="name a folder that all who share it see: …/database?folder=/a/shared/folder",
        )
    plain = Address(
        address.scheme,
        address.host,
        address.port,
        address.user,
        address.path,
        options,
        address.secrets,
    )
    return f"the store of runs {plain}", Path(folder).absolute(), open_postgres(plain)


__all__ = ["VARIABLE", "Owned", "RunStore", "default_folder"]

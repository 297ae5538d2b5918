"""What a site remembers of its answers: who has seen what, how much, and what it has cost.

One SQLite file in the site's folder, synced at every step. Everything is written under the task's
id, which is the same when the task is tried again: so a retry counts once.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
import time
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.federation.disclosure.budget import Cost
from umbel.federation.disclosure.individuals import Population, blob_of, members_of
from umbel.federation.errors import FederationError

#: The file, in the site's folder.
LEDGER = "ledger.db"
DAY = 86_400.0
_SCHEMA = """
create table if not exists secret (id integer primary key check (id = 1), word text not null);
create table if not exists populations (
    owner text not null, of_table text not null, task text not null, source text not null,
    cell text not null, argument text not null, size integer not null, members blob not null
);
create index if not exists populations_size on populations (owner, of_table, size);
create index if not exists populations_task on populations (task);
create table if not exists answers (
    owner text not null, of_table text not null, task text not null, at real not null,
    n_rows integer not null, n_bytes integer not null,
    primary key (owner, of_table, task)
);
create table if not exists spent (
    owner text not null, of_table text not null, task text not null, at real not null,
    epsilon real not null, delta real not null, primary key (owner, of_table, task)
);
create table if not exists requests (
    name text primary key, kind text not null, at real not null, days integer not null,
    state text not null, decided real not null, reason text not null, about text not null,
    answer blob
);
create table if not exists asked (
    nonce text not null, statement text not null, part text not null, task text not null,
    until integer not null, answers integer not null, primary key (nonce, part)
);
create table if not exists noisy (part text primary key, at real not null, answer blob not null);
"""


@dataclass(frozen=True)
class Usage:
    """What a user had of a table within a day, other tasks than the one at hand.

    Attributes:
        answers: how many.
        rows: of them.
        bytes: of them.
    """

    answers: int
    rows: int
    bytes: int


class Ledger:
    """The ledger of one site; safe to use from several threads.

    >>> ledger = Ledger(None)
    >>> ledger.answered("ann", "people", "task-1", 3, 100)
    >>> ledger.answered("ann", "people", "task-1", 3, 100)
    >>> ledger.usage("ann", "people", "task-2")
    Usage(answers=1, rows=3, bytes=100)
    """

    def __init__(self, path: Path | None) -> None:
        """Open a ledger, or begin one; None keeps it in memory.

        Raises:
            FederationError: it cannot be opened.
        """
        self._lock = threading.RLock()
        try:
            self._database = sqlite3.connect(
                ":memory:" if path is None else path,
                timeout=30,
                isolation_level=None,
                check_same_thread=False,
            )
            if path is not None:
                path.chmod(0o600)
            self._database.execute("pragma journal_mode = wal")
            self._database.execute("pragma synchronous = full")
            self._database.executescript(_SCHEMA)
            word = secrets.token_hex(32)
            self._database.execute("insert or ignore into secret values (1, ?)", (word,))
            (found,) = self._database.execute("select word from secret").fetchone()
        except (sqlite3.Error, OSError) as error:
            raise FederationError(f"cannot open the ledger {path}: {error}") from None
        #: By which individuals are hashed; never leaves the site.
        self.secret = str(found)

    def close(self) -> None:
        """Close it."""
        with self._lock:
            self._database.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Look, while no other thread writes."""
        with self._lock:
            yield self._database

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Look and write as one step, which is on the disk when it ends."""
        with self._lock:
            self._database.execute("begin immediate")
            try:
                yield self._database
            except BaseException:
                self._database.execute("rollback")
                raise
            self._database.execute("commit")

    # --- Who is behind what was shown.

    def near(
        self, owner: str, table: str, task: str, population: Population, least: int
    ) -> Iterator[tuple[str, str, str, pa.UInt64Array]]:
        """Yield what other tasks have shown of a size so near that the difference may be small."""
        query = (
            "select source, cell, argument, members from populations where owner = ? and "
            "of_table = ? and task <> ? and size between ? and ?"
        )
        size = len(population)
        span = (size - least + 1, size + least - 1)
        for source, cell, argument, members in self._database.execute(
            query, (owner, table, task, *span)
        ):
            yield source, cell, argument, members_of(zlib.decompress(members))

    def show(self, owner: str, table: str, task: str, shown: Iterable[Population]) -> None:
        """Remember what a task shows; what it had shown before, it shows again."""
        rows = [
            (
                owner, table, task, one.source, one.cell, one.argument, len(one),
                zlib.compress(blob_of(one.members), 1),
            )
            for one in shown
        ]  # fmt: skip
        delete = "delete from populations where owner = ? and of_table = ? and task = ?"
        self._database.execute(delete, (owner, table, task))
        self._database.executemany("insert into populations values (?, ?, ?, ?, ?, ?, ?, ?)", rows)

    # --- How much.

    def usage(self, owner: str, table: str, task: str) -> Usage:
        """What a user had within a day, this task left out."""
        query = (
            "select count(*), coalesce(sum(n_rows), 0), coalesce(sum(n_bytes), 0) from answers "
            "where owner = ? and of_table = ? and task <> ? and at > ?"
        )
        with self._lock:
            row = self._database.execute(query, (owner, table, task, time.time() - DAY)).fetchone()
        return Usage(*row)

    def answered(self, owner: str, table: str, task: str, rows: int, nbytes: int) -> None:
        """Count an answer; a task that is tried again counts as the larger of its tries."""
        insert = (
            "insert into answers values (?, ?, ?, ?, ?, ?) on conflict do update set "
            "n_rows = max(n_rows, excluded.n_rows), n_bytes = max(n_bytes, excluded.n_bytes)"
        )
        with self.transaction() as database:
            database.execute(insert, (owner, table, task, time.time(), rows, nbytes))

    def round_taken(self, owner: str, table: str, name: str, most: int) -> int | None:
        """Count a round of training, once; None if it may be had, else how many there were today.

        Args:
            owner: on whose account.
            table: of which.
            name: identifies the round.
            most: of a day.
        """
        kind = f"rounds\n{table}"
        query = "select task from answers where owner = ? and of_table = ? and at > ?"
        with self.transaction() as database:
            today = (owner, kind, time.time() - DAY)
            had = {task for (task,) in database.execute(query, today)}
            if name in had:
                return None
            if len(had) >= most:
                return len(had)
            insert = "insert or replace into answers values (?, ?, ?, ?, 0, 0)"
            database.execute(insert, (owner, kind, name, time.time()))
        return None

    # --- What it has cost.

    def costs(self, owner: str | None, table: str, part: str, days: int = 0) -> list[Cost]:
        """What private answers have cost, other parts than the one at hand.

        Args:
            owner: to whom; None for everybody.
            table: of which.
            part: of a task: counts once however often it is tried.
            days: those of so many days; 0 for all.
        """
        query = "select epsilon, delta from spent where of_table = ? and task <> ? and at > ?"
        since = time.time() - days * DAY if days else 0.0
        given: list[object] = [table, part, since]
        if owner is not None:
            query += " and owner = ?"
            given.append(owner)
        with self._lock:
            return list(self._database.execute(query, given))

    def is_spent(self, part: str) -> bool:
        """Whether a part of a task has been charged."""
        query = "select 1 from spent where task = ? limit 1"
        with self._lock:
            return self._database.execute(query, (part,)).fetchone() is not None

    def is_spent_by(self, task: str) -> bool:
        """Whether some part of a task has been charged."""
        query = "select 1 from spent where task >= ? and task < ? limit 1"
        with self._lock:
            row = self._database.execute(query, (f"{task}/", f"{task}0")).fetchone()
        return row is not None

    def charge(self, owner: str, table: str, part: str, cost: Cost) -> None:
        """Charge a part of a task; within `transaction`, after a look at `costs`."""
        insert = "insert or ignore into spent values (?, ?, ?, ?, ?, ?)"
        self._database.execute(insert, (owner, table, part, time.time(), *cost))

    def answer(self, part: str) -> bytes | None:
        """The answer that a part of a task had; the only one that it ever has."""
        query = "select answer from noisy where part = ?"
        with self._lock:
            row = self._database.execute(query, (part,)).fetchone()
        return None if row is None else bytes(row[0])

    def keep(self, part: str, answer: bytes) -> bytes:
        """Keep an answer before it leaves; gives the one that was first."""
        with self.transaction() as database:
            insert = "insert or ignore into noisy values (?, ?, ?)"
            database.execute(insert, (part, time.time(), answer))
        found = self.answer(part)
        return answer if found is None else found


__all__ = ["LEDGER", "Ledger", "Usage"]

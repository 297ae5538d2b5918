"""The coordinator's database: SQLite by default, PostgreSQL for the large.

What must outlive a power cut is committed durably (SQLite's synchronous=FULL). What only a killed
process must not lose is committed without waiting for the disk, on the same connections.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from umbel.federation.errors import DiskFullError, FederationError
from umbel.federation.store.schema import COORDINATOR

#: The newest migration, and the number by which PostgreSQL knows a coordinator's lock.
_NEWEST = "0002"
_LOCK = 0x756D_6265_6C00
_WRITE, _DURABLE = "umbel_write", "umbel_durable"
#: Seconds that a writer waits for another.
_PATIENCE = 30


class Database:
    """Connections, transactions and the claim of one coordinator."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock_file: IO[bytes] | None = None
        self._lock_connection: Connection | None = None
        self._epoch = 0
        # SQLite's writers come one after the other anyhow; but those that wait for its own lock
        # sleep for milliseconds, and are not served in turn. Other processes still wait there.
        self._turn: AbstractContextManager[Any] = threading.Lock() if self.sqlite else nullcontext()

    @classmethod
    def open(cls, url: str) -> Database:
        """Open a database and bring its tables up to date.

        Raises:
            FederationError: it cannot be opened, or a newer umbel wrote it.
        """
        engine = _engine(_parsed(url))
        database = cls(engine)
        try:
            database._upgrade()
        except DBAPIError as error:
            engine.dispose()
            raise _unreachable(engine.url, error) from None
        return database

    @property
    def sqlite(self) -> bool:
        """Whether it is SQLite."""
        return self._engine.dialect.name == "sqlite"

    @property
    def shown(self) -> str:
        """Its URL, without a password."""
        return self._engine.url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Read, as of one moment."""
        with self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def write(self, *, durable: bool = True) -> Iterator[Connection]:
        """Write, whole or not at all; with other writers one after the other."""
        options: dict[str, Any] = {_WRITE: True, _DURABLE: durable}
        with (
            self._turn,
            _room(),
            self._engine.connect().execution_options(**options) as connection,
            connection.begin(),
        ):
            if not self.sqlite and not durable:
                connection.exec_driver_sql("SET LOCAL synchronous_commit TO OFF")
            yield connection

    @contextmanager
    def write_as_coordinator(self, *, durable: bool) -> Iterator[Connection]:
        """Write what only the coordinator that claimed the database may write.

        Raises:
            FederationError: another has taken over.
        """
        with self.write(durable=durable) as connection:
            epoch = connection.execute(sa.select(COORDINATOR.c.epoch)).scalar()
            if not self._epoch or epoch != self._epoch:
                raise FederationError(
                    "another coordinator has taken over this store",
                    hint="two must not share one: stop this one, or give it a store of its own",
                )
            yield connection

    def claim(self) -> int:
        """Become the coordinator of this database; give the number of this start.

        Raises:
            FederationError: one is running on it.
        """
        taken = FederationError(
            f"a coordinator is running on {self.shown} already",
            hint="stop it first, or give this one a store of its own",
        )
        if self.sqlite:
            path = self._engine.url.database
            if path not in (None, "", ":memory:"):
                lock = Path(f"{path}.lock").open("ab")  # noqa: SIM115 - held until close
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    lock.close()
                    raise taken from None
                self._lock_file = lock
        else:
            connection = self._engine.connect()
            held = connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({_LOCK})").scalar()
            connection.commit()
            if not held:
                connection.close()
                raise taken
            self._lock_connection = connection
        with self.write() as connection:
            connection.execute(sa.update(COORDINATOR).values(epoch=COORDINATOR.c.epoch + 1))
            self._epoch = int(connection.execute(sa.select(COORDINATOR.c.epoch)).scalar_one())
        return self._epoch

    def close(self) -> None:
        """Let go of the claim and of all connections."""
        if self._lock_connection is not None:
            with contextlib.suppress(OperationalError):
                self._lock_connection.exec_driver_sql(f"SELECT pg_advisory_unlock({_LOCK})")
            self._lock_connection.close()
        if self._lock_file is not None:
            self._lock_file.close()
        self._lock_connection = self._lock_file = None
        self._epoch = 0
        self._engine.dispose()

    def _upgrade(self) -> None:
        with self.read() as connection:
            there = sa.inspect(connection).has_table("alembic_version")
            version = (
                connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
                if there
                else None
            )
        if version == _NEWEST:
            return
        if version is not None and str(version) > _NEWEST:
            raise FederationError(
                f"a newer umbel wrote {self.shown} (tables of version {version}, not {_NEWEST})",
                hint="install that version of umbel",
            )
        with self.write() as connection:
            migrate(connection)
            if connection.execute(sa.select(COORDINATOR.c.epoch)).first() is None:
                connection.execute(sa.insert(COORDINATOR).values(id=1, epoch=0))


def migrate(connection: Connection) -> None:
    """Bring the tables to the newest version, by the steps in `migrations/versions`."""
    # Alembic is slow to import, and seldom needed.
    from alembic.config import Config
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory(str(Path(__file__).parent / "migrations"))

    def steps(revision: Any, _: Any) -> Any:
        return scripts._upgrade_revs("head", revision)

    with EnvironmentContext(Config(), scripts, fn=steps) as environment:
        # In batches, for SQLite cannot change a table in place.
        environment.configure(connection=connection, render_as_batch=True)
        with environment.begin_transaction():
            environment.run_migrations()


def _parsed(url: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise FederationError(
            "the store's URL is none",
            hint="sqlite:///path/coordinator.db, or postgresql://user@host/database",
        ) from None
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise FederationError(
            f"a store cannot be kept in {parsed.get_backend_name()!r}",
            hint="sqlite:///path/coordinator.db, or postgresql://user@host/database",
        )
    return parsed


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        if importlib.util.find_spec("psycopg") is None:
            raise FederationError(
                "a store in PostgreSQL needs its driver", hint="pip install 'umbel[postgres]'"
            )
        return sa.create_engine(url, pool_size=20, max_overflow=40, pool_pre_ping=True)
    if url.database in (None, "", ":memory:"):
        raise FederationError(
            "a store in memory would not outlive its coordinator",
            hint="sqlite:///path/coordinator.db",
        )
    path = Path(str(url.database))
    # Nobody else has a use for what is in it.
    with contextlib.suppress(FileExistsError), contextlib.suppress(OSError):
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    engine = sa.create_engine(
        url,
        pool_size=20,
        max_overflow=200,
        # Every use ends its own transaction.
        pool_reset_on_return=None,
        connect_args={"timeout": _PATIENCE},
    )

    def on_connect(connection: Any, _: Any) -> None:
        # We begin transactions ourselves: the driver would not before reading.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA foreign_keys=ON")

    def on_begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get(_WRITE):
            level = "FULL" if options.get(_DURABLE) else "NORMAL"
            connection.exec_driver_sql(f"PRAGMA synchronous={level}")
            # At once, for a transaction that reads first could not begin to write later.
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.exec_driver_sql("BEGIN")

    sa.event.listen(engine, "connect", on_connect)
    sa.event.listen(engine, "begin", on_begin)
    return engine


@contextmanager
def _room() -> Iterator[None]:
    """Say in words that the disk is full."""
    try:
        yield
    except OperationalError as error:
        # SQLite's words, and those of PostgreSQL, which passes on the system's.
        if "is full" not in str(error.orig) and "No space left" not in str(error.orig):
            raise
        raise DiskFullError(
            "the coordinator's disk is full",
            hint="make room there, and try again; what was kept before is there",
        ) from error


def _unreachable(url: URL, error: DBAPIError) -> FederationError:
    reason = str(error.orig).strip().splitlines()
    return FederationError(
        f"cannot open the store {url.render_as_string(hide_password=True)}: "
        f"{reason[0] if reason else type(error.orig).__name__}"
    )


__all__ = ["Database"]

"""The tables of a store of runs, in SQLite or PostgreSQL, and how older stores are brought up to date.

A store says in which version it is. Opening one of an older version runs the steps that are
missing, in one transaction; one of a newer version is refused, and stays as it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import Connection, Engine

from umbel.catalog.address import Address
from umbel.executor.runs.errors import StoreError

#: Seconds for which a store that another process writes to is waited for.
PATIENCE = 10.0

METADATA = sa.MetaData()

RUNS = sa.Table(
    "umbel_runs",
    METADATA,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, nullable=False),  # plan or script
    sa.Column("script", sa.Text, nullable=False),  # the id of the script's run that it is part of
    sa.Column("state", sa.Text, nullable=False),  # what the events say; kept for lists
    sa.Column("created", sa.Float, nullable=False),
    sa.Column("updated", sa.Float, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("digest", sa.Text, nullable=False),
    sa.Column("plan", sa.Text, nullable=False),
    sa.Column("options", sa.Text, nullable=False),
    # Who runs it. A number that grows with each owner keeps those out who lost it.
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("host", sa.Text, nullable=False),
    sa.Column("locked", sa.Boolean, nullable=False),
    sa.Column("fence", sa.Integer, nullable=False),
    sa.Column("lease", sa.Float, nullable=False),
    sa.Column("cancel", sa.Boolean, nullable=False),
    sa.Index("umbel_runs_of_script", "script"),
)

EVENTS = sa.Table(
    "umbel_run_events",
    METADATA,
    sa.Column("run", sa.Text, sa.ForeignKey("umbel_runs.id", ondelete="CASCADE"), nullable=False),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("at", sa.Float, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.PrimaryKeyConstraint("run", "seq"),
)

#: One row: the version.
VERSION = sa.Table("umbel_run_store", sa.MetaData(), sa.Column("version", sa.Integer))


def _first(connection: Connection) -> None:
    """Make the tables of version 1."""
    METADATA.create_all(connection)


#: What brings a store from each version to the next, from none on. A step that has been released is
#: never changed: a later one alters what it made.
STEPS: tuple[Callable[[Connection], None], ...] = (_first,)


def open_sqlite(path: Path) -> Engine:
    """Open a store in an SQLite file, which is made if it is not there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)  # plans hold what people ask for
    except OSError as error:
        raise StoreError(
            f"{path}: the folder of the runs cannot be made: {error.strerror}",
            hint="name another folder in the variable UMBEL_RUNS",
        ) from None
    engine = sa.create_engine(
        sa.URL.create("sqlite", database=str(path)), connect_args={"timeout": PATIENCE}
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # `begin` below begins transactions
        cursor = connection.cursor()
        # A commit is on the disk when it returns, whatever happens to the machine.
        for setting in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            cursor.execute(f"PRAGMA {setting}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        if options.get("umbel_reads"):
            connection.exec_driver_sql("BEGIN")
            return
        # What is not urgent outlives this process, and comes to the disk with what is.
        level = "NORMAL" if options.get("umbel_lazy") else "FULL"
        connection.exec_driver_sql(f"PRAGMA synchronous = {level}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def open_postgres(address: Address) -> Engine:
    """Open a store in a PostgreSQL database."""
    try:
        import psycopg
    except ImportError:
        raise StoreError(
            "a store of runs in PostgreSQL needs psycopg", hint="pip install 'umbel[postgres]'"
        ) from None

    def connect() -> Any:
        parts: dict[str, Any] = {
            "host": address.host,
            "port": address.port,
            "user": address.user,
            "dbname": address.path.strip("/"),
            "connect_timeout": int(PATIENCE),
            "application_name": "umbel runs",
            **address.options,
            **{name: secret.reveal() for name, secret in address.secrets.items()},
        }
        given = {name: value for name, value in parts.items() if value not in ("", None)}
        return psycopg.connect(**given)

    return sa.create_engine("postgresql+psycopg://", creator=connect, pool_pre_ping=True)


def upgrade(engine: Engine, name: str) -> None:
    """Bring a store to this version.

    Raises:
        StoreError: it is of a newer version, or cannot be read.
    """
    with explained(name):
        with engine.connect().execution_options(umbel_reads=True) as connection:
            version = _version(connection)
        if version == len(STEPS):
            return
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":  # SQLite's transaction is alone already
                connection.execute(sa.text("SELECT pg_advisory_xact_lock(7726265391)"))
            version = _version(connection)
            if version > len(STEPS):
                raise StoreError(
                    f"{name} was written by a newer umbel: its version is {version}, "
                    f"and this umbel knows {len(STEPS)}",
                    hint="update umbel, or name another store in the variable UMBEL_RUNS",
                )
            for step in STEPS[version:]:
                step(connection)
            VERSION.create(connection, checkfirst=True)
            connection.execute(VERSION.delete())
            connection.execute(VERSION.insert().values(version=len(STEPS)))


def _version(connection: Connection) -> int:
    if not sa.inspect(connection).has_table(VERSION.name):
        return 0
    return int(connection.execute(sa.select(VERSION.c.version)).scalar_one())


@contextmanager
def explained(name: str) -> Iterator[None]:
    """Translate what the database raises."""
    try:
        yield
    except exc.SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        text = str(cause).strip().split("\n")[0]
        raise StoreError(f"{name} {_what(text, cause)}", hint=_advice(text)) from cause
    except (OSError, sqlite3.Error) as error:
        raise StoreError(f"{name} cannot be used: {error}") from error


def _what(text: str, cause: BaseException) -> str:
    if "locked" in text or "busy" in text:
        return f"is locked by another process, after a wait of {PATIENCE:.0f} s"
    if "not a database" in text or "malformed" in text or "corrupt" in text:
        return f"is damaged, or no store of runs: {text}"
    if "full" in text and isinstance(cause, sqlite3.Error):
        return "cannot be written: the disk is full"
    if "unable to open" in text or "readonly" in text:
        return f"cannot be opened: {text}"
    return f"cannot be used: {text}"


def _advice(text: str) -> str:
    if "locked" in text or "busy" in text:
        return "end the process that holds it, and try again; nothing is lost"
    if "not a database" in text or "malformed" in text or "corrupt" in text:
        return "bring a copy of the file back, or move it away: a new store is made in its place"
    if "full" in text:
        return "make room, then resume the run: what was kept before is there"
    if "no such table" in text or "no such column" in text:
        return "something else is in the file: name another store in the variable UMBEL_RUNS"
    return "see that the place is there and may be written to; the variable UMBEL_RUNS names it"


__all__ = ["EVENTS", "RUNS", "STEPS", "explained", "open_postgres", "open_sqlite", "upgrade"]

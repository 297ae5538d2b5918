"""Connections to one database: ADBC for rows, psycopg for questions about them.

A stage has a connection of its own while it runs, which is then kept for the next stage. One that
was cancelled or broke is closed, which ends its transaction and drops its temporary tables.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pyarrow as pa

from umbel.catalog.address import Address
from umbel.plan.errors import CancelledError
from umbel.platforms.postgres.failures import explain, translated

#: The same answers whatever the server's settings are.
SETTINGS = {
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "standard_conforming_strings": "on",
    "bytea_output": "hex",
    "lc_monetary": "C",
}
#: Connections that are kept between stages.
_IDLE = 2
_CONNECT_SECONDS = "15"


class Connection:
    """One ADBC connection, used by one thread; another may cancel what it does.

    The driver's own layer is used, not its DB-API, which imports pandas and Polars.
    """

    def __init__(self, conninfo: str) -> None:
        import adbc_driver_manager
        import adbc_driver_postgresql

        self._adbc = adbc_driver_manager
        self._database = adbc_driver_postgresql.connect(conninfo)
        self._connection = adbc_driver_manager.AdbcConnection(self._database)
        self._statement: Any = None
        self.closed = False
        for name, value in SETTINGS.items():
            self.execute(f"SET {name} = '{value}'")

    def execute(self, statement: str) -> int:
        """Run a statement that gives no rows; say how many it changed, -1 if it changes none."""
        with self._running() as running:
            running.set_sql_query(statement)
            return int(running.execute_update())

    def fetch(self, statement: str, check: Callable[[], None] = lambda: None) -> pa.Table:
        """Run a query and read its rows, in batches between which `check` may stop it."""
        batches: list[pa.RecordBatch] = []
        schema = self.stream(statement, batches.append, check)
        return pa.Table.from_batches(batches, schema)

    def stream(
        self,
        statement: str,
        take: Callable[[pa.RecordBatch], None],
        check: Callable[[], None] = lambda: None,
    ) -> pa.Schema:
        """Run a query and hand over its rows as they come; give their schema."""
        with self._running() as running:
            running.set_sql_query(statement)
            stream, _ = running.execute_query()
            reader = pa.RecordBatchReader._import_from_c(stream.address)
            try:
                for batch in reader:
                    check()
                    take(batch)
            finally:
                reader.close()
            return reader.schema

    def ingest(
        self,
        data: pa.Table,
        table: str,
        check: Callable[[], None] = lambda: None,
        schema: str | None = None,
    ) -> int:
        """Copy rows into a table that has their columns; say how many.

        Args:
            data: the rows.
            table: the table's name.
            check: called between batches; raises to stop.
            schema: the table's schema; None for a temporary table.
        """

        def batches() -> Iterator[pa.RecordBatch]:
            for batch in data.to_batches(max_chunksize=2**16):
                check()
                yield batch

        reader = pa.RecordBatchReader.from_batches(data.schema, batches())
        names = self._adbc.StatementOptions
        options = {
            names.INGEST_TARGET_TABLE.value: table,
            names.INGEST_MODE.value: "adbc.ingest.mode.append",
        }
        if schema is None:
            options[names.INGEST_TEMPORARY.value] = "true"
        else:
            options[names.INGEST_TARGET_DB_SCHEMA.value] = schema
        with self._running() as running:
            running.set_options(**options)
            stream = self._adbc.ArrowArrayStreamHandle()
            reader._export_to_c(stream.address)
            running.bind_stream(stream)
            return int(running.execute_update())

    def cancel(self) -> None:
        """Stop what runs, from another thread."""
        statement = self._statement
        if statement is not None:
            with suppress(Exception):  # it has just ended
                statement.cancel()

    def close(self) -> None:
        """Close; what the server still does for it ends."""
        if not self.closed:
            self.closed = True
            with suppress(Exception):  # the server may be gone
                self._connection.close()
            with suppress(Exception):
                self._database.close()

    @contextmanager
    def _running(self) -> Iterator[Any]:
        with self._adbc.AdbcStatement(self._connection) as statement:
            self._statement = statement
            try:
                yield statement
            finally:
                self._statement = None


class Server:
    """A database, reached at an address."""

    def __init__(self, name: str, address: Address) -> None:
        self.name = name
        self.address = address
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._questions: list[Any] = []
        weakref.finalize(self, _close_all, self._idle)
        weakref.finalize(self, _close_all, self._questions)

    def conninfo(self) -> str:
        """Write the address as libpq reads it. It holds secrets: for drivers only."""
        from psycopg.conninfo import make_conninfo

        address = self.address
        parts: dict[str, Any] = {
            "host": address.host,
            "port": address.port,
            "user": address.user,
            "dbname": address.path.strip("/"),
            "connect_timeout": _CONNECT_SECONDS,
            "application_name": "umbel",
            **address.options,
            **{name: secret.reveal() for name, secret in address.secrets.items()},
        }
        given = {name: value for name, value in parts.items() if value not in ("", None)}
        with translated(self):
            return make_conninfo(**given)

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection; nothing of a block that failed stays on it."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is not None and not _alive(connection):
            connection.close()
            connection = None
        if connection is None:
            conninfo = self.conninfo()
            with translated(self):
                connection = Connection(conninfo)
        try:
            yield connection
        except Exception as error:
            # A statement that was cancelled may still run, and the next would be what is stopped.
            if isinstance(error, CancelledError) or not _emptied(connection):
                connection.close()
            else:
                self._keep(connection)
            raise
        except BaseException:
            connection.close()
            raise
        self._keep(connection)

    def _keep(self, connection: Connection) -> None:
        with self._lock:
            keep = len(self._idle) < _IDLE
            if keep:
                self._idle.append(connection)
        if not keep:
            connection.close()

    def ask(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Ask the server's catalogue; the connection for it is opened once and again if it broke."""
        with self.questions() as cursor:
            cursor.execute(query, parameters or None)  # without them % is a character
            return [tuple(row) for row in cursor.fetchall()]

    @contextmanager
    def questions(self) -> Iterator[Any]:
        """Lend a psycopg cursor for short questions."""
        import psycopg

        conninfo = self.conninfo()
        with self._lock, translated(self):
            if self._questions:
                try:
                    self._questions[0].execute("SELECT 1")
                except psycopg.OperationalError:  # closed from the other side meanwhile
                    _close_all(self._questions)
            if not self._questions:
                self._questions.append(_connect(conninfo))
            with self._questions[0].cursor() as cursor:
                yield cursor

    def close(self) -> None:
        """Close all connections that are not in use."""
        with self._lock:
            _close_all(self._idle)
            _close_all(self._questions)

    @property
    def connected(self) -> bool:
        """Whether some connection is open."""
        return bool(self._idle or self._questions)

    def scrub(self, text: str) -> str:
        """Take the address's secrets out of a text."""
        return self.address.scrub(text)


def _connect(conninfo: str) -> Any:
    import psycopg

    connection = psycopg.connect(conninfo, autocommit=True)
    connection.execute("SET default_transaction_read_only = on")
    for name, value in SETTINGS.items():
        connection.execute(f"SET {name} = '{value}'")
    return connection


def _alive(connection: Connection) -> bool:
    return _runs(connection, "SELECT 1")


def _emptied(connection: Connection) -> bool:
    """Whether what a failed block left could be taken away: its transaction and its tables."""
    return _runs(connection, "ROLLBACK", "DISCARD TEMP")


def _runs(connection: Connection, *statements: str) -> bool:
    try:
        for statement in statements:
            connection.execute(statement)
    except Exception:  # noqa: BLE001 - a broken connection may fail in any way
        return False
    return True


def _close_all(connections: list[Any]) -> None:
    while connections:
        connections.pop().close()


__all__ = ["SETTINGS", "Connection", "Server", "explain"]

"""A platform's DuckDB: one in-memory database per instance, and tables kept in it."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa

from umbel.platforms.conform import conform
from umbel.platforms.duckdb.udfs import register
from umbel.sql.python_functions import PythonFunction

#: Nothing is fetched from the network, times are UTC, and no order is kept but that of ORDER BY
#: (unless a cursor is to keep another).
SETTINGS = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "preserve_insertion_order": "false",
    "default_null_order": "nulls_last",
    "TimeZone": "UTC",
    "enable_progress_bar": "false",
}

#: Which files are meant, and in which state: path, time of the last change, and size.
FileStates: TypeAlias = tuple[tuple[str, int, int], ...]
#: Relations whose columns are remembered.
_REMEMBERED = 1_000

#: Rows that are handed over at once.
_BATCH = 2**16

#: Where kept tables are, whatever database a cursor uses.
MEMORY = "memory.main"


class Database:
    """One in-memory DuckDB, used from many threads through one cursor each."""

    def __init__(self) -> None:
        # Spilled pages must stay while tables of several runs do, so they get their own folder.
        spill = tempfile.mkdtemp(prefix="umbel-duckdb-")
        weakref.finalize(self, shutil.rmtree, spill, ignore_errors=True)
        self._root = duckdb.connect(":memory:")
        for name, value in SETTINGS.items():
            self._root.execute(f"SET {name} = '{value}'")
        self._root.execute(f"SET temp_directory = {quoted(spill)}")
        self._names = itertools.count()
        self._lock = threading.Lock()
        self._limit = 0
        self._functions: set[str] = set()
        self._described: dict[tuple[str, FileStates], dict[str, str]] = {}

    def cursor(self, memory_limit: int = 0, *, in_order: bool = False) -> Any:
        """Open a cursor: its own transaction and temporary views over the shared database.

        Args:
            memory_limit: bytes for the whole database, whose latest value counts; 0 keeps it.
            in_order: keep the order of rows that come in some, which takes more memory.
        """
        with self._lock:
            if memory_limit and memory_limit != self._limit:
                self._root.execute(f"SET memory_limit = '{memory_limit}B'")
                self._limit = memory_limit
            cursor = self._root.cursor()
        if in_order:
            cursor.execute("SET SESSION preserve_insertion_order = true")
        return cursor

    def describe(self, relation: str, files: FileStates) -> dict[str, str]:
        """Give the names and DuckDB types of the columns of a relation over files.

        DuckDB opens them for it. So answers are remembered as long as the files stay as they are.
        """
        key = relation, files
        found = self._described.get(key)
        if found is None:
            query = f"DESCRIBE SELECT * FROM {relation}"  # noqa: S608
            rows = self.cursor().execute(query).fetchall()
            found = {name: dtype for name, dtype, *_ in rows}
            if len(self._described) >= _REMEMBERED:
                self._described.clear()
            self._described[key] = found
        return found

    def new_name(self, kind: str) -> str:
        """Give a name that no table of the database has."""
        return f"umbel_{kind}_{next(self._names)}"

    def define(self, functions: Iterable[PythonFunction]) -> None:
        """Make Python functions known to the database."""
        with self._lock:
            for function in functions:
                if function.name not in self._functions:
                    register(self._root, function)
                    self._functions.add(function.name)

    def keep(self, cursor: Any, query: str) -> DuckDBTable:
        """Keep a query's rows as a table."""
        name = self.new_name("table")
        made = cursor.execute(f'CREATE TABLE {MEMORY}."{name}" AS {query}')
        rows = made.fetchall()[0][0]
        return DuckDBTable(self, name, rows)

    def drop(self, name: str) -> None:
        """Remove a kept table."""
        self.cursor().execute(f'DROP TABLE IF EXISTS {MEMORY}."{name}"')


class DuckDBTable:
    """The channel `duckdb`: rows in a platform's database, dropped with the last reference.

    Attributes:
        database: where the table is.
        name: its name there.
        num_rows: how many rows it has.
    """

    def __init__(self, database: Database, name: str, rows: int) -> None:
        self.database = database
        self.name = name
        self.num_rows = rows
        self._finalizer = weakref.finalize(self, database.drop, name)
        self._finalizer.atexit = False  # the whole database goes then

    def __len__(self) -> int:
        return self.num_rows

    def release(self) -> None:
        """Drop the table now."""
        self._finalizer()


def quoted(text: str) -> str:
    """Write a text as an SQL string.

    >>> quoted("it's")
    "'it''s'"
    """
    return "'" + text.replace("'", "''") + "'"


def select_for_arrow(query: str, schema: pa.Schema) -> str:
    """Wrap a query so that each column has an Arrow form that converts to its type in the plan.

    DuckDB gives intervals to Arrow as months, days and nanoseconds, which are no durations.
    """
    if not any(pa.types.is_duration(field.type) for field in schema):
        return query
    scale = {"s": " // 1000000", "ms": " // 1000", "us": "", "ns": " * 1000"}
    columns = ", ".join(
        f'EPOCH_US("{name}"){scale[dtype.unit]} AS "{name}"'
        if pa.types.is_duration(dtype)
        else f'"{name}"'
        for name, dtype in ((field.name.replace('"', '""'), field.type) for field in schema)
    )
    return f"SELECT {columns} FROM ({query})"  # noqa: S608


def fetch(cursor: Any, query: str, schema: pa.Schema) -> pa.Table:
    """Run a query and give its rows as an Arrow table of exactly this schema."""
    return conform(cursor.sql(query).to_arrow_table(), schema)


class Rows:
    """Hands over the rows of a query while they are computed.

    Attributes:
        schema: of what is handed over.
        num_rows: how many were.
    """

    def __init__(
        self, schema: pa.Schema, deliver: Callable[[pa.Table], None], check: Callable[[], None]
    ) -> None:
        self.schema = schema
        self.num_rows = 0
        self._deliver = deliver
        self._check = check

    def read(self, query: Any) -> None:
        """Run a query to its end, a batch at a time."""
        with query.to_arrow_reader(_BATCH) as reader:
            for batch in reader:
                self._check()
                table = conform(pa.Table.from_batches([batch]), self.schema)
                self.num_rows += table.num_rows
                self._deliver(table)

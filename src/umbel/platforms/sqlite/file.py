"""An SQLite file: connections that a run opens and closes, its tables, and what their columns hold.

SQLite lets a column hold values of any kind. Before a statement reads a column, all its values are
checked against the type of the column, once for each state of the file.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa

from umbel.catalog.commits import COMMITS
from umbel.catalog.namespace import TableEntry, unknown_table
from umbel.catalog.statistics import Interval
from umbel.dataclass import dataclass
from umbel.plan.errors import EvaluationError, SourceError, UnknownNameError
from umbel.plan.sources import AttachedSource, QuerySource, RelationSource
from umbel.plan.types import type_name
from umbel.platforms.commits import CommitTable
from umbel.platforms.sqlite.types import declared_type, misfit, type_of_kinds

#: Seconds for which a locked file is waited for.
TIMEOUT = 5.0
#: Rows whose values say the type of a column that is not declared.
_SAMPLED = 1_000
#: Rows that are counted for statistics at most; of more, there are at least so many.
_COUNTED = 200_000

#: The state of a file: time of change and size, its own and those of its log.
Stamp = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class StoredColumn:
    """A column of a table.

    Attributes:
        name: its name.
        dtype: its type in the plan.
        declared: its declared type; empty if there is none.
    """

    name: str
    dtype: pa.DataType
    declared: str = ""


class File:
    """One SQLite file.

    Attributes:
        name: the platform's name, for messages.
        path: where it is.
    """

    def __init__(self, name: str, path: Path) -> None:
        self.name = name
        self.path = path
        self._lock = threading.Lock()
        self._checked: dict[tuple[AttachedSource, str], Stamp] = {}

    @contextmanager
    def connection(self, *, write: bool = False) -> Iterator[sqlite3.Connection]:
        """Open the file while the block runs; errors of SQLite are told as umbel's.

        Raises:
            SourceError: the file is not there, no SQLite file, damaged, or locked.
        """
        if not self.path.is_file():
            raise self._missing()
        # Two slashes would begin a host; `sqlite:////srv/shop.db` comes with them.
        place = quote(
            f"/{str(self.path).lstrip('/')}" if self.path.is_absolute() else str(self.path)
        )
        uri = f"file:{place}?mode={'rw' if write else 'ro'}"
        try:
            connection = sqlite3.connect(
                uri, uri=True, timeout=TIMEOUT, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise self.explain(error) from None
        try:
            [(encoding,)] = connection.execute("PRAGMA encoding")
            if encoding != "UTF-8":
                raise SourceError(
                    f"{self.name!r}: {self.path} is in {encoding}, whose texts compare otherwise",
                    hint="move the data to a database in UTF-8",
                )
            yield connection
        except sqlite3.Error as error:
            raise self.explain(error) from None
        finally:
            connection.close()

    def _missing(self) -> SourceError:
        folder = self.path.parent
        if not folder.is_dir():
            return SourceError(f"{self.name!r}: there is no folder {folder}")
        names = [item.name for item in folder.iterdir() if item.is_file()]
        hint = UnknownNameError("file", self.path.name, names).hint
        return SourceError(f"{self.name!r}: there is no file {self.path}", hint=hint)

    def explain(self, error: sqlite3.Error) -> Exception:
        """Tell an error of SQLite in umbel's terms."""
        text = str(error)
        if "locked" in text or "busy" in text:
            return SourceError(
                f"{self.name!r}: {self.path} is locked by another connection, "
                f"after a wait of {TIMEOUT:.0f} s",
                hint="end the other transaction, and run again",
            )
        if "not a database" in text or "malformed" in text:
            return SourceError(f"{self.name!r}: {self.path} is no SQLite database, or damaged")
        if "integer overflow" in text:
            return EvaluationError("an integer is out of the range of int64")
        if "UTF-8" in text:
            return SourceError(f"{self.name!r}: a text of {self.path} is not UTF-8: {text[:200]}")
        return SourceError(f"{self.name!r}: {self.path}: {text}")

    # Tables

    def tables(self) -> list[TableEntry]:
        """List the tables and views."""
        with self.connection() as connection:
            return self._tables(connection)

    def _tables(self, connection: sqlite3.Connection) -> list[TableEntry]:
        rows = connection.execute(
            "SELECT name, type FROM sqlite_master WHERE type IN ('table', 'view') "
            "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name"
        ).fetchall()
        known = self._analyzed(connection)
        return [TableEntry(self.name, (name,), kind, known.get(name)) for name, kind in rows]

    def _analyzed(self, connection: sqlite3.Connection) -> dict[str, float]:
        """Give the rows that ANALYZE counted, by table."""
        try:
            rows = connection.execute("SELECT tbl, max(stat + 0) FROM sqlite_stat1 GROUP BY tbl")
            return {table: float(count) for table, count in rows if count is not None}
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):
                return {}
            raise

    def find(self, table: str) -> TableEntry | None:
        """Find a table; SQLite does not tell upper from lower case of ASCII."""
        return next((e for e in self.tables() if e.table[0].lower() == table.lower()), None)

    def resolve(self, table: str) -> str:
        """Give a table's name as the file writes it."""
        found = self.find(table)
        if found is None:
            raise unknown_table(self.name, (table,), self.tables())
        return found.table[0]

    def columns(self, source: AttachedSource | tuple[str, ...] | str) -> list[StoredColumn]:
        """Give the columns of a table or of a query, as they are now."""
        with self.connection() as connection:
            return self.columns_on(connection, source)

    def columns_on(
        self, connection: sqlite3.Connection, source: AttachedSource | tuple[str, ...] | str
    ) -> list[StoredColumn]:
        """Do as `columns` on an open connection."""
        match source:
            case RelationSource(relation=(table,)) | (str(table),):
                place, shown = identifier(table), table
            case QuerySource(query=text) | str(text):
                connection.execute(f"CREATE TEMP VIEW umbel_described AS {text}\n")
                place, shown = "umbel_described", "umbel_described"
            case _:
                raise TypeError(f"not of an SQLite file: {source!r}")
        try:
            # Hidden columns are those of virtual tables; generated ones count.
            found = connection.execute(f"PRAGMA table_xinfo({identifier(shown)})").fetchall()
            return [
                StoredColumn(name, self._type(connection, place, name, declared), declared)
                for _, name, declared, _, _, _, hidden in found
                if hidden != 1
            ]
        finally:
            if place == "umbel_described":
                connection.execute("DROP VIEW umbel_described")

    def _type(
        self, connection: sqlite3.Connection, place: str, name: str, declared: str
    ) -> pa.DataType:
        dtype = declared_type(declared)
        if dtype is not None:
            return dtype
        column = identifier(name)
        rows = connection.execute(
            f"SELECT DISTINCT typeof({column}) FROM "  # noqa: S608
            f"(SELECT {column} FROM {place} LIMIT {_SAMPLED})"
        )
        return type_of_kinds({kind for (kind,) in rows})

    # Tokens of durable runs

    def committed(self, token: str) -> int | None:
        """Give the rows that were written with a token; None if none were."""
        if self.find(COMMITS) is None:
            return None
        with self.connection() as connection:
            row = connection.execute(CommitTable("sqlite", "main").find(token)).fetchone()
        return None if row is None else int(row[0])

    def forget_commit(self, token: str) -> None:
        """Drop a token, and the table of tokens with the last of them."""
        table = CommitTable("sqlite", "main")
        with self.connection(write=True) as connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(table.drop(token))
            if connection.execute(table.any()).fetchone() is None:
                connection.execute(table.remove())
            connection.execute("COMMIT")

    # Values

    def stamp(self) -> Stamp:
        """Give what changes whenever the file does."""
        found = []
        for path in (self.path, Path(f"{self.path}-wal")):
            try:
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size))
            except FileNotFoundError:
                found.append((0, 0))
        return tuple(found)

    def begin(self, connection: sqlite3.Connection) -> Stamp | None:
        """Start to read one state of the file; give its stamp, None if it changed meanwhile."""
        before = self.stamp()
        if not connection.in_transaction:
            connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_master").fetchall()
        return before if self.stamp() == before else None

    def check_values(
        self,
        connection: sqlite3.Connection,
        source: AttachedSource,
        names: Sequence[str],
        stamp: Stamp | None,
    ) -> None:
        """Raise if a column holds a value that is none of its type.

        Raises:
            SourceError: names the table, the column, the row and the kind of the value.
        """
        wanted = [n for n in names if stamp is None or self._checked.get((source, n)) != stamp]
        types = {name: source.schema.field(name).type for name in wanted}
        conditions = [misfit(identifier(name), dtype) for name, dtype in types.items()]
        if not conditions:
            return
        where = " OR ".join(conditions)
        text = f"SELECT 1 FROM {from_item(source)} WHERE {where} LIMIT 1"  # noqa: S608
        if connection.execute(text).fetchone() is not None:
            for name, condition in zip(wanted, conditions, strict=True):
                self._complain(connection, source, name, condition)
        if stamp is not None:
            with self._lock:
                self._checked.update({(source, name): stamp for name in wanted})

    def _complain(
        self, connection: sqlite3.Connection, source: AttachedSource, name: str, condition: str
    ) -> None:
        column, place = identifier(name), from_item(source)
        shown = f"SELECT {{}}, typeof({column}), quote({column}) FROM {place} WHERE {condition}"  # noqa: S608
        try:
            row = connection.execute(shown.format("rowid") + " LIMIT 1").fetchone()
        except sqlite3.OperationalError:  # a view, a query or a table WITHOUT ROWID has none
            row = connection.execute(shown.format("NULL") + " LIMIT 1").fetchone()
        if row is None:
            return
        rowid, kind, value = row
        at = "" if rowid is None else f" in row {rowid}"
        value = value if len(value) <= 40 else value[:39] + "…"
        raise SourceError(
            f"{source.describe()}: column {name!r} holds {value} of kind {kind}{at}, which is no "
            f"{type_name(source.schema.field(name).type)}",
            hint="correct the value, or read the table by session.query with a CAST",
        )

    def rows(self, source: RelationSource) -> Interval:
        """Say how many rows a table has: by ANALYZE, by counting, or that there are many."""
        with self.connection() as connection:
            (table,) = source.relation
            known = self._analyzed(connection).get(table)
            if known is not None:
                return Interval(known * 0.8, known * 1.25, 0.8)
            text = f"SELECT count(*) FROM (SELECT 1 FROM {from_item(source)} LIMIT {_COUNTED})"  # noqa: S608
            [(count,)] = connection.execute(text)
            if count < _COUNTED:
                return Interval(count, count, 1.0)
            return Interval(count, max(count, self.path.stat().st_size / 8), 0.9)


def from_item(source: AttachedSource) -> str:
    """Write a source as a FROM item."""
    match source:
        case RelationSource(relation=(table,)):
            return f"main.{identifier(table)}"
        case QuerySource(query=query):
            return f"(\n{query}\n)"
    raise TypeError(f"not of an SQLite file: {source.describe()}")


def identifier(name: str) -> str:
    """Write a name in quotes.

    >>> print(identifier('a"b'))
    "a""b"
    """
    return '"' + name.replace('"', '""') + '"'

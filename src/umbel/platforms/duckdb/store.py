"""A DuckDB file: attached to a platform's database only while something reads or writes it.

Between runs nothing holds the file, so that other processes may. In one process any number of
platforms read a file at once, and one writes it alone.
"""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from umbel.catalog.commits import COMMITS
from umbel.catalog.namespace import TableEntry, ambiguous, unknown_table
from umbel.catalog.statistics import ColumnStatistics, Interval, TableStatistics
from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError, SourceError, UnknownNameError
from umbel.plan.sources import AttachedSource, QuerySource, RelationSource, dotted
from umbel.plan.types import canonical_type, is_list, type_width
from umbel.platforms.commits import CommitTable
from umbel.platforms.duckdb.database import Database, quoted

#: The name of the file's catalogue in statements.
CATALOG = "umbel_store"
#: Values of a table that are looked at for its statistics; larger tables tell their rows alone.
_COUNTED = 5_000_000
#: Types without one in the plan, and the type to which their values are cast.
_READ_AS = {
    "UUID": "VARCHAR",
    "JSON": "VARCHAR",
    "BIT": "VARCHAR",
    "HUGEINT": "DECIMAL(38, 0)",
    "UHUGEINT": "DECIMAL(38, 0)",
}


class _Gate:
    """Lets any number of readers of a file in, or one writer."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._readers = 0
        self._writing = False

    @contextmanager
    def open(self, *, write: bool, check: Any) -> Iterator[None]:
        with self._changed:
            while self._writing or (write and self._readers):
                self._changed.wait(0.1)
                check()
            self._writing = write
            self._readers += not write
        try:
            yield
        finally:
            with self._changed:
                if write:
                    self._writing = False
                else:
                    self._readers -= 1
                self._changed.notify_all()


_gates: weakref.WeakValueDictionary[str, _Gate] = weakref.WeakValueDictionary()
_gates_lock = threading.Lock()


def _gate(path: Path) -> _Gate:
    with _gates_lock:
        return _gates.setdefault(str(path.resolve()), _Gate())


@dataclass(frozen=True)
class StoredColumn:
    """A column of a table of the file.

    Attributes:
        name: its name.
        dtype: its type in the plan.
        cast: DuckDB's type to which it is cast when it is read; empty if it is read as it is.
    """

    name: str
    dtype: pa.DataType
    cast: str = ""


class Store:
    """The tables of one DuckDB file.

    Attributes:
        name: the platform's name, for messages.
        path: the file.
    """

    def __init__(self, name: str, path: Path, database: Database) -> None:
        self.name = name
        self.path = path
        self._database = database
        self._gate = _gate(path)
        self._lock = threading.Lock()
        self._users = 0

    @contextmanager
    def attached(self, *, write: bool = False, check: Any = lambda: None) -> Iterator[None]:
        """Attach the file while the block runs.

        Args:
            write: for writing; waits until nobody else in this process uses the file.
            check: called while waiting; raises to give up.

        Raises:
            SourceError: the file is not there, no DuckDB file, or used by another process.
        """
        with self._gate.open(write=write, check=check):
            with self._lock:
                if self._users == 0:
                    self._attach(write=write)
                self._users += 1
            try:
                yield
            finally:
                with self._lock:
                    self._users -= 1
                    if self._users == 0:
                        self._database.cursor().execute(f"DETACH {CATALOG}")

    def _attach(self, *, write: bool) -> None:
        if not self.path.is_file():
            raise self._missing()
        mode = "" if write else " (READ_ONLY)"
        try:
            self._database.cursor().execute(f"ATTACH {quoted(str(self.path))} AS {CATALOG}{mode}")
        except duckdb.Error as error:
            raise self._unusable(error) from None

    def _missing(self) -> SourceError:
        folder = self.path.parent
        if not folder.is_dir():
            return SourceError(f"{self.name!r}: there is no folder {folder}")
        names = [item.name for item in folder.iterdir() if item.is_file()]
        hint = UnknownNameError("file", self.path.name, names).hint
        return SourceError(f"{self.name!r}: there is no file {self.path}", hint=hint)

    def _unusable(self, error: duckdb.Error) -> SourceError:
        text = str(error)
        if "lock" in text.lower():
            found = re.search(r"PID (\d+)", text)
            who = f"another process ({found[1]})" if found else "another process"
            return SourceError(
                f"{self.name!r}: {self.path} is in use by {who}",
                hint="DuckDB lets one process write a file, or several read it; end the other one",
            )
        if "not a valid DuckDB" in text:
            return SourceError(f"{self.name!r}: {self.path} is no DuckDB database, or damaged")
        return SourceError(f"{self.name!r}: {self.path} cannot be used: {_first_line(text)}")

    # What is in it

    def tables(self) -> list[TableEntry]:
        """List the tables and views."""
        with self.attached():
            return self._tables()

    def _tables(self) -> list[TableEntry]:
        rows = self._database.cursor().execute(
            "SELECT schema_name, table_name, 'table', estimated_size FROM duckdb_tables() "
            "WHERE database_name = $1 AND NOT internal UNION ALL "
            "SELECT schema_name, view_name, 'view', NULL FROM duckdb_views() "
            "WHERE database_name = $1 AND NOT internal ORDER BY ALL",
            [CATALOG],
        )
        return [
            TableEntry(self.name, (schema, table), kind, None if n is None else float(n))
            for schema, table, kind, n in rows.fetchall()
        ]

    def schemas(self) -> list[str]:
        """List the schemas into which tables can be written."""
        with self.attached():
            rows = self._database.cursor().execute(
                "SELECT schema_name FROM duckdb_schemas() WHERE database_name = $1 AND NOT internal"
                " OR (database_name = $1 AND schema_name = 'main')",
                [CATALOG],
            )
            return sorted({name for (name,) in rows.fetchall()})

    def find(self, relation: Sequence[str]) -> TableEntry | None:
        """Find a table by its whole name; DuckDB does not tell upper from lower case."""
        wanted = tuple(part.lower() for part in relation)
        same = (e for e in self.tables() if tuple(part.lower() for part in e.table) == wanted)
        return next(same, None)

    def resolve(self, table: Sequence[str]) -> tuple[str, str]:
        """Complete the name of a table by its schema."""
        entries = self.tables()
        wanted = tuple(part.lower() for part in table)
        found = [
            entry.table
            for entry in entries
            if tuple(part.lower() for part in entry.table[-len(wanted) :]) == wanted
        ]
        main = [name for name in found if name[0] == "main"]
        if len(found) > 1 and len(main) != 1:
            raise ambiguous((self.name, *table), [(self.name, *name) for name in found])
        if not found:
            raise unknown_table(self.name, table, entries)
        schema, name = (main or found)[0]
        return schema, name

    # Tokens of durable runs

    def committed(self, schema: str, token: str) -> int | None:
        """Give the rows that were written with a token; None if none were."""
        if self.find((schema, COMMITS)) is None:
            return None
        with self.attached():
            text = CommitTable("duckdb", schema, CATALOG).find(token)
            row = self._database.cursor().execute(text).fetchone()
        return None if row is None else int(row[0])

    def forget_commit(self, schema: str, token: str) -> None:
        """Drop a token, and the table of tokens with the last of them."""
        table = CommitTable("duckdb", schema, CATALOG)
        with self.attached(write=True):
            cursor = self._database.cursor()
            cursor.execute(table.drop(token))
            if cursor.execute(table.any()).fetchone() is None:
                cursor.execute(table.remove())

    # Columns

    def columns(self, source: AttachedSource | tuple[str, ...] | str) -> list[StoredColumn]:
        """Give the columns of a table or of a query, as they are now.

        Raises:
            SourceError: a column has a type that the plan has not, or the query is wrong.
        """
        with self.attached():
            return self.attached_columns(source)

    def attached_columns(
        self, source: AttachedSource | tuple[str, ...] | str
    ) -> list[StoredColumn]:
        """Do as `columns` while the file is attached."""
        text, shown = self._selectable(source)
        cursor = self._database.cursor()
        cursor.execute(f"USE {CATALOG}")
        try:
            described = cursor.execute(f"DESCRIBE SELECT * FROM {text}").fetchall()  # noqa: S608
            schema = cursor.sql(f"SELECT * FROM {text} LIMIT 0").to_arrow_table().schema  # noqa: S608
        except duckdb.Error as error:
            raise SourceError(f"{shown}: {_first_line(str(error))}") from None
        finally:
            cursor.close()
        return [
            _column(field, kind, shown)
            for field, (_, kind, *_) in zip(schema, described, strict=True)
        ]

    def _selectable(self, source: AttachedSource | tuple[str, ...] | str) -> tuple[str, str]:
        """Write a source as a FROM item, and name it."""
        match source:
            case RelationSource(relation=relation):
                return _qualified(relation), source.describe()
            case QuerySource(query=query):
                return f"(\n{query}\n)", source.describe()
            case tuple():
                return _qualified(source), dotted((self.name, *source))
            case str():
                return f"(\n{source}\n)", f"query of {self.name!r}"
        raise TypeError(f"not of this file: {source.describe()}")

    def check_query(self, text: str) -> str:
        """Take a user's query: one statement that gives rows; returned without its semicolon."""
        try:
            statements = duckdb.extract_statements(text)
        except duckdb.Error as error:
            raise SourceError(f"query of {self.name!r}: {_first_line(str(error))}") from None
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise PlanError(f"a query of {self.name!r} is one SELECT statement")
        return text.strip().rstrip(";").strip()

    def statistics(self, source: AttachedSource) -> TableStatistics:
        """Give a table's rows, and what its columns hold unless it is large."""
        width = sum(type_width(field.type) for field in source.schema)
        if not isinstance(source, RelationSource):
            return TableStatistics(Interval(1, 1e9, 0.1), 0, width)
        with self.attached():
            entry = next((e for e in self._tables() if e.table == source.relation), None)
            if entry is None or entry.rows is None:
                return TableStatistics(Interval(1, 1e9, 0.1), 0, width)
            rows = entry.rows
            columns = {}
            if rows and rows * len(source.schema) <= _COUNTED:
                columns = self._column_statistics(source)
        return TableStatistics(Interval(rows, rows, 1.0), int(rows * width), width, columns)

    def _column_statistics(self, source: RelationSource) -> dict[str, ColumnStatistics]:
        own = {c.name for c in self.attached_columns(source) if not c.cast}
        plain = [
            f
            for f in source.schema
            if f.name in own and not pa.types.is_nested(f.type) and f.type != pa.binary()
        ]
        parts = []
        for field in plain:
            name = _identifier(field.name)
            parts += [f"min({name})", f"max({name})", f"count({name})"]
            parts.append(f"approx_count_distinct({name})")
        select = ", ".join(["count(*)", *parts])
        text = _qualified(source.relation)
        found_rows = self._database.cursor().sql(f"SELECT {select} FROM {text}").to_arrow_table()  # noqa: S608
        row = [_plain(column).as_py() for column in found_rows.columns]
        if not row[0]:
            return {}
        found = {}
        for place, field in enumerate(plain):
            low, high, present, distinct = row[1 + 4 * place : 5 + 4 * place]
            if pa.types.is_floating(field.type) and (low != low or high != high):
                low = high = None
            nulls = 1 - present / row[0]
            found[field.name] = ColumnStatistics(low, high, nulls, float(min(distinct, present)))
        return found


def _plain(column: pa.ChunkedArray) -> pa.Scalar:
    """Give the only value of a column, times in UTC."""
    if pa.types.is_timestamp(column.type) and column.type.tz is not None:
        column = column.cast(pa.timestamp("us", "UTC"))
    return column[0]


def _column(field: pa.Field, kind: str, shown: str) -> StoredColumn:
    base = "ENUM" if kind.startswith("ENUM(") else kind
    if base == "ENUM" or base in _READ_AS:
        cast = "VARCHAR" if base == "ENUM" else _READ_AS[base]
        dtype = pa.string() if cast == "VARCHAR" else pa.decimal128(38, 0)
        return StoredColumn(field.name, dtype, cast)
    if not _has_plan_type(field.type) or kind in ("TIME WITH TIME ZONE", "TIME_NS", "BIGNUM"):
        raise SourceError(
            f"{shown}: column {field.name!r} has type {kind}, which umbel has not",
            hint="read it with session.query(...), and cast the column there",
        )
    if pa.types.is_timestamp(field.type) and field.type.tz is not None:
        return StoredColumn(field.name, pa.timestamp("us", "UTC"))
    return StoredColumn(field.name, canonical_type(field.type))


def _has_plan_type(dtype: pa.DataType) -> bool:
    if is_list(dtype):
        return _has_plan_type(dtype.value_type)
    if pa.types.is_struct(dtype):
        return all(_has_plan_type(field.type) for field in dtype)
    odd = pa.types.is_interval(dtype) or pa.types.is_map(dtype) or pa.types.is_union(dtype)
    return not odd and not pa.types.is_dictionary(dtype) and not pa.types.is_null(dtype)


def _qualified(relation: Sequence[str]) -> str:
    return ".".join(_identifier(part) for part in (CATALOG, *relation))


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0]


__all__ = ["CATALOG", "Store", "StoredColumn"]

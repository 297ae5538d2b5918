"""What a database says of its tables, views and queries: names, columns, sizes, statistics."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from umbel.catalog.namespace import TableEntry, ambiguous, unknown_table
from umbel.catalog.statistics import ColumnStatistics, Interval, TableStatistics
from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError, SourceError
from umbel.plan.types import type_width
from umbel.platforms.postgres.columns import ServerColumn, schema_of
from umbel.platforms.postgres.failures import translated
from umbel.platforms.postgres.server import Server

_KINDS = {
    "r": "table",
    "p": "table",
    "v": "view",
    "m": "materialized view",
    "f": "foreign table",
}

_TABLES = """
SELECT n.nspname, c.relname, c.relkind::text, c.reltuples::float8
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname !~ '^pg_' AND
    n.nspname <> 'information_schema' AND has_schema_privilege(n.oid, 'USAGE') AND
    has_any_column_privilege(c.oid, 'SELECT')
ORDER BY 1, 2
"""

_ALL = "SELECT * FROM "

#: Types by number, with what domains are made of and what arrays hold.
_TYPES = """
WITH RECURSIVE given AS (
    SELECT * FROM unnest(%s::oid[], %s::int4[]) WITH ORDINALITY AS g(type, modifier, position)
), base AS (
    SELECT position, type, modifier FROM given
    UNION ALL
    SELECT b.position, t.typbasetype, CASE WHEN b.modifier < 0 THEN t.typtypmod ELSE b.modifier END
    FROM base b JOIN pg_type t ON t.oid = b.type WHERE t.typtype = 'd'
), item AS (
    SELECT b.position, t.typcategory = 'A' AND t.typelem <> 0 AS array, b.modifier,
        CASE WHEN t.typcategory = 'A' AND t.typelem <> 0 THEN t.typelem ELSE t.oid END AS type
    FROM base b JOIN pg_type t ON t.oid = b.type WHERE t.typtype <> 'd'
)
SELECT coalesce(inner_type.typname, t.typname), i.modifier, i.array FROM item i
JOIN pg_type t ON t.oid = i.type
LEFT JOIN pg_type inner_type ON t.typtype = 'd' AND inner_type.oid = t.typbasetype
ORDER BY i.position
"""

_COLUMNS = """
SELECT a.attname, a.atttypid, a.atttypmod, a.attnotnull, coalesce(c.collname, 'default')
FROM pg_attribute a LEFT JOIN pg_collation c ON c.oid = a.attcollation
WHERE a.attrelid = %s AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum
"""

_STATISTICS = """
SELECT s.attname, s.null_frac::float8, s.n_distinct::float8, s.avg_width,
    (s.histogram_bounds::text::text[])[1],
    (s.histogram_bounds::text::text[])[array_length(s.histogram_bounds::text::text[], 1)]
FROM pg_stats s WHERE s.schemaname = %s AND s.tablename = %s AND NOT s.inherited
"""


@dataclass(frozen=True)
class Relation:
    """A table or view of the server, or a query.

    Attributes:
        name: schema and table; empty for a query.
        columns: as the server describes them.
    """

    name: tuple[str, ...]
    columns: tuple[ServerColumn, ...]

    @property
    def schema(self) -> pa.Schema:
        """The columns as a plan knows them."""
        return schema_of(self.columns)


class Relations:
    """The relations of one database."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def tables(self) -> list[TableEntry]:
        """List the tables and views that we may read."""
        rows = self._server.ask(_TABLES)
        return [
            TableEntry(
                self._server.name,
                (schema, table),
                _KINDS[kind],
                rows if rows >= 0 and kind in "rm" else None,
            )
            for schema, table, kind, rows in rows
        ]

    def resolve(self, table: Sequence[str]) -> tuple[str, str]:
        """Find the schema of a table; without one it is sought as SQL does, then everywhere.

        Raises:
            UnknownNameError: there is no such table; says which there are.
            PlanError: several schemas have one.
        """
        parts = tuple(table)
        if len(parts) == 3:
            [[database]] = self._server.ask("SELECT current_database()")
            if parts[0] != database:
                raise PlanError(
                    f"{self._server.name!r} is the database {database!r}, not {parts[0]!r}",
                    hint="attach the other database under a name of its own",
                )
            parts = parts[1:]
        found = self.find(parts)
        if found is not None:
            return found
        known = self.tables()
        if len(parts) == 1:
            elsewhere = [entry.table for entry in known if entry.table[-1] == parts[0]]
            if len(elsewhere) > 1:
                raise ambiguous(parts, elsewhere)
            if elsewhere:
                return elsewhere[0][0], elsewhere[0][1]
        raise unknown_table(self._server.name, table, known)

    def find(self, parts: tuple[str, ...]) -> tuple[str, str] | None:
        """Find a table by its name, or by schema and name; None if there is none."""
        rows = self._server.ask(
            "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n "
            "ON n.oid = c.relnamespace WHERE c.oid = to_regclass(%s) "
            "AND c.relkind IN ('r', 'p', 'v', 'm', 'f')",
            [quoted(parts)],
        )
        return (rows[0][0], rows[0][1]) if rows else None

    def describe(self, name: tuple[str, ...]) -> Relation:
        """Describe a table by schema and name."""
        with self._server.questions() as cursor:
            cursor.execute("SELECT to_regclass(%s)::oid", [quoted(name)])
            (oid,) = cursor.fetchone()
            if oid is None:
                shown = ".".join((self._server.name, *name))
                raise SourceError(
                    f"{shown}: the table is not there any more",
                    hint="it was dropped or renamed after the plan was made: make the frame anew",
                )
            rows = cursor.execute(_COLUMNS, [oid]).fetchall()
            types = _types(cursor, [(row[1], row[2]) for row in rows])
        columns = [
            ServerColumn(column, kind, modifier, array, not required, collation not in _PLAIN)
            for (column, _, _, required, collation), (kind, modifier, array) in zip(
                rows, types, strict=True
            )
        ]
        return Relation(name, tuple(columns))

    def describe_query(self, query: str) -> Relation:
        """Describe what a query gives, without running it.

        Raises:
            SourceError: the server does not take it, or it has columns of one name.
        """
        with self._server.questions() as cursor, translated(self._server, "the query"):
            # The binary protocol takes one statement only, whatever brackets the text closes.
            cursor.execute(f"SELECT * FROM (\n{query}\n) AS q LIMIT 0", binary=True)  # noqa: S608
            found = [(c.name, c.type_code, c._fmod) for c in cursor.description or ()]
            types = _types(cursor, [(code, modifier) for _, code, modifier in found])
        names = [name for name, _, _ in found]
        for name in names:
            if names.count(name) > 1:
                raise SourceError(
                    f"the query has two columns {name!r}", hint="name them apart: … AS …"
                )
        columns = [
            ServerColumn(name, kind, modifier, array, nullable=True, collated=True)
            for name, (kind, modifier, array) in zip(names, types, strict=True)
        ]
        return Relation((), tuple(columns))

    def statistics(self, relation: Relation) -> TableStatistics:
        """Say what the server's last ANALYZE found, and how large the table is now."""
        schema, table = relation.name
        rows = self._server.ask(
            "SELECT c.reltuples::float8, c.relpages, c.relkind::text, "
            "CASE WHEN c.relkind IN ('r', 'm') THEN pg_relation_size(c.oid) ELSE 0 END, "
            "CASE WHEN c.relkind IN ('r', 'm') THEN pg_table_size(c.oid) ELSE 0 END "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = %s AND c.relname = %s",
            [schema, table],
        )
        width = _width(relation.schema)
        if not rows:
            return TableStatistics(Interval(1, 1e9, 0.3), 0, width)
        tuples, pages, kind, size, total = rows[0]
        known = {
            name: (nulls, distinct, average, low, high)
            for name, nulls, distinct, average, low, high in self._server.ask(
                _STATISTICS, [schema, table]
            )
        }
        if kind not in ("r", "m"):
            return self.estimate_query(_ALL + quoted(relation.name), relation.schema)
        reckoned = _reckon_rows(tuples, pages, size, width)
        columns = {
            field.name: _column(field, known[field.name], reckoned)
            for field in relation.schema
            if field.name in known
        }
        widths = [
            float(known[f.name][2]) if f.name in known else type_width(f.type)
            for f in relation.schema
        ]
        spread = 1.1 if tuples >= 0 else 2.0
        rows_interval = Interval(reckoned / spread, reckoned * spread, 0.9 if tuples >= 0 else 0.5)
        return TableStatistics(rows_interval, int(total), sum(widths), columns)

    def estimate_query(
        self, query: str, schema: pa.Schema, milliseconds: int = 0
    ) -> TableStatistics:
        """Take what the server's own planner reckons of a query.

        Args:
            query: it.
            schema: its columns.
            milliseconds: how long it may take, waiting for locks included; 0 for no limit.

        Raises:
            RunError: it takes longer.
        """
        with (
            self._server.questions() as cursor,
            translated(self._server, "EXPLAIN"),
            cursor.connection.transaction(),
        ):
            if milliseconds:
                cursor.execute(f"SET LOCAL statement_timeout = {milliseconds:d}")
            [[plan]] = cursor.execute(f"EXPLAIN (FORMAT JSON) {query}", binary=True).fetchall()
        found: Any = plan if isinstance(plan, list) else json.loads(plan)
        rows, width = float(found[0]["Plan"]["Plan Rows"]), float(found[0]["Plan"]["Plan Width"])
        return TableStatistics(
            Interval(rows / 3, rows * 3, 0.6), int(rows * width), width or _width(schema)
        )


def quoted(name: Sequence[str]) -> str:
    """Write a name of several parts as SQL.

    >>> quoted(("public", 'odd"name'))
    '"public"."odd""name"'
    """
    return ".".join('"' + part.replace('"', '""') + '"' for part in name)


#: Collations under which equal means equal bytes.
_PLAIN = frozenset({"default", "C", "POSIX", "ucs_basic"})


def _types(cursor: Any, found: Sequence[tuple[int, int]]) -> list[tuple[str, int, bool]]:
    """Look up types by number and modifier."""
    if not found:
        return []
    oids, modifiers = zip(*found, strict=True)
    return list(cursor.execute(_TYPES, [list(oids), list(modifiers)]).fetchall())


def _reckon_rows(tuples: float, pages: int, size: int, width: float) -> float:
    """As PostgreSQL's planner: the density of the last ANALYZE in the pages of today."""
    blocks = size / 8192
    if tuples >= 0 and pages > 0:
        return max(0.0, tuples / pages * blocks)
    if tuples >= 0 and size == 0:
        return 0.0
    return max(1.0, size * 0.8 / (width + 28))  # 24 bytes of header and 4 of a pointer a row


def _column(field: pa.Field, known: tuple[Any, ...], rows: float) -> ColumnStatistics:
    nulls, distinct, _, low, high = known
    if distinct < 0:
        distinct = -distinct * rows
    return ColumnStatistics(
        _value(low, field.type), _value(high, field.type), nulls, distinct or None
    )


def _value(text: str | None, dtype: pa.DataType) -> Any:
    """Read a bound of a histogram; None if it has no form in the plan."""
    if text is None or pa.types.is_binary(dtype) or pa.types.is_nested(dtype):
        return None
    try:
        value = pa.scalar(text).cast(dtype).as_py()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, ValueError, OverflowError):
        return None
    return None if value != value else value


def _width(schema: pa.Schema) -> float:
    return sum((type_width(f.type) for f in schema), 0.0) or 1.0


__all__ = ["Relation", "Relations", "quoted"]

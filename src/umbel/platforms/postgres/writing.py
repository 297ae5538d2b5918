"""Writes into tables of the server, whole or not at all.

Rows go into a new table beside the old one, or into the table itself if they are appended, in one
transaction: others see all of it or nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from sqlglot import exp

from umbel.catalog.commits import COMMITS
from umbel.plan.errors import RunError
from umbel.plan.operators import Placeholder, Write
from umbel.plan.sinks import RelationSink
from umbel.plan.sources import dotted
from umbel.platforms.base import RunContext, Stage
from umbel.platforms.commits import CommitTable
from umbel.platforms.postgres.casts import refuse_cast
from umbel.platforms.postgres.dialect import DIALECT
from umbel.platforms.postgres.relations import Relations, quoted
from umbel.platforms.postgres.server import Connection, Server
from umbel.platforms.postgres.snippets import snippet
from umbel.platforms.postgres.sources import PostgresSources
from umbel.platforms.postgres.stage import (
    check_unchanged,
    copy_rows,
    drop,
    in_server,
    stage_tables,
)
from umbel.platforms.postgres.types import literal, type_text
from umbel.platforms.targets import check_target, target_name
from umbel.sql.compiler import compile_plan
from umbel.sql.expressions import column

if TYPE_CHECKING:
    from umbel.platforms.postgres.platform import PostgresPlatform


class WriteStage:
    """Writes a table of the server, from rows that come or from a query there."""

    def __init__(self, stage: Stage, platform: PostgresPlatform) -> None:
        if not isinstance(stage.root, Write) or not isinstance(stage.root.sink, RelationSink):
            raise TypeError(f"not a write to PostgreSQL: {stage.root.describe()}")
        self._root, self._sink = stage.root, stage.root.sink
        self._platform = platform
        self._sources = PostgresSources(platform.description)
        self._query: exp.Select | None = None
        if not isinstance(self._root.input, Placeholder):
            self._query = compile_plan(self._root.input, DIALECT, self._sources)

    @property
    def text(self) -> str:
        """The statement that fills the table."""
        if self._query is None:
            return f"COPY {dotted(self._sink.relation)} FROM STDIN"
        return self._insert(self._sink.relation).sql("postgres", pretty=True)

    def run(self, inputs: Mapping[str, Any], context: RunContext) -> pa.Table:
        """Write; give one row with the table's name and the number of rows."""

        def work(connection: Connection) -> pa.Table:
            tables = stage_tables(connection, self._sources, inputs, context)
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            check_unchanged(self._platform, self._sources.read)
            rows = self._write(connection, inputs, context)
            if context.commit is not None:
                for text in commit_table(self._sink).write(context.commit.token, rows):
                    connection.execute(text)
            context.check_cancelled()
            connection.execute("COMMIT")
            drop(connection, tables)
            name = dotted((self._sink.platform, *self._sink.relation))
            return pa.table({"path": [name], "rows": [rows]}, schema=self._root.schema)

        return in_server(self._platform, self._root, context, work)

    def _write(self, connection: Connection, inputs: Mapping[str, Any], context: RunContext) -> int:
        schema, table = self._sink.relation
        target = self._sink.relation
        appends = self._sink.mode == "append"
        if not appends:
            # A free name beside the old table; renamed when it is filled.
            target = (schema, f"{table[:40]}_{secrets.token_hex(4)}")
            connection.execute(_create(target, self._root.input.schema))
        if self._query is not None:
            rows = connection.execute(self._insert(target).sql("postgres"))
        else:
            (data,) = inputs.values()
            straight = not any(pa.types.is_duration(f.type) for f in data.schema)
            if straight and (not appends or _takes_copies(connection, target, data.schema)):
                rows = copy_rows(connection, data, target[1], context, schema) if len(data) else 0
            else:
                rows = self._by_way_of_a_temporary_table(connection, data, target, context)
        if self._sink.mode == "replace":
            connection.execute(f"DROP TABLE IF EXISTS {quoted(self._sink.relation)}")
        if target != self._sink.relation:
            connection.execute(f"ALTER TABLE {quoted(target)} RENAME TO {quoted((table,))}")
        return rows

    def _by_way_of_a_temporary_table(
        self, connection: Connection, data: pa.Table, target: tuple[str, ...], context: RunContext
    ) -> int:
        """Copy rows to the server, which converts them into what the table holds."""
        sources = PostgresSources(self._platform.description)
        sources.staged["umbel_written"] = data
        tables = stage_tables(connection, sources, {}, context)
        self._query = exp.select("*").from_("pg_temp.umbel_written")
        rows = connection.execute(self._insert(target).sql("postgres"))
        self._query = None
        drop(connection, tables)
        return rows

    def _insert(self, target: tuple[str, ...]) -> exp.Expr:
        """Fill a table from the query; durations become intervals there."""
        if self._query is None:
            raise TypeError("there is no query to insert from")
        fields = list(self._root.input.schema)
        stored = [_stored(column(f.name, "rows"), f.type).as_(f.name, quoted=True) for f in fields]
        query = exp.Select(expressions=stored).from_(self._query.copy().subquery("rows"))
        columns = [exp.to_identifier(f.name, quoted=True) for f in fields]
        place = exp.table_(target[1], db=target[0], quoted=True)
        return exp.Insert(this=exp.Schema(this=place, expressions=columns), expression=query)


def _stored(value: exp.Expr, dtype: pa.DataType) -> exp.Expr:
    if not pa.types.is_duration(dtype):
        return value
    return snippet(
        "x / 86400000000 * INTERVAL '1 day' + x % 86400000000 * INTERVAL '1 microsecond'", x=value
    )


def _create(name: tuple[str, ...], schema: pa.Schema) -> str:
    columns = []
    for field in schema:
        kind = "INTERVAL" if pa.types.is_duration(field.type) else type_text(field.type)
        required = (
            [] if field.nullable else [exp.ColumnConstraint(kind=exp.NotNullColumnConstraint())]
        )
        columns.append(
            exp.ColumnDef(
                this=exp.to_identifier(field.name, quoted=True),
                kind=exp.DataType.build(kind, dialect="postgres"),
                constraints=required,
            )
        )
    place = exp.table_(name[1], db=name[0], quoted=True)
    made = exp.Create(this=exp.Schema(this=place, expressions=columns), kind="TABLE")
    return made.sql("postgres")


#: Whether COPY does to a table what INSERT would: it asks for the very types, minds no rules, and
#: sets columns that only the server may set.
_TAKES_COPIES = """
SELECT c.relkind IN ('r', 'p') AND NOT c.relhasrules AND NOT row_security_active(c.oid) AND
    (SELECT bool_and(a.atttypid = to_regtype(w.type)::oid AND a.attidentity = ''
        AND a.attgenerated = '')
    FROM unnest({names}, {types}) AS w(name, type) LEFT JOIN pg_attribute AS a
    ON a.attrelid = c.oid AND a.attname = w.name) AS taken
FROM pg_class AS c WHERE c.oid = to_regclass({table})
"""


def _takes_copies(connection: Connection, target: tuple[str, ...], schema: pa.Schema) -> bool:
    values = {
        "names": literal(schema.names, pa.list_(pa.string())),
        "types": literal([type_text(f.type) for f in schema], pa.list_(pa.string())),
        "table": literal(quoted(target), pa.string()),
    }
    written = {name: value.sql("postgres") for name, value in values.items()}
    found = connection.fetch(_TAKES_COPIES.format(**written))
    return found.column(0).to_pylist() == [True]


def commit_table(sink: RelationSink) -> CommitTable:
    """The table for the tokens of durable runs: in the schema of what they write."""
    return CommitTable("postgres", sink.relation[0])


def refuse_once(server: Server, sink: RelationSink) -> str | None:
    """Say why a token cannot be kept beside a table; None if it can."""
    name = quoted((sink.relation[0], COMMITS))
    [(there, may_insert, may_create)] = server.ask(
        "SELECT to_regclass(%s) IS NOT NULL, "
        "CASE WHEN to_regclass(%s) IS NOT NULL THEN "
        "has_table_privilege(to_regclass(%s), 'INSERT, SELECT, DELETE') END, "
        "coalesce((SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace "
        "WHERE nspname = %s), false)",
        [name, name, name, sink.relation[0]],
    )
    if there and not may_insert:
        return f"this user may not write to {name}, where tokens of durable runs are kept"
    if not there and not may_create:
        return f"this user may not create {name}, where tokens of durable runs are kept"
    return None


def committed(server: Server, sink: RelationSink, token: str) -> int | None:
    """Give the rows that were written with a token; None if none were."""
    place = quoted((sink.relation[0], COMMITS))
    if server.ask("SELECT 1 WHERE to_regclass(%s) IS NULL", [place]):
        return None
    rows = server.ask(commit_table(sink).find(token))
    return int(rows[0][0]) if rows else None


def forget_commit(server: Server, sink: RelationSink, token: str) -> None:
    """Drop a token. The table stays: another run may be about to write to it."""
    with server.connection() as connection:
        connection.execute(commit_table(sink).drop(token))


def check_sink(relations: Relations, server: Server, sink: RelationSink, schema: pa.Schema) -> None:
    """Raise `RunError` if rows cannot be written to a table."""
    found = relations.find(sink.relation)
    if found is None:
        _check_schema(server, sink)
    check_target(
        sink,
        schema,
        None if found is None else "table",  # a simple view takes rows too
        lambda: {c.name: c.dtype for c in relations.describe(sink.relation).columns},
        fits=lambda given, wanted: refuse_cast(given, wanted) is None,
    )


def _check_schema(server: Server, sink: RelationSink) -> None:
    rows = server.ask(
        "SELECT has_schema_privilege(oid, 'CREATE') FROM pg_namespace WHERE nspname = %s",
        [sink.relation[0]],
    )
    if not rows:
        raise RunError(
            f"{target_name(sink)}: there is no schema {sink.relation[0]!r}",
            hint="create it first, or write another one's name",
        )
    if not rows[0][0]:
        raise RunError(
            f"{target_name(sink)}: this user may create no tables in schema {sink.relation[0]!r}",
            hint="GRANT CREATE ON SCHEMA … TO …, or write to another schema",
        )

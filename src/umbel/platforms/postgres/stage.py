"""A stage in PostgreSQL's terms: one statement, and how it runs in a transaction of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
from sqlglot import exp

from umbel.plan.errors import SourceError, UmbelError
from umbel.plan.operators import Operator, Scan, topological
from umbel.plan.sinks import RelationSink
from umbel.plan.sources import AttachedSource, RelationSource
from umbel.plan.types import type_name
from umbel.platforms.base import RunContext, Stage
from umbel.platforms.postgres.dialect import DIALECT
from umbel.platforms.postgres.failures import explain, is_driver_error
from umbel.platforms.postgres.relations import Relation
from umbel.platforms.postgres.server import Connection
from umbel.platforms.postgres.sources import PostgresSources, create_table
from umbel.platforms.postgres.transport import arrived, incoming, outgoing
from umbel.sql.compiler import compile_plan
from umbel.sql.nodes import copied

if TYPE_CHECKING:
    from umbel.platforms.postgres.platform import PostgresPlatform

#: What a stage's work gives: its rows, or how many it has handed over.
Found = TypeVar("Found", pa.Table, int)

#: Temporary tables of more rows are analysed, so that the server plans well.
_ANALYZED = 1_000


class PostgresStage:
    """One query over tables of the server and rows that are copied there first."""

    def __init__(self, stage: Stage, platform: PostgresPlatform) -> None:
        self._root = stage.root
        self._platform = platform
        self._sources = PostgresSources(platform.description)
        self._text = statement(stage.root, self._sources)

    @property
    def text(self) -> str:
        """The statement."""
        return self._text

    def run(self, inputs: Mapping[str, Any], context: RunContext) -> pa.Table:
        """Run the statement; give an Arrow table. Nothing of it stays in the server."""

        def read(connection: Connection) -> pa.Table:
            found = connection.fetch(self._text, context.check_cancelled)
            return arrived(found, self._root.schema)

        return self._in_snapshot(inputs, context, read)

    def stream(
        self, inputs: Mapping[str, Any], context: RunContext, deliver: Callable[[pa.Table], None]
    ) -> int:
        """Run the statement; hand over its rows as they come from the server."""

        def read(connection: Connection) -> int:
            count = 0

            def take(batch: pa.RecordBatch) -> None:
                nonlocal count
                count += batch.num_rows
                deliver(arrived(pa.Table.from_batches([batch]), self._root.schema))

            connection.stream(self._text, take, context.check_cancelled)
            return count

        return self._in_snapshot(inputs, context, read)

    def _in_snapshot(
        self, inputs: Mapping[str, Any], context: RunContext, read: Callable[[Connection], Found]
    ) -> Found:
        def work(connection: Connection) -> Found:
            tables = stage_tables(connection, self._sources, inputs, context)
            # One snapshot for all that the statement reads, and no way to change anything.
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            check_unchanged(self._platform, self._sources.read)
            found = read(connection)
            # Settings that a user's query changed go with it; the connection is used again.
            connection.execute("ROLLBACK")
            drop(connection, tables)
            return found

        return in_server(self._platform, self._root, context, work)


def statement(root: Operator, sources: PostgresSources) -> str:
    """Write a plan as one query, whose columns come in the forms in which they travel."""
    query = compile_plan(root, DIALECT, sources)
    if query.args.get("distinct") is not None:  # what is sorted by must stay as it is
        query = exp.select(*(exp.column(name, quoted=True) for name in root.schema.names)).from_(
            query.subquery("distinct_rows")
        )
    for field, column in zip(root.schema, list(query.expressions), strict=False):
        value = copied(column.this if isinstance(column, exp.Alias) else column)
        value.set("alias", None)  # a subquery carries its name itself
        sent = outgoing(value, field.type)
        column.replace(sent.as_(field.name, quoted=True, copy=False))
    return query.sql("postgres", pretty=True, copy=False)


def in_server(
    platform: PostgresPlatform,
    root: Operator,
    context: RunContext,
    work: Callable[[Connection], Found],
) -> Found:
    """Do a stage's work on a connection that a cancelled run stops; tell failures as umbel's."""
    context.check_cancelled()
    started = time.perf_counter()
    running: list[Connection] = []

    def interrupt() -> None:
        for connection in running:
            connection.cancel()

    context.on_cancel(interrupt)
    try:
        with platform.server.connection() as connection:
            running.append(connection)
            result = work(connection)
    except UmbelError:
        context.check_cancelled()
        raise
    except Exception as error:
        context.check_cancelled()
        if not is_driver_error(error) and not isinstance(error, OSError | pa.ArrowException):
            raise
        raise explain(error, platform.server, _place(root)) from None
    rows = result if isinstance(result, int) else result.num_rows
    context.measure(root, rows, time.perf_counter() - started)
    return result


def _place(root: Operator) -> str:
    """Name what a stage works on: its tables, or its last operator."""
    found = [
        op.source.describe()
        for op in topological(root)
        if isinstance(op, Scan) and isinstance(op.source, AttachedSource)
    ]
    at = f" at {root.origin}" if root.origin is not None else ""
    sink = getattr(root, "sink", None)
    if isinstance(sink, RelationSink):
        return f"Write to {sink.describe()}{at}"
    return f"{root.name}{at}" + (f" over {', '.join(found[:3])}" if found else "")


def stage_tables(
    connection: Connection,
    sources: PostgresSources,
    inputs: Mapping[str, Any],
    context: RunContext,
) -> list[str]:
    """Copy what the statement needs into temporary tables; give their names."""
    given = dict(sources.staged)
    for label, (name, schema) in sources.inputs.items():
        given[name] = inputs[label].select(schema.names)
    for name, data in given.items():
        connection.execute(create_table(name, data.schema))
        if data.num_rows:
            copy_rows(connection, data, name, context)
        if data.num_rows > _ANALYZED:
            connection.execute(f'ANALYZE pg_temp."{name}"')
    return list(given)


def copy_rows(
    connection: Connection,
    data: pa.Table,
    table: str,
    context: RunContext,
    schema: str | None = None,
) -> int:
    """Copy rows into a table of a schema, or a temporary one; say how many there are now.

    Raises:
        SourceError: a text has a NUL character.
    """
    sent = incoming(data)
    try:
        return connection.ingest(sent, table, context.check_cancelled, schema)
    except Exception:
        _check_text(sent)  # the server says so too, but not of which column
        raise


def _check_text(data: pa.Table) -> None:
    """PostgreSQL's text holds no NUL: say so with the column's name."""
    import pyarrow.compute as pc

    for field, column in zip(data.schema, data.columns, strict=True):
        if pa.types.is_string(field.type) and pc.any(pc.match_substring(column, "\0")).as_py():
            raise SourceError(
                f"column {field.name!r} holds text with a NUL character, which PostgreSQL has not",
                hint="replace it before: .str.replace_all('\\0', ''), or run the step elsewhere",
            )


def drop(connection: Connection, tables: list[str]) -> None:
    """Drop the temporary tables of a stage that went well."""
    for name in tables:
        connection.execute(f'DROP TABLE pg_temp."{name}"')


def check_unchanged(platform: PostgresPlatform, read: list[AttachedSource]) -> None:
    """Raise if a table has other columns than when the plan was made."""
    for source in read:
        if not isinstance(source, RelationSource):
            continue
        now = platform.describe_anew(source)
        changed = _difference(source.schema, now)
        if changed:
            raise SourceError(
                f"{source.describe()} was changed after the plan was made: {changed}",
                hint="make the frame anew: session.table(...)",
            )


def _difference(planned: pa.Schema, now: Relation) -> str:
    found = {column.name: column.dtype for column in now.columns}
    for field in planned:
        if field.name not in found:
            return f"column {field.name!r} is gone"
        if found[field.name] != field.type:
            return (
                f"column {field.name!r} is {type_name(found[field.name])}, "
                f"not {type_name(field.type)}"
            )
    return ""


__all__ = [
    "PostgresStage",
    "check_unchanged",
    "copy_rows",
    "drop",
    "in_server",
    "stage_tables",
    "statement",
]

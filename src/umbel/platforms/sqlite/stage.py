"""A stage in SQLite's terms: one statement, and how it runs on a connection of its own."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.lazy import LazyModule
from umbel.plan.errors import EvaluationError, PlanError, SourceError
from umbel.plan.operators import Operator, Placeholder, Scan, Values, Write
from umbel.plan.sinks import RelationSink
from umbel.plan.sources import AttachedSource, MemorySource, QuerySource, RelationSource, dotted
from umbel.plan.types import type_name
from umbel.platforms.base import RunContext, Stage
from umbel.platforms.commits import CommitTable
from umbel.platforms.conform import conform
from umbel.platforms.sqlite.dialect import DIALECT
from umbel.platforms.sqlite.file import File, identifier
from umbel.platforms.sqlite.types import DECLARED, has_nan, to_arrow, to_sqlite
from umbel.platforms.streams import scanned_columns
from umbel.sql.compiler import compile_plan
from umbel.sql.expressions import column

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: Rows that are fetched, or bound, at once.
_BATCH = 20_000


@dataclass
class SQLiteSources:
    """The leaves of one statement.

    Attributes:
        staged: what must be copied before it runs, by the name of its temporary table.
        inputs: names of the temporary tables of placeholders, by label, with their columns.
        read: what it reads of the file, with the columns it needs.
    """

    staged: dict[str, pa.Table] = field(default_factory=dict)
    inputs: dict[str, tuple[str, pa.Schema]] = field(default_factory=dict)
    read: list[tuple[AttachedSource, list[str]]] = field(default_factory=list)

    def relation(self, leaf: Scan | Values | Placeholder) -> exp.Expr:
        """Give the FROM item of a leaf."""
        match leaf:
            case Placeholder(label=label):
                name = f"umbel_input_{len(self.inputs)}"
                self.inputs.setdefault(label, (name, leaf.schema))
                return _temporary(self.inputs[label][0])
            case Values(table=table):
                return self._rows(table)
            case Scan(source=MemorySource() as source):
                if source.data is None:
                    raise PlanError(
                        f"the data of {source.describe()} is not at hand",
                        hint="a plan file holds no data; run it in the session that made it",
                    )
                return self._rows(conform(source.data, source.schema))
            case Scan(source=AttachedSource() as source):
                return self._attached(leaf, source)
        raise TypeError(f"no relation in SQLite for {leaf.describe()}")

    def _rows(self, table: pa.Table) -> exp.Expr:
        name = f"umbel_rows_{len(self.staged)}"
        self.staged[name] = table
        return _temporary(name)

    def _attached(self, scan: Scan, source: AttachedSource) -> exp.Expr:
        names = scanned_columns(scan)
        self.read.append((source, names))
        read = [_read(column(name), source.schema.field(name).type) for name in names]
        columns = [node.as_(name, quoted=True) for name, node in zip(names, read, strict=True)]
        query = exp.Select(expressions=columns or [exp.Null().as_("umbel_nothing")])
        match source:
            case RelationSource(relation=(table,)):
                place: exp.Expr = exp.table_(table, db="main", quoted=True)
            case QuerySource(query=text):
                alias = exp.TableAlias(this=exp.to_identifier("umbel_query"))
                place = exp.Subquery(this=exp.Var(this=f"\n{text}\n"), alias=alias)
            case _:
                raise TypeError(f"no relation in SQLite for {source.describe()}")
        query.set("from_", exp.From(this=place))
        return exp.Subquery(this=query)


def _read(node: exp.Expr, dtype: pa.DataType) -> exp.Expr:
    """Read a column so that it compares as the plan says, whatever its declaration."""
    if dtype in (pa.string(), pa.date32()):
        return exp.Collate(this=node, expression=exp.Var(this="BINARY"))
    if dtype == pa.float64():
        return exp.Cast(this=node, to=exp.DataType.build("DOUBLE"))
    return node


def _temporary(name: str) -> exp.Expr:
    return exp.table_(name, db="temp", quoted=True)


class SQLiteStage:
    """One query over tables of the file and rows that are copied into temporary tables."""

    writes = False

    def __init__(self, stage: Stage, file: File) -> None:
        self._root = stage.root
        self._file = file
        self._sources = SQLiteSources()
        self._text = statement(self._query_root, self._sources)

    @property
    def _query_root(self) -> Operator:
        return self._root

    @property
    def text(self) -> str:
        """The statement."""
        return self._text

    def run(self, inputs: Mapping[str, Any], context: RunContext) -> pa.Table:
        """Run the statement; give an Arrow table. Nothing of it stays in the file."""
        return self._on_connection(inputs, context, partial(self._work, context=context))

    def stream(
        self, inputs: Mapping[str, Any], context: RunContext, deliver: Callable[[pa.Table], None]
    ) -> int:
        """Run the statement; hand over its rows as they come from the file."""

        def work(connection: sqlite3.Connection) -> int:
            count = 0
            for batch in self._batches(connection, context):
                count += batch.num_rows
                deliver(pa.Table.from_batches([batch]))
            context.measure(self._root, count)
            return count

        return self._on_connection(inputs, context, work)

    def _on_connection(
        self,
        inputs: Mapping[str, Any],
        context: RunContext,
        work: Callable[[sqlite3.Connection], Any],
    ) -> Any:
        context.check_cancelled()
        running: list[sqlite3.Connection] = []

        def interrupt() -> None:
            for connection in running:
                connection.interrupt()

        context.on_cancel(interrupt)
        try:
            with self._file.connection(write=self.writes) as connection:
                running.append(connection)
                try:
                    connection.execute("PRAGMA temp_store = FILE")
                    self._stage(connection, inputs, context)
                    connection.execute("BEGIN IMMEDIATE" if self.writes else "BEGIN")
                    stamp = self._file.begin(connection)
                    for source, names in self._sources.read:
                        self._check_unchanged(connection, source)
                        self._file.check_values(connection, source, names, stamp)
                    result = work(connection)
                    connection.execute("COMMIT")
                finally:
                    running.clear()  # it is closed now
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        except SourceError:
            context.check_cancelled()
            raise
        return result

    def _check_unchanged(self, connection: sqlite3.Connection, source: AttachedSource) -> None:
        now = {c.name: c for c in self._file.columns_on(connection, source)}
        for planned in source.schema:
            found = now.get(planned.name)
            # A type that the values say may change with them; then the values are checked.
            if found is None or (found.declared and found.dtype != planned.type):
                change = "is gone" if found is None else f"is {type_name(found.dtype)}"
                wanted = "" if found is None else f", not {type_name(planned.type)}"
                raise SourceError(
                    f"{source.describe()} was changed after the plan was made: "
                    f"column {planned.name!r} {change}{wanted}",
                    hint="make the frame anew: session.table(...)",
                )

    def _stage(
        self, connection: sqlite3.Connection, inputs: Mapping[str, Any], context: RunContext
    ) -> None:
        """Copy what the statement needs into temporary tables, which go with the connection."""
        given = dict(self._sources.staged)
        for label, (name, schema) in self._sources.inputs.items():
            given[name] = inputs[label].select(schema.names)
        for name, data in given.items():
            names = [identifier(n) for n in data.column_names] or ["umbel_nothing"]
            connection.execute(f"CREATE TABLE temp.{identifier(name)} ({', '.join(names)})")
            for place, values in zip(data.column_names, data.columns, strict=True):
                if has_nan(values):
                    raise EvaluationError(
                        f"column {place!r} holds NaN, of which SQLite would make null",
                        hint="replace it before, or keep the step from SQLite: .on(...)",
                    )
            marks = ", ".join("?" * len(names))
            insert = f"INSERT INTO temp.{identifier(name)} VALUES ({marks})"  # noqa: S608
            connection.execute("BEGIN")
            for start in range(0, data.num_rows, _BATCH):
                context.check_cancelled()
                batch = data.slice(start, _BATCH)
                columns = [to_sqlite(values) for values in batch.columns]
                rows = zip(*columns, strict=True) if columns else [(None,)] * batch.num_rows
                connection.executemany(insert, rows)
            connection.execute("COMMIT")

    def _work(self, connection: sqlite3.Connection, context: RunContext) -> pa.Table:
        schema = self._root.schema
        if not schema.names:
            count = sum(len(rows) for rows in self._rows(connection, context))
            context.measure(self._root, count)
            return pa.table({"n": pa.nulls(count)}).select([])
        found = pa.Table.from_batches(list(self._batches(connection, context)), schema)
        context.measure(self._root, found.num_rows)
        return found

    def _batches(
        self, connection: sqlite3.Connection, context: RunContext
    ) -> Iterator[pa.RecordBatch]:
        schema = self._root.schema
        for rows in self._rows(connection, context):
            columns = zip(*rows, strict=True)
            arrays = [to_arrow(c, f.type) for c, f in zip(columns, schema, strict=False)]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)

    def _rows(self, connection: sqlite3.Connection, context: RunContext) -> Iterator[list[Any]]:
        cursor = connection.execute(self._text)
        while rows := cursor.fetchmany(_BATCH):
            context.check_cancelled()
            yield rows


class WriteStage(SQLiteStage):
    """Fills a table of the file in one transaction: whole or not at all."""

    writes = True

    def __init__(self, stage: Stage, file: File) -> None:
        if not isinstance(stage.root, Write) or not isinstance(stage.root.sink, RelationSink):
            raise TypeError(f"not a write to an SQLite file: {stage.root.describe()}")
        self._write, self._sink = stage.root, stage.root.sink
        super().__init__(stage, file)

    @property
    def _query_root(self) -> Operator:
        return self._write.input

    @property
    def text(self) -> str:
        """The statement that fills the table."""
        return self._insert(self._sink.relation[0])

    def _insert(self, table: str) -> str:
        names = ", ".join(map(identifier, self._write.input.schema.names))
        return f"INSERT INTO main.{identifier(table)} ({names})\n{self._text}"

    def _work(self, connection: sqlite3.Connection, context: RunContext) -> pa.Table:
        (table,) = self._sink.relation
        target = table
        if self._sink.mode != "append":
            # A free name beside the old table; renamed when it is filled.
            target = f"{table}_{secrets.token_hex(4)}"
            columns = ", ".join(
                f"{identifier(f.name)} {DECLARED[f.type]}" for f in self._write.input.schema
            )
            connection.execute(f"CREATE TABLE main.{identifier(target)} ({columns})")
        rows = connection.execute(self._insert(target)).rowcount
        if self._sink.mode == "replace":
            connection.execute(f"DROP TABLE IF EXISTS main.{identifier(table)}")
        if target != table:
            connection.execute(
                f"ALTER TABLE main.{identifier(target)} RENAME TO {identifier(table)}"
            )
        if context.commit is not None:
            for text in CommitTable("sqlite", "main").write(context.commit.token, rows):
                connection.execute(text)
        context.check_cancelled()
        context.measure(self._write, rows)
        name = dotted((self._sink.platform, table))
        return pa.table({"path": [name], "rows": [rows]}, schema=self._write.schema)


def statement(root: Operator, sources: SQLiteSources) -> str:
    """Write a plan as one query."""
    query = compile_plan(root, DIALECT, sources)
    for select in list(query.find_all(exp.Select)):
        if select.args.get("offset") is not None and select.args.get("limit") is None:
            select.set("limit", exp.Limit(expression=exp.Literal.number(-1)))
    return query.sql("sqlite", pretty=True, copy=False)

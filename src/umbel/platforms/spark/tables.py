"""The tables and views of a Spark's own catalogue, and queries in its SQL."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pyarrow as pa

from umbel.catalog.namespace import TableEntry, ambiguous, unknown_table
from umbel.catalog.statistics import ColumnStatistics, TableStatistics
from umbel.plan.errors import PlanError, RunError, SourceError, TypeClashError, UmbelError
from umbel.plan.sinks import RelationSink
from umbel.plan.sources import AttachedSource, QuerySource, RelationSource, dotted
from umbel.plan.types import canonical_type
from umbel.platforms.spark.connection import Connection
from umbel.platforms.spark.errors import condense
from umbel.platforms.spark.statistics import (
    MOST_COLUMNS,
    is_analyzed,
    of_described,
    of_explained,
)
from umbel.platforms.spark.types import refuse_type

#: Seconds for which statistics are taken as they were.
_FRESH = 10.0

_log = logging.getLogger(__name__)


class Tables:
    """Reads a Spark's catalogue.

    Args:
        name: of the platform.
        connection: its Spark.
    """

    def __init__(self, name: str, connection: Connection) -> None:
        self._name = name
        self._connection = connection
        self._statistics: dict[AttachedSource, tuple[float, TableStatistics]] = {}

    def tables(self) -> Sequence[TableEntry]:
        """List the tables and views of all databases, by name; temporary views have none."""
        catalog = self._connection.session().catalog
        found = []
        for database in self._ask(catalog.listDatabases):
            for table in self._ask(catalog.listTables, database.name):
                if table.isTemporary:
                    continue
                kind = "view" if table.tableType == "VIEW" else "table"
                found.append(TableEntry(self._name, (database.name, table.name), kind))
        return sorted(found, key=lambda entry: entry.table)

    def source(self, table: Sequence[str], **options: Any) -> RelationSource:
        """Find a table, by its name with or without its database."""
        _no_options(options)
        known = self.tables()
        matching = [e.table for e in known if e.table[-len(table) :] == tuple(table)]
        if not matching:
            raise unknown_table(self._name, table, known)
        if len(matching) > 1:
            raise ambiguous(table, matching)
        frame = self._connection.session().table(quoted(matching[0]))
        schema = self._schema(frame, dotted((self._name, *matching[0])))
        return RelationSource(schema, self._name, matching[0])

    def query(self, text: str, **options: Any) -> QuerySource:
        """Take a query in Spark's SQL; its schema is found without running it."""
        _no_options(options)
        frame = self._ask(self._connection.session().sql, text)
        return QuerySource(self._schema(frame, f"the query of {self._name}"), self._name, text)

    def frame(self, source: AttachedSource) -> Any:
        """Give the DataFrame of a source."""
        session = self._connection.session()
        match source:
            case RelationSource(relation=relation):
                return self._ask(session.table, quoted(relation))
            case QuerySource(query=text):
                return self._ask(session.sql, text)
        raise PlanError(f"Spark reads no {source.kind}")

    def statistics(self, source: AttachedSource) -> TableStatistics:
        """What Spark's optimizer knows; kept for some seconds, as every plan asks for it."""
        kept = self._statistics.get(source)
        if kept is None or time.monotonic() - kept[0] > _FRESH:
            kept = time.monotonic(), self._known(source)
            self._statistics[source] = kept
        return kept[1]

    def _known(self, source: AttachedSource) -> TableStatistics:
        session = self._connection.session()
        match source:
            case RelationSource(relation=relation):
                asked = f"SELECT * FROM {quoted(relation)}"  # noqa: S608 (quoted)
            case QuerySource(query=text):
                asked = text
            case _:
                raise PlanError(f"Spark reads no {source.kind}")
        try:
            explained = session.sql(f"EXPLAIN COST {asked}").toArrow().column(0)[0].as_py()
            known = of_explained(explained, source.schema)
            if isinstance(source, RelationSource) and is_analyzed(explained):
                known = replace(known, columns=self._columns(source, known.rows.high / 1.1))
        except Exception as error:  # noqa: BLE001 (planning goes on: the run will say what is wrong)
            _log.info("Spark says nothing of %s: %s", source.describe(), condense(error).message)
            known = of_explained("", source.schema)
        return known

    def _columns(self, source: RelationSource, rows: float) -> dict[str, ColumnStatistics]:
        session = self._connection.session()
        found = {}
        for item in list(source.schema)[:MOST_COLUMNS]:
            name = quoted((item.name,))
            asked = session.sql(f"DESCRIBE TABLE EXTENDED {quoted(source.relation)} {name}")
            told = dict(zip(*(c.to_pylist() for c in asked.toArrow().columns[:2]), strict=True))
            found[item.name] = of_described(told, item.type, rows)
        return found

    def types(self, relation: Sequence[str]) -> dict[str, str] | None:
        """Spark's types of a table's columns, by name; None if there is no such table."""
        session = self._connection.session()
        if not self._ask(session.catalog.tableExists, quoted(relation)):
            return None
        fields = self._ask(lambda: session.table(quoted(relation)).schema).fields
        return {item.name: item.dataType.simpleString() for item in fields}

    def sink(self, table: Sequence[str], mode: Any, **options: Any) -> RelationSink:
        """Describe the writing of a table; without a database it goes to the current one."""
        _no_options(options)
        if not 1 <= len(table) <= 2:
            raise PlanError(f"a table here has a database and a name, not {dotted(table)!r}")
        name = tuple(table)
        if len(name) == 1:
            name = (self._ask(self._connection.session().catalog.currentDatabase), *name)
        return RelationSink(self._name, name, mode)

    def check_sink(self, sink: RelationSink, schema: pa.Schema) -> None:
        """Raise `RunError` if rows cannot be written to a table."""
        from umbel.platforms.spark.writing import check_sink

        database = sink.relation[0]
        if not self._ask(self._connection.session().catalog.databaseExists, database):
            raise RunError(
                f"{dotted((self._name, *sink.relation))}: there is no database {database!r}",
                hint="create it first, or write to another one",
            )
        check_sink(sink, schema, self.types(sink.relation))

    def _schema(self, frame: Any, what: str) -> pa.Schema:
        from pyspark.sql.pandas.types import to_arrow_type

        fields = []
        for item in self._ask(lambda: frame.schema).fields:
            try:
                dtype = canonical_type(to_arrow_type(item.dataType, timezone="UTC"))
            except (TypeError, TypeClashError, UmbelError, ValueError) as error:
                shown = item.dataType.simpleString()
                raise SourceError(
                    f"column {item.name!r} of {what} is of Spark's type {shown}, which no plan holds",
                    hint="read it by a query that casts the column",
                ) from error
            reason = refuse_type(dtype)
            if reason is not None:
                raise SourceError(f"column {item.name!r} of {what}: {reason}")
            fields.append(pa.field(item.name, dtype))
        return pa.schema(fields)

    def _ask(self, question: Any, *arguments: Any) -> Any:
        try:
            return question(*arguments)
        except UmbelError:
            raise
        except Exception as error:
            raise SourceError(f"{self._name}: {condense(error).message}") from error


def quoted(relation: Sequence[str]) -> str:
    """Write a table's name as Spark takes it.

    >>> quoted(("default", "my table"))
    '`default`.`my table`'
    """
    return ".".join(f"`{part.replace('`', '``')}`" for part in relation)


def _no_options(options: dict[str, Any]) -> None:
    if options:
        raise PlanError(f"a table of Spark has no option {min(options)!r}")

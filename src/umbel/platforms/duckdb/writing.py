"""Writes into tables of a DuckDB file: one statement in one transaction, whole or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.errors import RunError
from umbel.plan.operators import Write
from umbel.plan.sinks import RelationSink
from umbel.plan.sources import dotted
from umbel.platforms.base import RunContext, Stage
from umbel.platforms.commits import CommitTable
from umbel.platforms.duckdb.database import Database, Rows
from umbel.platforms.duckdb.stage import DuckDBStage
from umbel.platforms.duckdb.store import CATALOG, Store
from umbel.platforms.duckdb.types import convert, type_text
from umbel.sql.expressions import column

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


class WriteStage(DuckDBStage):
    """Fills a table of the file from a query, whose leaves may lie anywhere DuckDB reads."""

    def __init__(self, stage: Stage, database: Database, store: Store) -> None:
        if not isinstance(stage.root, Write) or not isinstance(stage.root.sink, RelationSink):
            raise TypeError(f"not a write to a DuckDB file: {stage.root.describe()}")
        self._write, self._sink = stage.root, stage.root.sink
        super().__init__(Stage(stage.root.input, stage.inputs), database, store)

    writes = True

    @property
    def text(self) -> str:
        """The statement."""
        return self._filling(super().text)

    def _filling(self, query: str) -> str:
        fields = list(self._write.input.schema)
        stored = [
            convert(column(f.name, "rows"), type_text(f.type)).as_(f.name, quoted=True)
            for f in fields
        ]
        schema, table = self._sink.relation
        place = exp.table_(table, db=schema, catalog=CATALOG, quoted=True)
        alias = exp.TableAlias(this=exp.to_identifier("rows"))
        inner = exp.Subquery(this=exp.Var(this=f"\n{query}\n"), alias=alias)
        select = exp.Select(expressions=stored).from_(inner)
        if self._sink.mode == "append":
            names = [exp.to_identifier(f.name, quoted=True) for f in fields]
            target = exp.Schema(this=place, expressions=names)
            return exp.Insert(this=target, expression=select).sql("duckdb", pretty=True)
        replace = self._sink.mode == "replace"
        made = exp.Create(this=place, kind="TABLE", expression=select, replace=replace)
        return made.sql("duckdb", pretty=True)

    def _result(self, cursor: Any, query: str, context: RunContext, rows: Rows | None) -> pa.Table:
        """Run the statement; give one row with the table's name and the number of rows."""
        shown = dotted((self._sink.platform, *self._sink.relation))
        text = self._filling(query)
        cursor.execute("BEGIN")
        try:
            found = cursor.execute(text).fetchone()
            written = int(found[0]) if found else 0
            if context.commit is not None:
                tokens = CommitTable("duckdb", self._sink.relation[0], CATALOG)
                for statement in tokens.write(context.commit.token, written):
                    cursor.execute(statement)
            context.check_cancelled()
            cursor.execute("COMMIT")
        except duckdb.CatalogException as error:
            cursor.execute("ROLLBACK")
            raise RunError(f"{shown}: {str(error).splitlines()[0]}") from None
        except BaseException:
            cursor.execute("ROLLBACK")
            raise
        context.measure(self._write, written)
        return pa.table({"path": [shown], "rows": [written]}, schema=self._write.schema)

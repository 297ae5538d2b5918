"""Where a statement finds the rows of scans, values and placeholders.

Tables of the database are read through a subquery that gives their columns the types of the plan;
PostgreSQL dissolves it. A few constant rows are written into the statement. All else is copied into
temporary tables before the statement runs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.lazy import LazyModule
from umbel.plan.errors import PlanError
from umbel.plan.operators import Placeholder, Scan, Values
from umbel.plan.sources import AttachedSource, MemorySource, QuerySource, RelationSource
from umbel.platforms.conform import conform
from umbel.platforms.postgres.relations import Relation
from umbel.platforms.postgres.types import literal, type_text
from umbel.platforms.streams import scanned_columns

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: So many constant rows are written into a statement.
INLINE = 32


@dataclass
class PostgresSources:
    """The leaves of one statement.

    Attributes:
        describe: gives the server's columns of a source.
        staged: what must be copied before the statement runs, by the name of its table.
        inputs: names of the tables of placeholders, by label.
        read: the sources that it reads in the database.
    """

    describe: Callable[[AttachedSource], Relation]
    staged: dict[str, pa.Table] = field(default_factory=dict)
    inputs: dict[str, tuple[str, pa.Schema]] = field(default_factory=dict)
    read: list[AttachedSource] = field(default_factory=list)

    def relation(self, leaf: Scan | Values | Placeholder) -> exp.Expr:
        """Give the FROM item of a leaf."""
        match leaf:
            case Placeholder(label=label):
                name = f"umbel_input_{len(self.inputs)}"
                self.inputs[label] = self.inputs.get(label, (name, leaf.schema))
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
        raise TypeError(f"no relation in PostgreSQL for {leaf.describe()}")

    def _attached(self, scan: Scan, source: AttachedSource) -> exp.Expr:
        self.read.append(source)
        known = {column.name: column for column in self.describe(source).columns}
        wanted = [known[name] for name in scanned_columns(scan) if name in known]
        columns = [column.read().as_(column.name, quoted=True) for column in wanted]
        query = exp.Select(expressions=columns or [exp.Null().as_("umbel_nothing")])
        match source:
            case RelationSource(relation=(schema, table)):
                place: exp.Expr = exp.table_(table, db=schema, quoted=True)
            case QuerySource(query=text):
                alias = exp.TableAlias(this=exp.to_identifier("umbel_query", quoted=True))
                place = exp.Subquery(this=exp.Var(this=f"\n{text}\n"), alias=alias)
            case _:
                raise TypeError(f"no relation in PostgreSQL for {source.describe()}")
        query.set("from_", exp.From(this=place))
        return exp.Subquery(this=query)

    def _rows(self, table: pa.Table) -> exp.Expr:
        if 0 < table.num_rows <= INLINE and table.column_names:
            return _constant(table)
        name = f"umbel_rows_{len(self.staged)}"
        self.staged[name] = table
        return _temporary(name)


def create_table(name: str, schema: pa.Schema) -> str:
    """Write the statement that makes the temporary table of some rows."""
    columns = [
        exp.ColumnDef(
            this=exp.to_identifier(f.name, quoted=True),
            kind=exp.DataType.build(type_text(f.type), dialect="postgres"),
        )
        for f in schema
    ] or [exp.ColumnDef(this=exp.to_identifier("umbel_nothing"), kind=exp.DataType.build("TEXT"))]
    made = exp.Create(
        this=exp.Schema(this=exp.to_table(name), expressions=columns),
        kind="TABLE",
        properties=exp.Properties(expressions=[exp.TemporaryProperty()]),
    )
    return made.sql("postgres")


def _temporary(name: str) -> exp.Expr:
    return exp.table_(name, db="pg_temp")


def _constant(table: pa.Table) -> exp.Expr:
    """Write rows as VALUES, whose columns have the types of the first row."""
    rows = [
        exp.Tuple(
            expressions=[
                literal(value, dtype) if not pa.types.is_null(dtype) else literal(None, pa.string())
                for value, dtype in zip(row.values(), table.schema.types, strict=True)
            ]
        )
        for row in table.to_pylist()
    ]
    names = [exp.to_identifier(name, quoted=True) for name in table.column_names]
    alias = exp.TableAlias(this=exp.to_identifier("umbel_values"), columns=names)
    query = exp.Select(expressions=[exp.Star()])
    query.set("from_", exp.From(this=exp.Values(expressions=rows, alias=alias)))
    return exp.Subquery(this=query)


__all__ = ["INLINE", "PostgresSources", "create_table"]

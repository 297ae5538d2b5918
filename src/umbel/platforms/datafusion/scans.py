"""Where a DataFusion statement finds the rows of scans, values and placeholders.

Parquet files are read by DataFusion. Everything else comes as Arrow from the readers that say what
files mean: DataFusion's reader of CSV takes a quoted empty text for null, its reader of JSON turns
numbers into texts, and neither names the row at fault.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.catalog.columns import check_columns
from umbel.catalog.files import FileEntry, is_remote
from umbel.catalog.pruning import scan_files
from umbel.dataclass import dataclass
from umbel.lazy import LazyModule
from umbel.plan.errors import PlanError
from umbel.plan.operators import Placeholder, Scan, Values
from umbel.plan.sources import FileSource, MemorySource, ParquetFiles
from umbel.plan.types import is_float
from umbel.platforms.conform import conform
from umbel.platforms.datafusion.session import Session
from umbel.platforms.streams import raw_schema, scanned_columns, stream
from umbel.sql.expressions import Dialect, column

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: Files of one source that become tables of a statement; more are read as a stream.
_MOST_FILES = 200
#: Characters of a path that DataFusion takes for a pattern.
_PATTERN = frozenset("*?[]{}\\")

#: Makes a relation known to a session before the statement runs.
Binding = Callable[[Session], None]


@dataclass
class DataFusionSources:
    """The leaves of one statement, and what must be bound before it runs.

    Attributes:
        dialect: writes constants, and casts of text to the types of the plan.
        bindings: by relation name.
        trusts_statistics: whether those of Parquet files may be used: NaN is in none of them, but
            to the plan it is the greatest number.
        conversions: statements over raw texts, by the name of the relation that they make.
    """

    dialect: Dialect
    bindings: dict[str, Binding] = field(default_factory=dict)
    trusts_statistics: bool = True
    conversions: dict[str, exp.Select] = field(default_factory=dict)

    def relation(self, leaf: Scan | Values | Placeholder) -> exp.Expr:
        """Give the FROM item of a leaf."""
        match leaf:
            case Placeholder(label=label):
                return _table(input_name(label))
            case Values(table=table):
                return self._registered("values", table)
            case Scan(source=MemorySource() as source):
                if source.data is None:
                    raise PlanError(
                        f"the data of {source.describe()} is not at hand",
                        hint="a plan file holds no data; run it in the session that made it",
                    )
                return self._registered("memory", conform(source.data, source.schema))
            case Scan(source=FileSource() as source):
                return self._files(leaf, source)
        raise TypeError(f"no DataFusion relation for {leaf.describe()}")

    def _registered(self, kind: str, data: pa.Table) -> exp.Expr:
        name = self._name(kind)
        self.bindings[name] = lambda session: session.put(name, data)
        return _table(name)

    def _name(self, kind: str) -> str:
        return f"{kind}_{len(self.bindings)}"

    def _files(self, scan: Scan, source: FileSource) -> exp.Expr:
        files = scan_files(source, scan.predicate)
        if not files:
            wanted = [source.schema.field(name) for name in scanned_columns(scan)]
            return self._registered("nothing", pa.schema(wanted).empty_table())
        check_columns(source, files)
        if isinstance(source, ParquetFiles) and _readable(files):
            return self._parquet(scan, source, files)
        return self._stream(scan, source, files)

    def _parquet(self, scan: Scan, source: ParquetFiles, files: Sequence[FileEntry]) -> exp.Expr:
        wanted = scanned_columns(scan)
        fields = [source.schema.field(name) for name in wanted or source.schema.names[:1]]
        stored = pa.schema(
            [f.with_nullable(True) for f in fields if f.name not in source.partitions]
        )
        if not stored.names:  # the rows of a file are to be counted at least
            return self._stream(scan, source, files)
        if any(is_float(f.type) or pa.types.is_nested(f.type) for f in stored):
            self.trusts_statistics = False
        parts = []
        for entry in files:
            name = self._name("parquet")
            self.bindings[name] = _parquet_binding(name, entry.path, stored)
            table = _table(name)
            if len(files) == 1 and not source.partitions:
                return table
            parts.append(self._part(table, fields, entry))
        return exp.Subquery(
            this=exp.union(*parts, distinct=False, copy=False) if parts[1:] else parts[0]
        )

    def _part(self, table: exp.Expr, fields: Sequence[pa.Field], entry: FileEntry) -> exp.Select:
        """Select a file's columns, and those of its folders."""
        columns = [
            self.dialect.literal(entry.partitions[f.name], f.type)
            if f.name in entry.partitions
            else column(f.name)
            for f in fields
        ]
        named = [node.as_(f.name, quoted=True) for node, f in zip(columns, fields, strict=True)]
        return exp.Select(expressions=named).from_(table, copy=False)

    def _stream(self, scan: Scan, source: FileSource, files: Sequence[FileEntry]) -> exp.Expr:
        wanted = scanned_columns(scan) or source.schema.names[:1]
        name = self._name(source.kind)
        raw = raw_schema(source)

        def bind(session: Session) -> None:
            rows = stream(source, wanted, files, session.check, scan.predicate)
            session.keep(name, rows.schema, rows.batches())

        self.bindings[name] = bind
        if all(raw.field(n).type == source.schema.field(n).type for n in wanted):
            return _table(name)
        # In a statement of its own, so that every text is converted that is read: a filter would
        # go below the conversion, and hide a text that is no value.
        columns = [
            self.dialect.cast(
                column(n), raw.field(n).type, source.schema.field(n).type, strict=True
            ).as_(n, quoted=True)
            for n in wanted
        ]
        converted = f"{name}_values"
        self.conversions[converted] = exp.Select(expressions=columns).from_(_table(name))
        return _table(converted)


def input_name(label: str) -> str:
    """Name the relation of a placeholder.

    >>> input_name("a")
    'input_a'
    """
    return f"input_{label}"


def _table(name: str) -> exp.Table:
    return exp.Table(this=exp.to_identifier(name, quoted=True))


def _readable(files: Sequence[FileEntry]) -> bool:
    """Whether DataFusion reads just these files: they are here, and their names are no patterns."""
    return len(files) <= _MOST_FILES and not any(
        is_remote(entry.path) or entry.task is not None or _PATTERN & set(entry.path)
        for entry in files
    )


def _parquet_binding(name: str, path: str, schema: pa.Schema) -> Binding:
    def bind(session: Session) -> None:
        session.context.register_parquet(name, path, schema=schema, file_extension="")

    return bind


__all__ = ["Binding", "DataFusionSources", "input_name"]

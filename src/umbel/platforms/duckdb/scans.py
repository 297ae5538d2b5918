"""Where a DuckDB statement finds the rows of scans, values and placeholders.

Parquet and CSV files are read by DuckDB's table functions inside the statement. Text files are
too, unless they hold what `read_csv` reads differently from the plan's meaning of a line; they,
JSON lines and Arrow IPC files then come as Arrow streams. Tables in memory are registered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.catalog.columns import check_columns
from umbel.catalog.csv_rows import check_header
from umbel.catalog.files import FileEntry, compression_of, is_remote
from umbel.catalog.pruning import scan_files
from umbel.catalog.stores.base import partition_values
from umbel.dataclass import dataclass
from umbel.lazy import LazyModule
from umbel.plan.errors import PlanError, UmbelError
from umbel.plan.operators import Placeholder, Scan, Values
from umbel.plan.sources import (
    AttachedSource,
    CsvSource,
    DeltaSource,
    FileSource,
    MemorySource,
    ParquetFiles,
    QuerySource,
    RelationSource,
    TextSource,
)
from umbel.plan.types import is_integer
from umbel.platforms.base import RunContext
from umbel.platforms.conform import conform
from umbel.platforms.duckdb.database import FileStates, quoted
from umbel.platforms.duckdb.store import CATALOG, StoredColumn
from umbel.platforms.duckdb.types import convert
from umbel.platforms.streams import ArrowStream, raw_schema, scanned_columns, stream
from umbel.sql.expressions import Dialect, column
from umbel.sql.nodes import copied

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


#: Between fields of a text file read as CSV: a control character. A file that holds it is read as
#: a stream instead.
NO_DELIMITER = "\x01"
#: The longest line that `read_csv` is asked to take; longer ones are read as a stream.
LONGEST_LINE = 2_000_000

#: Bytes looked at at once for what `read_csv` reads differently; they fit the processor's cache.
_BLOCK = 256 * 1024

#: Makes a relation known to a cursor under a name before the statement runs.
Binding = Callable[[Any, RunContext], None]


@dataclass
class DuckDBSources:
    """The leaves of one statement, and what must be bound before it runs.

    Attributes:
        dialect: writes casts of text to the types of the plan.
        describe: gives the names and DuckDB types of the columns of a relation over files, whose
            states are given beside it.
        streams_only: read text and CSV files as streams too.
        bindings: by relation name.
        read_as_csv: whether some file goes through `read_csv`, which rejects a few that are valid.
        failures: what stopped a stream; DuckDB only repeats the message.
        columns: gives the columns of what lies in the platform's file; None if it has none.
        stored: what the statement reads of that file.
    """

    dialect: Dialect
    describe: Callable[[str, FileStates], dict[str, str]]
    streams_only: bool = False
    bindings: dict[str, Binding] = field(default_factory=dict)
    read_as_csv: bool = False
    failures: list[UmbelError] = field(default_factory=list)
    columns: Callable[[AttachedSource], Sequence[StoredColumn]] | None = None
    stored: list[AttachedSource] = field(default_factory=list)

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
            case Scan(source=AttachedSource() as source) if self.columns is not None:
                return self._stored(source, self.columns(source))
        raise TypeError(f"no DuckDB relation for {leaf.describe()}")

    def _stored(self, source: AttachedSource, columns: Sequence[StoredColumn]) -> exp.Expr:
        """Read a table or query of the platform's file, in the plan's types."""
        self.stored.append(source)
        match source:
            case RelationSource(relation=(schema, table)):
                place: exp.Expr = exp.table_(table, db=schema, catalog=CATALOG, quoted=True)
            case QuerySource(query=text):
                place = exp.Subquery(this=exp.Var(this=f"\n{text}\n"))
            case _:
                raise TypeError(f"not of a DuckDB file: {source.describe()}")
        if not any(c.cast for c in columns):
            return place
        place.set("alias", exp.TableAlias(this=exp.to_identifier("stored")))
        read = [
            (convert(column(c.name), c.cast) if c.cast else column(c.name)).as_(c.name, quoted=True)
            for c in columns
        ]
        return exp.Subquery(this=exp.Select(expressions=read).from_(place))

    def _registered(self, kind: str, data: Any) -> exp.Expr:
        name = f"{kind}_{len(self.bindings)}"

        def bind(cursor: Any, context: RunContext) -> None:
            cursor.register(name, data)

        self.bindings[name] = bind
        return _table(name)

    def _files(self, scan: Scan, source: FileSource) -> exp.Expr:
        files = scan_files(source, scan.predicate)
        if not files:
            wanted = [source.schema.field(name) for name in scanned_columns(scan)]
            return self._registered("nothing", pa.schema(wanted).empty_table())
        check_columns(source, files)
        # DuckDB's own reader of object stores is an extension that has to be downloaded.
        if any(is_remote(entry.path) or entry.task is not None for entry in files):
            return self._stream(scan, source, files)
        if isinstance(source, DeltaSource) and not _named_by_folders(source, files):
            return self._stream(scan, source, files)
        match source:
            case ParquetFiles():
                return self._parquet(scan, source, files)
            case CsvSource() if not self.streams_only and _readable_csv(scan, source, files):
                return self._csv(scan, source, files)
            case TextSource() if not self.streams_only and not source.partitions:
                return self._text(source, files)
        return self._stream(scan, source, files)

    def _parquet(self, scan: Scan, source: ParquetFiles, files: Sequence[FileEntry]) -> exp.Expr:
        types = {name: duckdb_type(source.schema.field(name).type) for name in source.partitions}
        options = [f"hive_partitioning = {str(bool(types)).lower()}"]
        if source.lenient:  # columns that were added later are null in older files
            options.append("union_by_name = true")
        if types:
            options.append(f"hive_types = {_struct(types)}")
        call = f"read_parquet({_paths(files)}, {', '.join(options)})"
        found = self.describe(call, tuple((e.path, e.modified, e.size) for e in files))
        wanted = scanned_columns(scan)
        if all(same_type(found.get(name, ""), source.schema.field(name).type) for name in wanted):
            return _function(call)
        return _select(
            call,
            {
                name: _as_type(name, source.schema.field(name).type, found.get(name))
                for name in wanted
            },
        )

    def _csv(self, scan: Scan, source: CsvSource, files: Sequence[FileEntry]) -> exp.Expr:
        stored = [name for name in source.schema.names if name not in source.partitions]
        for entry in files:
            check_header(source, entry.path)  # DuckDB takes columns by their place
        options = {
            "auto_detect": "false",
            "columns": _struct(dict.fromkeys(stored, "VARCHAR")),
            "header": str(source.header).lower(),
            "delim": quoted(source.delimiter),
            "quote": quoted(source.quote),
            "escape": quoted(source.quote),
            "nullstr": "[" + ", ".join(map(quoted, source.null_values)) + "]",
            "allow_quoted_nulls": "false",
            "strict_mode": "true",
            "hive_partitioning": "false",
        }
        self.read_as_csv = True
        call = f"read_csv({_paths(files)}, {_options(options)})"
        wanted = scanned_columns(scan)
        texts = {name for name in wanted if source.schema.field(name).type != pa.string()}
        return self._converted(call, scan, wanted, texts)

    def _converted(
        self, relation: str, scan: Scan, wanted: Sequence[str], texts: set[str]
    ) -> exp.Expr:
        """Select columns, of which some are texts that must be converted, in every row."""
        types = {name: scan.source.schema.field(name).type for name in wanted}
        columns = {
            name: self._from_text(column(name), types[name]) if name in texts else column(name)
            for name in wanted
        }
        return _select_whole(relation, columns) if texts else _select(relation, columns)

    def _from_text(self, text: exp.Expr, dtype: pa.DataType) -> exp.Expr:
        value = self.dialect.cast(text, pa.string(), dtype, strict=True)
        if not is_integer(dtype):
            return value
        # What is written the usual way needs no look at its syntax, which costs the most.
        plain = exp.TryCast(this=text, to=exp.DataType.build(duckdb_type(dtype), dialect="duckdb"))
        usual = exp.EQ(this=exp.Cast(this=plain, to=exp.DataType.build("text")), expression=text)
        return exp.Case(ifs=[exp.If(this=usual, true=plain.copy())], default=value)

    def _text(self, source: TextSource, files: Sequence[FileEntry]) -> exp.Expr:
        """Read lines as a CSV file of one column, decided when the statement runs."""
        name = f"text_{len(self.bindings)}"
        paths = [entry.path for entry in files]
        value = source.schema.names[0]
        options = {
            "auto_detect": "false",
            "columns": _struct({value: "VARCHAR"}),
            "header": "false",
            "delim": quoted(NO_DELIMITER),
            "quote": "''",
            "escape": "''",
            "new_line": "'\\n'",
            "force_not_null": f"[{quoted(value)}]",
            "max_line_size": str(LONGEST_LINE),
            "strict_mode": "false",
            "compression": "'none'",
            "hive_partitioning": "false",
        }
        query = f"SELECT * FROM read_csv({_paths(files)}, {_options(options)})"  # noqa: S608

        def bind(cursor: Any, context: RunContext) -> None:
            if all(map(reads_as_csv, paths)):
                self.read_as_csv = True
                cursor.execute(f'CREATE OR REPLACE TEMP VIEW "{name}" AS {query}')
            else:
                lines = stream(source, [value], files, context.check_cancelled)
                cursor.register(name, self._watched(lines))

        self.bindings[name] = bind
        return _table(name)

    def _stream(self, scan: Scan, source: FileSource, files: Sequence[FileEntry]) -> exp.Expr:
        wanted = scanned_columns(scan) or source.schema.names[:1]
        name = f"{source.kind}_{len(self.bindings)}"

        def bind(cursor: Any, context: RunContext) -> None:
            rows = stream(source, wanted, files, context.check_cancelled, scan.predicate)
            cursor.register(name, self._watched(rows))

        self.bindings[name] = bind
        raw = raw_schema(source)
        if all(raw.field(n).type == source.schema.field(n).type for n in wanted):
            return _table(name)
        texts = {n for n in wanted if raw.field(n).type != source.schema.field(n).type}
        return self._converted(f'"{name}"', scan, wanted, texts)

    def _watched(self, rows: ArrowStream) -> ArrowStream:
        """Remember what stops a stream."""

        def batches() -> Iterator[pa.RecordBatch]:
            try:
                yield from rows.batches()
            except UmbelError as error:
                self.failures.append(error)
                raise

        return ArrowStream(rows.schema, batches)


def input_name(label: str) -> str:
    """Name the relation of a placeholder.

    >>> input_name("a")
    'input_a'
    """
    return f"input_{label}"


def reads_as_csv(path: str) -> bool:
    r"""Whether `read_csv` sees the lines of a file as the plan does: it is plain and has no `\r`."""
    if compression_of(path) is not None:
        return False
    block = bytearray(_BLOCK)
    delimiter = NO_DELIMITER.encode()
    with Path(path).open("rb", buffering=0) as file:
        while size := file.readinto(block):
            if block.find(b"\r", 0, size) >= 0 or block.find(delimiter, 0, size) >= 0:
                return False
    return True


def duckdb_type(dtype: pa.DataType) -> str:
    """Name DuckDB's type for a plan's, as DESCRIBE shows it.

    >>> duckdb_type(pa.list_(pa.decimal128(10, 2)))
    'DECIMAL(10,2)[]'
    """
    name = _TYPES.get(dtype)
    if name is not None:
        return name
    if pa.types.is_decimal(dtype):
        return f"DECIMAL({dtype.precision},{dtype.scale})"
    if pa.types.is_timestamp(dtype):
        if dtype.tz is not None:
            return "TIMESTAMP WITH TIME ZONE"
        return {"s": "TIMESTAMP_S", "ms": "TIMESTAMP_MS", "us": "TIMESTAMP", "ns": "TIMESTAMP_NS"}[
            dtype.unit
        ]
    if pa.types.is_duration(dtype):
        return "INTERVAL"
    if pa.types.is_struct(dtype):
        inner = ", ".join(f'"{f.name}" {duckdb_type(f.type)}' for f in dtype)
        return f"STRUCT({inner})"
    return f"{duckdb_type(dtype.value_type)}[]"


def same_type(described: str, dtype: pa.DataType) -> bool:
    """Whether DESCRIBE's name of a type, which quotes names only at need, is that of a plan's.

    >>> same_type("STRUCT(x TINYINT)", pa.struct([("x", pa.int8())]))
    True
    """
    return described.replace('"', "") == duckdb_type(dtype).replace('"', "")


_TYPES = {
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.date32(): "DATE",
    pa.time64("us"): "TIME",
    pa.null(): "NULL",
}


def _as_type(name: str, dtype: pa.DataType, found: str | None) -> exp.Expr:
    """Give a column of a file the type that the plan knows it by; null if no file has it."""
    if found is None:
        null = exp.DataType.build(duckdb_type(dtype), dialect="duckdb")
        return exp.Cast(this=exp.null(), to=null)
    if same_type(found, dtype):
        return column(name)
    if pa.types.is_duration(dtype) and found == "BIGINT":  # Parquet has no durations
        unit = {"s": "TO_SECONDS", "ms": "TO_MILLISECONDS", "us": "TO_MICROSECONDS"}[dtype.unit]
        return exp.Anonymous(this=unit, expressions=[column(name)])
    target = exp.DataType.build(duckdb_type(dtype), dialect="duckdb")
    return exp.Cast(this=column(name), to=target)


def _named_by_folders(source: FileSource, files: Sequence[FileEntry]) -> bool:
    """Whether the names of folders say what a table's log says, as most that write tables see to."""
    types = {name: source.schema.field(name).type for name in source.partitions}
    return all(
        pa.array([text]).cast(dtype, safe=False).to_pylist() == [entry.partitions[name]]
        if (text := folders.get(name)) is not None and dtype != pa.string()
        else text == entry.partitions[name]
        for entry in files
        for folders in (partition_values(entry.path),)
        for name, dtype in types.items()
    )


def _readable_csv(scan: Scan, source: CsvSource, files: Sequence[FileEntry]) -> bool:
    """Whether DuckDB's own reader takes the files; the others come as a stream."""
    plain = all(compression_of(entry.path) is None for entry in files)
    raw = raw_schema(source)
    texts = all(raw.field(name).type == pa.string() for name in scanned_columns(scan))
    plain = plain and not source.partitions and texts
    return plain and bool(source.quote) and bool(source.null_values)


def _table(name: str) -> exp.Expr:
    return exp.Table(this=exp.to_identifier(name, quoted=True))


def _function(call: str) -> exp.Expr:
    return copied(_parsed(call))


@lru_cache(maxsize=256)
def _parsed(call: str) -> exp.Expr:
    return exp.maybe_parse(call, dialect="duckdb")


def _select(relation: str, columns: dict[str, exp.Expr]) -> exp.Expr:
    expressions = [node.as_(name, quoted=True) for name, node in columns.items()]
    query = exp.Select(expressions=expressions or [exp.Literal.number(1)])
    parsed: exp.Expr = exp.maybe_parse(f"SELECT 1 FROM {relation}", dialect="duckdb")  # noqa: S608
    query.set("from_", parsed.args["from_"])
    return exp.Subquery(this=query)


def _select_whole(relation: str, columns: dict[str, exp.Expr]) -> exp.Expr:
    """Select columns so that all are computed for every row, or none is.

    DuckDB tests filters of a query before it computes what a subquery selects, so a text that is
    no number would go unseen where a filter drops its row. It does not do so where the filter's
    column comes from an expression that changes from row to row; hence one struct of all columns.
    """
    names = {name: f"c{place}" for place, name in enumerate(columns)}
    fields = [
        exp.PropertyEQ(this=exp.to_identifier(names[name]), expression=node)
        for name, node in columns.items()
    ]
    changing = exp.PropertyEQ(this=exp.to_identifier("r"), expression=exp.Anonymous(this="random"))
    rows = _select(relation, {"row": exp.Struct(expressions=[*fields, changing])})
    parts = [
        exp.Anonymous(
            this="struct_extract", expressions=[column("row"), exp.Literal.string(names[name])]
        ).as_(name, quoted=True)
        for name in columns
    ]
    rows.set("alias", exp.TableAlias(this=exp.to_identifier("rows")))
    return exp.Subquery(this=exp.Select(expressions=parts).from_(rows))


def _paths(files: Sequence[FileEntry]) -> str:
    return "[" + ", ".join(quoted(_literal_path(entry.path)) for entry in files) + "]"


def _literal_path(path: str) -> str:
    """Keep DuckDB from reading a file's name as a pattern.

    >>> _literal_path("a[1]*.csv")
    'a[[]1][*].csv'
    """
    return "".join(f"[{c}]" if c in "[*?" else c for c in path)


def _struct(fields: dict[str, str]) -> str:
    return "{" + ", ".join(f"{quoted(name)}: {quoted(t)}" for name, t in fields.items()) + "}"


def _options(options: dict[str, str]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in options.items())

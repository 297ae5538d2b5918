"""Where a Polars query finds the rows of scans, values and placeholders.

Parquet files and lines of text are read by Polars itself. What its readers take differently from
the plan comes as a stream of Arrow batches: CSV (Polars fills short rows and takes quoted nulls
for nulls), JSON lines, Arrow IPC, and text files with a byte order mark or a lone carriage return
at their end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from umbel.catalog.columns import check_columns
from umbel.catalog.files import FileEntry, compression_of, is_remote, resolve
from umbel.catalog.pruning import scan_files
from umbel.catalog.stores.registry import store_of
from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError
from umbel.plan.expressions import Expression
from umbel.plan.operators import Placeholder, Scan, Values
from umbel.plan.sources import FileSource, MemorySource, ParquetFiles, TextSource
from umbel.platforms.conform import conform
from umbel.platforms.polars.casts import cast
from umbel.platforms.polars.types import polars_type
from umbel.platforms.streams import raw_schema, scanned_columns, stream


@dataclass
class PolarsSources:
    """The leaves of one query.

    Attributes:
        inputs: data by placeholder label: Arrow tables or Polars frames.
        check: raises when the run is cancelled; called between batches of a stream.
    """

    inputs: dict[str, Any]
    check: Callable[[], None]

    def leaf(self, operator: Scan | Values | Placeholder) -> pl.LazyFrame:
        """Give the rows of a leaf."""
        match operator:
            case Placeholder(label=label):
                return lazy(self.inputs[label], operator.schema)
            case Values(table=table):
                return lazy(table, operator.schema)
            case Scan(source=MemorySource() as source):
                if source.data is None:
                    raise PlanError(
                        f"the data of {source.describe()} is not at hand",
                        hint="a plan file holds no data; run it in the session that made it",
                    )
                return lazy(conform(source.data, source.schema), source.schema)
            case Scan(source=ParquetFiles() as source):
                return self._parquet(operator, source)
            case Scan(source=TextSource() as source) if not source.partitions:
                return self._text(source, resolve(source))
            case Scan(source=FileSource() as source):
                return self._stream(operator, source, scan_files(source, operator.predicate))
        raise TypeError(f"no Polars rows for {operator.describe()}")

    def _parquet(self, scan: Scan, source: ParquetFiles) -> pl.LazyFrame:
        files = scan_files(source, scan.predicate)
        if not files:
            wanted = [source.schema.field(name) for name in scanned_columns(scan)]
            return pl.LazyFrame(schema={f.name: polars_type(f.type) for f in wanted})
        check_columns(source, files)
        options = store_of(files[0].path).engine_options()
        if options is None or any(entry.task is not None for entry in files):
            return self._stream(scan, source, files)
        return _parquet(source, files)

    def _text(self, source: TextSource, files: Sequence[FileEntry]) -> pl.LazyFrame:
        name = source.schema.names[0]
        plain = [entry for entry in files if reads_as_lines(entry.path)]
        odd = [entry for entry in files if not reads_as_lines(entry.path)]
        frames = []
        if plain:
            paths = [entry.path for entry in plain]
            frames.append(pl.scan_lines(paths, name=name, glob=False))
        if odd:
            frames.append(_io_source(source, [name], odd, self.check))
        return pl.concat(frames) if len(frames) > 1 else frames[0]

    def _stream(self, scan: Scan, source: FileSource, files: Sequence[FileEntry]) -> pl.LazyFrame:
        return _io_source(source, scanned_columns(scan), files, self.check, scan.predicate)


def lazy(data: Any, schema: pa.Schema) -> pl.LazyFrame:
    """Give the lazy form of an Arrow table or of a Polars frame."""
    return (data if isinstance(data, pl.DataFrame) else to_polars(data)).lazy()


def to_polars(table: pa.Table) -> pl.DataFrame:
    """Turn an Arrow table into a Polars frame.

    >>> to_polars(pa.table({"a": [1, 2]})).height
    2
    """
    frame = pl.from_arrow(table)
    if not isinstance(frame, pl.DataFrame):
        raise TypeError(f"Polars made a {type(frame).__name__} of a table")
    return frame


#: First bytes of files that `scan_lines` does not take as they are: it keeps a byte order mark, and
#: unpacks what looks like gzip or zstd whatever the file is called.
_ODD_STARTS = (b"\xef\xbb\xbf", b"\x1f\x8b", b"\x28\xb5\x2f\xfd")


def reads_as_lines(path: str) -> bool:
    r"""Whether `scan_lines` sees the lines of a file as the plan does: it drops a last `\r`."""
    if compression_of(path) is not None or is_remote(path):
        return False
    with Path(path).open("rb") as file:
        if file.read(4).startswith(_ODD_STARTS):
            return False
        file.seek(max(0, file.seek(0, 2) - 1))
        return file.read() != b"\r"


#: What files of one table may differ in, as other engines write them.
_LENIENT = pl.ScanCastOptions(
    integer_cast="upcast", float_cast="upcast", datetime_cast=["nanosecond-downcast"]
)


def _parquet(source: ParquetFiles, files: Sequence[FileEntry]) -> pl.LazyFrame:
    stored = [name for name in source.schema.names if name not in source.partitions]
    frames = []
    known: Any = None
    if source.lenient:  # files may lack columns, so that none of them has the schema
        known = {name: polars_type(source.schema.field(name).type) for name in stored}
    for (options, values), group in _by_folder(files):
        scan = pl.scan_parquet(
            [entry.path for entry in group],
            glob=False,
            hive_partitioning=False,
            schema=known,
            missing_columns="insert" if source.lenient else "raise",
            extra_columns="ignore" if source.lenient else "raise",
            cast_options=_LENIENT if source.lenient else None,
            storage_options={
                name: int(value) if name == "max_retries" else value for name, value in options
            },
        )
        # Of the first file alone the footer is asked for columns: each costs a round trip.
        known = known or scan.collect_schema()
        frames.append(
            scan.with_columns(
                [
                    pl.lit(value, dtype=polars_type(source.schema.field(name).type)).alias(name)
                    for name, value in values
                ]
            )
        )
    frame = pl.concat(frames) if len(frames) > 1 else frames[0]
    found = frame.collect_schema()
    fixes = [
        _as_type(name, source.schema.field(name).type, found[name])
        for name in stored
        if found[name] != polars_type(source.schema.field(name).type)
    ]
    return frame.with_columns(fixes) if fixes else frame


def _as_type(name: str, dtype: pa.DataType, found: pl.DataType) -> pl.Expr:
    """Give a column of a file the type that the plan knows it by."""
    return pl.col(name).cast(polars_type(dtype), strict=True)


def _by_folder(files: Sequence[FileEntry]) -> Iterator[tuple[tuple[Any, Any], list[FileEntry]]]:
    """Group files by how they are reached, and by the values of their folders."""
    groups: dict[tuple[Any, Any], list[FileEntry]] = {}
    for entry in files:
        options = store_of(entry.path).engine_options() or {}
        key = tuple(options.items()), tuple(entry.partitions.items())
        groups.setdefault(key, []).append(entry)
    yield from groups.items()


def _io_source(
    source: FileSource,
    columns: Sequence[str],
    files: Sequence[FileEntry],
    check: Callable[[], None],
    wanted_rows: Expression | None = None,
) -> pl.LazyFrame:
    """Read a stream of Arrow batches, with columns in the plan's types.

    Texts are converted here, in all columns and rows that are read, so that one that is no value
    of its column's type is found whatever the query does with its row.
    """
    raw = raw_schema(source)
    schema = {name: polars_type(source.schema.field(name).type) for name in columns}
    casts = [
        cast(pl.col(name), raw.field(name).type, source.schema.field(name).type).alias(name)
        for name in columns
        if raw.field(name).type != source.schema.field(name).type
    ]

    def read(
        with_columns: list[str] | None,
        predicate: pl.Expr | None,
        n_rows: int | None,
        batch_size: int | None,
    ) -> Iterator[pl.DataFrame]:
        left = n_rows
        chosen = list(columns) or source.schema.names[:1]
        for batch in stream(source, chosen, files, check, wanted_rows).batches():
            frame = to_polars(pa.Table.from_batches([batch]))
            if left is not None:
                frame = frame.head(left)
                left -= frame.height
            frame = frame.with_columns(casts)
            if predicate is not None:
                frame = frame.filter(predicate)
            yield frame if with_columns is None else frame.select(with_columns)
            if left == 0:
                return

    return register_io_source(read, schema=schema)

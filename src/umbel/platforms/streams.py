"""Files as Arrow streams for engines, over the readers of `umbel.catalog.readers`.

An engine reads through a stream what its own reader would take differently from the plan. Memory
is bounded by the size of a batch. CSV columns come as text, null or not as the source says, and
are converted by the engine's own casts; everything else comes in the source's types.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pyarrow as pa

from umbel.catalog.files import FileEntry, resolve
from umbel.catalog.readers import convert, csv_batches, read
from umbel.catalog.texts import read_here_only
from umbel.dataclass import dataclass
from umbel.plan.expressions import Expression, columns_of
from umbel.plan.operators import Scan
from umbel.plan.sources import CsvSource, FileSource


@dataclass(frozen=True)
class ArrowStream:
    """Batches of a schema that can be read more than once, from the start each time.

    Attributes:
        schema: the columns of each batch.
        batches: starts a new pass.
    """

    schema: pa.Schema
    batches: Callable[[], Iterator[pa.RecordBatch]]

    def __arrow_c_schema__(self) -> Any:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        reader = pa.RecordBatchReader.from_batches(self.schema, self.batches())
        return reader.__arrow_c_stream__(requested_schema)


def scanned_columns(scan: Scan) -> list[str]:
    """List the columns that a scan reads: those that it gives, and those of its predicate."""
    predicate = frozenset[str]() if scan.predicate is None else columns_of(scan.predicate)
    given = set(scan.schema.names)
    return [name for name in scan.source.schema.names if name in given or name in predicate]


def raw_schema(source: FileSource) -> pa.Schema:
    """Give the columns of a source as its stream has them.

    Those of CSV files are text, but for types to which no engine has a cast from it.
    """
    if not isinstance(source, CsvSource):
        return source.schema
    return pa.schema(
        [
            field
            if field.name in source.partitions or read_here_only(field.type)
            else pa.field(field.name, pa.string())
            for field in source.schema
        ]
    )


def stream(
    source: FileSource,
    columns: Sequence[str],
    files: Sequence[FileEntry] | None = None,
    check: Callable[[], None] = lambda: None,
    predicate: Expression | None = None,
) -> ArrowStream:
    """Open the files of a source as one stream.

    Args:
        source: what is read.
        columns: the columns wanted, in order.
        files: the source's files, or those of them that are wanted; found if not given.
        check: called before each batch; raises to stop.
        predicate: rows for which it cannot be true may be left out.
    """
    raw = raw_schema(source)
    schema = pa.schema([raw.field(name) for name in columns])
    entries = resolve(source) if files is None else files

    def batches() -> Iterator[pa.RecordBatch]:
        if not isinstance(source, CsvSource):
            yield from read(source, columns, predicate, files=entries, check=check)
            return
        stored = [name for name in columns if name not in source.partitions]
        for entry in entries:
            row = 1
            for batch in csv_batches(source, entry.path, stored):
                check()
                yield _completed(batch, entry, schema, row)
                row += batch.num_rows

    return ArrowStream(schema, batches)


def _completed(
    batch: pa.RecordBatch, entry: FileEntry, schema: pa.Schema, row: int
) -> pa.RecordBatch:
    """Put a batch's columns into the schema's order and types, and add those of the folders."""
    if not schema.names:
        return batch.select([])
    arrays = [
        pa.repeat(pa.scalar(entry.partitions[field.name], field.type), batch.num_rows)
        if field.name in entry.partitions
        else convert(batch.column(field.name), field, entry.path, row)
        if field.type != pa.string()
        else batch.column(field.name)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


__all__ = [
    "ArrowStream",
    "raw_schema",
    "scanned_columns",
    "stream",
]

"""Files as streams of Arrow batches in a source's types, the reference for what files mean.

Memory is bounded by the size of a batch. What cannot be read is a `SourceError` that names the
file and, where it can be told, the row and the column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pyarrow as pa

from umbel.catalog.columns import compare
from umbel.catalog.complaints import (
    invalid_text,
    malformed,
    open_quote,
    wrong_value,
)
from umbel.catalog.csv_rows import (
    CountingQuotes,
    check_header,
    find_csv_error,
    line_of_open_quote,
)
from umbel.catalog.files import FileEntry, is_remote
from umbel.catalog.footers import parquet_metadata
from umbel.catalog.json_rows import cast_json, find_json_error, json_type
from umbel.catalog.lines import BLOCK, line_blocks, open_bytes
from umbel.catalog.pruning import may_match, row_groups, scan_files
from umbel.catalog.stores.registry import open_file
from umbel.catalog.texts import value_of_text
from umbel.catalog.unpacking import portions
from umbel.plan.errors import EvaluationError, SourceError
from umbel.plan.expressions import Expression
from umbel.plan.sources import (
    CsvSource,
    FileSource,
    IpcSource,
    JsonLinesSource,
    ParquetFiles,
    TextSource,
)
from umbel.plan.types import canonical_schema

#: Rows of a CSV file whose texts are converted at once.
_CONVERTED = 4096


def read(
    source: FileSource,
    columns: Sequence[str] | None = None,
    predicate: Expression | None = None,
    *,
    files: Sequence[FileEntry] | None = None,
    check: Callable[[], None] = lambda: None,
) -> Iterator[pa.RecordBatch]:
    """Read a source.

    Args:
        source: what is read.
        columns: the columns wanted, in order; None for all.
        predicate: rows for which it cannot be true may be left out, as far as partition values and
            the statistics of Parquet's row groups tell; the others are not filtered.
        files: the source's files, or some of them; found if not given.
        check: called before each batch; raises to stop.

    Raises:
        SourceError: a file is missing, malformed or holds a value that its column's type does not.
    """
    wanted = list(source.schema.names) if columns is None else list(columns)
    schema = pa.schema([source.schema.field(name) for name in wanted])
    stored = pa.schema([f for f in schema if f.name not in source.partitions])
    for entry in scan_files(source, predicate) if files is None else files:
        first = 1
        for block in _batches(source, entry, stored, predicate):
            # Texts are converted in few rows at once: a limit may need no more.
            step = _CONVERTED if isinstance(source, CsvSource) else max(1, block.num_rows)
            for start in range(0, block.num_rows, step):
                check()
                yield from _assembled(source, entry, block.slice(start, step), schema, first)
                first += step


def _batches(
    source: FileSource, entry: FileEntry, stored: pa.Schema, predicate: Expression | None
) -> Iterator[pa.RecordBatch]:
    match source:
        case TextSource():
            return text_batches(entry.path, source.schema.names[0])
        case CsvSource():
            return csv_batches(source, entry.path, stored.names)
        case JsonLinesSource():
            return json_batches(entry.path, stored)
        case ParquetFiles():
            return parquet_batches(source, entry, stored.names, predicate)
        case IpcSource():
            return ipc_batches(source, entry, stored.names)
    raise SourceError(f"there is no reader for {source.kind} files")


def _assembled(
    source: FileSource, entry: FileEntry, batch: pa.RecordBatch, schema: pa.Schema, first: int
) -> Iterator[pa.RecordBatch]:
    try:
        whole = _assemble(source, entry, batch, schema, first)
    except SourceError:
        # Row by row, so that those before the one at fault, which may be enough, come first.
        for row in range(batch.num_rows):
            yield _assemble(source, entry, batch.slice(row, 1), schema, first + row)
        raise
    yield whole


def _assemble(
    source: FileSource, entry: FileEntry, batch: pa.RecordBatch, schema: pa.Schema, first: int
) -> pa.RecordBatch:
    """Put a batch's columns into the schema's order and types, and add those of the folders."""
    arrays = []
    for field in schema:
        if field.name in source.partitions:
            value = pa.scalar(entry.partitions[field.name], field.type)
            arrays.append(pa.repeat(value, batch.num_rows))
            continue
        array = batch.column(field.name)
        if array.type != field.type:
            if isinstance(source, CsvSource):
                array = convert(array, field, entry.path, first)
            else:  # the type in another layout, see `check_columns`
                array = array.cast(field.type)
        arrays.append(array)
    if not arrays:
        return batch.select([])
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def convert(array: pa.Array, field: pa.Field, path: str, first: int) -> pa.Array:
    """Convert texts to a column's type, as the plan's casts do.

    Args:
        array: the texts of some rows.
        field: the column's name and type.
        path: the file, for the error.
        first: the number of the first row in the file, for the error.
    """
    values = []
    for number, text in enumerate(array.to_pylist(), first):
        try:
            values.append(value_of_text(text, field.type))
        except EvaluationError:
            raise wrong_value(path, number, field, text) from None
    return pa.array(values, field.type)


def text_batches(path: str, name: str = "value") -> Iterator[pa.RecordBatch]:
    """Read the lines of a text file."""
    import pyarrow.compute as pc

    line = 1
    for block in line_blocks(path):
        try:
            whole = pa.array([block[:-1]], pa.large_binary()).cast(pa.large_string())
        except pa.ArrowInvalid:
            raise invalid_text(path, block, line) from None
        lines = pc.split_pattern(whole, "\n").flatten()
        line += len(lines)
        yield pa.RecordBatch.from_arrays([lines.cast(pa.string())], [name])


# --- formats ----------------------------------------------------------------------------------


def csv_batches(
    source: CsvSource, path: str, columns: Sequence[str], block: int = BLOCK
) -> Iterator[pa.RecordBatch]:
    """Read columns of a CSV file as text, null as the source says."""
    import pyarrow.csv as csv

    names = [name for name in source.schema.names if name not in source.partitions]
    check_header(source, path)
    options = {
        "read_options": csv.ReadOptions(
            block_size=block, column_names=None if source.header else names, use_threads=False
        ),
        "parse_options": csv.ParseOptions(
            delimiter=source.delimiter,
            quote_char=source.quote or False,
            double_quote=True,
            newlines_in_values=True,
            ignore_empty_lines=len(names) != 1,
        ),
        "convert_options": csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=list(source.null_values),
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            include_columns=list(columns) or names[:1],
        ),
    }
    with open_bytes(path) as file:
        quotes = CountingQuotes(file, source.quote.encode())
        try:
            yield from csv.open_csv(
                pa.PythonFile(quotes, mode="r") if source.quote else file, **options
            )
        except (pa.ArrowException, OSError, EOFError) as error:
            found = find_csv_error(source, path)
            raise found or malformed(path, "CSV", error) from error
    # Arrow takes the rest of the file for the value of a quote that is never closed.
    if quotes.count % 2 and (line := line_of_open_quote(source, path)):
        raise open_quote(source, path, line)


def json_batches(path: str, stored: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Read columns of a file of JSON lines, in their types; keys that are missing give null."""
    import pyarrow.json as json

    options = json.ParseOptions(
        explicit_schema=pa.schema([pa.field(f.name, json_type(f.type)) for f in stored]),
        unexpected_field_behavior="ignore",
    )
    with open_bytes(path) as file:
        try:
            for batch in json.open_json(
                file, read_options=json.ReadOptions(block_size=BLOCK), parse_options=options
            ):
                arrays = [cast_json(batch.column(f.name), f.type) for f in stored]
                if arrays:
                    yield pa.RecordBatch.from_arrays(arrays, names=stored.names)
                else:
                    yield batch.select([])
        except (pa.ArrowException, EvaluationError, OSError, EOFError) as error:
            if "Empty JSON" not in str(error):
                found = find_json_error(path, stored)
                raise found or malformed(path, "JSON", error) from error


def parquet_batches(
    source: ParquetFiles,
    entry: FileEntry,
    columns: Sequence[str],
    predicate: Expression | None = None,
) -> Iterator[pa.RecordBatch]:
    """Read columns of a Parquet file, without row groups where `predicate` cannot be true."""
    if not may_match(entry, predicate):
        return
    if entry.task is not None:
        from umbel.catalog.iceberg import task_batches

        yield from task_batches(entry.task, columns)
        return
    try:
        with _open_parquet(entry) as file:
            compare(source, entry.path, canonical_schema(file.schema_arrow))
            groups = row_groups(file.metadata, predicate, entry.partitions)
            there = set(file.schema_arrow.names)
            missing = [name for name in columns if name not in there]
            present = [name for name in columns if name in there]
            opened = partial(_open_parquet, entry)
            for some, rows in portions(file.metadata, groups, present, opened):
                for batch in file.iter_batches(rows, row_groups=some, columns=present):
                    yield _with_nulls(batch, source.schema, missing) if missing else batch
    except (pa.ArrowException, OSError) as error:
        raise malformed(entry.path, "Parquet", error) from error


def _with_nulls(batch: pa.RecordBatch, schema: pa.Schema, missing: Sequence[str]) -> pa.RecordBatch:
    """Add columns that the table got after the file was written."""
    nulls = [pa.nulls(batch.num_rows, schema.field(name).type) for name in missing]
    return pa.RecordBatch.from_arrays(
        [*batch.columns, *nulls], names=[*batch.schema.names, *missing]
    )


@contextmanager
def _open_parquet(entry: FileEntry, packed: Sequence[str] = ()) -> Iterator[Any]:
    """Open a Parquet file; of one elsewhere the columns of a row group are fetched together.

    Args:
        entry: the file.
        packed: columns, as the footer names them, that are given with their dictionaries.
    """
    import pyarrow.parquet as parquet

    if not is_remote(entry.path):
        with parquet.ParquetFile(entry.path, read_dictionary=packed) as file:
            yield file
        return
    metadata = parquet_metadata(entry)
    with (
        open_file(entry.path) as raw,
        parquet.ParquetFile(
            raw, metadata=metadata, pre_buffer=True, read_dictionary=packed
        ) as file,
    ):
        yield file


def ipc_batches(
    source: IpcSource, entry: FileEntry, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Read columns of an Arrow IPC file.

    It is not mapped into memory: if another program cuts off a file that is, the process dies.
    """
    try:
        with open_file(entry.path) as file:
            found = pa.ipc.open_file(file).schema
            compare(source, entry.path, canonical_schema(found))
            wanted = [found.get_field_index(name) for name in columns]
            # To the reader no fields at all means all fields.
            options = pa.ipc.IpcReadOptions(included_fields=wanted or [0])
            reader = pa.ipc.open_file(file, options=options)
            for index in range(reader.num_record_batches):
                yield reader.get_batch(index).select(list(columns))
    except (pa.ArrowException, OSError) as error:
        raise malformed(entry.path, "Arrow IPC", error) from error


__all__ = [
    "convert",
    "csv_batches",
    "ipc_batches",
    "json_batches",
    "parquet_batches",
    "read",
    "text_batches",
]

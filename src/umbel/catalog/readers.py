"""Files as streams of Arrow batches in a source's types, the reference for what files mean.

Memory is bounded by the size of a batch. What cannot be read is a `SourceError` that names the
file and, where it can be told, the row and the column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from umbel.catalog.files import FileEntry, compression_of, resolve
from umbel.catalog.pruning import row_groups
from umbel.plan.casting import cast_value
from umbel.plan.errors import EvaluationError, SourceError
from umbel.plan.expressions import Expression
from umbel.plan.sources import (
    CsvSource,
    FileSource,
    IpcSource,
    JsonLinesSource,
    ParquetSource,
    TextSource,
)
from umbel.plan.types import is_list, is_string, type_name

#: Bytes of text that are read and cut into lines at once.
BLOCK = 4 * 2**20

BYTE_ORDER_MARK = b"\xef\xbb\xbf"


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
    for entry in resolve(source) if files is None else files:
        first = 1
        for batch in _batches(source, entry, stored, predicate):
            check()
            yield _assemble(source, entry, batch, schema, first)
            first += batch.num_rows


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
        case ParquetSource():
            return parquet_batches(source, entry, stored.names, predicate)
        case IpcSource():
            return ipc_batches(entry.path, stored.names)
    raise SourceError(f"there is no reader for {source.kind} files")


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
            array = convert(array, field, entry.path, first)
        arrays.append(array)
    if not arrays:
        return batch.select([])
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def convert(array: pa.Array, field: pa.Field, path: str, first: int) -> pa.Array:
    """Convert a column to its type: texts as the plan's casts do, others as Arrow does.

    Args:
        array: the values of some rows.
        field: the column's name and type.
        path: the file, for the error.
        first: the number of the first row in the file, for the error.
    """
    if not is_string(array.type):
        try:
            return array.cast(field.type)
        except pa.ArrowException as error:
            raise SourceError(f"{path}: column {field.name!r}: {error}") from error
    values = []
    for number, text in enumerate(array.to_pylist(), first):
        try:
            values.append(cast_value(text, pa.string(), field.type, strict=True))
        except EvaluationError:
            raise wrong_value(path, number, field, text) from None
    return pa.array(values, field.type)


def wrong_value(path: str, row: int, field: pa.Field, text: str) -> SourceError:
    """Make the error for a text that its column's type does not hold."""
    shown = text if len(text) <= 80 else text[:79] + "…"
    return SourceError(
        f"{path}, row {row}: column {field.name!r} holds {shown!r}, "
        f"which is no {type_name(field.type)}",
        hint="correct the file, or give the column another type: "
        f"schema={{{field.name!r}: pa.string()}}",
    )


# --- bytes and lines --------------------------------------------------------------------------


def open_bytes(path: str) -> Any:
    """Open a file for reading, decompressed by its suffix: .gz, .zst, .bz2."""
    try:
        return pa.input_stream(path, compression=compression_of(path))
    except OSError as error:
        raise SourceError(f"{path}: cannot be read: {error}") from error


def line_blocks(path: str) -> Iterator[bytes]:
    r"""Yield a text file in pieces of whole lines, each line ended by `\n`.

    `\r\n` becomes `\n`, and a byte order mark at the start is dropped.
    """
    pending: list[bytes] = []
    first = True
    with open_bytes(path) as file:
        while True:
            try:
                block = file.read(BLOCK)
            except (OSError, EOFError) as error:
                raise damaged(path, error) from error
            if not block:
                break
            if first:
                block, first = block.removeprefix(BYTE_ORDER_MARK), False
            cut = block.rfind(b"\n") + 1
            if not cut:  # a line longer than a block: joined once, at its end
                pending.append(block)
                continue
            whole = b"".join([*pending, block[:cut]])
            pending = [block[cut:]]
            yield whole.replace(b"\r\n", b"\n")
    rest = b"".join(pending)
    if rest:
        yield rest + b"\n"


def damaged(path: str, error: Exception) -> SourceError:
    """Make the error for a file that ends too early or does not decompress."""
    compression = compression_of(path)
    what = f"the {compression} data is damaged or cut off" if compression else "cannot be read"
    return SourceError(
        f"{path}: {what}: {error}",
        hint="copy the file again from where it came, or leave it out of the paths",
    )


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


def invalid_text(path: str, block: bytes, line: int) -> SourceError:
    """Make the error for a piece of a file, starting at line `line`, that is not UTF-8."""
    start = 0
    try:
        block.decode()
    except UnicodeDecodeError as error:
        start = error.start
    number = line + block.count(b"\n", 0, start)
    return SourceError(
        f"{path}, line {number}: byte 0x{block[start]:02x} is not UTF-8",
        hint="convert the file first: iconv -f LATIN1 -t UTF-8",
    )


# --- formats ----------------------------------------------------------------------------------


def csv_batches(
    source: CsvSource, path: str, columns: Sequence[str], block: int = BLOCK
) -> Iterator[pa.RecordBatch]:
    """Read columns of a CSV file as text, null as the source says."""
    import pyarrow.csv as csv

    names = [name for name in source.schema.names if name not in source.partitions]
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
        quotes = _CountingQuotes(file, source.quote.encode())
        try:
            yield from csv.open_csv(
                pa.PythonFile(quotes, mode="r") if source.quote else file, **options
            )
        except (pa.ArrowException, OSError, EOFError) as error:
            raise malformed(path, "CSV", error) from error
    # Arrow takes the rest of the file for the value of a quote that is never closed.
    if quotes.count % 2 and (line := _open_quote(source, path)):
        raise open_quote(source, path, line)


class _CountingQuotes:
    """A file that is read through, and the quotes that went by."""

    closed = False

    def __init__(self, file: Any, quote: bytes) -> None:
        self._file = file
        self._quote = quote
        self.count = 0

    def read(self, size: int = -1) -> bytes:
        block: bytes = self._file.read(size)
        self.count += block.count(self._quote)
        return block

    def close(self) -> None:
        self.closed = True


def _open_quote(source: CsvSource, path: str) -> int:
    """Find the line of a quote that is opened and never closed; 0 if there is none."""
    quote, before = source.quote.encode(), (source.delimiter.encode(), b"\n")
    line, opened, inside = 1, 0, False
    for block in line_blocks(path):
        place, start = block.find(quote), -1
        while place >= 0:
            if not inside:
                inside = place == 0 or block[place - 1 : place] in before
                start = place if inside else start
            elif block[place + 1 : place + 2] == quote:
                place += 1  # a quote that is written twice
            else:
                inside = False
            place = block.find(quote, place + 1)
        if start >= 0:
            opened = line + block.count(b"\n", 0, start)
        line += block.count(b"\n")
    return opened if inside else 0


def open_quote(source: CsvSource, path: str, line: int) -> SourceError:
    """Make the error for a quote that is opened in a line and never closed."""
    return SourceError(
        f"{path}, line {line}: a quote {source.quote} is opened and never closed",
        hint="correct the line; a quote inside of quotes is written twice",
    )


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
                raise malformed(path, "JSON", error) from error


def json_type(dtype: pa.DataType) -> pa.DataType:
    """Give the type in which Arrow's JSON reader takes values of a type: some only as texts.

    >>> json_type(pa.list_(pa.date32()))
    ListType(list<item: string>)
    """
    if is_list(dtype):
        return pa.list_(json_type(dtype.value_type))
    if pa.types.is_struct(dtype):
        return pa.struct([pa.field(f.name, json_type(f.type)) for f in dtype])
    if pa.types.is_date(dtype) or pa.types.is_time(dtype):
        return pa.string()
    if pa.types.is_timestamp(dtype) and dtype.unit in ("s", "ms"):
        return pa.timestamp("us", dtype.tz)  # takes texts with more digits, if they are zeros
    return pa.int64() if pa.types.is_duration(dtype) else dtype


def cast_json(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    """Convert what Arrow's JSON reader gave for a type (see `json_type`) to the type.

    Raises:
        EvaluationError: a text that is no time; Arrow's own errors for other types.

    >>> cast_json(pa.array(["23:59:00"]), pa.time64("us")).to_pylist()
    [datetime.time(23, 59)]
    """
    if array.type == dtype:
        return array
    if not _holds_times(dtype):
        return array.cast(dtype)
    values = [cast_value(value, array.type, dtype, strict=True) for value in array.to_pylist()]
    return pa.array(values, dtype)


def _holds_times(dtype: pa.DataType) -> bool:
    """Whether times are in a type, for whose texts Arrow has no cast."""
    inside = any(_holds_times(dtype.field(i).type) for i in range(dtype.num_fields))
    return inside or bool(pa.types.is_time(dtype))


def parquet_batches(
    source: ParquetSource,
    entry: FileEntry,
    columns: Sequence[str],
    predicate: Expression | None = None,
) -> Iterator[pa.RecordBatch]:
    """Read columns of a Parquet file, without row groups where `predicate` cannot be true."""
    import pyarrow.parquet as parquet

    try:
        with parquet.ParquetFile(entry.path) as file:
            groups = row_groups(file.metadata, predicate, entry.partitions)
            if groups:
                yield from file.iter_batches(columns=list(columns), row_groups=groups)
    except (pa.ArrowException, OSError) as error:
        raise malformed(entry.path, "Parquet", error) from error


def ipc_batches(path: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """Read columns of an Arrow IPC file."""
    try:
        with pa.memory_map(path) as file:
            reader = pa.ipc.open_file(file)
            for index in range(reader.num_record_batches):
                yield reader.get_batch(index).select(list(columns))
    except (pa.ArrowException, OSError) as error:
        raise malformed(path, "Arrow IPC", error) from error


def malformed(path: str, form: str, error: Exception) -> SourceError:
    """Make the error for a file that is not what it should be."""
    if Path(path).stat().st_size == 0:
        return SourceError(f"{path}: the file is empty", hint="leave it out of the paths")
    first = str(error).strip().split("\n", 1)[0]
    return SourceError(
        f"{path}: not well-formed {form}: {first}",
        hint="repair the file, or leave it out of the paths",
    )


__all__ = [
    "cast_json",
    "convert",
    "csv_batches",
    "damaged",
    "invalid_text",
    "ipc_batches",
    "json_batches",
    "line_blocks",
    "malformed",
    "open_bytes",
    "open_quote",
    "parquet_batches",
    "read",
    "text_batches",
]

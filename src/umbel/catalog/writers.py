"""Writing files, whole or not at all.

A file is written beside its place under a hidden name, flushed to the disk, and renamed; when
writing fails or is cancelled it is removed, and what was there before stays. Folders that are
missing are made, and removed again on failure. A file of an object store is written here, and sent
when it is whole: an upload becomes an object when it is completed, and is nothing before.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections import namedtuple
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from umbel.catalog.commits import Commit, digest_of, staged_path
from umbel.catalog.files import compression_of
from umbel.catalog.formats import csv_header, csv_rows, json_rows, refuse_csv
from umbel.catalog.parquet_writer import write_parquet
from umbel.catalog.stores.registry import is_remote, plain_path, store_of
from umbel.dataclass import dataclass
from umbel.failpoints import reach
from umbel.plan.errors import RunError
from umbel.plan.operators import Element
from umbel.plan.sinks import (
    CsvSink,
    FileSink,
    IpcSink,
    JsonLinesSink,
    ParquetSink,
    TextSink,
)
from umbel.plan.types import is_list, is_object

#: Rows that are formatted at once.
BATCH = 2**16


@dataclass(frozen=True)
class WriteReport:
    """What was written.

    Attributes:
        path: the file, as the sink names it.
        rows: rows or elements in it.
    """

    path: str
    rows: int


def write(
    sink: FileSink,
    data: pa.Table | pa.RecordBatchReader | Iterable[Any],
    schema: pa.Schema,
    element: Element,
    check_cancelled: Callable[[], None] = lambda: None,
    commit: Commit | None = None,
) -> WriteReport:
    r"""Write data to a file, which appears whole or not at all.

    Args:
        sink: the file and its format; text, CSV and JSON are compressed if the path ends with
            .gz, .zst or .bz2.
        data: an Arrow table, reader or batches, or Python elements in the form of `element`.
        schema: the columns of the data.
        element: the form of its elements; what lines of text are made of.
        check_cancelled: called between batches; raises to stop.
        commit: the token of a durable run, which learns what will be put in place before it is.

    Raises:
        RunError: the file exists though it must not, cannot be written, or cannot hold a value.

    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sink = TextSink(folder + "/new/words.txt")
    ...     report = write(sink, ["a", 1], pa.schema([]), Element.OBJECT)
    ...     report.rows, pathlib.Path(sink.path).read_text()
    (2, 'a\n1\n')
    """
    rows = 0

    def intend(staged: Path) -> None:
        if commit is not None:
            reach("write-staged")
            size, sha256 = staged.stat().st_size, digest_of(staged)
            commit.intend({"rows": rows, "bytes": size, "sha256": sha256})

    with _replacing(sink, check_cancelled, commit, intend) as file:
        # Only IPC files hold what lies where nulls are.
        canonical = isinstance(sink, IpcSink)
        batches = arrow_batches(data, schema, element, check_cancelled, canonical=canonical)
        match sink:
            case TextSink():
                rows = _write_text(file, data, schema, element, check_cancelled)
            case CsvSink():
                refuse_csv(schema)
                file.write(csv_header(schema.names))
                for batch in batches:
                    file.write(csv_rows(batch, rows + 1))
                    rows += batch.num_rows
            case JsonLinesSink():
                for batch in batches:
                    file.write(json_rows(batch, rows + 1))
                    rows += batch.num_rows
            case ParquetSink():
                rows = write_parquet(file, sink.compression, batches, schema)
            case IpcSink():
                with pa.ipc.new_file(file, schema) as writer:
                    for batch in batches:
                        writer.write_batch(batch)
                        rows += batch.num_rows
            case _:
                raise RunError(f"there is no writer for {sink.kind} files")
    return WriteReport(sink.path, rows)


def check_sink(sink: FileSink) -> None:
    """Raise `RunError` if a sink's file cannot go where it should; cheap, for before a run.

    >>> check_sink(TextSink("/dev/null/x"))
    Traceback (most recent call last):
    umbel.plan.errors.RunError: /dev/null/x: /dev/null is no folder
    ...
    """
    store_of(sink.path).check_target(plain_path(sink.path), sink.exists)


# --- the file ---------------------------------------------------------------------------------


@contextmanager
def _replacing(
    sink: FileSink,
    check: Callable[[], None],
    commit: Commit | None,
    intend: Callable[[Path], None],
) -> Iterator[Any]:
    """Open a new file that takes the sink's place when the block ends without an error."""
    check_sink(sink)
    try:
        if is_remote(sink.path):
            yield from _staged(sink, check, intend)
        else:
            yield from _beside(sink, check, commit, intend)
    except RunError as error:
        if error.message.startswith(sink.path):
            raise
        raise type(error)(f"{sink.path}: {error.message}", hint=error.hint) from error
    except (OSError, pa.ArrowException) as error:
        what = getattr(error, "strerror", None) or str(error).split("\n", 1)[0]
        raise RunError(
            f"{sink.path}: cannot be written: {what}", hint="what was there before is unchanged"
        ) from error


def _staged(
    sink: FileSink, check: Callable[[], None], intend: Callable[[Path], None]
) -> Iterator[Any]:
    """Write a file of another machine into a temporary folder, and send it when it is whole."""
    with tempfile.TemporaryDirectory(prefix="umbel-staged-") as folder:
        temporary = Path(folder, "file")
        with temporary.open("xb") as file, _compressing(sink, file) as stream:
            yield stream
        intend(temporary)
        store_of(sink.path).put(temporary, plain_path(sink.path), sink.exists, check)


def _beside(
    sink: FileSink,
    check: Callable[[], None],
    commit: Commit | None,
    intend: Callable[[Path], None],
) -> Iterator[Any]:
    """Write a file of this machine beside its place, where a rename can put it into place."""
    path = plain_path(sink.path)
    target = Path(path).resolve()  # through a link, what it leads to is replaced
    made = [parent for parent in target.parents if not parent.exists()]
    token = secrets.token_hex(8) if commit is None else commit.token
    temporary = staged_path(target, token)
    intended = done = False
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as file, _compressing(sink, file) as stream:
            yield stream
        with temporary.open("rb+") as written:  # compressing closed the other
            os.fsync(written.fileno())
        if target.exists():
            temporary.chmod(target.stat().st_mode & 0o7777)
        if commit is not None:
            sync_folder(target.parent)
            intend(temporary)
            intended = True
        store_of(path).put(temporary, str(target), sink.exists, check)
        done = True
        sync_folder(target.parent)
    finally:
        if not done:
            if intended and commit is not None:
                commit.undo()  # first: a staged file that is gone says that it was put in place
            temporary.unlink(missing_ok=True)
            for folder in made:
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder last through a crash, where folders can be flushed."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _compressing(sink: FileSink, file: BinaryIO) -> Iterator[Any]:
    compression = compression_of(sink.path)
    if compression is None or not isinstance(sink, TextSink | CsvSink | JsonLinesSink):
        yield file
        return
    with pa.CompressedOutputStream(pa.PythonFile(file, "wb"), compression) as stream:
        yield stream
        stream.flush()


# --- data -------------------------------------------------------------------------------------


def arrow_batches(
    data: Any,
    schema: pa.Schema,
    element: Element,
    check: Callable[[], None],
    *,
    canonical: bool = False,
) -> Iterator[pa.RecordBatch]:
    """Give data as batches of a schema, cut at the same rows in whatever pieces it comes.

    Args:
        data: an Arrow table, reader or batches, or Python elements.
        schema: of the batches.
        element: the form of Python elements.
        check: called between batches; raises to stop.
        canonical: whether equal data shall give equal buffers too; that takes a copy.
    """
    return _checked(_batches(data, schema, element, canonical=canonical), check)


def _checked(
    batches: Iterator[pa.RecordBatch], check: Callable[[], None]
) -> Iterator[pa.RecordBatch]:
    check()
    for batch in batches:
        yield batch
        check()


def _batches(
    data: Any, schema: pa.Schema, element: Element, *, canonical: bool
) -> Iterator[pa.RecordBatch]:
    """Give data as batches of the schema, all but the last of `BATCH` rows.

    Equal data gives equal files to the last bit, whichever engine made it and in whatever pieces
    it comes: a file tells what is in it, not how it came about.
    """
    if isinstance(data, pa.Table):
        data = data.to_batches(max_chunksize=BATCH)
    items = iter(data)
    first = next(items, None)
    if first is None:
        return
    if not isinstance(first, pa.RecordBatch):
        items = _of_elements(_chain(first, items), schema, element)
        first = next(items)
    conforming = (_conform(batch, schema) for batch in _chain(first, items))
    yield from _cut(conforming, schema, canonical=canonical)


def _cut(
    batches: Iterator[pa.RecordBatch], schema: pa.Schema, *, canonical: bool
) -> Iterator[pa.RecordBatch]:
    held: list[pa.RecordBatch] = []
    rows = 0
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            piece = batch.slice(start, BATCH - rows)
            start, rows = start + piece.num_rows, rows + piece.num_rows
            held.append(piece)
            if rows == BATCH:
                yield from _joined(held, schema, canonical=canonical)
                held, rows = [], 0
    if held:
        yield from _joined(held, schema, canonical=canonical)


def _joined(
    pieces: list[pa.RecordBatch], schema: pa.Schema, *, canonical: bool
) -> Iterator[pa.RecordBatch]:
    """Make one batch of several (more only if its texts are too long for one)."""
    table = pa.Table.from_batches(pieces, schema)
    if canonical and schema.names:
        # Taking all rows copies them, and puts zeros where nulls are instead of what lay there.
        table = table.take(_positions(table.num_rows))
    yield from table.combine_chunks().to_batches()


@lru_cache(maxsize=1)
def _positions(rows: int) -> pa.Array:
    return pa.array(range(rows), pa.int64())


def _chain(first: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield first
    yield from rest


def _conform(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    if batch.schema.equals(schema):
        return batch
    columns = [
        batch.column(f.name) if batch.column(f.name).type == f.type
        else batch.column(f.name).cast(f.type)
        for f in schema
    ]  # fmt: skip
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _of_elements(
    elements: Iterator[Any], schema: pa.Schema, element: Element
) -> Iterator[pa.RecordBatch]:
    while piece := list(islice(elements, BATCH)):
        columns: Any = [piece] if element is Element.VALUE else zip(*piece, strict=True)
        arrays = [
            pa.array([_plain(v, f.type) for v in column] if _has_tuples(f.type) else column, f.type)
            for f, column in zip(schema, columns, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _has_tuples(dtype: pa.DataType) -> bool:
    return is_list(dtype) or bool(pa.types.is_struct(dtype))


def _plain(value: Any, dtype: pa.DataType) -> Any:
    """Turn tuples into what Arrow takes for a struct."""
    if value is None:
        return None
    if is_list(dtype):
        return [_plain(item, dtype.value_type) for item in value]
    if pa.types.is_struct(dtype):
        fields = list(dtype)
        items = [value[f.name] for f in fields] if isinstance(value, dict) else value
        return {f.name: _plain(v, f.type) for f, v in zip(fields, items, strict=True)}
    return value


def _write_text(
    file: Any, data: Any, schema: pa.Schema, element: Element, check: Callable[[], None]
) -> int:
    rows = 0
    elements = _elements(data, schema, element)
    check()
    while piece := list(islice(elements, BATCH)):
        lines = [item if isinstance(item, str) else str(item) for item in piece]
        try:
            file.write(("\n".join(lines) + "\n").encode())
        except UnicodeEncodeError as error:
            number = rows + 1 + error.object.count("\n", 0, error.start)
            raise RunError(
                f"line {number}: {error.object[error.start]!r} has no form in UTF-8",
                hint="replace it first: .map(lambda text: text.encode(errors='replace').decode())",
            ) from error
        rows += len(piece)
        check()
    return rows


def _elements(data: Any, schema: pa.Schema, element: Element) -> Iterator[Any]:
    """Give data as Python elements."""
    if isinstance(data, pa.Table):
        data = data.to_batches(max_chunksize=BATCH)
    make = _record_maker(schema) if element is Element.RECORD else None
    for item in data:
        if not isinstance(item, pa.RecordBatch):
            yield item
            continue
        columns = [_python_values(column) for column in item.columns]
        if element is Element.VALUE:
            yield from columns[0]
        elif make is not None:
            yield from map(make, zip(*columns, strict=True))
        else:
            yield from zip(*columns, strict=True)


def _record_maker(schema: pa.Schema) -> Callable[[Iterable[Any]], tuple[Any, ...]]:
    record: Any = namedtuple("Row", schema.names, rename=True)  # type: ignore[misc]
    make: Callable[[Iterable[Any]], tuple[Any, ...]] = record._make
    return make


def _python_values(column: pa.Array) -> list[Any]:
    values: list[Any] = column.to_pylist()
    if not _has_tuples(column.type) or is_object(column.type):
        return values
    return [_tuples(value, column.type) for value in values]


def _tuples(value: Any, dtype: pa.DataType) -> Any:
    """Turn structs whose fields are `item_0`, `item_1`, … into tuples."""
    if value is None:
        return None
    if is_list(dtype):
        return [_tuples(item, dtype.value_type) for item in value]
    if pa.types.is_struct(dtype):
        made = {f.name: _tuples(value[f.name], f.type) for f in dtype}
        is_tuple = list(made) == [f"item_{i}" for i in range(len(made))]
        return tuple(made.values()) if is_tuple else made
    return value


__all__ = ["WriteReport", "arrow_batches", "check_sink", "sync_folder", "write"]

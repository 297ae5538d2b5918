"""What is wrong with a source's files, after an engine failed on them.

Engines say little of where a file is wrong. Here the files are read again, row by row, up to the
first row that is: slow, but done only once a run has failed.
"""

from __future__ import annotations

from collections.abc import Collection

import pyarrow as pa

from umbel.catalog.csv_rows import check_header, find_csv_error
from umbel.catalog.files import FileEntry, resolve
from umbel.catalog.json_rows import find_json_error
from umbel.catalog.readers import ipc_batches, parquet_batches, text_batches
from umbel.plan.errors import CancelledError, SourceError
from umbel.plan.sources import (
    CsvSource,
    FileSource,
    IpcSource,
    JsonLinesSource,
    ParquetFiles,
    Source,
    TextSource,
)


def diagnose(
    source: Source, error: BaseException | None = None, columns: Collection[str] | None = None
) -> SourceError | None:
    r"""Find what is wrong with a source's files.

    Args:
        source: what an engine failed to read.
        error: what it failed with; kept as the cause. Memory and cancellation are no fault of
            a file's.
        columns: those that were read, in which alone a value can be at fault; None for all.

    Returns:
        An error that names the file and, where there is one, the row, the column, the text and
        the type wanted, and what to do; None if the files can be read.

    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "a.csv")
    ...     _ = path.write_text("x,y\n1,2\n1\n")
    ...     columns = pa.schema([("x", pa.int64()), ("y", pa.int64())])
    ...     print(diagnose(CsvSource(columns, (str(path),))).message.replace(folder, ""))
    /a.csv, row 2 (line 3): 1 fields, but there are 2 columns
    """
    if not isinstance(source, FileSource) or isinstance(error, MemoryError | CancelledError):
        return None
    try:
        for entry in resolve(source):
            found = _diagnose_file(source, entry, columns)
            if found is not None:
                return _because(found, error)
    except SourceError as found:
        return _because(found, error)
    return None


def _because(found: SourceError, error: BaseException | None) -> SourceError:
    if error is not None and error is not found:
        found.__cause__ = error
    return found


def _diagnose_file(
    source: FileSource, entry: FileEntry, columns: Collection[str] | None
) -> SourceError | None:
    stored = pa.schema([f for f in source.schema if f.name not in source.partitions])
    read = stored if columns is None else pa.schema([f for f in stored if f.name in columns])
    match source:
        case TextSource():
            for _ in text_batches(entry.path):
                pass
        case CsvSource():
            check_header(source, entry.path)
            return find_csv_error(source, entry.path, read.names)
        case JsonLinesSource():
            return find_json_error(entry.path, read)
        case ParquetFiles():
            for batch in parquet_batches(source, entry, stored.names):
                batch.validate()
        case IpcSource():
            for batch in ipc_batches(source, entry, stored.names):
                batch.validate()
    return None


__all__ = ["diagnose"]

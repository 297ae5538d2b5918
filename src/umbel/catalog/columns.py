"""The columns that Parquet and Arrow files say they have, and whether a plan still fits them.

A footer is read once as long as its file stays as it is. So a run that follows its plan asks the
file system for each file's size and time, and reads only the footers of files that changed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import lru_cache

import pyarrow as pa

from umbel.catalog.complaints import changed, malformed
from umbel.catalog.files import FileEntry, is_remote
from umbel.catalog.footers import ipc_schema, parquet_schema
from umbel.plan.sources import DeltaSource, FileSource, IcebergSource, IpcSource, ParquetSource
from umbel.plan.types import canonical_schema, type_name

#: Nanoseconds within which two changes may leave one time behind: a tick of the kernel, or where
#: times are whole seconds, two of them (FAT keeps no odd ones).
_TICK, _COARSE = 20_000_000, 2_000_000_000


def columns_of_file(source: FileSource, entry: FileEntry) -> pa.Schema:
    """Read the columns of a Parquet or Arrow file, in canonical types.

    Raises:
        SourceError: the file is not what it should be.
    """
    if is_remote(entry.path):
        return _one(
            parquet_schema(entry) if source.kind == ParquetSource.kind else ipc_schema(entry)
        )
    age = time.time_ns() - entry.modified
    if age < (_TICK if entry.modified % 1_000_000_000 else _COARSE):
        return _read(source.kind, entry.path)  # it may change again and show the same time
    return _remembered(source.kind, entry.path, entry.modified, entry.size)


@lru_cache(maxsize=2**16)
def _remembered(kind: str, path: str, modified: int, size: int) -> pa.Schema:
    return _read(kind, path)


def _read(kind: str, path: str) -> pa.Schema:
    if kind == ParquetSource.kind:
        import pyarrow.parquet as parquet

        try:
            return _one(canonical_schema(parquet.read_schema(path)))
        except (pa.ArrowException, OSError) as error:
            raise malformed(path, "Parquet", error) from error
    try:
        with pa.OSFile(path) as file:
            return _one(canonical_schema(pa.ipc.open_file(file).schema))
    except (pa.ArrowException, OSError) as error:
        raise malformed(path, "Arrow IPC", error) from error


@lru_cache(maxsize=1024)
def _one(schema: pa.Schema) -> pa.Schema:
    """Give one object for all equal schemas: many files share few."""
    return schema


def check_columns(source: FileSource, files: Iterable[FileEntry]) -> None:
    """Raise `SourceError` unless files have the columns that a source had when it was made.

    Engines read by name and cast what fits, so they would not notice. Costs a look-up per file
    that did not change. Does nothing for formats that do not say their columns.

    >>> import tempfile, pathlib, pyarrow.parquet
    >>> from umbel.catalog.files import resolve
    >>> from umbel.plan.errors import SourceError
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = folder + "/a.parquet"
    ...     pyarrow.parquet.write_table(pa.table({"a": [1]}), path)
    ...     planned = ParquetSource(pa.schema([("a", pa.string())]), (path,))
    ...     try:
    ...         check_columns(planned, resolve(planned))
    ...     except SourceError as error:
    ...         print(error.message.replace(folder, ""))
    /a.parquet: column 'a' is int64, not string: the file was changed after the plan was made
    """
    if not isinstance(source, ParquetSource | IpcSource):
        return
    fits: dict[int, pa.Schema] = {}
    listed = list(files)
    # A footer elsewhere costs a round trip; the other files are compared as they are read.
    for entry in listed[:1] if listed and is_remote(listed[0].path) else listed:
        found = columns_of_file(source, entry)
        if id(found) not in fits:
            compare(source, entry.path, found)
            fits[id(found)] = found


def compare(source: FileSource, path: str, found: pa.Schema) -> None:
    """Raise `SourceError` unless the columns found in a file are those of its source.

    They may stand in another order, and may have lost the nulls that the source allows. Files of
    tables with a log may differ, as their table changed; that is their reader's matter.
    """
    if isinstance(source, DeltaSource | IcebergSource):
        return
    stored = [field for field in source.schema if field.name not in source.partitions]
    for field in stored:
        place = found.get_field_index(field.name)
        if place < 0:
            raise changed(path, f"it has no column {field.name!r}", source.kind)
        now = found.field(place)
        if now.type != field.type:
            what = f"column {field.name!r} is {type_name(now.type)}, not {type_name(field.type)}"
            raise changed(path, what, source.kind)
        if now.nullable and not field.nullable:
            raise changed(path, f"column {field.name!r} may hold nulls now", source.kind)
    known = set(source.schema.names)
    for name in found.names:
        if name not in known:
            raise changed(path, f"it has a column {name!r} that it had not", source.kind)


__all__ = ["check_columns", "columns_of_file", "compare"]

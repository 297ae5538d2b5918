"""The footers of Parquet and Arrow IPC files, each read once as long as its file stays as it is."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import pyarrow as pa

from umbel.catalog.complaints import malformed
from umbel.catalog.files import FileEntry, is_remote
from umbel.catalog.stores.registry import open_file
from umbel.plan.types import canonical_schema

#: Stores tell times of changes in seconds. A file younger than this (in nanoseconds) may change
#: without its time doing so; what is known of it is not kept.
_YOUNG = 2 * 10**9

#: Footers of files elsewhere that are fetched at the same time.
_AT_ONCE = 8


def is_young(entry: FileEntry) -> bool:
    """Whether a file may change without its time doing so, so that nothing of it is to be kept."""
    return is_remote(entry.path) and time.time_ns() - entry.modified < _YOUNG


def parquet_metadata(entry: FileEntry) -> Any:
    """Read the footer of a Parquet file, as a `pyarrow.parquet.FileMetaData`.

    Raises:
        SourceError: it is no Parquet file, or cannot be read.
    """
    if is_young(entry):
        return _parquet_metadata.__wrapped__(entry.path, entry.modified, entry.size)
    return _parquet_metadata(entry.path, entry.modified, entry.size)


@lru_cache(maxsize=512)
def _parquet_metadata(path: str, modified: int, size: int) -> Any:
    import pyarrow.parquet as parquet

    try:
        if not is_remote(path):
            return parquet.read_metadata(path)
        with open_file(path) as file:
            return parquet.read_metadata(file)
    except (pa.ArrowException, OSError) as error:
        raise malformed(path, "Parquet", error) from error


def parquet_schema(entry: FileEntry) -> pa.Schema:
    """Give the columns of a Parquet file, in canonical types."""
    try:
        return canonical_schema(parquet_metadata(entry).schema.to_arrow_schema())
    except (pa.ArrowException, OSError) as error:
        raise malformed(entry.path, "Parquet", error) from error


def ipc_schema(entry: FileEntry) -> pa.Schema:
    """Give the columns of an Arrow IPC file, in canonical types."""
    return _ipc_footer(entry.path, entry.modified, entry.size)[0]


def ipc_rows(entry: FileEntry) -> int:
    """Count the rows of an Arrow IPC file."""
    return _ipc_footer(entry.path, entry.modified, entry.size)[1]


@lru_cache(maxsize=4096)
def _ipc_footer(path: str, modified: int, size: int) -> tuple[pa.Schema, int]:
    try:
        with open_file(path) as file:
            reader = pa.ipc.open_file(file)
            rows = reader.num_record_batches and reader.count_rows()
            return canonical_schema(reader.schema), rows
    except (pa.ArrowException, OSError) as error:
        raise malformed(path, "Arrow IPC", error) from error


def read_all(entries: Iterable[FileEntry], read: Any) -> list[Any]:
    """Look at many files, at the same time if they lie elsewhere: each costs a round trip."""
    entries = list(entries)
    if len(entries) < 2 or not is_remote(entries[0].path):
        return [read(entry) for entry in entries]
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="umbel-footers") as pool:
        return list(pool.map(read, entries))


__all__ = [
    "ipc_rows",
    "ipc_schema",
    "is_young",
    "parquet_metadata",
    "parquet_schema",
    "read_all",
]

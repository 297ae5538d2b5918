"""Which state of a source is meant: tells whether what was once counted is still true."""

from __future__ import annotations

import hashlib
import time

from umbel.catalog.files import is_remote, resolve
from umbel.plan.errors import SourceError
from umbel.plan.sources import (
    DeltaSource,
    FileSource,
    IcebergSource,
    MemorySource,
    Source,
)

#: A file that changed so many nanoseconds ago may change again without its time telling.
_YOUNG = 2 * 10**9


def source_key(source: Source) -> str:
    """Name a source, whatever state it is in, without keeping its data alive.

    >>> import pyarrow as pa
    >>> source_key(MemorySource(pa.schema([]), token="t7"))
    'memory t7'
    """
    if isinstance(source, MemorySource):
        return f"memory {source.token}"
    return hashlib.sha256(repr(source).encode()).hexdigest()


def source_version(source: Source) -> str | None:
    """Name the state that a source is in; None if that cannot be told.

    Files are told by their paths, sizes and times of change. Data of this process never changes.

    >>> import pyarrow as pa
    >>> source_version(MemorySource(pa.schema([]), token="t7"))
    'as made'
    """
    match source:
        case MemorySource(token=token) if token:
            return "as made"
        case FileSource():
            try:
                files = resolve(source)
            except SourceError:  # it says so when it is read
                return None
            state = hashlib.sha256()
            for file in files:
                state.update(f"{file.path}\0{file.size}\0{file.modified}\0".encode())
            return state.hexdigest()
    return None


def is_settled(source: Source) -> bool:
    """Whether any later change of a source shows in its version: it is old files of this machine.

    >>> import pyarrow as pa
    >>> is_settled(MemorySource(pa.schema([]), token="t7"))
    False
    """
    if not isinstance(source, FileSource) or isinstance(source, DeltaSource | IcebergSource):
        return False
    try:
        files = resolve(source)
    except SourceError:  # it says so when it is read
        return False
    youngest = time.time_ns() - _YOUNG
    return all(not is_remote(file.path) and file.modified < youngest for file in files)


__all__ = ["is_settled", "source_key", "source_version"]

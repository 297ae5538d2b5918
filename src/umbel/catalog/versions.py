"""Which state of a source is meant: tells whether what was once counted is still true."""

from __future__ import annotations

import hashlib

from umbel.catalog.files import resolve
from umbel.plan.errors import SourceError
from umbel.plan.sources import FileSource, MemorySource, Source


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


__all__ = ["source_key", "source_version"]

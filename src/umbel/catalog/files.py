"""From the paths that a user gave to files: folders, glob patterns, hive partitions.

The order is always the same: paths as given, and what a folder or a pattern holds sorted by name.
Where the files lie (this machine, an object store, a web server) is `umbel.catalog.stores`' matter.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from umbel.catalog.stores.base import NULL_PARTITION, FileEntry
from umbel.catalog.stores.registry import is_remote, plain_path, store_of
from umbel.plan.casting import cast_value
from umbel.plan.errors import EvaluationError, SourceError
from umbel.plan.sources import DeltaSource, FileSource, IcebergSource
from umbel.plan.types import type_name

#: Suffixes of compressed text files, and Arrow's names for their compression.
COMPRESSIONS: Mapping[str, str] = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


def resolve(source: FileSource | Sequence[str | os.PathLike[str]] | str) -> list[FileEntry]:
    """Find the files of a source, or of paths.

    A folder stands for all files below it, but for those whose name (or whose folder's name)
    begins with `.` or `_`. A pattern may hold `*`, `?`, `[...]`, and `**` for folders of any
    depth; a path that exists as it is written is not a pattern. Folders `name=value` below a
    folder or a pattern's first wildcard give partition values.

    Raises:
        SourceError: a file is missing or unreadable, or a pattern or folder holds no file.

    >>> import tempfile, pathlib
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     part = pathlib.Path(folder, "year=2024")
    ...     part.mkdir()
    ...     _ = (part / "a.csv").write_text("x")
    ...     [(entry.size, entry.partitions) for entry in resolve([folder])]
    [(1, {'year': '2024'})]
    """
    if isinstance(source, DeltaSource):
        from umbel.catalog.delta import delta_files

        return delta_files(source)
    if isinstance(source, IcebergSource):
        from umbel.catalog.iceberg import iceberg_files

        return iceberg_files(source)
    if isinstance(source, FileSource):
        return [_typed(source, entry) for path in source.paths for entry in _expand(path)]
    paths = [source] if isinstance(source, str | os.PathLike) else source
    return [entry for path in paths for entry in _expand(os.fspath(path))]


def compression_of(path: str) -> str | None:
    """Name the compression that a file's suffix stands for.

    >>> compression_of("logs/a.csv.gz"), compression_of("a.csv")
    ('gzip', None)
    >>> compression_of("https://host/a.csv.gz?version=3")
    'gzip'
    """
    name = urlsplit(path).path if path.startswith(("http://", "https://")) else path
    return COMPRESSIONS.get(PurePosixPath(name).suffix.lower())


def _expand(path: str) -> list[FileEntry]:
    plain = plain_path(path)
    return list(store_of(plain).find(plain))


def _typed(source: FileSource, entry: FileEntry) -> FileEntry:
    """Give the partition values the types of their columns."""
    if not source.partitions:
        return replace(entry, partitions={}) if entry.partitions else entry
    values: dict[str, Any] = {}
    for name in source.partitions:
        if name not in entry.partitions:
            raise SourceError(
                f"{entry.path}: the file is in no folder {name}=…, but others are",
                hint="keep all files of a source in folders of the same kind",
            )
        dtype, text = source.schema.field(name).type, entry.partitions[name]
        try:
            values[name] = cast_value(text, pa.string(), dtype, strict=True)
        except EvaluationError:
            raise SourceError(
                f"{entry.path}: folder {name}={text} is no {type_name(dtype)}, as other files' are",
                hint="make the source anew, so that the column's type is found again",
            ) from None
    return replace(entry, partitions=values)


__all__ = [
    "COMPRESSIONS",
    "NULL_PARTITION",
    "FileEntry",
    "compression_of",
    "is_remote",
    "resolve",
]

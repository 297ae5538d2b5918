"""From the paths that a user gave to files: folders, glob patterns, hive partitions.

The order is always the same: paths as given, and what a folder or a pattern holds sorted by name.
"""

from __future__ import annotations

import difflib
import glob
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from umbel.plan.casting import cast_value
from umbel.plan.errors import EvaluationError, SourceError
from umbel.plan.sources import FileSource
from umbel.plan.types import type_name

#: How folders spell a null, by the convention of Hive.
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"

#: Suffixes of compressed text files, and Arrow's names for their compression.
COMPRESSIONS: Mapping[str, str] = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}

_PATTERN = frozenset("*?[")


@dataclass(frozen=True)
class FileEntry:
    """A file of a source.

    Attributes:
        path: where it is.
        size: its bytes on disk.
        partitions: values of the columns that its folders name, in the folders' order. Texts (None
            for null) when found from paths; values of the columns' types when found from a source.
        modified: nanoseconds of its last change; tells whether what is known of it is still true.
    """

    path: str
    size: int
    partitions: Mapping[str, Any] = field(default_factory=dict)
    modified: int = 0


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
    if isinstance(source, FileSource):
        found = [entry for path in source.paths for entry in _expand(path)]
        return [_typed(source, entry) for entry in found]
    paths = [source] if isinstance(source, str | os.PathLike) else source
    return [entry for path in paths for entry in _expand(os.fspath(path))]


def compression_of(path: str) -> str | None:
    """Name the compression that a file's suffix stands for.

    >>> compression_of("logs/a.csv.gz"), compression_of("a.csv")
    ('gzip', None)
    """
    return COMPRESSIONS.get(Path(path).suffix.lower())


def _expand(path: str) -> Iterator[FileEntry]:
    if "://" in path:
        raise SourceError(
            f"{path}: only files of this machine can be read",
            hint="copy it here first, or give the path where it is mounted",
        )
    place = os.path.expanduser(path) if path.startswith("~") else path  # noqa: PTH111
    try:
        status = os.stat(place)  # noqa: PTH116  (a Path would cost as much again)
    except FileNotFoundError:
        if _PATTERN.isdisjoint(place):
            raise _missing(path, place) from None
        yield from _matches(path, place)
        return
    except OSError as error:
        raise _unreadable(path, error) from error
    if stat.S_ISDIR(status.st_mode):
        yield from _inside(path, place)
    else:
        yield _entry(place, status, {})


def _inside(path: str, folder: str) -> Iterator[FileEntry]:
    found = False
    for file, status in _walk(folder, path):
        found = True
        yield _entry(file, status, _partition_values(file[len(folder) :]))
    if not found:
        raise SourceError(
            f"{path}: there are no files in this folder",
            hint="names that begin with '.' or '_' are passed over",
        )


def _walk(folder: str, shown: str) -> Iterator[tuple[str, os.stat_result]]:
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
        for entry in entries:
            if entry.name.startswith((".", "_")):
                continue
            if entry.is_dir():
                yield from _walk(entry.path, shown)
            else:
                yield entry.path, entry.stat()
    except OSError as error:
        raise _unreadable(shown, error) from error


def _matches(path: str, pattern: str) -> Iterator[FileEntry]:
    fixed = 0
    for part in pattern.split("/"):
        if not _PATTERN.isdisjoint(part):
            break
        fixed += len(part) + 1
    found = False
    for file in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207  (keeps paths as given)
        status = os.stat(file)  # noqa: PTH116
        if not stat.S_ISDIR(status.st_mode):
            found = True
            yield _entry(file, status, _partition_values(file[fixed:]))
    if not found:
        folder = pattern[:fixed].rstrip("/") or ("/" if pattern.startswith("/") else ".")
        if not Path(folder).is_dir():
            raise _missing(path, folder, "pattern matches no file: its folder does not exist")
        raise SourceError(f"{path}: the pattern matches no file", hint=_listing(folder))


def _entry(path: str, status: os.stat_result, partitions: dict[str, str | None]) -> FileEntry:
    if not os.access(path, os.R_OK):
        raise SourceError(f"{path}: no permission to read the file", hint=f"chmod +r {path}")
    return FileEntry(path, status.st_size, partitions, status.st_mtime_ns)


def _partition_values(below: str) -> dict[str, str | None]:
    values: dict[str, str | None] = {}
    for part in below.split("/")[:-1]:
        name, equals, value = part.partition("=")
        if equals and name:
            text = unquote(value)
            values[unquote(name)] = None if text == NULL_PARTITION else text
    return values


def _typed(source: FileSource, entry: FileEntry) -> FileEntry:
    """Give the partition values the types of their columns."""
    if not source.partitions:
        return FileEntry(entry.path, entry.size, {}, entry.modified)
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
    return FileEntry(entry.path, entry.size, values, entry.modified)


def _missing(path: str, place: str, what: str = "no such file or folder") -> SourceError:
    parent = Path(place).parent
    if not parent.is_dir():
        while not parent.is_dir() and parent != parent.parent:
            place, parent = str(parent), parent.parent
        return SourceError(
            f"{path}: {what}", hint=f"there is no folder {place}. {_listing(str(parent))}"
        )
    name = Path(place).name
    close = difflib.get_close_matches(name, _names(str(parent)), n=3, cutoff=0.5)
    if close:
        return SourceError(f"{path}: {what}", hint=f"did you mean {' or '.join(close)}?")
    return SourceError(f"{path}: {what}", hint=_listing(str(parent)))


def _unreadable(path: str, error: OSError) -> SourceError:
    return SourceError(f"{path}: cannot be read: {error.strerror or error}")


def _names(folder: str) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))  # noqa: PTH208
    except OSError:
        return []


def _listing(folder: str) -> str:
    names = _names(folder)
    if not names:
        return f"folder {folder} is empty"
    more = f", … ({len(names)} in all)" if len(names) > 10 else ""
    return f"folder {folder} holds: {', '.join(names[:10])}{more}"


__all__ = ["COMPRESSIONS", "NULL_PARTITION", "FileEntry", "compression_of", "resolve"]

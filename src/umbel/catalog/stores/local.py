"""The files of this machine."""

from __future__ import annotations

import difflib
import glob
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from umbel.catalog.stores.base import (
    PATTERN,
    Child,
    FileEntry,
    fixed_part,
    listing,
    partition_values,
)
from umbel.failpoints import reach
from umbel.plan.errors import RunError, SourceError


class LocalStore:
    """The files of this machine; paths are taken relative to the working folder."""

    def find(self, path: str) -> Iterator[FileEntry]:
        place = os.path.expanduser(path) if path.startswith("~") else path  # noqa: PTH111
        try:
            status = os.stat(place)  # noqa: PTH116  (a Path would cost as much again)
        except FileNotFoundError:
            if PATTERN.isdisjoint(place):
                raise _missing(path, place) from None
            yield from _matches(path, place)
            return
        except OSError as error:
            raise _unreadable(path, error) from error
        if stat.S_ISDIR(status.st_mode):
            yield from _inside(path, place)
        else:
            yield _entry(place, status, {})

    def children(self, path: str) -> list[Child]:
        try:
            with os.scandir(path) as found:
                return sorted((Child(e.name, e.is_dir()) for e in found), key=lambda c: c.name)
        except FileNotFoundError:
            raise _missing(path, path, "no such folder") from None
        except NotADirectoryError:
            raise SourceError(f"{path}: is no folder", hint="give the folder it is in") from None
        except OSError as error:
            raise _unreadable(path, error) from error

    def open(self, path: str) -> Any:
        try:
            return pa.OSFile(path)
        except FileNotFoundError:
            from umbel.catalog.complaints import vanished  # which itself asks the stores

            raise vanished(path) from None
        except OSError as error:
            raise SourceError(f"{path}: cannot be read: {error}") from error

    def explain(self, path: str, error: BaseException) -> SourceError | None:
        return None

    def check_target(self, path: str, exists: str) -> None:
        target = Path(path)
        if target.is_dir():
            raise RunError(f"{path}: a folder is there", hint="give the name of a file in it")
        if exists == "fail" and target.exists():
            raise exists_already(path)
        for parent in target.parents:
            if parent.exists():
                if not parent.is_dir():
                    raise RunError(f"{path}: {parent} is no folder", hint="choose another path")
                if not os.access(parent, os.W_OK):
                    raise RunError(f"{path}: no permission to write to folder {parent}")
                return

    def put(self, staged: Path, path: str, exists: str, check: Callable[[], None]) -> None:
        check()
        target = Path(path)
        if exists == "replace":
            staged.replace(target)
            return
        try:
            os.link(staged, target)  # fails if the file came to be meanwhile, as a rename does not
        except FileExistsError:
            raise exists_already(path) from None
        except OSError:  # a file system without links
            if target.exists():
                raise exists_already(path) from None
            staged.replace(target)
        else:
            reach("write-linked")
            staged.unlink()

    def filesystem(self) -> Any:
        from pyarrow import fs

        return fs.LocalFileSystem()

    def engine_options(self) -> Mapping[str, str] | None:
        return {}


def exists_already(path: str) -> RunError:
    """Make the error for a file that is there though it must not be."""
    return RunError(
        f"{path}: the file is there already",
        hint="choose another path, or replace it: exists='replace'",
    )


def _inside(path: str, folder: str) -> Iterator[FileEntry]:
    found = False
    for file, status in _walk(folder, path):
        found = True
        yield _entry(file, status, partition_values(file[len(folder) :]))
    if not found:
        raise SourceError(
            f"{path}: there are no files in this folder",
            hint="names that begin with '.' or '_' are passed over",
        )


def _walk(folder: str, shown: str) -> Iterator[tuple[str, os.stat_result]]:
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: entry.name)
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
    fixed = fixed_part(pattern)
    found = False
    for file in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207  (keeps paths as given)
        status = os.stat(file)  # noqa: PTH116
        if not stat.S_ISDIR(status.st_mode):
            found = True
            yield _entry(file, status, partition_values(file[len(fixed) :]))
    if not found:
        folder = fixed.rstrip("/") or ("/" if pattern.startswith("/") else ".")
        if not Path(folder).is_dir():
            raise _missing(path, folder, "pattern matches no file: its folder does not exist")
        raise SourceError(f"{path}: the pattern matches no file", hint=_listing(folder))


def _entry(path: str, status: os.stat_result, partitions: dict[str, str | None]) -> FileEntry:
    if not os.access(path, os.R_OK):
        raise SourceError(f"{path}: no permission to read the file", hint=f"chmod +r {path}")
    return FileEntry(path, status.st_size, partitions, status.st_mtime_ns)


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
    return listing(folder, _names(folder))


__all__ = ["LocalStore", "exists_already"]

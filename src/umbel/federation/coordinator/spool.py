"""Spools: files in which rows wait for whoever fetches them, and a quota over all of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from umbel.federation.errors import FederationError
from umbel.federation.stream import Counter, write_rows


class Quota:
    """Bytes that may lie on the disk, of all spools together."""

    def __init__(self, limit: int, what: str) -> None:
        self.limit = limit
        self._what = what
        self._used = 0
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """Bytes that are taken."""
        return self._used

    def take(self, size: int) -> None:
        """Take some bytes.

        Raises:
            FederationError: there are not so many left.
        """
        with self._lock:
            if self._used + size > self.limit:
                raise FederationError(
                    f"the coordinator keeps at most {self.limit:,} bytes of {self._what}",
                    hint="ask for fewer rows, or try again when others were fetched",
                )
            self._used += size

    def give(self, size: int) -> None:
        """Give bytes back."""
        with self._lock:
            self._used -= size


class Spool:
    """One result, written by a run and read by a client, also while it is being written.

    Attributes:
        path: the file.
        counter: what was written so far.
        size: bytes of the file that can be read.
    """

    def __init__(self, path: Path, quota: Quota) -> None:
        self.path = path
        self.counter = Counter()
        self.size = 0
        self._quota = quota
        self._file = path.open("xb")

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        for content in write_rows(table, self.counter):
            self._quota.take(len(content))
            self.size += len(content)
            self._file.write(content)
        self._file.flush()

    def seal(self) -> None:
        """Say that no more comes."""
        self._file.close()

    def read(self, start: int, most: int) -> bytes:
        """Give some of what is there from a place on."""
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(min(most, self.size - start))

    def drop(self) -> None:
        """Remove the file."""
        self._file.close()
        if self.path.exists():
            self.path.unlink()
            self._quota.give(self.size)
            self.size = 0


class Folder:
    """A folder of temporary files of one process.

    Args:
        path: where it is.
        own: whether it is this process's; then what an earlier one left in it is removed.
    """

    def __init__(self, path: Path, *, own: bool) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if own:
            self._clear()

    def _clear(self) -> None:
        for file in self._files():
            file.unlink(missing_ok=True)

    def _files(self) -> Iterator[Path]:
        return (file for file in self.path.iterdir() if file.is_file())


__all__ = ["Folder", "Quota", "Spool"]

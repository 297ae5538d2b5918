"""Spools: files in which rows wait for whoever fetches them, and a quota over all of them."""

from __future__ import annotations

import threading
from collections.abc import Container, Mapping
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from umbel.federation.errors import FederationError
from umbel.federation.protocol import END, frame, to_json
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

    def count(self, size: int) -> None:
        """Count bytes that are there already."""
        with self._lock:
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

    _taken = 0

    def __init__(self, path: Path, quota: Quota) -> None:
        self.path = path
        self.counter = Counter()
        self.size = 0
        self._quota = quota
        self._file: IO[bytes] = path.open("xb")

    @classmethod
    def found(cls, path: Path, size: int, quota: Quota) -> Spool | None:
        """Give a result that an earlier process has finished; None if it is not there whole."""
        if not path.is_file() or path.stat().st_size != size:
            return None
        spool = cls.__new__(cls)
        spool.path, spool.counter, spool._quota = path, Counter(), quota
        spool.size = size
        quota.count(spool.size)
        spool._taken = spool.size
        spool._file = path.open("rb")
        spool._file.close()
        return spool

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        for content in write_rows(table, self.counter):
            self._quota.take(len(content))
            self._taken += len(content)
            self._file.write(content)
            self.size += len(content)
        self._file.flush()

    def finish(self, more: Mapping[str, Any]) -> None:
        """Write that no more comes, with what else is to be said.

        It outlives this process; what a machine that lost its power has made of it, `found` tells
        by its size, and whoever reads it by its digest. Who reads sees it when it is published.

        Raises:
            FederationError: there is no room for it.
        """
        end = frame(END, to_json({**self.counter.to_json(), **more}))
        self._quota.take(len(end))
        self._taken += len(end)
        self._file.write(end)
        self._file.close()

    @property
    def whole(self) -> int:
        """Bytes of the file, its end among them."""
        return self._taken

    def publish(self) -> None:
        """Let those who read see the end."""
        self.size = self._taken

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
            self._quota.give(self._taken)
            self.size = self._taken = 0


class Folder:
    """A folder of files of one process.

    Args:
        path: where it is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True, exist_ok=True, mode=0o700)

    def clear(self, keep: Container[str]) -> None:
        """Remove what an earlier process left in it, but for files of some names."""
        for file in self.path.iterdir():
            if file.is_file() and file.name not in keep:
                file.unlink(missing_ok=True)


__all__ = ["Folder", "Quota", "Spool"]

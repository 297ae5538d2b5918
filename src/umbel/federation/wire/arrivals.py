"""A receiver's spool: segments as they arrive from sites, each a file named by its digest.

A part is written where the one before it ended; one that comes again or too early changes nothing
but is answered with the place where the next belongs. A whole segment is checked, brought safely
to the disk and only then given its name: what has a name is whole.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import threading
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import IO

import pyarrow as pa

from umbel.federation.errors import FederationError
from umbel.federation.wire.messages import Put, Refused, RefusedError, Straight
from umbel.federation.wire.segments import Digest

_SUFFIX, _PART = ".arrow", ".part"


class _Part:
    """A segment that is on its way."""

    def __init__(self, path: Path, task: str, digest: str, size: int) -> None:
        self.path = path
        self.task = task
        self.digest = digest
        self.size = size
        self.lock = threading.Lock()
        self.file: IO[bytes] = io.BytesIO()
        self.hash = Digest()
        self.next = 0


class Arrivals:
    """The folder of results, with a quota for all of them together."""

    def __init__(self, folder: Path, quota: int) -> None:
        """Open the folder; what was on its way when the coordinator ended is removed."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._quota = quota
        self._lock = threading.Lock()
        self._parts: dict[tuple[str, str], _Part] = {}
        self._verified: set[tuple[str, str]] = set()
        self._used: Counter[str] = Counter()
        for path in folder.glob("*/*"):
            if path.suffix == _PART:
                path.unlink()
            else:
                self._used[path.parent.name] += path.stat().st_size

    def put(self, put: Put | Straight, payload: memoryview) -> int:
        """Take a part of a segment; give where the next part begins.

        Raises:
            RefusedError: it goes beyond its segment, is not what its digest says, or the quota or
                the disk is full.
        """
        if put.offset + len(payload) > put.bytes:
            raise RefusedError(Refused.PROTOCOL, "a part goes beyond its segment")
        if self._file(put.task, put.digest).exists():
            return put.bytes
        part = self._part(put)
        with part.lock:
            if part.next == part.size or put.offset != part.next:
                return part.next
            if put.bytes != part.size:
                raise RefusedError(Refused.PROTOCOL, "a segment says two sizes")
            try:
                self._append(part, payload)
                if part.next == part.size:
                    self._finish(part)
            except OSError as error:
                self._drop(part)
                raise _full(error) from None
            return part.next

    def _part(self, put: Put | Straight) -> _Part:
        with self._lock:
            key = (put.task, put.digest)
            found = self._parts.get(key)
            if found is None:
                used = self._used.total()
                if used + put.bytes > self._quota:
                    raise RefusedError(
                        Refused.RESOURCE,
                        f"the coordinator keeps {used:,} bytes of results; its quota is "
                        f"{self._quota:,}",
                        hint="forget finished runs, or raise the quota; the site tries again",
                    )
                self._used[put.task] += put.bytes
                path = self._file(put.task, put.digest).with_suffix(_PART)
                found = self._parts[key] = _Part(path, put.task, put.digest, put.bytes)
            return found

    def _append(self, part: _Part, payload: memoryview) -> None:
        if not part.next:
            part.path.parent.mkdir(mode=0o700, exist_ok=True)
            part.file = part.path.open("wb")
        part.file.write(payload)
        part.hash.update(payload)
        part.next += len(payload)

    def _finish(self, part: _Part) -> None:
        if part.hash.hexdigest() != part.digest:
            self._drop(part)
            raise RefusedError(Refused.PROTOCOL, "a segment is not the one that its digest names")
        part.file.flush()
        os.fsync(part.file.fileno())
        part.file.close()
        part.path.rename(self._file(part.task, part.digest))
        with self._lock:
            self._verified.add((part.task, part.digest))
            self._parts.pop((part.task, part.digest), None)

    def _drop(self, part: _Part) -> None:
        """Forget a segment that cannot be finished; it can be sent again from its start."""
        # Closing writes what is left, for which there may be no space.
        with contextlib.suppress(OSError):
            part.file.close()
        part.path.unlink(missing_ok=True)
        # Whoever waits for this part's lock is told to begin anew.
        part.next = 0
        part.hash = Digest()
        with self._lock:
            if self._parts.pop((part.task, part.digest), None) is not None:
                self._used[part.task] -= part.size

    def have(self, task: str) -> list[str]:
        """Give the digests of the segments of a result that are here, whole."""
        return [path.stem for path in (self._folder / task).glob(f"*{_SUFFIX}")]

    def keep(self, task: str, digests: Iterable[str]) -> None:
        """Make sure that segments are here and stay through a power cut; remove others.

        Raises:
            RefusedError: one is missing.
        """
        wanted = set(digests)
        here = set(self.have(task))
        if wanted - here:
            raise RefusedError(
                Refused.PROTOCOL,
                f"{len(wanted - here)} of {len(wanted)} segments are not here",
                hint="ask which are, and send the others",
            )
        for extra in here - wanted:
            self._remove(task, extra)
        if wanted:
            descriptor = os.open(self._folder / task, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def size(self, task: str) -> int:
        """Give the bytes of a result that are here or announced."""
        with self._lock:
            return self._used[task]

    def read(self, task: str, digest: str) -> tuple[pa.Buffer, bool]:
        """Give a segment, and whether its digest was found right since the coordinator started.

        Raises:
            FederationError: it cannot be read.
        """
        try:
            # Mapped, not copied; tables read from it keep it when the file's name is gone.
            with pa.memory_map(str(self._file(task, digest))) as file:
                content = file.read_buffer()
        except OSError as error:
            raise FederationError(f"a segment cannot be read: {error.strerror or error}") from None
        return content, (task, digest) in self._verified

    def forget(self, task: str) -> None:
        """Remove a result and what of it is on its way."""
        with self._lock:
            parts = [part for part in self._parts.values() if part.task == task]
            self._verified = {key for key in self._verified if key[0] != task}
        for part in parts:
            with part.lock:
                self._drop(part)
        shutil.rmtree(self._folder / task, ignore_errors=True)
        with self._lock:
            self._used.pop(task, None)

    def close(self) -> None:
        """Let go of what is on its way."""
        with self._lock:
            parts = list(self._parts.values())
        for part in parts:
            with part.lock:
                self._drop(part)

    def _remove(self, task: str, digest: str) -> None:
        file = self._file(task, digest)
        size = file.stat().st_size
        file.unlink(missing_ok=True)
        with self._lock:
            self._used[task] -= size

    def _file(self, task: str, digest: str) -> Path:
        # Both are hexadecimal digits; messages that say otherwise do not come so far.
        return self._folder / task / f"{digest}{_SUFFIX}"


def _full(error: OSError) -> RefusedError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return RefusedError(
            Refused.RESOURCE,
            "the coordinator's disk is full",
            hint="free some space there; the site tries again",
        )
    return RefusedError(Refused.INTERNAL, f"the coordinator cannot write: {error.strerror}")


__all__ = ["Arrivals"]

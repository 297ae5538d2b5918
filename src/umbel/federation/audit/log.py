"""The log itself: records are added at its end, and are on the disk before anybody goes on.

Several threads that decide at the same time share one `fdatasync` (group commit: DeWitt et al.,
Implementation techniques for main memory database systems, SIGMOD 1984).
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umbel.federation.audit.records import LONGEST, Head, line_of, record_of, torn
from umbel.federation.errors import FederationError
from umbel.telemetry.logs import say

_LOG = logging.getLogger(__name__)

#: The file of the records, in the log's folder.
RECORDS = "records.log"
#: Seconds within which a record that nobody waits for is on the disk.
SOON = 1.0


def audit_folder(folder: Path) -> Path:
    """The folder of the log of a site that has its key in a folder."""
    return folder / "audit"


class AuditLog:
    """The log of one site; one process at a time adds to it, from any thread.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     log = AuditLog(Path(folder), "north")
    ...     head = log.append("note", {"text": "hello"})
    ...     log.close()
    >>> head.seq
    2
    """

    def __init__(self, folder: Path, site: str) -> None:
        """Open a log, or begin one.

        A last record that a kill has left unfinished is removed, and the next record says so: it
        was not on the disk, so nothing was let out for it.

        Raises:
            FederationError: it cannot be read or written, is damaged at its end, is another
                site's, or another process adds to it.
        """
        self.path = folder / RECORDS
        self.site = site
        self._lock = threading.Condition()
        self._syncing = self._broken = False
        self._later: threading.Timer | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            new = not self.path.exists()
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            if new:
                _sync_folder(folder)
        except OSError as error:
            raise FederationError(
                f"cannot open the audit log {self.path}: {error.strerror}"
            ) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._head, removed = self._recover()
        except BlockingIOError:
            os.close(self._file)
            raise FederationError(
                f"another process adds to the audit log {self.path}",
                hint="run one process for each site",
            ) from None
        except BaseException:
            os.close(self._file)
            raise
        self._durable = self._head.seq
        if self._head.seq == 0:
            self.append("began", {"site": site})
        if removed:
            self.append("recovered", {"bytes": removed})

    @property
    def head(self) -> Head:
        """Where the log stands: the newest record that is on the disk, or will be soon."""
        with self._lock:
            return self._head

    def append(self, kind: str, fields: Mapping[str, Any], *, wait: bool = True) -> Head:
        """Add a record, and wait until it is on the disk.

        Args:
            kind: of the record.
            fields: what it says.
            wait: whether to wait; else it is written now, which the death of this process does not
                undo, and on the disk within `SOON`. Rounds that a record on the disk has announced
                are written so.

        Raises:
            OSError: the disk is full or fails; then the record is not there.
            FederationError: the disk failed before: what is on it is not known any more.
        """
        with self._lock:
            if self._broken:
                raise FederationError(
                    f"the audit log {self.path} could not be written before; nothing is let out",
                    hint="look at the disk, then start the site anew",
                )
            line, head = line_of(self._head, time.time(), kind, fields)
            self._write(line)
            self._head = head
            if wait:
                self._sync(head.seq)
            elif self._later is None:
                self._later = threading.Timer(SOON, self._catch_up)
                self._later.daemon = True
                self._later.start()
        return head

    def _catch_up(self) -> None:
        """Bring to the disk what was written without waiting."""
        with self._lock:
            self._later = None
            if self._broken:
                return
            try:
                self._sync(self._head.seq)
            except OSError as error:  # whoever adds to it next hears of it, and lets nothing out
                say(_LOG, logging.ERROR, "audit.broken", cause=error, site=self.site)

    def close(self) -> None:
        """Close it."""
        with self._lock:
            if self._later is not None:
                self._later.cancel()
                self._catch_up()
            if self._file >= 0:
                os.close(self._file)
            self._file, self._broken = -1, True

    def _write(self, line: bytes) -> None:
        """Write a line whole, or nothing of it; the lock is held."""
        size = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
            if written < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            try:
                os.ftruncate(self._file, size)
            except OSError:
                self._broken = True
            raise

    def _sync(self, seq: int) -> None:
        """Wait until a record is on the disk; the lock is held, and let go meanwhile."""
        while self._durable < seq:
            if self._broken:
                raise OSError(errno.EIO, "the audit log could not be brought to the disk")
            if self._syncing:
                self._lock.wait()
                continue
            self._syncing, upto = True, self._head.seq
            self._lock.release()
            failed = True
            try:
                os.fdatasync(self._file)
                failed = False
            finally:
                self._lock.acquire()
                self._syncing = False
                # After a failed sync nobody knows what the disk has: a second one says nothing.
                self._broken |= failed
                if not failed:
                    self._durable = max(self._durable, upto)
                self._lock.notify_all()

    def _recover(self) -> tuple[Head, int]:
        """Find the last record; remove an unfinished one, and give how many bytes it had."""
        size = os.fstat(self._file).st_size
        tail = os.pread(self._file, 2 * LONGEST, max(0, size - 2 * LONGEST))
        found = tail.splitlines(keepends=True)
        removed = 0
        while found and torn(found[-1]):
            removed += len(found.pop())
        if removed:
            os.ftruncate(self._file, size - removed)
            os.fdatasync(self._file)
        if not found:
            return Head(), removed
        try:
            last = record_of(found[-1].rstrip(b"\n"))
            first = record_of(os.pread(self._file, LONGEST, 0).partition(b"\n")[0])
        except ValueError:
            raise FederationError(
                f"the audit log {self.path} is damaged",
                hint=f"umbel audit verify says where; move {self.path.parent} aside to begin anew",
            ) from None
        owner = first.fields.get("site")
        if owner != self.site:
            raise FederationError(f"the audit log {self.path} is that of site {owner!r}")
        return last.head, removed


def _sync_folder(folder: Path) -> None:
    """Bring a new file's name to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


__all__ = ["RECORDS", "AuditLog", "audit_folder"]

"""The site's spool: results that are finished but not yet the coordinator's.

A result is sealed when its manifest gets its name, after all its segments; that is the site's own
point of commit. After a crash what is sealed goes on to the coordinator without being computed
again; what is not is removed. Segments are known by their digests, so damage shows.
"""

from __future__ import annotations

import errno
import secrets
import shutil
import threading
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from umbel.federation.wire import segments
from umbel.federation.wire.messages import (
    MOST_SEGMENTS,
    Digest,
    Message,
    SegmentEntry,
    Token,
)

_MANIFEST = "manifest.json"


class Manifest(Message):
    """A sealed result."""

    task: Digest
    token: Token
    outcome: str
    segments: Annotated[list[SegmentEntry], Field(max_length=MOST_SEGMENTS)]


class Draft:
    """A result that is being made, and later is sealed."""

    def __init__(self, spool: Spool, folder: Path) -> None:
        self._spool = spool
        self._folder = folder
        self.size = 0
        self.entries: list[SegmentEntry] = []
        self._manifest: Manifest | None = None

    def add(self, segment: segments.Segment) -> SegmentEntry:
        """Keep a segment.

        Raises:
            OSError: the spool's quota or the disk is full.
        """
        entry = segment.entry()
        self._spool.reserve(entry.bytes)
        self.size += entry.bytes
        self.path(entry).write_bytes(memoryview(segment.content))
        self.entries.append(entry)
        return entry

    def seal(self, task: str, token: str, outcome: str) -> None:
        """Say that the result is finished."""
        manifest = Manifest(task=task, token=token, outcome=outcome, segments=self.entries)
        aside = self._folder / f"{_MANIFEST}.tmp"
        aside.write_text(manifest.model_dump_json())
        aside.rename(self._folder / _MANIFEST)
        self._manifest = manifest

    def read(self) -> None:
        """Read back what was sealed.

        Raises:
            OSError: nothing was.
            ValidationError: it is damaged.
        """
        self._manifest = Manifest.model_validate_json((self._folder / _MANIFEST).read_bytes())
        self.entries = list(self._manifest.segments)
        self.size = sum(entry.bytes for entry in self.entries)

    @property
    def manifest(self) -> Manifest:
        """What was sealed.

        Raises:
            ValueError: nothing was.
        """
        if self._manifest is None:
            raise ValueError("this result is not sealed")
        return self._manifest

    @property
    def sealed(self) -> bool:
        """Whether it was sealed."""
        return self._manifest is not None

    def path(self, entry: SegmentEntry) -> Path:
        """Give the file of a segment."""
        return self._folder / f"{entry.digest}.arrow"

    def whole(self) -> bool:
        """Whether all segments are still what they were."""
        try:
            return all(
                segments.digest(self.path(entry).read_bytes()) == entry.digest
                for entry in self.entries
            )
        except OSError:
            return False

    def remove(self) -> None:
        """Delete it."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._spool.give_back(self.size)
        self.size = 0


class Spool:
    """The folder of results."""

    def __init__(self, folder: Path, quota: int) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder
        self._quota = quota
        self._used = 0
        self._lock = threading.Lock()

    def begin(self) -> Draft:
        """Begin a result."""
        folder = self._folder / secrets.token_hex(8)
        folder.mkdir(mode=0o700)
        return Draft(self, folder)

    def recover(self) -> list[Draft]:
        """Give the results that were sealed before; remove what was not."""
        found: list[Draft] = []
        for folder in sorted(self._folder.iterdir()):
            draft = Draft(self, folder)
            try:
                draft.read()
            except (OSError, ValidationError):
                shutil.rmtree(folder, ignore_errors=True)
                continue
            with self._lock:
                self._used += draft.size
            if draft.whole():
                found.append(draft)
            else:
                draft.remove()
        return found

    def reserve(self, size: int) -> None:
        """Take a part of the quota.

        Raises:
            OSError: there is not so much left.
        """
        with self._lock:
            if self._used + size > self._quota:
                raise OSError(errno.ENOSPC, "the spool's quota is used up")
            self._used += size

    def give_back(self, size: int) -> None:
        """Give back a part of the quota."""
        with self._lock:
            self._used -= size


__all__ = ["Draft", "Manifest", "Spool"]

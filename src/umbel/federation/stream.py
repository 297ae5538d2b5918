"""Rows over HTTPS: segments in frames, and a last frame that says how many they must be.

The end of a body says nothing: a connection that breaks can look like one that ended. So whoever
reads counts rows and segments, hashes all that came, and believes only a last frame that agrees.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field
from typing import Any

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.federation.errors import CoordinatorError, FederationError
from umbel.federation.protocol import (
    BEGIN,
    DATA,
    END,
    ERROR,
    HEAD_BYTES,
    FrameReader,
    error_from_json,
    frame,
    to_json,
)
from umbel.federation.wire.messages import Buffer, SegmentEntry
from umbel.federation.wire.segments import SEGMENT_BYTES, digest, seal, unseal

#: Rows that one stream may hold: columns of nulls hold any number in no bytes.
_MOST_ROWS = 2**40


@dataclass
class Counter:
    """What has gone by: rows, segments, bytes, and their hash."""

    rows: int = 0
    segments: int = 0
    bytes: int = 0
    _hash: Any = field(default_factory=hashlib.sha256)

    def add(self, content: Buffer, rows: int) -> None:
        """Count a segment."""
        self.rows += rows
        self.segments += 1
        self.bytes += len(memoryview(content))
        self._hash.update(content)

    def to_json(self) -> dict[str, Any]:
        """What the last frame says."""
        return {
            "rows": self.rows,
            "segments": self.segments,
            "bytes": self.bytes,
            "sha256": self._hash.hexdigest(),
        }


def write_rows(table: pa.Table, counter: Counter) -> Iterator[bytes]:
    """Write rows as frames; each begins with the line that describes its segment."""
    for segment in seal(table, SEGMENT_BYTES):
        counter.add(segment.content, segment.rows)
        head = f"{segment.rows:020d}".encode()
        yield frame(DATA, head + segment.content.to_pybytes())


def write_table(table: pa.Table) -> Iterator[bytes]:
    """Write a whole table with its end."""
    counter = Counter()
    yield from write_rows(table, counter)
    yield frame(END, to_json(counter.to_json()))


@dataclass(frozen=True)
class Ended:
    """What stood in the last frame, beside what was checked."""

    more: dict[str, Any]


class RowReader:
    """Reads the frames of one result, which may come in several bodies.

    Attributes:
        position: bytes of frames of rows that were taken: where the next body has to begin.
        of: the try of the run that they are of; empty before the first body.
    """

    def __init__(
        self,
        schema: pa.Schema,
        deliver: Callable[[pa.Table], None],
        *,
        again: Callable[[], None] | None = None,
        limit: int | None = None,
    ) -> None:
        """Prepare.

        Args:
            schema: the columns that must come.
            deliver: takes the rows of each segment once it is checked.
            again: takes back what was delivered, for the rows come anew; None if nobody can.
            limit: bytes that may come, and that the rows may take in memory.
        """
        self.position = 0
        self.of = ""
        self._schema = schema
        self._deliver = deliver
        self._again = again
        self._limit = limit
        self._counter = Counter()
        self._memory = 0

    def read(self, chunks: Iterable[bytes]) -> Ended | None:
        """Read a body; None if it broke off before the end of the result.

        Raises:
            CoordinatorError: it is not what its end says, or no result at all.
            FederationError: a segment is corrupt, or there are more bytes than the limit.
            UmbelError: what the other side says went wrong.
        """
        reader = FrameReader()
        for chunk in chunks:
            try:
                frames = list(reader.feed(chunk))
            except ValueError:
                raise _not_whole() from None
            for kind, content in frames:
                if kind == BEGIN:
                    self._begin(_object(content))
                elif kind == ERROR:
                    raise error_from_json(_object(content))
                elif kind == END:
                    said = _object(content)
                    if any(said.get(key) != v for key, v in self._counter.to_json().items()):
                        raise _not_whole()
                    return Ended(said)
                elif kind == DATA:
                    self._take(content)
        return None

    def _begin(self, said: dict[str, Any]) -> None:
        """Hold where a body begins against what is there."""
        of, at = str(said.get("of")), said.get("from")
        if self.position and (of, at) != (self.of, self.position):
            if at != 0:
                raise _not_whole()
            self.reset()
        self.of = of

    def reset(self) -> None:
        """Forget what came, for all of it comes again.

        Raises:
            CoordinatorError: it was handed on, and cannot be taken back.
        """
        if self.position and self._again is None:
            raise CoordinatorError(
                "the answer was computed anew after rows of it had been handed on",
                hint="run it again, and drop what came",
            )
        if self._again is not None:
            self._again()
        self.position, self._memory, self._counter = 0, 0, Counter()

    def _take(self, content: bytes) -> None:
        table = _segment(content, self._schema, self._counter)
        self._memory += table.nbytes
        if self._limit is not None and max(self._memory, self._counter.bytes) > self._limit:
            raise FederationError(f"more than {self._limit:,} bytes of rows")
        self._deliver(table)
        self.position += HEAD_BYTES + len(content)


def read_rows(
    chunks: Iterable[bytes],
    schema: pa.Schema,
    deliver: Callable[[pa.Table], None],
    *,
    limit: int | None = None,
) -> Ended:
    """Read frames that must come in one body; see `RowReader`.

    Raises:
        CoordinatorError: the stream broke off, or is not what its end says.
    """
    ended = RowReader(schema, deliver, limit=limit).read(chunks)
    if ended is None:
        raise _not_whole()
    return ended


class BrokenRowsError(CoordinatorError):
    """Rows that are not what their end says, or that have no end."""


def _not_whole() -> BrokenRowsError:
    """Make the error for rows that are not all that their end says, or have none."""
    return BrokenRowsError(
        "what came is not a whole result", hint="the connection broke off; run it again"
    )


def _segment(content: bytes, schema: pa.Schema, counter: Counter) -> pa.Table:
    head, body = content[:20], memoryview(content)[20:]
    if len(head) != 20 or not head.isdigit() or int(head) + counter.rows > _MOST_ROWS:
        raise FederationError("a segment does not say how many rows it holds")
    rows = int(head)
    counter.add(pa.py_buffer(body), rows)
    entry = SegmentEntry(digest=digest(body), bytes=len(body), rows=rows)
    return unseal(body, entry, schema, known=True)


def _object(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


__all__ = [
    "BrokenRowsError",
    "Counter",
    "Ended",
    "RowReader",
    "read_rows",
    "write_rows",
    "write_table",
]

"""Rows over HTTPS: segments in frames, and a last frame that says how many they must be.

The end of a body says nothing: a connection that breaks can look like one that ended. So whoever
reads counts rows and segments, hashes all that came, and believes only a last frame that agrees.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from umbel.federation.errors import CoordinatorError, FederationError
from umbel.federation.protocol import (
    ALIVE,
    DATA,
    END,
    ERROR,
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


def read_rows(
    chunks: Iterable[bytes],
    schema: pa.Schema,
    deliver: Callable[[pa.Table], None],
    *,
    limit: int | None = None,
) -> Ended:
    """Read frames, and hand on the rows of each segment once it is checked.

    Args:
        chunks: the body, in any pieces.
        schema: the columns that must come.
        deliver: takes the rows.
        limit: bytes that may come, and that the rows may take in memory.

    Returns:
        What the last frame said.

    Raises:
        CoordinatorError: the stream broke off, or is not what its end says.
        FederationError: a segment is corrupt, or there are more bytes than the limit.
        UmbelError: what the other side says went wrong.
    """
    reader, counter, memory = FrameReader(), Counter(), 0
    broken = CoordinatorError(
        "what came is not a whole result", hint="the connection broke off; run it again"
    )
    for chunk in chunks:
        try:
            frames = list(reader.feed(chunk))
        except ValueError:
            raise broken from None
        for kind, content in frames:
            if kind == ALIVE:
                continue
            if kind == ERROR:
                raise error_from_json(_object(content))
            if kind == END:
                said = _object(content)
                if any(said.get(key) != value for key, value in counter.to_json().items()):
                    raise broken
                return Ended(said)
            table = _segment(content, schema, counter)
            memory += table.nbytes
            if limit is not None and max(memory, counter.bytes) > limit:
                raise FederationError(f"more than {limit:,} bytes of rows")
            deliver(table)
    raise broken


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


__all__ = ["Counter", "Ended", "read_rows", "write_rows", "write_table"]

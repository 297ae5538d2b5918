"""Segments: sealed pieces of a result, each an Arrow IPC file known by a digest of its bytes.

The file format, not the stream's, for a stream that was cut reads as one that ended. Whoever
receives a segment checks its digest, then what it declares, then its schema, then every offset in
it; a segment that fails is refused whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
from cryptography.hazmat.primitives.ciphers import (
    AEADEncryptionContext,
    Cipher,
    algorithms,
    modes,
)

from umbel.dataclass import dataclass
from umbel.federation.errors import FederationError
from umbel.federation.wire.declared import declared_size
from umbel.federation.wire.messages import LARGEST_SEGMENT, Buffer, SegmentEntry

#: Bytes of rows in one segment, before compression.
SEGMENT_BYTES = 8 << 20
#: Compression is worth its time where it saves at least so much of a sample of so many rows.
_WORTH, _SAMPLE = 0.1, 20_000
_DIGEST_KEY = hashlib.sha256(b"umbel segment 1").digest()
#: What is added to a segment that is sealed to other sites.
_TAG = 16
#: What one segment may decode to.
LARGEST_DECODED = 1 << 30


@dataclass(frozen=True, slots=True)
class Segment:
    """A sealed piece of a result.

    Attributes:
        content: the IPC file.
        rows: how many are in it.
    """

    content: pa.Buffer
    rows: int

    def entry(self) -> SegmentEntry:
        """Describe it for a manifest."""
        return SegmentEntry(digest=digest(self.content), bytes=self.content.size, rows=self.rows)


class Digest:
    """The digest by which a segment is known: AES-256-GMAC by a key that everybody knows.

    It tells damage, cuts and mistakes apart from what was written (128 bits), ten times as fast as
    SHA-256 where processors have no instructions for that. It need not withstand forgers: bytes
    come over mutual TLS, and whoever could choose two contents of one digest is the site whose own
    result both would be.
    """

    def __init__(self) -> None:
        cipher = Cipher(algorithms.AES(_DIGEST_KEY), modes.GCM(bytes(12)))
        self._encryptor: AEADEncryptionContext = cipher.encryptor()

    def update(self, content: Buffer) -> None:
        """Take the next bytes."""
        self._encryptor.authenticate_additional_data(memoryview(content).cast("B"))

    def hexdigest(self) -> str:
        """Give the digest of all that was taken; nothing can be taken after."""
        self._encryptor.finalize()
        return self._encryptor.tag.hex()


def digest(content: Buffer) -> str:
    """Give the digest by which a segment is known.

    >>> digest(b"rows") == digest(bytearray(b"rows")) != digest(b"row")
    True
    """
    whole = Digest()
    whole.update(content)
    return whole.hexdigest()


def seal(table: pa.Table, size: int = SEGMENT_BYTES) -> Iterator[Segment]:
    """Cut a table into segments; an empty one gives none.

    Raises:
        FederationError: a row takes more than a segment can hold.
    """
    if not table.num_rows:
        return
    table = table.replace_schema_metadata()
    # Columns of nulls hold any number of rows in no bytes; who reads takes each row for a byte.
    most = min(table.num_rows, LARGEST_DECODED)
    rows = max(1, min(most, size * table.num_rows // max(table.nbytes, 1)))
    sample = table.slice(0, min(rows, _SAMPLE)).combine_chunks()
    plain, compressed = _written_size(sample, None), _written_size(sample, "lz4")
    compression = "lz4" if compressed < (1 - _WORTH) * plain else None
    for start in range(0, table.num_rows, rows):
        # One batch: what many small ones cost is more than the copy.
        yield from _seal(table.slice(start, rows).combine_chunks(), compression)


def _write(part: pa.Table, sink: Any, compression: str | None) -> None:
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_file(sink, part.schema, options=options) as writer:
        writer.write_table(part)


def _written_size(part: pa.Table, compression: str | None) -> int:
    sink = pa.MockOutputStream()
    _write(part, sink, compression)
    return int(sink.size())


def _seal(part: pa.Table, compression: str | None) -> Iterator[Segment]:
    if compression is None:
        # Into memory of the right size, which need not grow and be copied.
        content = pa.allocate_buffer(_written_size(part, None))
        sink = pa.FixedSizeBufferWriter(content)
        _write(part, sink, None)
    else:
        grown = pa.BufferOutputStream()
        _write(part, grown, compression)
        content = grown.getvalue()
    if content.size + _TAG <= LARGEST_SEGMENT:
        yield Segment(content, part.num_rows)
    elif part.num_rows > 1:
        # Some rows are much longer than most.
        half = part.num_rows // 2
        yield from _seal(part.slice(0, half), compression)
        yield from _seal(part.slice(half), compression)
    else:
        raise FederationError(
            f"one row takes {content.size:,} bytes; a segment holds {LARGEST_SEGMENT:,}",
            hint="leave out the long column, or cut its values",
        )


def unseal(content: Buffer, entry: SegmentEntry, schema: pa.Schema, *, known: bool) -> pa.Table:
    """Read a segment that somebody else made.

    Args:
        content: the IPC file.
        entry: what the manifest says of it.
        schema: the columns that must be in it.
        known: whether its digest was found right as it came.

    Raises:
        FederationError: it is not what the manifest and the task say, or is corrupt.
    """
    view = memoryview(content)
    if len(view) != entry.bytes or (not known and digest(content) != entry.digest):
        raise FederationError("a segment is not the one that its digest names")
    table = read_foreign(view, schema, LARGEST_DECODED, "a segment", rows=entry.rows)
    return table.cast(schema) if table.schema != schema else table


def read_foreign(
    content: Buffer, schema: pa.Schema, most: int, what: str, *, rows: int | None = None
) -> pa.Table:
    """Read an Arrow file that somebody made of whom nothing is believed.

    Args:
        content: the file.
        schema: the columns that must be in it.
        most: bytes that it may decode to.
        what: it is, for people.
        rows: how many must be in it; None for as many as it says.

    Raises:
        FederationError: it is corrupt, too large, or has other columns or rows.
    """
    view = memoryview(content)
    said = declared_size(view)
    if rows is not None and said.rows != rows:
        raise FederationError(f"{what} says another number of rows than its manifest")
    if said.bytes > most:
        raise FederationError(
            f"{what} of {len(view):,} bytes would decode to {said.bytes:,}",
            hint=f"at most {most:,} are taken",
        )
    if said.rows > most:
        # Of nulls, or of lists of no items, any number lies in no bytes; what is computed of them
        # takes memory all the same.
        raise FederationError(
            f"{what} of {len(view):,} bytes would decode to {said.rows:,} rows",
            hint=f"at most {most:,} are taken",
        )
    try:
        with pa.ipc.open_file(pa.py_buffer(content)) as reader:
            check_schema(reader.schema, schema)
            table: pa.Table = reader.read_all()
        # Not `validate()`: that lets offsets pass that point outside their buffer.
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        # Arrow's text may quote what is in it.
        raise FederationError(f"{what} is corrupt ({type(error).__name__})") from None
    if table.num_rows != said.rows:
        raise FederationError(f"{what} holds another number of rows than it says")
    return table


def check_schema(given: pa.Schema, wanted: pa.Schema) -> None:
    """Refuse columns that are not those of the task.

    Raises:
        FederationError: says the first that differs.
    """
    if len(given) != len(wanted):
        raise FederationError(f"{len(given)} columns came; the task gives {len(wanted)}")
    for number, (came, asked) in enumerate(zip(given, wanted, strict=True)):
        if came.name != asked.name or came.type != asked.type:
            raise FederationError(
                f"column {number + 1} that came is not the task's: "
                f"it is no {asked.name!r} of type {asked.type}"
            )


__all__ = [
    "LARGEST_DECODED",
    "SEGMENT_BYTES",
    "Digest",
    "Segment",
    "check_schema",
    "digest",
    "read_foreign",
    "seal",
    "unseal",
]

"""What an Arrow IPC file says of its own size, read before anything of it is decoded.

A compressed buffer names the bytes that it will decode to, and Arrow allocates just as many: 33 kB
can become a gigabyte. So the sizes are added up first. This reads the few fields of the format's
FlatBuffers that it needs, each behind a check of its bounds.

Source: https://arrow.apache.org/docs/format/Columnar.html#ipc-file-format, File.fbs, Message.fbs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from umbel.dataclass import dataclass
from umbel.federation.errors import FederationError

_MAGIC = b"ARROW1"
_INT, _LONG, _UNSIGNED, _SHORT = (struct.Struct(f"<{code}") for code in "iqIH")
#: Record batches and dictionaries of one segment; more would only cost time.
_MOST_BLOCKS = 100_000
#: Fields of a footer and of messages, by their place in the tables of the format.
_DICTIONARIES, _RECORD_BATCHES = 2, 3
_HEADER_TYPE, _HEADER = 1, 2
_LENGTH, _BUFFERS, _COMPRESSION = 0, 2, 3
_DATA = 1
_DICTIONARY_BATCH, _RECORD_BATCH = 2, 3


@dataclass(frozen=True, slots=True)
class Declared:
    """What a file says that it decodes to.

    Attributes:
        rows: of all record batches.
        bytes: of all buffers, dictionaries included.
    """

    rows: int
    bytes: int


def declared_size(file: memoryview) -> Declared:
    """Add up what an IPC file will decode to.

    Raises:
        FederationError: it is no whole IPC file.
    """
    try:
        return _Reader(file).declared()
    except (struct.error, IndexError):
        raise FederationError("not a whole Arrow file") from None


class _Reader:
    def __init__(self, file: memoryview) -> None:
        self._file = file

    def declared(self) -> Declared:
        file, tail = self._file, len(_MAGIC) + 4
        if file[:6] != _MAGIC or file[-6:] != _MAGIC:
            raise IndexError
        size = self._read(_INT, len(file) - tail)
        if not 0 < size <= len(file) - tail:
            raise IndexError
        footer = self._root(len(file) - tail - size)
        rows = decoded = 0
        blocks = [
            *((_DICTIONARY_BATCH, block) for block in self._blocks(footer, _DICTIONARIES)),
            *((_RECORD_BATCH, block) for block in self._blocks(footer, _RECORD_BATCHES)),
        ]
        for kind, (offset, metadata, body) in blocks:
            batch = self._batch(kind, offset)
            if kind == _RECORD_BATCH:
                rows += self._scalar(_LONG, batch, _LENGTH)
            decoded += self._decoded(batch, offset + metadata, body)
        return Declared(rows, decoded)

    def _blocks(self, footer: int, field: int) -> Iterator[tuple[int, int, int]]:
        """Give offset, length of metadata and length of body of each message."""
        for place in self._vector(footer, field, 24, _MOST_BLOCKS):
            offset, metadata = self._read(_LONG, place), self._read(_INT, place + 8)
            body = self._read(_LONG, place + 16)
            if min(offset, metadata, body) < 0 or offset + metadata + body > len(self._file):
                raise IndexError
            yield offset, metadata, body

    def _batch(self, kind: int, offset: int) -> int:
        """Give the place of a message's record batch."""
        marked = self._read(_UNSIGNED, offset) == 0xFFFF_FFFF
        message = self._root(offset + (8 if marked else 4))
        found = self._field(message, _HEADER_TYPE)
        if not found or self._file[found] != kind:
            raise IndexError
        header = self._table(message, _HEADER)
        return header if kind == _RECORD_BATCH else self._table(header, _DATA)

    def _decoded(self, batch: int, start: int, body: int) -> int:
        """Add up the buffers of a batch: as they lie there, or as they say they decode to."""
        compressed = self._field(batch, _COMPRESSION) != 0
        total = 0
        for place in self._vector(batch, _BUFFERS, 16, len(self._file)):
            offset, length = self._read(_LONG, place), self._read(_LONG, place + 8)
            if offset < 0 or length < 0 or offset + length > body:
                raise IndexError
            if compressed and length:
                # -1 says that this one was not worth compressing.
                decoded = self._read(_LONG, start + offset)
                if decoded < -1:
                    raise IndexError
                length = decoded if decoded >= 0 else length
            total += length
        return total

    def _root(self, place: int) -> int:
        return place + self._read(_UNSIGNED, place)

    def _field(self, table: int, index: int) -> int:
        """Give the place of a table's field; 0 if it is not set."""
        virtual = table - self._read(_INT, table)
        slot = 4 + 2 * index
        if slot + 2 > self._read(_SHORT, virtual):
            return 0
        offset = self._read(_SHORT, virtual + slot)
        return table + offset if offset else 0

    def _scalar(self, form: struct.Struct, table: int, index: int) -> int:
        place = self._field(table, index)
        value = self._read(form, place) if place else 0
        if value < 0:
            raise IndexError
        return value

    def _table(self, table: int, index: int) -> int:
        place = self._field(table, index)
        if not place:
            raise IndexError
        return self._root(place)

    def _vector(self, table: int, index: int, size: int, most: int) -> Iterator[int]:
        """Give the places of a vector's structs."""
        place = self._field(table, index)
        if not place:
            return
        start = self._root(place)
        count = self._read(_UNSIGNED, start)
        if count > most or start + 4 + count * size > len(self._file):
            raise IndexError
        for number in range(count):
            yield start + 4 + number * size

    def _read(self, form: struct.Struct, place: int) -> int:
        # A negative place would count from the end.
        if place < 0:
            raise IndexError
        (value,) = form.unpack_from(self._file, place)
        return int(value)


__all__ = ["Declared", "declared_size"]

"""Messages over an open exchange: a kind, a number and bytes, cut into parts.

They travel as the metadata of Flight's messages, which nobody decodes: Arrow would read what is in
a batch before anybody could look at how large it says that it is.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
from pyarrow import flight

from umbel.federation.wire.messages import PART, Refused, RefusedError

#: Kinds: the exchange is open, it is refused, a round, an answer, and a sign of life.
OPEN, REFUSED, ROUND, ANSWER, ALIVE = range(5)
_HEAD = struct.Struct("<BQQ")
#: A message as small as this goes in one piece.
_SMALL = 64 << 10

#: The kind of a message, its number and its bytes.
Frame: TypeAlias = tuple[int, int, memoryview]
Bytes: TypeAlias = "bytes | memoryview"


class EndedError(Exception):
    """The other side has ended the exchange, or the line broke."""


def send(writer: Any, kind: int, number: int = 0, content: Sequence[Bytes] = ()) -> None:
    """Send a message.

    Raises:
        EndedError: nobody is there.
    """
    total = sum(len(one) for one in content)
    head = _HEAD.pack(kind, number, total)
    try:
        if total <= _SMALL:
            writer.write_metadata(b"".join((head, *content)))
            return
        writer.write_metadata(head)
        for one in content:
            buffer = pa.py_buffer(one)
            for start in range(0, buffer.size, PART):
                writer.write_metadata(buffer.slice(start, min(PART, buffer.size - start)))
    except (flight.FlightError, pa.ArrowException, OSError) as error:
        raise EndedError from error


def receive(reader: Any, most: Callable[[int], int]) -> Frame:
    """Wait for a message, and give it.

    Args:
        reader: of the exchange.
        most: bytes that a message of a kind may have.

    Raises:
        EndedError: there comes none.
        RefusedError: it is none, or too large.
    """
    first = _part(reader)
    if len(first) < _HEAD.size:
        raise RefusedError(Refused.PROTOCOL, "a message of an exchange is cut")
    kind, number, total = _HEAD.unpack_from(first)
    if kind > ALIVE or total > most(kind):
        raise RefusedError(Refused.PROTOCOL, f"a message of kind {kind} has {total:,} bytes")
    content = first[_HEAD.size :]
    if len(content) == total:
        return kind, number, content
    whole, filled = bytearray(total), 0
    while True:
        if filled + len(content) > total:
            raise RefusedError(Refused.PROTOCOL, "a message has more bytes than it says")
        whole[filled : filled + len(content)] = content
        filled += len(content)
        if filled == total:
            return kind, number, memoryview(whole)
        content = _part(reader)


def _part(reader: Any) -> memoryview:
    try:
        chunk = reader.read_chunk()
    except (StopIteration, flight.FlightError, pa.ArrowException, OSError) as error:
        raise EndedError from error
    return memoryview(chunk.app_metadata or b"")


__all__ = ["ALIVE", "ANSWER", "OPEN", "REFUSED", "ROUND", "EndedError", "Frame", "receive", "send"]

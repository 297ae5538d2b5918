"""What client and coordinator say to each other over HTTPS, in the forms that both sides share.

Requests and most answers are JSON. A result is a stream of frames, for the end of an HTTP body
says nothing: a frame has a kind, a length and a content; the last one says how many rows and bytes
there were, with their SHA-256, or what went wrong. Errors travel as the names of umbel's own
classes, from a closed list, with message, hint and line.

A body that broke off is gone on with by another: whoever asks for it says from which byte of the
frames of rows, and of which try of the run.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from umbel.federation import errors as federation_errors
from umbel.plan import errors as plan_errors
from umbel.plan.errors import UmbelError, UnknownNameError
from umbel.plan.origin import Origin

#: The version of the protocol, and the header in which each side says which it speaks.
PROTOCOL = 2
PROTOCOL_HEADER = "umbel-protocol"
#: Random digits in the names of runs: many people name them.
RUN_DIGITS = 16
#: Stands for all sites in the name of a table that has parts at several of them.
HORIZONTAL = "*"
#: What a run may do about a site that is away: wait for it, fail, or go on without it.
WAIT, FAIL, SKIP = MISSING = ("wait", "fail", "skip")
#: The content types of results and uploads.
FRAMES = "application/vnd.umbel.frames"
ARROW_STREAM = "application/vnd.apache.arrow.stream"

#: Kinds of frames: where a body begins in a result, bytes of an Arrow IPC file, a sign of life, an
#: error, the end.
BEGIN, DATA, ALIVE, ERROR, END = b"B", b"D", b"A", b"X", b"Z"
_HEAD = struct.Struct(">cI")
#: Bytes of a frame before its content.
HEAD_BYTES = _HEAD.size
#: Larger than any frame that is sent.
LONGEST_FRAME = 65 * 2**20
#: Seconds between two signs of life of a stream; after four without one it counts as dead.
HEARTBEAT = 5.0

_LONGEST_TEXT = 20_000
_ERRORS: Mapping[str, type[UmbelError]] = {
    name: found
    for module in (plan_errors, federation_errors)
    for name, found in vars(module).items()
    if isinstance(found, type) and issubclass(found, UmbelError)
}


def frame(kind: bytes, content: bytes = b"") -> bytes:
    r"""Make a frame.

    >>> frame(ALIVE)
    b'A\x00\x00\x00\x00'
    """
    return _HEAD.pack(kind, len(content)) + content


class FrameReader:
    """Cuts a stream of bytes into frames.

    >>> reader = FrameReader()
    >>> list(reader.feed(frame(DATA, b"ab")[:6])), list(reader.feed(b"b"))
    ([], [(b'D', b'ab')])
    """

    def __init__(self) -> None:
        self._rest = bytearray()

    def feed(self, chunk: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Take some bytes; yield the frames that are whole with them.

        Raises:
            ValueError: this is no stream of frames.
        """
        self._rest += chunk
        at = 0
        while len(self._rest) - at >= _HEAD.size:
            kind, length = _HEAD.unpack_from(self._rest, at)
            if kind not in (BEGIN, DATA, ALIVE, ERROR, END) or length > LONGEST_FRAME:
                raise ValueError("not a stream of frames")
            if len(self._rest) - at - _HEAD.size < length:
                break
            yield kind, bytes(self._rest[at + _HEAD.size : at + _HEAD.size + length])
            at += _HEAD.size + length
        del self._rest[:at]


def error_to_json(error: BaseException) -> dict[str, Any]:
    """Describe an error of umbel's; of any other only that there was one.

    >>> error_to_json(UnknownNameError("column", "prise", ["price"]))["class"]
    'UnknownNameError'
    """
    if not isinstance(error, UmbelError):
        return {"class": "RunError", "message": "something went wrong inside", "hint": ""}
    kinds = (kind.__name__ for kind in type(error).__mro__)
    found: dict[str, Any] = {
        "class": next(name for name in kinds if name in _ERRORS),
        "message": error.message,
        "hint": error.hint,
    }
    origin = vars(error).get("origin")
    if isinstance(origin, Origin):
        found["origin"] = {"file": origin.file, "line": origin.line}
    if isinstance(error, UnknownNameError):
        found |= {"name": error.name, "known": list(error.known)}
    return found


def error_from_json(data: Any) -> UmbelError:
    """Make the error that another process described.

    >>> error_from_json({"class": "PlanError", "message": "no", "hint": ""})
    PlanError('no')
    """
    if not isinstance(data, dict):
        data = {}
    kind = _ERRORS.get(str(data.get("class")), UmbelError)
    message = str(data.get("message", "an error without a word"))[:_LONGEST_TEXT]
    error = kind.__new__(kind)
    UmbelError.__init__(error, message, hint=str(data.get("hint", ""))[:_LONGEST_TEXT])
    if isinstance(error, UnknownNameError):
        known = data.get("known")
        error.name = str(data.get("name", ""))
        error.known = tuple(map(str, known)) if isinstance(known, list) else ()
    origin = data.get("origin")
    if isinstance(origin, dict) and type(origin.get("line")) is int:
        error.__dict__["origin"] = Origin(str(origin.get("file", "")), origin["line"])
    return error


def to_json(data: Any) -> bytes:
    """Write JSON in the smallest form; what has no JSON form is a defect here."""
    return json.dumps(data, separators=(",", ":"), allow_nan=False).encode()

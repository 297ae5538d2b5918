"""A round of standing questions between a client and its coordinator: headers and flat buffers.

A state that goes to all sites travels once.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from umbel.dataclass import dataclass
from umbel.federation.errors import CoordinatorError
from umbel.federation.protocol import error_from_json, error_to_json
from umbel.federation.standing import Answer, Bytes, Change
from umbel.plan.errors import PlanError, UmbelError

_LENGTH = struct.Struct("<I")
#: Follows the signs of life, and begins the answer.
_BEGINS = b"="


@dataclass(frozen=True)
class Asks:
    """What a round asks.

    Attributes:
        changes: for each part what is another this time.
        quorum: see `umbel.learning.gathering.Patience`.
        deadline: see there.
    """

    changes: Mapping[str, Change]
    quorum: int | None = None
    deadline: float | None = None

    def written(self) -> list[Bytes]:
        """Write it, in pieces."""
        buffers: list[Bytes] = []
        places: dict[tuple[int, int], int] = {}
        asks = {}
        for part, change in self.changes.items():
            used: list[int | None] = []
            for one in change.buffers:
                if one is None:
                    used.append(None)
                    continue
                place = places.setdefault(_where(one), len(buffers))
                if place == len(buffers):
                    buffers.append(one)
                used.append(place)
            asks[part] = {"header": dict(change.header), "buffers": used}
        head = {
            "asks": asks,
            "lengths": [len(one) for one in buffers],
            "quorum": self.quorum,
            "deadline": self.deadline,
        }
        text = json.dumps(head, allow_nan=False).encode()
        return [_LENGTH.pack(len(text)), text, *buffers]

    @classmethod
    def read(cls, data: memoryview) -> Asks:
        """Read what `written` gave.

        Raises:
            PlanError: it is none.
        """
        text, rest = _headed(data)
        try:
            read = _Asks.model_validate_json(text)
        except ValidationError as errors:
            first = errors.errors(include_input=False, include_url=False)[0]
            raise PlanError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        if sum(read.lengths) != len(rest):
            raise PlanError("a round's buffers are not as long as it says")
        buffers: list[memoryview] = []
        for length in read.lengths:
            buffers.append(rest[:length])
            rest = rest[length:]
        changes = {}
        for part, ask in read.asks.items():
            if any(place is not None and place >= len(buffers) for place in ask.buffers):
                raise PlanError("a round names a buffer that does not come with it")
            state, correction, message = (None if p is None else buffers[p] for p in ask.buffers)
            changes[part] = Change(ask.header, (state, correction, message))
        return cls(changes, read.quorum, read.deadline)


def _where(buffer: Bytes) -> tuple[int, int]:
    """Where a buffer lies: numbers that several parts are given are one buffer."""
    import pyarrow as pa

    return pa.py_buffer(buffer).address, len(buffer)


def written_answers(given: Mapping[str, Answer], away: Mapping[str, UmbelError]) -> list[Bytes]:
    """Write what a round gave, in pieces."""
    head = {
        "answers": {
            part: [one.rows, one.left_out, one.seconds, len(one.sums)]
            for part, one in given.items()
        },
        "errors": {part: error_to_json(error) for part, error in away.items()},
    }
    return _written(head, [one.sums for one in given.values()])


def written_error(error: Any) -> list[Bytes]:
    """Write that there is no answer."""
    return _written({"error": error}, [])


def _written(head: Mapping[str, Any], buffers: list[Bytes]) -> list[Bytes]:
    text = json.dumps(head, allow_nan=False).encode()
    return [_BEGINS + _LENGTH.pack(len(text)) + text, *buffers]


def read_answers(data: bytes) -> tuple[dict[str, Answer], dict[str, UmbelError]]:
    """Read what a round gave.

    Raises:
        UmbelError: the error that the coordinator tells of.
    """
    begins = data.find(_BEGINS)
    if begins < 0 or data[:begins].strip(b" "):
        raise CoordinatorError("the coordinator has broken off a round")
    try:
        text, rest = _headed(memoryview(data)[begins + 1 :])
        head = json.loads(text)
        if "error" in head:
            raise error_from_json(head["error"])
        given = {}
        for part, (rows, left_out, seconds, length) in head["answers"].items():
            if not 0 <= length <= len(rest):
                raise CoordinatorError("an answer of a round is cut")
            given[part] = Answer(int(rows), int(left_out), rest[:length], float(seconds))
            rest = rest[length:]
        return given, {part: error_from_json(one) for part, one in head["errors"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CoordinatorError("the coordinator gave answers that cannot be read") from None


def _headed(data: memoryview) -> tuple[bytes, memoryview]:
    if len(data) < _LENGTH.size:
        raise PlanError("a round has no header")
    (length,) = _LENGTH.unpack_from(data)
    start = _LENGTH.size
    if start + length > len(data):
        raise PlanError("the header of a round is cut")
    return bytes(data[start : start + length]), data[start + length :]


class _Ask(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    header: dict[str, Any]
    buffers: list[int | None] = Field(min_length=3, max_length=3)


class _Asks(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    asks: dict[str, _Ask] = Field(min_length=1, max_length=1_000)
    lengths: list[int] = Field(max_length=3_000)
    quorum: int | None = Field(default=None, ge=1)
    deadline: float | None = Field(default=None, gt=0, le=10**6)


__all__ = ["Asks", "read_answers", "written_answers", "written_error"]

"""Standing questions: asked of a site once, and answered again for every state of a model.

A round of training asks what the last one asked, but for numbers. So the question goes to its site
as one task, on which the site decides, and for which it reads its rows once; what is another in
every round travels as a `Change`, and what the site gives as an `Answer`. Both are a short JSON
header and flat buffers. Nothing in them is code, and whoever reads them checks lengths first.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from umbel.dataclass import dataclass
from umbel.executor import Cancellation
from umbel.federation.errors import FederationError
from umbel.federation.failures import Failure
from umbel.federation.tasks import Task
from umbel.models.layout import state_table
from umbel.plan.errors import PlanError
from umbel.plan.models import Masking, Training
from umbel.plan.operators import Contribute, Summing
from umbel.plan.operators.learning import MESSAGE

#: Bytes of a header.
LARGEST_HEADER = 64 << 10
#: Bytes of each number of a model that an answer may have (masks of several digits), and beside.
_WIDEST, _BESIDE = 40, 4 << 20

_LENGTH = struct.Struct("<I")

Bytes: TypeAlias = "bytes | memoryview"


@dataclass(frozen=True, eq=False)
class Change:
    """What is another each time: numbers, and how they are learned from.

    Attributes:
        header: all that is no buffer, as JSON values.
        buffers: the state, the correction and the message of secure aggregation; None where there
            is none.
    """

    header: Mapping[str, Any]
    buffers: tuple[Bytes | None, Bytes | None, Bytes | None]

    @classmethod
    def of(cls, plan: Summing) -> Change:
        """Take it out of a plan."""
        trains = isinstance(plan, Contribute)
        training = plan.training if trains else None  # type: ignore[attr-defined]
        correction = plan.correction if trains else None  # type: ignore[attr-defined]
        header = {
            "training": None if training is None else asdict(training),
            "masking": None if plan.masking is None else asdict(plan.masking),
        }
        message = None if plan.message is None else plan.message.column(0)[0].as_py()
        state = _numbers(plan.state)
        return cls(header, (state, None if correction is None else _numbers(correction), message))

    def into(self, template: Summing) -> Summing:
        """Give the plan that it makes of a template.

        Raises:
            FederationError: it does not fit.
        """
        state, correction, message = self.buffers
        try:
            read = _Changed.model_validate_json(json.dumps(self.header))
            changes: dict[str, Any] = {
                "state": _state(state or b""),
                "masking": read.masking,
                "message": None if message is None else _message(message),
            }
            if isinstance(template, Contribute):
                changes["training"] = read.training
                changes["correction"] = None if correction is None else _state(correction)
            elif read.training is not None or correction is not None:
                raise FederationError(f"nothing is trained by {template.name}")
            return replace(template, **changes)
        except (ValidationError, ValueError, PlanError) as error:
            said = error.message if isinstance(error, PlanError) else "it has other fields"
            raise FederationError(f"a round does not fit its question: {said}") from None

    def written(self) -> tuple[bytes, list[Bytes]]:
        """Give the header, which says how long each buffer is, and the buffers."""
        lengths = [None if one is None else len(one) for one in self.buffers]
        head = json.dumps({**self.header, "lengths": lengths}, allow_nan=False).encode()
        return _LENGTH.pack(len(head)) + head, [one for one in self.buffers if one is not None]

    @classmethod
    def read(cls, data: memoryview) -> Change:
        """Read what `written` gave, one after the other.

        Raises:
            FederationError: it is none.
        """
        header, rest = _split(data)
        lengths = header.pop("lengths", None)
        if not isinstance(lengths, list) or len(lengths) != 3:
            raise FederationError("a round does not say how long its buffers are")
        buffers: list[memoryview | None] = []
        for length in lengths:
            if length is not None and not (type(length) is int and 0 <= length <= len(rest)):
                raise FederationError("a buffer of a round is cut")
            buffers.append(None if length is None else rest[:length])
            rest = rest[length or 0 :]
        if len(rest):
            raise FederationError("more bytes come with a round than it says")
        return cls(header, (buffers[0], buffers[1], buffers[2]))


@dataclass(frozen=True, eq=False)
class Answer:
    """What a site gives in a round; see `umbel.plan.operators.Summing`.

    Attributes:
        rows: that are in the sums.
        left_out: those in which something is missing.
        sums: the numbers, as bytes.
        seconds: of work at the site; of an answer that came over a line, since it was asked.
        failure: why there is none.
    """

    rows: int = 0
    left_out: int = 0
    sums: Bytes = b""
    seconds: float = 0.0
    failure: Failure | None = None

    def written(self) -> tuple[bytes, list[Bytes]]:
        """Give the header and the buffer."""
        told = None if self.failure is None else self.failure.to_json()
        head = json.dumps(
            {
                "rows": self.rows,
                "left_out": self.left_out,
                "seconds": self.seconds,
                "failure": told,
            },
            allow_nan=False,
        ).encode()
        return _LENGTH.pack(len(head)) + head, [self.sums]

    @classmethod
    def read(cls, data: memoryview) -> Answer:
        """Read what `written` gave, one after the other.

        Raises:
            FederationError: it is none.
        """
        header, rest = _split(data)
        try:
            read = _Answered.model_validate(header)
        except ValidationError:
            raise FederationError("an answer has other fields than it should") from None
        failure = None if read.failure is None else Failure.from_json(read.failure)
        return cls(read.rows, read.left_out, rest, read.seconds, failure)

    def row(self, part: str) -> dict[str, Any]:
        """Give it as the row that an ordinary task would have given."""
        sums = bytes(self.sums)
        return {"part": part, "rows": self.rows, "left_out": self.left_out, "sums": sums}


def largest(learned: int) -> int:
    """Bytes that a round's message may have, in either direction, for so many numbers."""
    return _BESIDE + _WIDEST * learned


class Held(Protocol):
    """A site's side of one standing question."""

    def answer(self, change: Change) -> Answer:
        """Answer for a state.

        Raises:
            Exception: whatever went wrong; `Failure.of` says what of it may be told outside.
        """

    def close(self) -> None:
        """Let go of the rows."""


@runtime_checkable
class Stand(Protocol):
    """What a site can do with a task that is a standing question."""

    def stand(self, task: Task, cancellation: Cancellation) -> Held:
        """Decide on it, and read its rows.

        Raises:
            Exception: whatever went wrong; `Failure.of` says what of it may be told outside.
        """


class Line(Protocol):
    """The coordinator's side of one standing question."""

    def ask(self, number: int, change: Change) -> None:
        """Ask a round."""

    def answer(
        self, number: int, cancellation: Cancellation, until: float | None = None
    ) -> Answer | None:
        """Wait for a round's answer; a line that breaks is mended, and the round asked again.

        Args:
            number: of the round.
            cancellation: ends the waiting.
            until: the time, by the monotonic clock, until which is waited; None: however long.

        Returns:
            The answer; None if it has not come until then.

        Raises:
            UmbelError: there will be none.
        """

    def drop(self, number: int) -> None:
        """Wait for a round's answer no more."""

    def close(self) -> None:
        """Ask no more."""


@runtime_checkable
class TakesLines(Protocol):
    """A dispatcher that can keep a line to a site open."""

    def stand(self, task: Task) -> Line:
        """Ask a site to take a question; see `Line`."""


def joined(head: bytes, buffers: Sequence[Bytes]) -> bytes:
    """Put a message together."""
    return b"".join((head, *buffers))


def _split(data: memoryview) -> tuple[dict[str, Any], memoryview]:
    """Read the header of a message, and give it with the rest."""
    if len(data) < _LENGTH.size:
        raise FederationError("a message of a standing question has no header")
    (length,) = _LENGTH.unpack_from(data)
    start = _LENGTH.size
    if length > LARGEST_HEADER or start + length > len(data):
        raise FederationError("the header of a message is too long, or cut")
    try:
        found = json.loads(bytes(data[start : start + length]))
    except ValueError:
        raise FederationError("the header of a message is no JSON") from None
    if not isinstance(found, dict):
        raise FederationError("the header of a message is no object")
    return found, data[start + length :]


def _numbers(table: pa.Table) -> memoryview:
    """The numbers of a state as bytes, where they are."""
    column = table.column(0)
    flat = (column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()).to_numpy(
        zero_copy_only=False
    )
    return np.ascontiguousarray(flat, "<f8").data.cast("B")


def _state(data: Bytes) -> pa.Table:
    return state_table(np.frombuffer(data, "<f8").astype(np.float64, copy=False))


def _message(data: Bytes) -> pa.Table:
    return pa.Table.from_arrays([pa.array([bytes(data)], pa.binary())], schema=MESSAGE)


_STRICT = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)


class _Changed(BaseModel):
    model_config = _STRICT
    training: Training | None
    masking: Masking | None


class _Answered(BaseModel):
    model_config = _STRICT
    rows: int = Field(ge=0, lt=2**63)
    left_out: int = Field(ge=0, lt=2**63)
    seconds: float = Field(ge=0, allow_inf_nan=False)
    failure: str | None = Field(max_length=60_000)


__all__ = [
    "Answer",
    "Bytes",
    "Change",
    "Held",
    "Line",
    "Stand",
    "TakesLines",
    "joined",
    "largest",
]

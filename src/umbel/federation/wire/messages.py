"""The messages between a site and its coordinator: their forms, their limits, their refusals.

A request is one Flight action whose body is a length, a JSON header and raw bytes. The answer is a
stream of results: a JSON header first, raw bytes after it. All bytes stay raw until their digest,
their size and what Arrow says of them have been checked: nothing is decoded on the way.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Iterator
from typing import Annotated, ClassVar, TypeAlias, TypeVar

import pyarrow as pa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from umbel.federation.audit.anchors import LARGEST_ANCHOR
from umbel.federation.errors import FederationError, IdentityError
from umbel.federation.identity.cards import LARGEST_CARD
from umbel.federation.tasks import LARGEST_ENVELOPE
from umbel.telemetry.traceparent import LENGTH, checked_traceparent

#: The version of the protocol that this side speaks, and the oldest that it understands.
PROTOCOL, OLDEST_PROTOCOL = 1, 1

#: Bytes of a header, of what follows it in one message, and of a segment as a file.
LARGEST_HEADER = 1 << 20
LARGEST_BODY = 4 << 20
LARGEST_SEGMENT = 64 << 20
#: Bytes of one part of a segment on its way: large enough that calls cost little, small enough
#: that gRPC need not fetch fresh memory for each.
PART = 1 << 20
#: A result of one segment this small travels with its commit.
LARGEST_INLINE = 256 << 10
LARGEST_MANIFEST = 4 << 20
#: Segments of one result: with their usual size, two terabytes.
MOST_SEGMENTS = 250_000

#: Bytes as they come from a file, a network or Arrow.
Buffer: TypeAlias = bytes | memoryview | pa.Buffer

_LENGTH = struct.Struct(">I")


class Refused(enum.Enum):
    """Why a coordinator does not do what a site asks."""

    IDENTITY = "identity"  # the certificate names another, is revoked, or is no good
    SESSION = "session"  # say hello again: the coordinator was started anew
    SUPERSEDED = "superseded"  # another process speaks for this site
    PROTOCOL = "protocol"  # a message that cannot be, or another version
    LOST = "lost"  # the lease is not this site's any more
    RESOURCE = "resource"  # a quota or a full disk
    INTERNAL = "internal"  # a fault of the coordinator's


class RefusedError(FederationError):
    """The coordinator refused a message.

    Attributes:
        why: the kind.
    """

    def __init__(self, why: Refused, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.why = why


Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
#: Names the bytes of a segment: `segments.digest`.
Checksum = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Token = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]


def _trace(text: str) -> str:
    if text != checked_traceparent(text):
        raise ValueError("it is no traceparent")
    return text


#: A W3C traceparent, or nothing.
Trace = Annotated[str, Field(max_length=LENGTH), AfterValidator(_trace)]
_Count = Annotated[int, Field(ge=0, lt=2**63)]


class Message(BaseModel):
    """A header; each subclass is one, in one direction."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Request(Message):
    """What a site asks; the name is the action's."""

    name: ClassVar[str]
    #: Bytes that may follow the header.
    most: ClassVar[int] = 0


class Challenge(Request):
    """Ask for a nonce to sign."""

    name = "challenge"
    protocol: int


class Challenged(Message):
    """A nonce, to be used once and soon."""

    nonce: Token


class Hello(Request):
    """Prove by which certificate this site speaks, and begin a session.

    Mutual TLS proves the site's name; which of its certificates it holds, and so whether that one
    was revoked, it shows here, by signing the nonce with the certificate's key.
    """

    name = "hello"
    protocol: int
    nonce: Token
    epoch: Token
    certificate: str = Field(max_length=20_000)
    signature: str = Field(max_length=200, pattern=r"^[0-9a-f]*$")
    clock: float = Field(allow_inf_nan=False)
    round_trip: float = Field(ge=0, allow_inf_nan=False)
    version: str = Field(max_length=50)
    #: By which key results are sealed to it, for other sites.
    card: str = Field(default="", max_length=LARGEST_CARD)


class Welcome(Message):
    """A session; times are durations, for clocks differ."""

    session: Token
    poll_seconds: float
    lease_seconds: float
    clock_ahead: float


class Held(Message):
    """Work that a site holds, by the lease under which it last had it."""

    task: Digest
    token: Token


class AuditHead(Message):
    """Where a site's audit log stands."""

    seq: Annotated[int, Field(ge=1, lt=2**63)]
    digest: Digest


class Countersigned(Message):
    """What the coordinator says of the head that it was shown.

    `anchor` is its signature; `known` the newer head, or the other one of the same number, that an
    earlier life of the site has shown: then the log was cut or changed, and nothing is signed.
    """

    anchor: str = Field(default="", max_length=LARGEST_ANCHOR)
    known: AuditHead | None = None


class Poll(Request):
    """Wait for work and cancellations; says what is held, and so keeps its leases."""

    name = "poll"
    session: Token
    number: _Count
    slots: int = Field(ge=0, le=1_000)
    holding: list[Held] = Field(max_length=5_000)
    wait: float = Field(ge=0, le=60)
    #: The newest head of its audit log, to be countersigned.
    head: AuditHead | None = None


class Lease(Message):
    """Work given to a site; the task itself follows unless the site holds it already.

    `trace` is the W3C traceparent of this attempt, if the coordinator traces.
    """

    task: Digest
    token: Token
    attempt: int
    envelope: bool
    trace: Trace = ""


class Polled(Message):
    """What there is to do, to stop, and to forget."""

    leases: list[Lease] = Field(max_length=5_000)
    cancel: list[Digest] = Field(max_length=5_000)
    release: list[Digest] = Field(max_length=5_000)
    countersigned: Countersigned | None = None


class SegmentEntry(Message):
    """One segment of a result or an input."""

    digest: Checksum
    bytes: int = Field(ge=0, le=LARGEST_SEGMENT)
    rows: _Count


class AskInput(Request):
    """Ask for an input of a task."""

    name = "input"
    session: Token
    task: Digest
    token: Token
    label: str = Field(max_length=128)
    #: What another site has brought straight here is not here any more.
    lost: bool = False


class InputComes(Message):
    """The segments of an input; their bytes follow, one after the other."""

    segments: list[SegmentEntry] = Field(max_length=MOST_SEGMENTS)
    #: What goes with segments that another site has sealed.
    envelope: str = Field(default="", max_length=LARGEST_ENVELOPE)
    #: The other site has brought them straight; no bytes follow.
    direct: bool = False


class AskCard(Request):
    """Ask by which key to seal to another site; waits a while for that to be known."""

    name = "card"
    session: Token
    task: Digest
    token: Token
    site: str = Field(max_length=63)


class CardComes(Message):
    """The card that the other site has shown."""

    card: str = Field(max_length=LARGEST_CARD)


class Have(Request):
    """Ask which segments of a result have arrived whole."""

    name = "have"
    session: Token
    task: Digest
    token: Token


class Arrived(Message):
    """The segments that are there."""

    digests: list[Checksum] = Field(max_length=MOST_SEGMENTS)


class Put(Request):
    """A part of a segment."""

    name = "put"
    most = LARGEST_BODY
    session: Token
    task: Digest
    token: Token
    digest: Checksum
    bytes: int = Field(gt=0, le=LARGEST_SEGMENT)
    offset: int = Field(ge=0, le=LARGEST_SEGMENT)


class Straight(Request):
    """A part of a segment, from one site straight to another; no coordinator takes it."""

    name = "straight"
    most = LARGEST_BODY
    task: Digest
    digest: Checksum
    bytes: int = Field(gt=0, le=LARGEST_SEGMENT)
    offset: int = Field(ge=0, le=LARGEST_SEGMENT)


class Stored(Message):
    """How much of the segment is there now; all of it: it is safe on the disk."""

    next: _Count


class Commit(Request):
    """State the result: its segments in order, and what the site says of the work."""

    name = "commit"
    most = LARGEST_INLINE
    session: Token
    task: Digest
    token: Token
    segments: list[SegmentEntry] = Field(max_length=MOST_SEGMENTS)
    outcome: str = Field(max_length=900_000)
    #: The head of the audit log that holds what left.
    head: AuditHead | None = None


class Committed(Message):
    """The result is the coordinator's now; the site may delete its own."""

    duplicate: bool
    countersigned: Countersigned | None = None


class Attend(Request):
    """Open an exchange in which the rounds of a standing question come; no action."""

    name = "attend"
    session: Token
    task: Digest
    token: Token


class Fail(Request):
    """State that the work failed."""

    name = "fail"
    session: Token
    task: Digest
    token: Token
    failure: str = Field(max_length=30_000)


class Publish(Request):
    """Tell what the site offers; the manifest follows."""

    name = "publish"
    most = LARGEST_MANIFEST
    session: Token


class Renew(Request):
    """Ask for the next certificate; the signing request follows, the certificate comes back."""

    name = "renew"
    most = 4096
    session: Token


class Done(Message):
    """It is done."""


class Refusal(Message):
    """It is not done."""

    refused: Refused
    message: str = Field(max_length=2_000)
    hint: str = Field(max_length=2_000)


#: Every action that there is.
REQUESTS: dict[str, type[Request]] = {
    request.name: request
    for request in (
        Challenge, Hello, Poll, AskInput, AskCard, Have, Put, Commit, Fail, Publish, Renew,
    )
}  # fmt: skip

_M = TypeVar("_M", bound=Message)


def pack(request: Request, payload: Buffer = b"") -> bytes:
    """Write a request."""
    header = request.model_dump_json().encode()
    return b"".join((_LENGTH.pack(len(header)), header, payload))


def unpack(model: type[_M], body: memoryview, most: int) -> tuple[_M, memoryview]:
    """Read a request: its header, and the bytes that follow.

    Raises:
        RefusedError: it is none, or too large; says where, and quotes nothing of it.
    """
    if len(body) < _LENGTH.size:
        raise _wrong(model, "it has no header")
    (length,) = _LENGTH.unpack_from(body)
    rest = len(body) - _LENGTH.size - length
    # Commits list their segments, tasks of polls their leases: the longest headers there are.
    if length > LARGEST_HEADER + 120 * MOST_SEGMENTS or rest < 0:
        raise _wrong(model, "its header is too long, or cut")
    if rest > most:
        raise _wrong(model, f"{rest:,} bytes follow its header; at most {most:,} may")
    start = _LENGTH.size
    return read(model, bytes(body[start : start + length])), body[start + length :]


def read(model: type[_M], header: bytes) -> _M:
    """Read a header strictly.

    Raises:
        RefusedError: it is none of that kind.
    """
    try:
        return model.model_validate_json(header)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the message"
        raise _wrong(model, f"{where}: {first['msg']}") from None


def read_answer(form: type[_M], header: bytes) -> _M:
    """Read the header of an answer.

    Raises:
        RefusedError: the other side refused.
        IdentityError: it does not take us for whom we say we are.
    """
    if header.startswith(b'{"refused"'):
        refusal = read(Refusal, header)
        if refusal.refused is Refused.IDENTITY:
            raise IdentityError(refusal.message, hint=refusal.hint)
        raise RefusedError(refusal.refused, refusal.message, hint=refusal.hint)
    return read(form, header)


def answer(message: Message, payload: Iterable[Buffer] = ()) -> Iterator[Buffer]:
    """Write an answer: its header, and the bytes that follow."""
    yield message.model_dump_json().encode()
    yield from payload


def _wrong(model: type[Message], what: str) -> RefusedError:
    return RefusedError(
        Refused.PROTOCOL,
        f"not the message {model.__name__!r}: {what}",
        hint=f"this side speaks version {PROTOCOL} of the protocol",
    )

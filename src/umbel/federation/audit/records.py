"""Records of the audit log: one line each, which holds the digest of the line before it.

A line is the SHA-256 of a JSON text, a space, and the text. The text says its number, the time, what
kind of record it is, and the digest of the record before; so each digest stands for all that came
before it, as in a chain of time-stamps (Haber and Stornetta, How to time-stamp a digital document,
Journal of Cryptology 3, 1991).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from umbel.dataclass import dataclass
from umbel.federation.errors import FederationError

#: What the first record names as the one before it.
NOTHING = "0" * 64
#: Bytes of a line; what is longer was not written here.
LONGEST = 1 << 20
_HEX = 64


@dataclass(frozen=True, slots=True)
class Head:
    """Where a log stands: its newest record.

    Attributes:
        seq: the record's number; 0 if there is none.
        digest: its digest, which stands for the whole log up to it.
    """

    seq: int = 0
    digest: str = NOTHING


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    Attributes:
        seq: its number, from 1.
        at: when, in seconds since 1970 by the site's clock.
        kind: what it tells of.
        fields: what it tells.
        before: the digest of the record before.
        digest: its own.
    """

    seq: int
    at: float
    kind: str
    fields: Mapping[str, Any]
    before: str
    digest: str

    @property
    def head(self) -> Head:
        """The log as it stood with this record."""
        return Head(self.seq, self.digest)

    @property
    def time(self) -> str:
        """When, for people, in UTC."""
        return datetime.fromtimestamp(self.at, UTC).strftime("%Y-%m-%d %H:%M:%S")

    def to_dict(self) -> dict[str, Any]:
        """Give all of it, for programs."""
        return {
            "seq": self.seq, "at": self.at, "time": self.time, "kind": self.kind,
            **self.fields, "before": self.before, "digest": self.digest,
        }  # fmt: skip


def line_of(head: Head, at: float, kind: str, fields: Mapping[str, Any]) -> tuple[bytes, Head]:
    """Write the record after a head; give its line and the new head.

    >>> line, head = line_of(Head(), 0.0, "began", {"site": "north"})
    >>> record_of(line.rstrip()).fields["site"], head.seq
    ('north', 1)
    """
    body = {"seq": head.seq + 1, "at": at, "kind": kind, "before": head.digest, "fields": fields}
    text = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
    digest = hashlib.sha256(text).hexdigest()
    if len(text) > LONGEST - _HEX - 2:
        raise FederationError(f"a record of the audit log has {len(text):,} bytes")
    return b"%s %s\n" % (digest.encode(), text), Head(head.seq + 1, digest)


def record_of(line: bytes) -> Record:
    """Read a line, without its end.

    Raises:
        ValueError: it is none, or is not what its digest says.
    """
    given, text = line[:_HEX], line[_HEX + 1 :]
    digest = hashlib.sha256(text).hexdigest()
    if given != digest.encode() or line[_HEX : _HEX + 1] != b" ":
        raise ValueError("it is not what its digest says")
    body = json.loads(text)
    try:
        seq, at, kind = int(body["seq"]), float(body["at"]), str(body["kind"])
        return Record(seq, at, kind, dict(body["fields"]), str(body["before"]), digest)
    except (KeyError, TypeError) as error:
        raise ValueError("it is no record") from error


def lines(stream: IO[bytes]) -> Iterator[bytes]:
    """Yield the lines of a log with their ends; the last may have none.

    Raises:
        ValueError: a line is too long.
    """
    while line := stream.readline(LONGEST):
        if len(line) == LONGEST and not line.endswith(b"\n"):
            raise ValueError("a line is too long")
        yield line


def torn(line: bytes) -> bool:
    """Whether a log's last line is one that a power cut or a kill left unfinished."""
    return not line.endswith(b"\n") or not line.strip(b"\0\n")


def records(path: Path) -> Iterator[Record]:
    """Yield the records of a log; an unfinished last one is passed over.

    Raises:
        FederationError: there is no log, or a line of it is damaged.
    """
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(lines(stream), 1):
                if torn(line):
                    return
                try:
                    yield record_of(line.rstrip(b"\n"))
                except ValueError as error:
                    raise FederationError(
                        f"line {number} of {path} is damaged: {error}",
                        hint="umbel audit verify says what else is wrong",
                    ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise FederationError(f"cannot read {path}: {reason}") from None


__all__ = ["LONGEST", "NOTHING", "Head", "Record", "line_of", "lines", "record_of", "records"]

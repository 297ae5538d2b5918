"""Anchors: heads of a site's log that the coordinator has countersigned.

A chain alone does not show that its end was cut off. So a site shows its newest head in its polls
and with what it commits; the coordinator keeps it, and signs it with the key of its certificate.
Who cuts the log also has to get rid of the anchors here, and of what the coordinator keeps.
"""

from __future__ import annotations

import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from cryptography import x509
from pydantic import BaseModel, ConfigDict, Field

from umbel.dataclass import dataclass
from umbel.federation.audit.records import Head
from umbel.federation.errors import FederationError, IdentityError
from umbel.federation.identity import Certificate
from umbel.federation.identity.keys import PrivateKey, sign, verifies
from umbel.federation.identity.names import PartyName
from umbel.federation.messages import read_message

#: The file of the anchors, beside the records.
ANCHORS = "anchors.log"
#: Characters of an anchor: a certificate with the one that vouches for it, and a signature.
LARGEST_ANCHOR = 20_000


@dataclass(frozen=True)
class Anchor:
    """A head, with the coordinator's signature.

    Attributes:
        site: whose log it is.
        head: where the log stood.
        at: when, in seconds since 1970 by the coordinator's clock.
        certificate: the coordinator's.
        signature: by the key of that certificate.
    """

    site: str
    head: Head
    at: float
    certificate: Certificate
    signature: bytes

    @classmethod
    def make(
        cls, site: str, head: Head, at: float, certificate: Certificate, key: PrivateKey
    ) -> Anchor:
        """Countersign a head."""
        federation = certificate.party.federation
        return cls(site, head, at, certificate, sign(key, _signed(federation, site, head, at)))

    def check(self, root: x509.Certificate, site: str) -> None:
        """Check that it is of a site's log, and by the coordinator of the site's federation.

        Raises:
            IdentityError: it is not, or its signature is not good.
        """
        self.certificate.check(root, now=datetime.fromtimestamp(self.at, UTC))
        party = self.certificate.party
        if party != PartyName(party.federation, "coordinator", party.name) or self.site != site:
            raise IdentityError(f"an anchor of site {self.site!r} was signed by {party}")
        signed = _signed(party.federation, site, self.head, self.at)
        if not verifies(self.certificate.public_key, self.signature, signed):
            raise IdentityError(f"the anchor of record {self.head.seq} is not signed as it says")

    def to_json(self) -> str:
        """Write it."""
        return json.dumps(
            {
                "umbel_anchor": 1,
                "site": self.site,
                "seq": self.head.seq,
                "digest": self.head.digest,
                "at": self.at,
                "certificate": self.certificate.pem().decode(),
                "signature": self.signature.hex(),
            }
        )

    @classmethod
    def from_json(cls, text: str | bytes) -> Anchor:
        """Read one; it is not checked.

        Raises:
            FederationError: it is none.
        """
        read = read_message(_AnchorModel, "anchor", text, LARGEST_ANCHOR)
        certificate = Certificate.parse(read.certificate.encode(), "the certificate of an anchor")
        head, signature = Head(read.seq, read.digest), bytes.fromhex(read.signature)
        return cls(read.site, head, read.at, certificate, signature)


class Anchors:
    """The anchors of a site's log; the newest is known, and all are kept."""

    def __init__(self, folder: Path, site: str, root: x509.Certificate) -> None:
        """Prepare.

        Args:
            folder: the log's.
            site: whose log it is.
            root: by whose certificates the coordinator is known.
        """
        self._path = folder / ANCHORS
        self._site = site
        self._root = root
        self._lock = threading.Lock()
        self._newest = max((a.head.seq for a in read_anchors(self._path)), default=0)

    @property
    def newest(self) -> int:
        """The number of the newest record that was countersigned."""
        return self._newest

    def take(self, text: str, head: Head) -> None:
        """Keep an anchor that came from the coordinator for a head.

        Raises:
            FederationError: it is no good.
        """
        anchor = Anchor.from_json(text)
        anchor.check(self._root, self._site)
        if anchor.head != head:
            raise FederationError("the coordinator countersigned another head than it was shown")
        line = json.dumps(json.loads(anchor.to_json()), separators=(",", ":")).encode() + b"\n"
        with self._lock:
            # An anchor that is lost is no loss but its own: the next one stands for more.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(descriptor, line)
            finally:
                os.close(descriptor)
            self._newest = max(self._newest, head.seq)


def read_anchors(path: Path) -> list[Anchor]:
    """Read all anchors that are whole; there may be none."""
    if not path.exists():
        return []
    found = []
    for line in path.read_bytes().split(b"\n"):
        try:
            found.append(Anchor.from_json(line))
        except FederationError:
            continue  # one that a kill has cut; those that are missing are not missed
    return found


class _AnchorModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    umbel_anchor: Literal[1]
    site: str = Field(max_length=63)
    seq: int = Field(ge=1, lt=2**63)
    digest: str = Field(pattern=r"^[0-9a-f]{64}$")
    at: float = Field(ge=0, le=1e11, allow_inf_nan=False)
    certificate: str = Field(max_length=LARGEST_ANCHOR)
    signature: str = Field(pattern=r"^([0-9a-f]{2}){1,100}$")


def _signed(federation: str, site: str, head: Head, at: float) -> bytes:
    parts = ("umbel audit head 1", federation, site, str(head.seq), head.digest, repr(at))
    return "\n".join(parts).encode()


__all__ = ["ANCHORS", "LARGEST_ANCHOR", "Anchor", "Anchors", "read_anchors"]

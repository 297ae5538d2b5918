"""What a site gives to other sites, sealed so that nobody between them can read or change it.

Each output has a key of its own. Its segments are encrypted under that key, one after the other as
they are made; the key is encrypted to each site that the task names; and an envelope with all that
proves whose output it is, and how much of it there is, is signed by the site that made it. Whoever
stores or forwards the parts sees names, sizes and numbers of rows.

Into what is authenticated go the federation, the run, the stage, the task, the attempt, the site,
those it is for, and a segment's number; at the end the number of segments and rows, and the list
of their digests. So a segment of another output, attempt or place is refused, and so is an output
from which one is missing.

Sources: Barnes et al., "Hybrid Public Key Encryption", RFC 9180 (base mode, DHKEM(X25519,
HKDF-SHA256), HKDF-SHA256, AES-256-GCM), as `cryptography` has it; NIST SP 800-38D (AES-GCM with
nonces that count, under a key that is used once). The key of an output and HPKE's ephemeral key are
forgotten with it: who later steals the key of the site that made an output opens nothing.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from pydantic import BaseModel, ConfigDict, Field

from umbel.federation.errors import FederationError
from umbel.federation.identity.cards import Peers
from umbel.federation.identity.certificates import Certificate
from umbel.federation.identity.keys import PrivateKey, sign, verifies
from umbel.federation.messages import read_message
from umbel.federation.tasks import LARGEST_ENVELOPE, Task
from umbel.federation.wire.messages import Buffer, Digest, SegmentEntry, Token

_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)
_KEY_BITS = 256
#: The nonce of the closing; those of segments count from zero.
_CLOSING = b"\xff" * 12

_Hex = Annotated[str, Field(pattern=r"^([0-9a-f]{2}){1,200}$")]


class Envelope(BaseModel):
    """What goes with the segments of an output: whose it is, for whom, and how much there is."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    umbel_envelope: Literal[1] = 1
    federation: str = Field(max_length=63)
    run: str = Field(max_length=128)
    stage: int = Field(ge=0)
    task: Digest
    attempt: Token
    site: str = Field(max_length=63)
    #: By site, the output's key, encrypted to it.
    to: dict[Annotated[str, Field(max_length=63)], _Hex]
    segments: int = Field(ge=0)
    rows: int = Field(ge=0)
    manifest: Digest
    closing: _Hex
    certificate: str = Field(max_length=20_000)
    signature: str = Field(pattern=r"^([0-9a-f]{2}){0,100}$")

    @property
    def context(self) -> bytes:
        """Names this one output: goes into all that is encrypted under its key."""
        parts = [self.federation, self.run, self.stage, self.task, self.attempt, self.site]
        return _digest("umbel output 1", [*parts, sorted(self.to)])

    @property
    def signed(self) -> bytes:
        """What the site signs: everything but the signature."""
        return _digest("umbel envelope 1", self.model_dump(exclude={"signature"}))


class Sealer:
    """Seals one output of a task."""

    def __init__(
        self,
        task: Task,
        certificate: Certificate,
        key: PrivateKey,
        recipients: Mapping[str, X25519PublicKey],
    ) -> None:
        """Make a key for the output.

        Args:
            task: says where its output goes.
            certificate: of the site that makes it.
            key: the certificate's.
            recipients: the keys of the sites that the task names.
        """
        self._key = key
        self._secret = AESGCM.generate_key(_KEY_BITS)
        self._cipher = AESGCM(self._secret)
        self._envelope = Envelope(
            federation=certificate.party.federation,
            run=task.run,
            stage=task.stage,
            task=task.id,
            attempt=secrets.token_hex(16),
            site=task.site,
            to=dict.fromkeys(task.to, "00"),
            segments=0,
            rows=0,
            manifest="0" * 64,
            closing="00",
            certificate=certificate.pem().decode(),
            signature="",
        )
        self._context = self._envelope.context
        self._recipients = {site: recipients[site] for site in task.to}
        self._number = 0

    def segment(self, content: Buffer) -> bytes:
        """Seal the next segment."""
        number, self._number = self._number, self._number + 1
        return self._cipher.encrypt(
            _nonce(number), memoryview(content).cast("B"), _bound(self._context, number)
        )

    def close(self, entries: Sequence[SegmentEntry]) -> str:
        """Say that these are all; give the envelope.

        Args:
            entries: the segments that were sealed, in order.
        """
        if len(entries) != self._number:
            raise FederationError(f"{self._number} segments were sealed, not {len(entries)}")
        rows = sum(entry.rows for entry in entries)
        closing = self._cipher.encrypt(_CLOSING, b"", _whole(self._context, entries))
        wrapped = {
            site: _SUITE.encrypt(self._secret, public, _info(self._context, site)).hex()
            for site, public in self._recipients.items()
        }
        closed = self._envelope.model_copy(
            update={
                "to": wrapped,
                "segments": len(entries),
                "rows": rows,
                "manifest": _listed(entries),
                "closing": closing.hex(),
            }
        )
        signed = sign(self._key, closed.signed).hex()
        return closed.model_copy(update={"signature": signed}).model_dump_json()


class Opener:
    """Opens an output that another site has sealed to this one."""

    def __init__(
        self,
        envelope: str,
        entries: Sequence[SegmentEntry],
        *,
        run: str,
        site: str,
        here: str,
        peers: Peers,
        key: X25519PrivateKey,
    ) -> None:
        """Check what goes with an output.

        Args:
            envelope: what came with it.
            entries: the segments that there are said to be.
            run: the run that it must be of.
            site: who must have made it.
            here: this site.
            peers: whom we take for which site.
            key: this site's.

        Raises:
            FederationError: it is another's, another run's, for others, or not all of it.
        """
        self._site = site
        read = read_envelope(envelope)
        certificate = Certificate.parse(read.certificate.encode(), "the certificate of an envelope")
        peers.check(certificate, site)
        if not verifies(certificate.public_key, bytes.fromhex(read.signature), read.signed):
            raise FederationError(f"what came as the output of site {site!r} is not signed by it")
        if read.site != site or read.federation != peers.federation or read.run != run:
            raise FederationError(f"an output of site {site!r} that came is one of another run")
        if here not in read.to:
            raise FederationError(
                f"an output of site {site!r} that came is not sealed to site {here!r}"
            )
        if len(entries) != read.segments or _listed(entries) != read.manifest:
            raise self._changed()
        self._context = read.context
        try:
            wrapped = bytes.fromhex(read.to[here])
            self._cipher = AESGCM(_SUITE.decrypt(wrapped, key, _info(self._context, here)))
            self._cipher.decrypt(
                _CLOSING, bytes.fromhex(read.closing), _whole(self._context, entries)
            )
        except (InvalidTag, ValueError):
            raise FederationError(
                f"an output of site {site!r} is sealed to a key that this site does not have",
                hint="this site was joined anew since; run it again",
            ) from None

    def segment(self, number: int, content: Buffer) -> bytes:
        """Open a segment.

        Raises:
            FederationError: it is not the one of this number and output, or was changed.
        """
        try:
            return self._cipher.decrypt(
                _nonce(number), memoryview(content).cast("B"), _bound(self._context, number)
            )
        except InvalidTag:
            raise self._changed() from None

    def _changed(self) -> FederationError:
        return FederationError(
            f"the output of site {self._site!r} was changed on its way here",
            hint="segments are missing, not its own, or in another order: look at the coordinator",
        )


def read_envelope(text: str) -> Envelope:
    """Read an envelope; it is not checked.

    Raises:
        FederationError: it is none.
    """
    return read_message(Envelope, "envelope", text, LARGEST_ENVELOPE)


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _bound(context: bytes, number: int) -> bytes:
    return b"umbel segment 1" + context + number.to_bytes(8, "big")


def _whole(context: bytes, entries: Sequence[SegmentEntry]) -> bytes:
    total = len(entries).to_bytes(8, "big")
    return b"umbel closing 1" + context + total + bytes.fromhex(_listed(entries))


def _listed(entries: Sequence[SegmentEntry]) -> str:
    return _digest("umbel segments 1", [[e.digest, e.bytes, e.rows] for e in entries]).hex()


def _info(context: bytes, site: str) -> bytes:
    return b"umbel output key 1" + context + site.encode()


def _digest(what: str, value: Any) -> bytes:
    written = json.dumps([what, value], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(written.encode()).digest()


__all__ = ["Envelope", "Opener", "Sealer", "read_envelope"]

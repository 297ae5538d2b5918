"""Cards: by which key results are sealed to a site, signed with the key of its certificate.

The coordinator hands cards on. It cannot change one, nor give one site's for another's: whoever
gets a card checks its signature, the certificate behind it against the federation's root, and the
name in that. What it can do, for it issues certificates, is to issue a false one. Against that a
site pins the keys of its peers: their fingerprints, as the peers' people told them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from pydantic import BaseModel, ConfigDict, Field

from umbel.dataclass import dataclass
from umbel.federation.errors import IdentityError
from umbel.federation.identity.certificates import Certificate, fingerprint
from umbel.federation.identity.keys import (
    PrivateKey,
    key_fingerprint,
    read_secret,
    sign,
    verifies,
    write_secret,
)
from umbel.federation.identity.names import PartyName
from umbel.federation.messages import read_message

#: The file of a site's key for what is sealed to it.
SEALING = "sealing.key"
#: Characters of a card: two certificates, a key and a signature.
LARGEST_CARD = 20_000
_PIN = re.compile(r"sha256:[0-9a-f]{64}")


def sealing_key(folder: Path) -> X25519PrivateKey:
    """Read the key by which a site opens what is sealed to it (X25519, RFC 7748); make it at first.

    Raises:
        IdentityError: it cannot be read or written, or is none.
    """
    path = folder / SEALING
    if not path.exists():
        made = X25519PrivateKey.generate()
        written = made.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        write_secret(path, written)
    try:
        key = serialization.load_pem_private_key(read_secret(path), password=None)
    except (ValueError, TypeError):
        raise IdentityError(f"{path} holds no key that can be used") from None
    if not isinstance(key, X25519PrivateKey):
        raise IdentityError(
            f"{path} holds no X25519 key", hint="remove it: the site makes another one"
        )
    return key


@dataclass(frozen=True)
class Card:
    """A site's key for sealing, and what proves that it is the site's.

    Attributes:
        certificate: the site's.
        key: the public key, 32 bytes.
        signature: of the card, by the certificate's key.
        door: the certificate, as PEM, of the site's own door for other sites; empty if it has none.
    """

    certificate: Certificate
    key: bytes
    signature: bytes
    door: str = ""

    @classmethod
    def make(
        cls,
        certificate: Certificate,
        key: PrivateKey,
        sealing: X25519PrivateKey,
        door: str = "",
    ) -> Card:
        """Sign a card."""
        public = sealing.public_key().public_bytes_raw()
        return cls(certificate, public, sign(key, _signed(certificate, public, door)), door)

    @property
    def public_key(self) -> X25519PublicKey:
        """The key by which to seal to the site."""
        return X25519PublicKey.from_public_bytes(self.key)

    def to_json(self) -> str:
        """Write it."""
        return json.dumps(
            {
                "umbel_card": 1,
                "key": self.key.hex(),
                "certificate": self.certificate.pem().decode(),
                "signature": self.signature.hex(),
                "door": self.door,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Card:
        """Read one; it is not checked.

        Raises:
            FederationError: it is none.
        """
        read = read_message(_CardModel, "card", text, LARGEST_CARD)
        certificate = Certificate.parse(read.certificate.encode(), "the certificate of a card")
        key, signature = bytes.fromhex(read.key), bytes.fromhex(read.signature)
        return cls(certificate, key, signature, read.door)


@dataclass(frozen=True)
class Peers:
    """Whom a site takes for which other site.

    Attributes:
        federation: its name.
        root: whose certificates prove who a site is.
        pinned: fingerprints of the keys of the only sites that are known, by name; None to know all
            that have a certificate.
    """

    federation: str
    root: x509.Certificate
    pinned: Mapping[str, str] | None = field(default=None)

    def check(self, certificate: Certificate, site: str) -> None:
        """Check that a certificate is a site's.

        Raises:
            IdentityError: it is another's, is no good, or its key is not the one that is pinned.
        """
        certificate.check(self.root)
        if certificate.party != PartyName(self.federation, "site", site):
            raise IdentityError(f"a certificate of {certificate.party} was shown for site {site!r}")
        if self.pinned is None:
            return
        if site not in self.pinned:
            raise IdentityError(
                f"site {site!r} is not among the peers of this site",
                hint="write the fingerprint of its key into [peers]; `umbel site doctor` there "
                "shows it",
            )
        if key_fingerprint(certificate.public_key) != self.pinned[site]:
            raise IdentityError(
                f"the key of site {site!r} is not the one that is pinned here",
                hint="ask the people there whether they joined anew; if they did not, somebody "
                "poses as them",
            )

    def card_of(self, card: str, site: str) -> Card:
        """Read the card of a site, and check it.

        Raises:
            FederationError: it is no card of this site.
        """
        read = Card.from_json(card)
        self.check(read.certificate, site)
        signed = _signed(read.certificate, read.key, read.door)
        if not verifies(read.certificate.public_key, read.signature, signed):
            raise IdentityError(f"the card of site {site!r} is not signed by the site")
        return read


def check_pin(text: str) -> str:
    """Give the fingerprint of a key back if it is one.

    Raises:
        ValueError: it is not.
    """
    if _PIN.fullmatch(text) is None:
        raise ValueError("write what `umbel site doctor` shows there: sha256: and 64 digits")
    return text


class _CardModel(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    umbel_card: Literal[1]
    key: str = Field(pattern=r"^[0-9a-f]{64}$")
    certificate: str = Field(max_length=LARGEST_CARD)
    signature: str = Field(pattern=r"^([0-9a-f]{2}){1,100}$")
    door: str = Field(max_length=5_000)


def _signed(certificate: Certificate, key: bytes, door: str) -> bytes:
    known = hashlib.sha256(door.encode()).hexdigest()
    own = fingerprint(certificate.own)
    parts = ("umbel card 1", str(certificate.party), key.hex(), own, known)
    return "\n".join(parts).encode()


__all__ = ["LARGEST_CARD", "SEALING", "Card", "Peers", "check_pin", "sealing_key"]

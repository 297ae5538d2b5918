"""Lasting keys of sites of one process; others sign with the keys of their certificates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from functools import cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from umbel.dataclass import dataclass


@dataclass(frozen=True)
class Ed25519Identity:
    """A key of one's own and the public ones of all.

    Attributes:
        site: whose it is.
        known: the public keys of all sites, the own one too.
    """

    site: str
    known: Mapping[str, Ed25519PublicKey]
    _key: Ed25519PrivateKey = field(repr=False)

    @property
    def credential(self) -> bytes:
        """Nothing: all know the keys of all."""
        return b""

    def sign(self, message: bytes) -> bytes:
        """Sign with the own key."""
        return self._key.sign(message)

    def verify(self, site: str, message: bytes, signature: bytes, credential: bytes) -> bool:
        """Whether a signature is of that site."""
        if site not in self.known:
            return False
        try:
            self.known[site].verify(signature, message)
        except InvalidSignature:
            return False
        return True


def identities(sites: Sequence[str]) -> dict[str, Ed25519Identity]:
    """New keys for all sites, each of which knows those of all."""
    keys = {site: Ed25519PrivateKey.generate() for site in sites}
    known = {site: key.public_key() for site, key in keys.items()}
    return {site: Ed25519Identity(site, known, key) for site, key in keys.items()}


@cache
def identity_here(site: str) -> Ed25519Identity:
    """The key of a site of this process, known to all other sites of this process and to no one else.

    >>> one, other = identity_here("north"), identity_here("south")
    >>> other.verify("north", b"x", one.sign(b"x"), b""), one.verify("west", b"x", b"y", b"")
    (True, False)
    """
    key = Ed25519PrivateKey.generate()
    _HERE[site] = key.public_key()
    return Ed25519Identity(site, _HERE, key)


_HERE: dict[str, Ed25519PublicKey] = {}

"""What sites and server say to one another in secure aggregation."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import field
from typing import Protocol

from umbel.dataclass import dataclass
from umbel.learning.secure.masks import Numbers


@dataclass(frozen=True)
class Agreement:
    """What a round of secure aggregation is about; known to all before it begins.

    Attributes:
        run: of which training; part of all keys, so that nothing of another one can be used.
        round: its number.
        size: how many numbers a vector has.
        fewest: of how many sites a sum may be, at least.
        degree: with how many others each site masks.
        share: which part of a site's neighbours it takes to unmask it. Above one half, two
            different lists of survivors can't both find enough honest ones.
    """

    run: str
    round: int
    size: int
    fewest: int
    degree: int
    share: float = 2 / 3

    def __post_init__(self) -> None:
        if self.fewest < 2:
            raise ValueError("A sum of fewer than two sites hides nothing: fewest must be 2.")
        if not 0.5 < self.share <= 1:
            raise ValueError(f"share must lie in (0.5, 1], not {self.share}.")
        if self.size < 1 or self.degree < 1:
            raise ValueError("size and degree must be at least 1.")

    @property
    def context(self) -> bytes:
        """All of it, for keys and signatures."""
        return repr(
            (self.run, self.round, self.size, self.fewest, self.degree, self.share)
        ).encode()


@dataclass(frozen=True)
class Keys:
    """First message of a site: its two public keys of this round, and a promise.

    Attributes:
        site: whose they are.
        channel: what is for the site alone is encrypted to it.
        mask: masks with others come from it.
        promise: a hash of the seed of its own mask, which later shares are held against.
        signature: of the site's own, lasting key.
        credential: what proves that the lasting key is the site's, such as a certificate.
    """

    site: str
    channel: bytes
    mask: bytes
    promise: bytes
    signature: bytes = b""
    credential: bytes = b""

    def signed(self, agreement: Agreement) -> bytes:
        """What the signature is of."""
        return digest_of(
            b"keys", agreement.context, self.site.encode(), self.channel, self.mask, self.promise
        )


@dataclass(frozen=True)
class Shares:
    """Second message of a site: for each neighbour its shares, encrypted.

    Attributes:
        site: who shares.
        sealed: by neighbour.
    """

    site: str
    sealed: Mapping[str, bytes] = field(repr=False)


@dataclass(frozen=True, eq=False)
class Masked:
    """Third message of a site: its vector under all its masks."""

    site: str
    vector: Numbers = field(repr=False)


@dataclass(frozen=True)
class Confirmed:
    """Fourth message of a site: it has seen this list of those whose vectors arrived."""

    site: str
    signature: bytes


@dataclass(frozen=True)
class Opened:
    """Last message of a site: its shares of each neighbour's one secret.

    Attributes:
        site: who opens.
        own: of those whose vectors arrived: shares of the mask of their own.
        pairs: of the others: shares of the key of the masks that they have with others.
    """

    site: str
    own: Mapping[str, bytes] = field(repr=False)
    pairs: Mapping[str, bytes] = field(repr=False)


def roster_digest(agreement: Agreement, roster: Mapping[str, Keys]) -> bytes:
    """What a roster is known by."""
    parts = [
        part
        for site in sorted(roster)
        for part in (site.encode(), roster[site].channel, roster[site].mask, roster[site].promise)
    ]
    return digest_of(b"roster", agreement.context, *parts)


def survivors_digest(roster: bytes, survivors: Collection[str]) -> bytes:
    """What a list of survivors is known by, and signed as."""
    return digest_of(b"survivors", roster, *(site.encode() for site in sorted(survivors)))


def digest_of(kind: bytes, *parts: bytes) -> bytes:
    """A hash in which no two lists of parts look the same."""
    total = hashlib.sha256()
    for part in (b"umbel secure aggregation", kind, *parts):
        total.update(len(part).to_bytes(8, "big"))
        total.update(part)
    return total.digest()


def promise_of(seed: bytes) -> bytes:
    """What a seed is promised by: it says nothing about the seed, and fits no other."""
    return digest_of(b"seed", seed)


class Identity(Protocol):
    """A site's lasting key, and what it knows of those of others."""

    @property
    def site(self) -> str:
        """Its name."""
        ...

    @property
    def credential(self) -> bytes:
        """What proves to others that the key is the site's; empty if they know it already."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Sign with the own key."""
        ...

    def verify(self, site: str, message: bytes, signature: bytes, credential: bytes) -> bool:
        """Whether a signature is of that site; also False if nothing is known of it."""
        ...

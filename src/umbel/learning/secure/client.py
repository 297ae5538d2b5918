"""A site's side of secure aggregation: one object for one round, used once from step to step.

It trusts the server with bringing messages, and with nothing else: keys are signed by the sites,
everyone works out the neighbours alone, and what is opened follows from one list of survivors that
enough others have signed. A step that is asked for twice, or in another order, is refused.
"""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from umbel.learning.secure import shamir
from umbel.learning.secure.errors import SecureAggregationError
from umbel.learning.secure.graph import hang_together, neighbours
from umbel.learning.secure.masks import Numbers, add_mask, agreed_key, derive
from umbel.learning.secure.messages import (
    Agreement,
    Confirmed,
    Identity,
    Keys,
    Masked,
    Opened,
    Shares,
    digest_of,
    promise_of,
    roster_digest,
    survivors_digest,
)


class SecureClient:
    """One site in one round.

    The steps, in their order: `keys`, `share`, `mask`, `confirm`, `open`.
    """

    def __init__(self, agreement: Agreement, identity: Identity) -> None:
        self.agreement = agreement
        self.identity = identity
        self.site = identity.site
        self._channel = X25519PrivateKey.generate()
        self._mask = X25519PrivateKey.generate()
        self._seed = os.urandom(32)
        self._next = "keys"
        self._roster: Mapping[str, Keys] = {}
        self._digest = b""
        self._graph: Mapping[str, frozenset[str]] = {}
        self._held: dict[str, tuple[bytes, bytes]] = {}
        self._survivors: frozenset[str] = frozenset()

    def keys(self) -> Keys:
        """Give the public keys of this round."""
        self._step("keys", "share")
        own = Keys(
            self.site,
            self._channel.public_key().public_bytes_raw(),
            self._mask.public_key().public_bytes_raw(),
            promise_of(self._seed),
            credential=self.identity.credential,
        )
        return replace(own, signature=self.identity.sign(own.signed(self.agreement)))

    def share(self, roster: Mapping[str, Keys]) -> Shares:
        """Share both secrets among the neighbours.

        Args:
            roster: the keys of all sites of the round.

        Raises:
            SecureAggregationError: the roster is too short or false.
        """
        self._step("share", "mask")
        self._check_roster(roster)
        self._roster = dict(roster)
        self._digest = roster_digest(self.agreement, roster)
        self._graph = neighbours(self._digest, roster, self.agreement.degree)
        around = sorted(self._graph[self.site])
        places = {site: place for place, site in enumerate(sorted(roster), start=1)}
        threshold = needed(self.agreement, len(around))
        secrets = (self._seed, self._mask.private_bytes_raw())
        split = [shamir.split(s, [places[site] for site in around], threshold) for s in secrets]
        sealed = {}
        for site in around:
            pair = b"".join(shares[places[site]] for shares in split)
            sealed[site] = self._box(self.site, site).encrypt(bytes(12), pair, None)
        return Shares(self.site, sealed)

    def mask(self, sealed: Mapping[str, bytes], vector: Numbers) -> Masked:
        """Mask a vector with all neighbours that have shared.

        Args:
            sealed: what each of them has for this site.
            vector: the numbers to sum.

        Raises:
            SecureAggregationError: too few have shared, or what they shared is broken.
        """
        self._step("mask", "confirm")
        around = self._graph[self.site]
        strangers = sorted(set(sealed) - around)
        if strangers:
            raise SecureAggregationError(f"{strangers[0]!r} shares with us, but is no neighbour.")
        threshold = needed(self.agreement, len(around))
        if len(sealed) < threshold:
            raise SecureAggregationError(
                f"Only {len(sealed)} of {len(around)} neighbours have shared; it takes {threshold}."
            )
        if vector.shape != (self.agreement.size,) or vector.dtype != np.uint32:
            raise SecureAggregationError(
                f"The vector is {vector.dtype}{vector.shape}, agreed is uint32({self.agreement.size},)."
            )
        for site, box in sealed.items():
            try:
                pair = self._box(site, self.site).decrypt(bytes(12), box, None)
            except InvalidTag:
                raise SecureAggregationError(f"The shares of {site!r} were changed.") from None
            self._held[site] = (pair[:32], pair[32:])
        total = vector.copy()
        add_mask(total, own_mask_key(self._seed, self._digest))
        for site in sorted(sealed):
            key = pair_mask_key(self._mask, self._roster[site].mask, self._digest, self.site, site)
            add_mask(total, key, subtract=self.site > site)
        return Masked(self.site, total)

    def confirm(self, survivors: Collection[str]) -> Confirmed:
        """Sign the list of those whose vectors have arrived; only one list, once.

        Raises:
            SecureAggregationError: the list is too short, or names whom it can't.
        """
        self._step("confirm", "open")
        listed = frozenset(survivors)
        if len(listed) < self.agreement.fewest:
            raise SecureAggregationError(
                f"The sum would be of {len(listed)} sites; agreed are at least "
                f"{self.agreement.fewest}."
            )
        unknown = sorted(listed - set(self._roster))
        if unknown:
            raise SecureAggregationError(f"{unknown[0]!r} survived, but was never there.")
        silent = sorted((listed & self._graph[self.site]) - set(self._held))
        if silent:
            raise SecureAggregationError(f"{silent[0]!r} survived, but never shared with us.")
        if self.site not in listed:
            raise SecureAggregationError(
                "We are not among the survivors, but are asked to confirm."
            )
        if not hang_together(self._graph, listed):
            raise SecureAggregationError(
                "The survivors fall apart into groups without common masks, whose sums would show."
            )
        self._survivors = listed
        return Confirmed(self.site, self.identity.sign(self._survivors_digest()))

    def open(self, confirmations: Mapping[str, bytes]) -> Opened:
        """Give for each neighbour a share of one of its secrets, never of both.

        Args:
            confirmations: who has signed the list of survivors, and how.

        Raises:
            SecureAggregationError: around some neighbour too few have signed the same list.
        """
        self._step("open", "nothing")
        digest = self._survivors_digest()
        signed = {
            site
            for site, signature in confirmations.items()
            if site in self._survivors
            and self.identity.verify(site, digest, signature, self._roster[site].credential)
        }
        for site in sorted(self._held):
            around = self._graph[site]
            threshold = needed(self.agreement, len(around))
            if len(around & signed) < threshold:
                raise SecureAggregationError(
                    f"Of {site!r}'s neighbours {len(around & signed)} have signed the same list of "
                    f"survivors; it takes {threshold}."
                )
        alive = self._survivors
        return Opened(
            self.site,
            own={site: held[0] for site, held in self._held.items() if site in alive},
            pairs={site: held[1] for site, held in self._held.items() if site not in alive},
        )

    def _step(self, now: str, following: str) -> None:
        if self._next != now:
            raise SecureAggregationError(f"Asked to {now}, where {self._next} comes next.")
        self._next = following

    def _check_roster(self, roster: Mapping[str, Keys]) -> None:
        if len(roster) < self.agreement.fewest:
            raise SecureAggregationError(
                f"There are {len(roster)} sites; agreed are at least {self.agreement.fewest}."
            )
        own = roster.get(self.site)
        given = (
            self._channel.public_key().public_bytes_raw(),
            self._mask.public_key().public_bytes_raw(),
            promise_of(self._seed),
        )
        if own is None or (own.channel, own.mask, own.promise) != given:
            raise SecureAggregationError("The roster does not hold the keys that we gave.")
        for site, keys in roster.items():
            good = keys.site == site and self.identity.verify(
                site, keys.signed(self.agreement), keys.signature, keys.credential
            )
            if not good:
                raise SecureAggregationError(f"The keys of {site!r} are not signed by it.")
        every = [key for keys in roster.values() for key in (keys.channel, keys.mask)]
        if len(set(every)) < len(every):
            raise SecureAggregationError("Two sites have the same key.")

    def _box(self, sender: str, receiver: str) -> AESGCM:
        """The cipher for the one message of this round that goes from one site to the other.

        Each direction has a key of its own, which encrypts nothing else: so the nonce is zero.
        """
        other = receiver if sender == self.site else sender
        context = digest_of(b"box", self._digest, sender.encode(), receiver.encode())
        return AESGCM(agreed_key(self._channel, self._roster[other].channel, context))

    def _survivors_digest(self) -> bytes:
        return survivors_digest(self._digest, self._survivors)


def needed(agreement: Agreement, around: int) -> int:
    """How many of so many neighbours it takes to open a secret: more than half of them."""
    return max(math.ceil(agreement.share * around), around // 2 + 1)


def own_mask_key(seed: bytes, roster: bytes) -> bytes:
    """The key of the mask that a site has for itself."""
    return derive(seed, digest_of(b"own", roster))


def pair_mask_key(
    private: X25519PrivateKey, public: bytes, roster: bytes, one: str, other: str
) -> bytes:
    """The key of the mask that two sites have together: one adds it, the other subtracts it."""
    context = digest_of(b"pair", roster, *(site.encode() for site in sorted([one, other])))
    return agreed_key(private, public, context)

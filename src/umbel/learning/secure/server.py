"""The server's side of secure aggregation: it brings messages, and ends with the sum alone.

Sites may fall silent between any two steps. What each step needs is that enough of those are left
whom the step before had; who they are is decided by whoever calls the steps, when quorum or
deadline is reached.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from umbel.learning.secure import shamir
from umbel.learning.secure.client import needed, own_mask_key, pair_mask_key
from umbel.learning.secure.errors import SecureAggregationError
from umbel.learning.secure.graph import neighbours
from umbel.learning.secure.masks import Numbers, add_mask
from umbel.learning.secure.messages import (
    Agreement,
    Confirmed,
    Keys,
    Masked,
    Opened,
    Shares,
    promise_of,
    roster_digest,
)


class SecureServer:
    """One round at the server.

    The steps, in their order: `roster`, `deliver`, `survivors`, `confirmations`, `total`.
    """

    def __init__(self, agreement: Agreement) -> None:
        self.agreement = agreement
        self._roster: dict[str, Keys] = {}
        self._digest = b""
        self._graph: Mapping[str, frozenset[str]] = {}
        self._shared: dict[str, Shares] = {}
        self._masked: frozenset[str] = frozenset()
        self._sum: Numbers = np.zeros(agreement.size, np.uint32)

    def roster(self, keys: Iterable[Keys]) -> dict[str, Keys]:
        """Collect the keys of all who take part; each of them gets the whole roster."""
        for own in keys:
            if own.site in self._roster:
                raise SecureAggregationError(f"{own.site!r} gave its keys twice.")
            self._roster[own.site] = own
        self._enough(len(self._roster), "gave their keys")
        self._digest = roster_digest(self.agreement, self._roster)
        self._graph = neighbours(self._digest, self._roster, self.agreement.degree)
        return dict(self._roster)

    def deliver(self, shares: Iterable[Shares]) -> dict[str, dict[str, bytes]]:
        """Sort the sealed shares by those for whom they are.

        Returns:
            For each site that has shared what its neighbours that have shared sealed for it.
        """
        self._shared = {own.site: own for own in shares if own.site in self._roster}
        self._enough(len(self._shared), "shared their secrets")
        return {
            site: {
                other: self._shared[other].sealed[site]
                for other in sorted(self._graph[site])
                if other in self._shared and site in self._shared[other].sealed
            }
            for site in self._shared
        }

    def survivors(self, masked: Iterable[Masked]) -> frozenset[str]:
        """Add up the masked vectors as they come; who gave one is what sites then sign.

        Raises:
            SecureAggregationError: too few came, or one has another size or came twice.
        """
        seen: set[str] = set()
        for own in masked:
            if own.site not in self._shared or own.site in seen:
                raise SecureAggregationError(f"{own.site!r} gave a vector that nobody waits for.")
            if own.vector.shape != self._sum.shape or own.vector.dtype != np.uint32:
                raise SecureAggregationError(
                    f"{own.site!r} gave {own.vector.dtype}{own.vector.shape}; agreed is "
                    f"uint32({self.agreement.size},)."
                )
            seen.add(own.site)
            self._sum += own.vector
        self._enough(len(seen), "gave a vector")
        self._masked = frozenset(seen)
        return self._masked

    def confirmations(self, confirmed: Iterable[Confirmed]) -> dict[str, bytes]:
        """Collect the signatures of the list of survivors; each site gets all.

        Raises:
            SecureAggregationError: around some site too few have signed, so that no site will open
                anything.
        """
        signed = {own.site: own.signature for own in confirmed if own.site in self._masked}
        for site in sorted(self._shared):
            threshold = needed(self.agreement, len(self._graph[site]))
            around = len(self._graph[site] & set(signed))
            if around < threshold:
                raise SecureAggregationError(
                    f"Of {site!r}'s {len(self._graph[site])} neighbours {around} are left; it takes "
                    f"{threshold}."
                )
        return signed

    def total(self, opened: Iterable[Opened]) -> Numbers:
        """Take the masks off the sum.

        Raises:
            SecureAggregationError: too few have opened around some site, or what they opened is
                not what was shared. Then there is no sum at all.
        """
        own_shares, pair_shares = self._sort_shares(opened)
        total = self._sum.copy()
        for site in sorted(self._masked):
            seed = self._join(site, own_shares)
            if promise_of(seed) != self._roster[site].promise:
                raise SecureAggregationError(
                    f"The shares of the seed of {site!r} do not fit what it has promised: "
                    "a site has given a false share."
                )
            add_mask(total, own_mask_key(seed, self._digest), subtract=True)
        for gone in sorted(set(self._shared) - self._masked):
            left = sorted(self._graph[gone] & self._masked)
            if not left:
                continue
            private = X25519PrivateKey.from_private_bytes(self._join(gone, pair_shares))
            if private.public_key().public_bytes_raw() != self._roster[gone].mask:
                raise SecureAggregationError(
                    f"The shares of the key of {gone!r} do not fit its public key: "
                    "a site has given a false share."
                )
            for site in left:
                key = pair_mask_key(private, self._roster[site].mask, self._digest, gone, site)
                # Whoever has the smaller name adds the mask; what is left in the sum is undone.
                add_mask(total, key, subtract=site < gone)
        return total

    def _sort_shares(
        self, opened: Iterable[Opened]
    ) -> tuple[dict[str, dict[int, bytes]], dict[str, dict[int, bytes]]]:
        places = {site: place for place, site in enumerate(sorted(self._roster), start=1)}
        own: dict[str, dict[int, bytes]] = {}
        pairs: dict[str, dict[int, bytes]] = {}
        for one in opened:
            if one.site not in self._masked:
                raise SecureAggregationError(f"{one.site!r} opens shares, but gave no vector.")
            for into, given in ((own, one.own), (pairs, one.pairs)):
                for site, share in given.items():
                    if one.site in self._graph.get(site, frozenset()):
                        into.setdefault(site, {})[places[one.site]] = share
        return own, pairs

    def _join(self, site: str, shares: Mapping[str, Mapping[int, bytes]]) -> bytes:
        threshold = needed(self.agreement, len(self._graph[site]))
        given = shares.get(site, {})
        if len(given) < threshold:
            raise SecureAggregationError(
                f"{len(given)} of {site!r}'s {len(self._graph[site])} neighbours have opened their "
                f"shares; it takes {threshold}. There is no sum of this round."
            )
        return shamir.join(given, threshold)

    def _enough(self, count: int, what: str) -> None:
        if count < self.agreement.fewest:
            raise SecureAggregationError(
                f"{count} sites {what}; the sum must be of at least {self.agreement.fewest}."
            )

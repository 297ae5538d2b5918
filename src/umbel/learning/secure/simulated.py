"""Secure aggregation with all sites in one process: for simulations, tests and measurements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from umbel.learning.secure.client import SecureClient
from umbel.learning.secure.identities import identities
from umbel.learning.secure.masks import Numbers
from umbel.learning.secure.messages import Agreement
from umbel.learning.secure.server import SecureServer

Step: TypeAlias = Literal["share", "mask", "confirm", "open"]
STEPS: tuple[Step, ...] = ("share", "mask", "confirm", "open")


def secure_sum(
    agreement: Agreement, vectors: Mapping[str, Numbers], silent: Mapping[str, Step] | None = None
) -> tuple[Numbers, frozenset[str]]:
    """Sum vectors as sites and server would.

    Args:
        agreement: what the round is about.
        vectors: of each site.
        silent: sites that fall silent, and the first step that they do not do.

    Returns:
        The sum modulo 2^32, and whose vectors are in it.

    Raises:
        SecureAggregationError: too few are left.

    >>> import numpy as np
    >>> agreement = Agreement("doc", 1, size=2, fewest=2, degree=3)
    >>> vectors = {site: np.array([1, 2], np.uint32) for site in "abcd"}
    >>> total, whose = secure_sum(agreement, vectors, {"d": "mask"})
    >>> total.tolist(), sorted(whose)
    ([3, 6], ['a', 'b', 'c'])
    """
    missing = silent or {}
    server = SecureServer(agreement)
    clients = {site: SecureClient(agreement, own) for site, own in identities([*vectors]).items()}

    def left(step: Step) -> list[str]:
        """Those who still speak in a step."""
        last = STEPS.index(step)
        return [s for s in clients if s not in missing or STEPS.index(missing[s]) > last]

    roster = server.roster(client.keys() for client in clients.values())
    boxes = server.deliver(clients[site].share(roster) for site in left("share"))
    survivors = server.survivors(
        clients[site].mask(boxes[site], vectors[site]) for site in left("mask")
    )
    signatures = server.confirmations(clients[site].confirm(survivors) for site in left("confirm"))
    return server.total(clients[site].open(signatures) for site in left("open")), survivors

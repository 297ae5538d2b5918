"""Which sites mask with which: all with all, or each with some, the same for everybody to compute.

The sites are put in an order that follows from the keys of this round, and each is tied to those
nearest to it on a circle (a Harary graph). So nobody chooses who is next to whom, and with so many
neighbours the honest ones hang together.

Source: Bell et al., "Secure Single-Server Aggregation with (Poly)Logarithmic Overhead", CCS 2020,
section 3.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Mapping


def neighbours(digest: bytes, sites: Collection[str], degree: int) -> dict[str, frozenset[str]]:
    """For each site, those whom it masks with.

    Args:
        digest: what the order follows from: of the whole roster of this round.
        sites: all sites of the round.
        degree: with how many others each masks, at least; all, where that is as many as there are.
    """
    order = sorted(sites, key=lambda site: hashlib.sha256(digest + site.encode()).digest())
    n = len(order)
    reach = min(math.ceil(degree / 2), n // 2)
    return {
        site: frozenset(
            order[(place + away) % n] for away in range(-reach, reach + 1) if away % n != 0
        )
        for place, site in enumerate(order)
    }


def usual_degree(sites: int) -> int:
    """Everybody up to 40 sites; then six more for each doubling.

    If a tenth of 10,000 sites drop out and another tenth is in league with the server, a site that
    has too few honest neighbours left, or too few left in all, is then rarer than one in a million.

    >>> [usual_degree(n) for n in (3, 40, 100, 10_000)]
    [2, 39, 42, 84]
    """
    return sites - 1 if sites <= 40 else 6 * math.ceil(math.log2(sites))


def hang_together(graph: Mapping[str, frozenset[str]], sites: Collection[str]) -> bool:
    """Whether there is a way between each two of these sites over none but these.

    Otherwise their sum would fall apart into the sums of groups.
    """
    left = set(sites)
    if not left:
        return True
    waiting = [left.pop()]
    while waiting:
        found = graph[waiting.pop()] & left
        left -= found
        waiting.extend(found)
    return not left

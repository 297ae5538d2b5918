"""One round of secure aggregation over real sites: whoever drives it brings messages, and no more.

Sites may fall silent at any step; the round goes on with the others while there are enough. Where
it cannot, it is begun anew under new keys, at last without those that fell silent twice.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import field, replace
from typing import TypeAlias

from umbel.dataclass import dataclass
from umbel.learning.secure.errors import SecureAggregationError
from umbel.learning.secure.graph import usual_degree
from umbel.learning.secure.messages import Confirmed, Keys, Masked, Opened, Shares
from umbel.learning.secure.packing import (
    keys_from_bytes,
    keys_to_bytes,
    names_to_bytes,
    pack,
    unpack,
)
from umbel.learning.secure.server import SecureServer
from umbel.learning.secure.site import numbers_of
from umbel.learning.secure.vectors import Summed, Vectors
from umbel.plan.models import Masking

#: Brings a message to each of some sites, and what they answer, and why others did not.
Bring: TypeAlias = Callable[
    [Masking, Mapping[str, bytes]], tuple[Mapping[str, bytes], Mapping[str, str]]
]
#: How often a round is begun, and how often a site may fall silent in it before it is left out.
_TRIES, _STRIKES = 4, 2


@dataclass(frozen=True)
class Sum:
    """What a round gave.

    Attributes:
        summed: the sum.
        survivors: whose vectors are in it.
        silent: why others' are not, by name.
    """

    summed: Summed
    survivors: frozenset[str]
    silent: Mapping[str, str] = field(default_factory=dict)


def sum_over_sites(sites: Collection[str], masking: Masking, size: int, bring: Bring) -> Sum:
    """Have sites mask what they have, and give the sum.

    Args:
        sites: by name.
        masking: how; its run, step, sites and degree are filled in here.
        size: how many numbers are learned.
        bring: brings messages.

    Raises:
        SecureAggregationError: there is no sum: too few sites are left, or one lies.
    """
    left, silent = sorted(sites), dict[str, str]()
    strikes = Counter[str]()
    run, said = os.urandom(16).hex(), ""
    for attempt in range(1, _TRIES + 1):
        # Whoever was started anew in the middle of a round knows nothing of it, but of the next.
        left = [site for site in sorted(sites) if strikes[site] < _STRIKES]
        if len(left) < masking.fewest:
            break
        now = replace(
            masking, run=f"{run}.{attempt}", sites=len(left), degree=usual_degree(len(left))
        )
        gone: dict[str, str] = {}
        out = {site: why for site, why in silent.items() if site not in left}
        try:
            return _attempt(left, Vectors(now, size), bring, gone, out)
        except SecureAggregationError as error:
            if not gone:
                raise
            said = f" {error.message}"
        silent |= gone
        strikes.update(gone.keys())
    why = "; ".join(f"{site}: {reason}" for site, reason in sorted(silent.items()))
    raise SecureAggregationError(
        f"round {masking.round} has no sum: {len(left)} of {len(sites)} sites are left, and it takes "
        f"{masking.fewest}.{said} {why}".rstrip(),
        hint="see to the sites that are away, or ask for fewer: Secure(fewest=…)",
    )


def _attempt(
    sites: Collection[str],
    vectors: Vectors,
    bring: Bring,
    gone: dict[str, str],
    silent: Mapping[str, str],
) -> Sum:
    """Try once; those that fall silent are put into `gone`."""
    server = SecureServer(vectors.agreement)

    def step(name: str, messages: Mapping[str, bytes]) -> Mapping[str, bytes]:
        answers, away = bring(replace(vectors.masking, step=name), messages)
        gone.update(away)
        return answers

    keys = step("keys", dict.fromkeys(sites, b""))
    roster = server.roster(_keys_of(site, data) for site, data in sorted(keys.items()))
    message = pack({site: keys_to_bytes(own) for site, own in roster.items()})
    shares = step("share", dict.fromkeys(roster, message))
    boxes = server.deliver(Shares(site, unpack(data)) for site, data in sorted(shares.items()))
    masked = step("mask", {site: pack(mine) for site, mine in boxes.items()})
    survivors = server.survivors(
        Masked(site, numbers_of(data, vectors.length)) for site, data in sorted(masked.items())
    )
    signed = step("confirm", dict.fromkeys(survivors, names_to_bytes(survivors)))
    signatures = server.confirmations(Confirmed(site, data) for site, data in signed.items())
    opened = step("open", dict.fromkeys(signatures, pack(signatures)))
    total = server.total(_opened(site, data) for site, data in sorted(opened.items()))
    return Sum(vectors.read(total), survivors, {**silent, **gone})


def _keys_of(site: str, data: bytes) -> Keys:
    keys = keys_from_bytes(data)
    if keys.site != site:
        raise SecureAggregationError(f"{site!r} gave the keys of {keys.site[:80]!r}.")
    return keys


def _opened(site: str, data: bytes) -> Opened:
    parts = unpack(data)
    if set(parts) != {"own", "pairs"}:
        raise SecureAggregationError(f"{site!r} opened something else than shares.")
    return Opened(site, unpack(parts["own"]), unpack(parts["pairs"]))


__all__ = ["Bring", "Sum", "sum_over_sites"]

"""Secure aggregation: CPU time of server and sites, and bytes, for 100 sites and 1 M parameters.

All sites are in this process. One in ten falls silent after it has shared its secrets, so the
server has to take its masks with others off the sum, too. The targets: the exact sum, under 5 s at
the server, as many bytes as float32 but for keys.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np

from umbel.learning.secure.client import SecureClient
from umbel.learning.secure.graph import usual_degree
from umbel.learning.secure.identities import identities
from umbel.learning.secure.messages import Agreement
from umbel.learning.secure.server import SecureServer

T = TypeVar("T")


class Clock:
    """Adds up CPU time by who spends it."""

    def __init__(self) -> None:
        self.spent = {"server": 0.0, "sites": 0.0}

    def time(self, who: str, work: Callable[[], T]) -> T:
        """Do some work, and remember how long it took."""
        start = time.process_time()
        try:
            return work()
        finally:
            self.spent[who] += time.process_time() - start


def measure(sites: int, size: int, degree: int) -> dict[str, float]:
    """One round with every tenth site gone."""
    names = [f"site {i:03}" for i in range(sites)]
    agreement = Agreement("bench", 1, size, fewest=sites // 2, degree=degree)
    clock, draw = Clock(), np.random.default_rng(0)
    server = SecureServer(agreement)
    clients = {name: SecureClient(agreement, own) for name, own in identities(names).items()}
    alive = [name for i, name in enumerate(names) if i % 10]

    def at_sites(step: Callable[[SecureClient], T], who: Iterable[str]) -> list[T]:
        return [clock.time("sites", lambda name=name: step(clients[name])) for name in who]  # type: ignore[misc]

    keys = at_sites(SecureClient.keys, names)
    roster = clock.time("server", lambda: server.roster(keys))
    shares = at_sites(lambda client: client.share(roster), names)
    boxes = clock.time("server", lambda: server.deliver(shares))
    exact = np.zeros(size, np.uint32)
    masked = []
    for name in alive:
        vector = draw.integers(0, 1 << 32, size, np.uint32)
        exact += vector
        masked += at_sites(lambda client, v=vector: client.mask(boxes[client.site], v), [name])  # type: ignore[misc]
    survivors = clock.time("server", lambda: server.survivors(masked))
    confirmed = at_sites(lambda client: client.confirm(survivors), alive)
    signatures = clock.time("server", lambda: server.confirmations(confirmed))
    opened = at_sites(lambda client: client.open(signatures), alive)
    total = clock.time("server", lambda: server.total(opened))
    assert total.tobytes() == exact.tobytes()
    sealed = [sum(map(len, own.sealed.values())) for own in shares]
    back = [sum(map(len, (*own.own.values(), *own.pairs.values()))) for own in opened]
    return {
        "server_seconds": clock.spent["server"],
        "site_seconds": clock.spent["sites"] / sites,
        "vector_bytes_to_float32": masked[0].vector.nbytes / (4 * size),
        "other_bytes_up": (sum(sealed) + sum(back)) / sites + 64 * 4,
    }


def main() -> None:
    """Measure the graph that is usual, a sparser one, and all with all on fewer numbers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    figures = {}
    for sites, size, degree in (
        (10, 1_000_000, 9),
        (100, 1_000_000, 20),
        (100, 1_000_000, usual_degree(100)),
        (100, 100_000, 99),
    ):
        taken = [measure(sites, size, degree) for _ in range(options.rounds)]
        best = {name: min(one[name] for one in taken) for name in taken[0]}
        figures[f"{sites} sites, {size} numbers, {degree} neighbours"] = best
        print(
            f"{sites:3} sites, {size:9,} numbers, {degree:2} neighbours: server "
            f"{best['server_seconds']:6.2f} s, each site {best['site_seconds']:5.2f} s of CPU; "
            f"{best['vector_bytes_to_float32']:.2f} x float32 + {best['other_bytes_up']:,.0f} bytes up"
        )
    if options.json is not None:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()

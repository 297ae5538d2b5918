"""What each part contributed, found from cached updates: nothing is trained anew.

The value of some parts in a round is how good the state is that the strategy makes of their updates
alone. Leave-one-out takes one away from all. The Shapley value is the mean of what a part adds over
all orders in which parts could come, here over orders drawn at random, each cut off where nothing
more is to be had ("truncated Monte Carlo", Ghorbani and Zou, "Data Shapley", ICML 2019). Rounds
that change nothing are left out, and each order begins with another part, in turn (GTG-Shapley: Liu
et al., "GTG-Shapley: Efficient and Accurate Participant Contribution Evaluation in Federated
Learning", ACM TIST 13(4), 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field

import numpy as np
import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.learning.debugging.journal import Entry
from umbel.learning.state import State
from umbel.learning.strategies.base import AggregationError, Settings, Strategy

#: How good a state is; larger is better.
Value = Callable[[State], float]


@dataclass
class _Rounds:
    """The value of some parts' updates in a round; each is found once."""

    entry: Entry
    strategy: Strategy
    settings: Settings
    value: Value
    known: dict[frozenset[str], float] = field(default_factory=dict)

    def of(self, names: frozenset[str]) -> float:
        """The value of the state that the updates of some parts make."""
        if names not in self.known:
            self.known[names] = self.value(self._state(names))
        return self.known[names]

    def _state(self, names: frozenset[str]) -> State:
        if not names:
            return self.entry.before
        updates = self.entry.updates(sorted(names))
        try:
            return self.strategy.aggregate(
                self.entry.memory, self.entry.before, updates, self.settings
            )[0]
        except AggregationError:
            return self.entry.before  # too few for this strategy: they lead nowhere


def contributions(
    entries: Sequence[Entry],
    strategy: Strategy,
    settings: Settings,
    value: Value,
    *,
    orders: int = 20,
    tolerance: float = 1e-3,
    seed: int = 0,
) -> pa.Table:
    """Estimate what each part contributed, summed over rounds.

    Columns: `part`, `rounds` in which its update was used, `leave_one_out` and `shapley`, both in
    the unit of the value, and `uncertain_by`, the standard error of the latter by the draw of
    orders.

    Args:
        entries: the rounds of a journal.
        strategy: makes states of updates.
        settings: how the parts trained.
        value: how good a state is.
        orders: drawn for each round; with few parts no more than there are.
        tolerance: a round, or the rest of an order, that changes the value by less than this share
            of the whole training's change is left out.
        seed: of the orders.
    """
    draw = np.random.Generator(np.random.Philox(key=seed))
    whole = abs(value(entries[-1].after) - value(entries[0].before))
    least = tolerance * whole
    names = sorted({part.name for entry in entries for part in entry.used})
    place = {name: i for i, name in enumerate(names)}
    alone, shares, variance = np.zeros((3, len(names)))
    rounds = np.zeros(len(names), np.int64)
    for entry in entries:
        present = sorted(part.name for part in entry.used)
        rounds[[place[name] for name in present]] += 1
        known = _Rounds(entry, strategy, settings, value)
        everyone = frozenset(present)
        if not present or abs(known.of(everyone) - known.of(frozenset())) <= least:
            continue
        for name in present:
            alone[place[name]] += known.of(everyone) - known.of(everyone - {name})
        added = np.array(
            [
                _added(known, order, least)
                for order in _orders(present, orders, draw)
            ]
        )  # fmt: skip
        own = [place[name] for name in present]
        shares[own] += added.mean(axis=0)
        if len(added) > 1:
            variance[own] += added.var(axis=0, ddof=1) / len(added)
    return pa.table(
        {
            "part": names,
            "rounds": rounds,
            "leave_one_out": alone,
            "shapley": shares,
            "uncertain_by": np.sqrt(variance),
        }
    )


def _orders(names: list[str], count: int, draw: np.random.Generator) -> list[list[str]]:
    """Draw orders, in which each part comes first as often as any other, as far as it goes."""
    found = []
    for i in range(count):
        first = names[i % len(names)]
        rest = [name for name in names if name != first]
        found.append([first, *(rest[j] for j in draw.permutation(len(rest)))])
    return found


def _added(known: _Rounds, order: list[str], least: float) -> list[float]:
    """What each part adds when they come in an order; in the order of names."""
    everyone = known.of(frozenset(order))
    so_far, before = frozenset[str](), known.of(frozenset())
    added = dict.fromkeys(order, 0.0)
    for name in order:
        if abs(everyone - before) <= least:
            break
        so_far |= {name}
        now = known.of(so_far)
        added[name], before = now - before, now
    return [added[name] for name in sorted(order)]


__all__ = ["Value", "contributions"]

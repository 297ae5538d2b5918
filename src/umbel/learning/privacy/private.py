"""Training of which nobody can tell whether a site, or a person, took part.

Updates are clipped, summed with the same weight, and the sum gets noise; whatever strategy then
works on the noisy mean costs no more. The server sees the updates and is trusted to forget them.

Source: McMahan et al., "Learning Differentially Private Recurrent Language Models", ICLR 2018,
algorithm 1 with a fixed denominator.
"""

from __future__ import annotations

import math
from dataclasses import field, replace
from typing import Any, ClassVar, Literal

import numpy as np

from umbel.dataclass import dataclass
from umbel.learning.privacy.accounting import (
    Budget,
    BudgetSpentError,
    check_mechanism,
    epsilon_of,
    rounds_within,
)
from umbel.learning.privacy.clipping import AdaptiveClip, FixedClip, noise_of_updates
from umbel.learning.privacy.noise import noisy
from umbel.learning.state import State, Vector
from umbel.learning.strategies.base import (
    AggregationError,
    Memory,
    Sees,
    Settings,
    Strategy,
    Updates,
)
from umbel.learning.strategies.fedavg import FedAvg
from umbel.learning.strategies.norm_bounding import norms, shorten


@dataclass(frozen=True)
class Private:
    """A strategy under differential privacy, of sites or of rows.

    Of rows, each site sums the slopes of all its individuals, each clipped, and one step is taken
    along the sum: differentially private gradient descent. Individuals are those of the site's own
    rule, however many rows each has; without such a rule, rows.

    Attributes:
        noise: standard deviation of the noise of the sum, over the clipping bound; with adaptive
            clipping, of both together.
        budget: what may be spent; no round is begun that would cost more.
        population: how many sites there are; of rows, how many individuals about, which what is
            summed is divided by.
        fraction: the probability with which each takes part in a round, by itself (Poisson): a
            sample of fixed size costs more than is accounted for.
        clip: how long updates may be.
        base: what becomes of the noisy mean.
        of: "sites" or "rows".
    """

    noise: float
    budget: Budget
    population: int
    fraction: float = 1.0
    clip: FixedClip | AdaptiveClip = field(default_factory=AdaptiveClip)
    base: Strategy = field(default_factory=FedAvg)
    of: Literal["sites", "rows"] = "sites"
    sees: ClassVar[Sees] = "each"

    def __post_init__(self) -> None:
        check_mechanism(self.noise, self.fraction)
        if self.of not in ("sites", "rows"):
            raise ValueError(f"of is 'sites' or 'rows', not {self.of!r}.")
        if self.of == "rows" and (self.fraction < 1 or not isinstance(self.clip, FixedClip)):
            raise ValueError("Of rows all take part in each round, under a FixedClip.")
        if self.population < 1:
            raise ValueError(f"population must be at least 1, not {self.population}.")
        if self.base.sees != "sum":
            raise ValueError(
                f"{self.base.name} has to see each update; under differential privacy it gets "
                "their noisy mean alone."
            )
        if isinstance(self.clip, AdaptiveClip):
            noise_of_updates(self.noise, self.count_noise)

    @property
    def name(self) -> str:
        """The base's name, and that it is private."""
        return f"{self.base.name} with differential privacy"

    @property
    def expected(self) -> float:
        """How many sites take part in a round, on average: what the sum is divided by."""
        return self.population * self.fraction

    @property
    def count_noise(self) -> float:
        """Standard deviation of the noise of the number of updates within the bound."""
        given = self.clip.count_noise if isinstance(self.clip, AdaptiveClip) else None
        return self.expected / 20 if given is None else given

    def epsilon(self, memory: Memory) -> float:
        """What the rounds so far have cost, at the budget's delta."""
        return epsilon_of(
            self.noise, self.fraction, int(memory["privacy/rounds"]), self.budget.delta
        )

    def start(self, state: State) -> Memory:
        """No rounds done, the first bound, how many rounds the budget holds for, and the base's.

        Raises:
            BudgetSpentError: for none.
        """
        allowed = rounds_within(self.budget, self.noise, self.fraction)
        if not allowed:
            once = epsilon_of(self.noise, self.fraction, 1, self.budget.delta)
            raise BudgetSpentError(
                f"One round costs epsilon {once:.3g} at delta {self.budget.delta:g}; the budget is "
                f"{self.budget.epsilon:g}. Take more noise than {self.noise:g}, or fewer sites."
            )
        return {
            **self.base.start(state),
            "privacy/rounds": np.array(0),
            "privacy/allowed": np.array(allowed),
            "privacy/bound": np.array(self.clip.bound),
        }

    def configure(
        self, memory: Memory, state: State, settings: Settings, site: str
    ) -> tuple[State, Settings]:
        """As the base does, while the budget holds for one more round.

        Raises:
            BudgetSpentError: it does not.
        """
        self._check_budget(memory)
        begin, own = self.base.configure(memory, state, settings, site)
        return begin, replace(own, clip=self.clip.bound) if self.of == "rows" else own

    def aggregate(
        self, memory: Memory, state: State, updates: Updates, settings: Settings
    ) -> tuple[State, Memory]:
        """Clip, sum, add noise, and let the base do the rest.

        Raises:
            BudgetSpentError: the budget does not hold for one more round.
        """
        self._check_budget(memory)
        if self.of == "sites" and len(updates) > self.population:
            raise AggregationError(
                f"{len(updates)} sites gave updates; privacy was set up for {self.population}."
            )
        bound = float(memory["privacy/bound"])
        noise, within = self._noise, 0.0
        if self.of == "rows":
            whole = updates.deltas.astype(np.float64).sum(axis=0)
            told = noisy(whole, noise * bound * settings.learning_rate)
            return self.aggregate_noisy(memory, state, told, 0.0, settings)
        if isinstance(self.clip, AdaptiveClip):
            # Counted from the middle: a site moves the sum by one half at most.
            fits = np.where(norms(updates.deltas) <= bound, 0.5, -0.5).sum(keepdims=True)
            within = float(noisy(fits, self.count_noise)[0])
        total = shorten(updates.deltas.astype(np.float64), bound).sum(axis=0)
        return self.aggregate_noisy(memory, state, noisy(total, noise * bound), within, settings)

    def under_masks(self, memory: Memory, fewest: int, rate: float) -> dict[str, Any]:
        """How each site clips, and what noise it adds: together it is enough if so many are left.

        Args:
            memory: what was remembered after the last round.
            fewest: of how many sites a sum is, at least. What those of them know who are in league
                with the server, is no noise to it.
            rate: how far a step goes.

        Raises:
            BudgetSpentError: the budget does not hold for one more round.
        """
        self._check_budget(memory)
        adaptive = isinstance(self.clip, AdaptiveClip)
        rows = self.of == "rows"
        return {
            "of_rows": rows,
            "clip": float(memory["privacy/bound"]) * (rate if rows else 1.0),
            "noise": self._noise / math.sqrt(fewest),
            "within": self.count_noise / math.sqrt(fewest) if adaptive else 0.0,
        }

    def aggregate_noisy(
        self, memory: Memory, state: State, total: Vector, within: float, settings: Settings
    ) -> tuple[State, Memory]:
        """Make the next state of a sum that has its noise already.

        Args:
            memory: what was remembered after the last round.
            state: where the round began.
            total: the sum of the clipped updates.
            within: with adaptive clipping, by how many more updates were within the bound than were
                not, halved.
            settings: those of the round.

        Raises:
            BudgetSpentError: the budget does not hold for one more round.
        """
        self._check_budget(memory)
        bound = float(memory["privacy/bound"])
        following = bound
        if isinstance(self.clip, AdaptiveClip):
            following = self.clip.moved(bound, 0.5 + within / self.expected)
        one = Updates(
            ("all sites",),
            (total / self.expected).astype(state.vector.dtype)[None],
            np.ones(1),
            np.ones(1, np.int64),
        )
        state, remembered = self.base.aggregate(memory, state, one, settings)
        own = {
            "privacy/rounds": memory["privacy/rounds"] + 1,
            "privacy/allowed": memory["privacy/allowed"],
            "privacy/bound": np.array(following),
        }
        return state, {**remembered, **own}

    @property
    def _noise(self) -> float:
        """The noise of the updates' sum alone, over the clipping bound."""
        if isinstance(self.clip, AdaptiveClip):
            return noise_of_updates(self.noise, self.count_noise)
        return self.noise

    def _check_budget(self, memory: Memory) -> None:
        done, allowed = int(memory["privacy/rounds"]), int(memory["privacy/allowed"])
        if done >= allowed:
            raise BudgetSpentError(
                f"{done} rounds have cost epsilon {self.epsilon(memory):.3g} of "
                f"{self.budget.epsilon:g} at delta {self.budget.delta:g}; one more would cost more "
                "than is left. The state of the last round stands."
            )

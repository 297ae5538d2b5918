"""What a strategy is given and what it gives: settings, updates, and its own memory.

A strategy is a value: what it remembers from round to round (moments, control variates) is passed
in and out as tensors, so a checkpoint of state and memory is all that a resumed training needs.
Updates are combined in the order of their sites' names, however they arrived, so that the same
updates give the same bits.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from umbel.dataclass import dataclass
from umbel.learning.state import Layout, State, Vector
from umbel.plan.models import check_optimizer

Memory: TypeAlias = Mapping[str, npt.NDArray[Any]]
"""What a strategy keeps between rounds, as named tensors; never changed in place."""

Sees: TypeAlias = Literal["sum", "each"]
"""What the server has to see: the sum of all updates is enough, or it needs each."""


class AggregationError(ValueError):
    """Updates that this strategy can't turn into a state."""


@dataclass(frozen=True, eq=False)
class Settings:
    """How a site trains in a round.

    Attributes:
        learning_rate: the step of the local optimiser.
        epochs: how often a site goes over its rows.
        batch_size: rows in a local step; None takes all.
        momentum: of the local optimiser.
        proximal: pulls each local step back to where it began, by `proximal * (w - w0)`.
        correction: is added to each local gradient.
        clip: the gradient of each individual is made no longer than this, and one step is taken
            along their sum; 0 takes gradients as they are.
        optimizer: how a gradient becomes a step; what it remembers lasts for a round.
        betas: how much of earlier gradients, and of their squares, it keeps; none for what is
            usual: 0.9 and 0.999 for "adam", 0.99 for "rmsprop".
        decay: shrinks the parameters by `decay * learning_rate` in each step.
    """

    learning_rate: float = 0.1
    epochs: int = 1
    batch_size: int | None = None
    momentum: float = 0.0
    proximal: float = 0.0
    correction: Vector | None = None
    clip: float = 0.0
    optimizer: Literal["sgd", "adam", "rmsprop", "adagrad"] = "sgd"
    betas: tuple[float, ...] = ()
    decay: float = 0.0

    def __post_init__(self) -> None:
        check_optimizer(self.optimizer, self.betas, self.decay)
        if not (math.isfinite(self.clip) and self.clip >= 0):
            raise ValueError(f"clip must be at least 0, not {self.clip}.")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate must be above 0, not {self.learning_rate}.")
        if self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, not {self.epochs}.")
        if self.batch_size is not None and self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, or None, not {self.batch_size}.")
        if not 0 <= self.momentum < 1:
            raise ValueError(f"momentum must lie in [0, 1), not {self.momentum}.")
        if not (math.isfinite(self.proximal) and self.proximal >= 0):
            raise ValueError(f"proximal must be at least 0, not {self.proximal}.")


@dataclass(frozen=True, eq=False)
class Update:
    """What one site learned in a round.

    Attributes:
        site: whose it is.
        delta: the trained parameters minus those that the site was given, flat.
        weight: how much it counts; mostly the number of rows that it learned from.
        steps: how many local steps lie in it.
        metrics: such as the loss, for people.
    """

    site: str
    delta: Vector
    weight: float
    steps: int = 1
    metrics: Mapping[str, float] = field(default_factory=dict)

    def fault(self, layout: Layout) -> str | None:
        """Say why the update can't be used for a model of this layout; None if it can."""
        if self.delta.shape != (layout.size,):
            return f"its update has shape {self.delta.shape}, the model has {layout.size} numbers"
        if not np.issubdtype(self.delta.dtype, np.floating):
            return f"its update is of type {self.delta.dtype}, the model of {layout.dtype}"
        if not np.isfinite(self.delta).all():
            return "its update holds NaN or infinity"
        if not (math.isfinite(self.weight) and self.weight > 0):
            return f"its weight is {self.weight}; it must be above 0"
        if self.steps < 1:
            return f"it made {self.steps} steps"
        return None


@dataclass(frozen=True, eq=False)
class Updates:
    """The updates of one round in columns, in the order of the sites' names.

    Attributes:
        sites: whose they are.
        deltas: one row for each site.
        weights: how much each counts.
        steps: local steps of each.
    """

    sites: tuple[str, ...]
    deltas: Vector
    weights: Vector
    steps: npt.NDArray[np.int64]

    @classmethod
    def gather(cls, updates: Iterable[Update], layout: Layout) -> tuple[Updates, dict[str, str]]:
        """Put usable updates into columns; say of the others why they are left out.

        Returns:
            The updates, and by site the reason why its update is not among them.

        Raises:
            AggregationError: a site gave two updates, or none is usable.
        """
        ordered = sorted(updates, key=lambda update: update.site)
        for one, next_ in itertools.pairwise(ordered):
            if one.site == next_.site:
                raise AggregationError(f"The site {one.site!r} gave two updates for one round.")
        faults = {update.site: update.fault(layout) for update in ordered}
        excluded = {site: fault for site, fault in faults.items() if fault}
        usable = [update for update in ordered if update.site not in excluded]
        if not usable:
            why = "; ".join(f"{site}: {fault}" for site, fault in excluded.items())
            raise AggregationError(f"No site gave an update that can be used. {why}".rstrip())
        return cls.of(usable, layout), excluded

    @classmethod
    def of(cls, updates: Sequence[Update], layout: Layout) -> Updates:
        """Put updates that are known to be usable, and in order, into columns."""
        deltas = np.empty((len(updates), layout.size), layout.dtype)
        for row, update in zip(deltas, updates, strict=True):
            row[:] = update.delta
        return cls(
            tuple(update.site for update in updates),
            deltas,
            np.array([update.weight for update in updates], np.float64),
            np.array([update.steps for update in updates], np.int64),
        )

    def __len__(self) -> int:
        return len(self.sites)

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """Weights that add up to one."""
        return np.asarray(self.weights, np.float64) / math.fsum(self.weights)

    def mean(self) -> Vector:
        """The mean of the updates by their weights."""
        return combine(self.shares, self.deltas)


def combine(factors: npt.NDArray[np.floating[Any]], rows: Vector) -> Vector:
    """Sum rows, each times its factor, in their order.

    A matrix product would leave the order to the library, and its threads: other machines would
    get other last bits. This one adds row after row.

    >>> combine(np.array([0.25, 0.75]), np.array([[4.0, 0.0], [0.0, 4.0]])).tolist()
    [1.0, 3.0]
    """
    total: Vector = np.einsum("i,ij->j", factors.astype(rows.dtype), rows, optimize=False)
    return total


@runtime_checkable
class Strategy(Protocol):
    """How sites train in a round, and how their updates become the next state."""

    @property
    def name(self) -> str:
        """What people call it."""
        ...

    @property
    def sees(self) -> Sees:
        """Whether the sum of the updates is enough: only then can they be masked."""
        ...

    def start(self, state: State) -> Memory:
        """What the strategy remembers before the first round."""
        ...

    def configure(
        self, memory: Memory, state: State, settings: Settings, site: str
    ) -> tuple[State, Settings]:
        """Where a site begins in this round, and how it trains."""
        ...

    def aggregate(
        self, memory: Memory, state: State, updates: Updates, settings: Settings
    ) -> tuple[State, Memory]:
        """Make the next state, and what is remembered for the next round.

        Args:
            memory: what was remembered after the last round.
            state: where the round began.
            updates: what the sites learned.
            settings: those that `configure` was given for this round.

        Raises:
            AggregationError: there are too few updates, or too many may be false.
        """
        ...


@dataclass(frozen=True)
class Averaging:
    """What most strategies share: nothing to remember, and the same work for all sites."""

    sees: ClassVar[Sees] = "sum"

    @property
    def name(self) -> str:
        """The class's name."""
        return type(self).__name__

    def start(self, state: State) -> Memory:
        """Nothing."""
        return {}

    def configure(
        self, memory: Memory, state: State, settings: Settings, site: str
    ) -> tuple[State, Settings]:
        """The global state and the given settings."""
        return state, settings

"""Training over simulated sites: the strategies and trainers of the real system, in one process.

Nothing is sent and nothing is started: one matrix holds all rows, one the updates of a round. The
same seed gives the same bits, whatever order sites come in.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.learning.compression.base import Compressor
from umbel.learning.privacy.accounting import BudgetSpentError
from umbel.learning.privacy.private import Private
from umbel.learning.simulation.compressing import compressed
from umbel.learning.simulation.partition import Partitioner, iid
from umbel.learning.simulation.tables import Columns, columns_of
from umbel.learning.state import State, Vector
from umbel.learning.strategies.base import AggregationError, Memory, Settings, Strategy, Updates
from umbel.learning.strategies.fedavg import FedAvg
from umbel.learning.trainers.base import Rows, Trainer, generator, key_of

if TYPE_CHECKING:
    from umbel.api.dataframe import DataFrame


@dataclass(frozen=True, eq=False)
class Population:
    """Simulated sites and their rows.

    Attributes:
        sites: their names, in order.
        rows: their rows, in the order of the sites.
    """

    sites: tuple[str, ...]
    rows: Rows

    @classmethod
    def divide(
        cls, data: Columns, owners: npt.NDArray[np.int64], sites: Sequence[str]
    ) -> Population:
        """Give each site its rows; a site without rows is not there."""
        order = np.argsort(owners, kind="stable")
        counts = np.bincount(owners, minlength=len(sites))
        rows = Rows(
            np.ascontiguousarray(data.features[order]),
            data.labels[order],
            np.cumsum(counts[counts > 0], dtype=np.int64),
        )
        return cls(tuple(np.array(sites, object)[counts > 0].tolist()), rows)

    def __len__(self) -> int:
        return len(self.sites)

    @cached_property
    def places(self) -> Mapping[str, int]:
        """The number of each site."""
        return {site: place for place, site in enumerate(self.sites)}


@dataclass(frozen=True, eq=False)
class Simulation:
    """What a simulated training led to.

    Attributes:
        state: the last state.
        memory: what the strategy remembers.
        history: a row for each round: how many sites took part, how many were left out because
            their updates were no numbers, how far the state moved, and measures.
        sites: the simulated sites and how many rows each has.
        rounds: how many were done in all.
        stopped: why it ended before it should have; empty if it did not.
        rests: what compression has not sent yet, a row for each site.
    """

    state: State
    memory: Memory
    history: pa.Table
    sites: Mapping[str, int]
    rounds: int
    stopped: str = ""
    rests: Vector | None = None


def simulate(
    data: DataFrame | pa.Table,
    *,
    features: Sequence[str],
    label: str,
    trainer: Trainer,
    sites: int = 100,
    partition: Partitioner | str | None = None,
    strategy: Strategy | None = None,
    settings: Settings | None = None,
    rounds: int = 10,
    fraction: float = 1.0,
    seed: int = 0,
    test: DataFrame | pa.Table | None = None,
    compression: Compressor | None = None,
    resume: Simulation | None = None,
) -> Simulation:
    """Train over sites that are simulated in this process.

    Args:
        data: the rows of all sites together.
        features: columns of numbers.
        label: the column to predict.
        trainer: how a site trains, such as `LinearTrainer(2)`.
        sites: how many there are.
        partition: how rows are divided: `iid()`, `dirichlet(0.5)`, `quantity_skew(0.5)`, or the
            name of a column, each value of which is a site. None is `iid()`.
        strategy: how updates become a state; None is `FedAvg()`.
        settings: how sites train; None is `Settings()`.
        rounds: how many are done now.
        fraction: the share of sites that takes part in a round, drawn anew for each; under
            differential privacy each does with this probability, by itself.
        seed: of all that is drawn: the division, the sites of each round, their batches.
        test: rows that each state is measured on; None takes those of training.
        compression: how updates are sent; what one loses is added to the site's next one.
        resume: go on from there; everything else must be as it was.

    Raises:
        ValueError: the data can't be learned from, or can't be divided so.
        AggregationError: the updates of a round can't be aggregated, or lead to no number.
        BudgetSpentError: the privacy budget does not hold for a single round; where it does not
            hold for all of them, training stops before, and says so in `stopped`.

    >>> import pyarrow as pa
    >>> from umbel.learning.trainers.linear import LinearTrainer
    >>> table = pa.table({"x": [0.0, 1.0, 2.0, 3.0], "y": [1.0, 3.0, 5.0, 7.0]})
    >>> done = simulate(
    ...     table, features=["x"], label="y", trainer=LinearTrainer(1), sites=2, rounds=500
    ... )
    >>> {name: tensor.round(4).ravel().tolist() for name, tensor in done.state.items()}
    {'weights': [2.0], 'bias': [1.0]}
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must lie in (0, 1], not {fraction}.")
    strategy, settings = strategy or FedAvg(), settings or Settings()
    everything = columns_of(
        data, features, label, partition if isinstance(partition, str) else None
    )
    population = population_of(everything, partition, sites, seed)
    tested = everything if test is None else columns_of(test, features, label, None)
    measured = Rows.of(tested.features, tested.labels)
    for rows in (population.rows, measured):
        trainer.check(rows)
    if resume is None:
        state = trainer.initial(seed)
        memory, done = strategy.start(state), 0
        history: list[pa.Table] = []
    else:
        state, memory, done = resume.state, resume.memory, resume.rounds
        history = [resume.history]
    private = isinstance(strategy, Private)
    if isinstance(strategy, Private) and strategy.of == "rows":
        raise ValueError("Simulated sites clip no single rows: Private(of='sites'), or fit(…).")
    if isinstance(strategy, Private) and strategy.fraction != fraction:
        raise ValueError(
            f"Privacy is accounted for a fraction of {strategy.fraction:g}; give simulate the same, "
            f"not {fraction:g}."
        )
    rests = None if resume is None else resume.rests
    if compression is not None and rests is None:
        rests = np.zeros((len(population), state.layout.size))
    took: list[dict[str, Any]] = []
    stopped = ""
    for number in range(done + 1, done + rounds + 1):
        began = time.perf_counter()
        chosen = _drawn(len(population), fraction, seed, number, independently=private)
        sent = 0
        try:
            updates = train_round(
                trainer, strategy, memory, state, population, chosen, settings, seed, number
            )
            if compression is not None and rests is not None:
                updates, rests, sent = compressed(
                    updates, compression, rests, population.places, seed, number
                )
            following, memory = strategy.aggregate(memory, state, updates, settings)
        except BudgetSpentError as error:
            stopped, rounds = str(error), number - 1 - done
            break
        if not np.isfinite(following.vector).all():
            raise AggregationError(
                f"Training diverged in round {number}: the state holds NaN or infinity. "
                f"Try a smaller learning_rate than {settings.learning_rate:g}."
            )
        moved = float(np.linalg.norm(following - state))
        state = following
        took.append(
            {
                "round": number,
                "sites": len(updates),
                "left_out": len(chosen) - len(updates),
                "rows": int(updates.weights.sum()),
                "moved": moved,
                **({} if compression is None else {"bytes": sent}),
                **trainer.measure(state, measured),
                "seconds": time.perf_counter() - began,
            }
        )
    if took:
        history.append(pa.Table.from_pylist(took))
    counts = dict(zip(population.sites, population.rows.counts.tolist(), strict=True))
    whole = pa.concat_tables([t for t in history if t.num_columns]) if history else pa.table({})
    return Simulation(state, memory, whole, counts, done + rounds, stopped, rests)


def train_round(
    trainer: Trainer,
    strategy: Strategy,
    memory: Memory,
    state: State,
    population: Population,
    chosen: npt.NDArray[np.int64],
    settings: Settings,
    seed: int,
    number: int,
) -> Updates:
    """Have the chosen sites train, each as the strategy says, and give their updates.

    Raises:
        AggregationError: no site gave numbers.
    """
    names = [population.sites[i] for i in chosen]
    if not names:
        return Updates.of([], state.layout)
    given = [strategy.configure(memory, state, settings, name) for name in names]
    deltas = np.empty((len(chosen), state.layout.size), state.vector.dtype)
    steps = np.empty(len(chosen), np.int64)
    for group in _alike([own for _, own in given]):
        starts = np.empty((len(group), state.layout.size), state.vector.dtype)
        for row, i in zip(starts, group.tolist(), strict=True):
            row[:] = given[i][0].vector
        deltas[group], steps[group] = trainer.train(
            starts,
            population.rows,
            chosen[group],
            given[group[0]][1],
            _corrections([given[i][1] for i in group]),
            [key_of(seed, number, names[i]) for i in group],
        )
    usable: npt.NDArray[np.bool_] = np.asarray(np.isfinite(deltas).all(axis=1))
    if not usable.any():
        raise AggregationError(
            f"Training diverged in round {number}: every update holds NaN or infinity. "
            f"Try a smaller learning_rate than {settings.learning_rate:g}."
        )
    if not usable.all():
        deltas, steps, chosen = deltas[usable], steps[usable], chosen[usable]
        names = [name for name, use in zip(names, usable.tolist(), strict=True) if use]
    weights = population.rows.counts[chosen].astype(np.float64)
    return Updates(tuple(names), deltas, weights, steps)


def _alike(settings: Sequence[Settings]) -> Iterator[npt.NDArray[np.int64]]:
    """Positions of settings that differ in nothing but their corrections."""
    if all(own is settings[0] for own in settings):
        yield np.arange(len(settings))
        return
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, own in enumerate(settings):
        kind = (
            own.learning_rate,
            own.epochs,
            own.batch_size,
            own.momentum,
            own.proximal,
            own.correction is None,
        )
        groups.setdefault(kind, []).append(i)
    yield from (np.array(members, np.int64) for members in groups.values())


def _corrections(settings: Sequence[Settings]) -> Vector | None:
    first = settings[0].correction
    return None if first is None else np.stack([own.correction for own in settings])  # type: ignore[misc]


def _drawn(
    sites: int, fraction: float, seed: int, number: int, *, independently: bool
) -> npt.NDArray[np.int64]:
    """Which sites take part in a round: a share of them, or each by chance."""
    if independently and fraction < 1:
        draw = generator(key_of(seed, number, "which sites take part"))
        return np.flatnonzero(draw.random(sites) < fraction)
    count = max(1, math.floor(fraction * sites + 0.5))
    if count == sites:
        return np.arange(sites)
    draw = generator(key_of(seed, number, "which sites take part"))
    return np.sort(draw.choice(sites, count, replace=False))


def population_of(
    data: Columns, partition: Partitioner | str | None, sites: int, seed: int
) -> Population:
    """Divide rows among simulated sites."""
    if data.owners is not None:
        return Population.divide(data, data.owners, data.names)
    divide = iid() if partition is None or isinstance(partition, str) else partition
    draw = generator(key_of(seed, 0, "which rows belong to whom"))
    digits = len(str(sites - 1))
    names = [f"site {i:0{digits}}" for i in range(sites)]
    return Population.divide(data, divide(data.labels, sites, draw), names)


__all__ = ["Population", "Simulation", "population_of", "simulate", "train_round"]

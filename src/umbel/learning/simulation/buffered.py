"""Asynchronous training over simulated sites: nobody waits for the slowest one.

So many sites train at any time, each from the state that was newest when it began. What they learn
goes into a buffer; when that is full its mean becomes the next state. An update that others have
overtaken counts less, and one that too many have overtaken not at all.

Who arrives when follows from how long sites take, and not from what they learn. So the whole order
is known from the seed; it is recorded, and a training that goes on follows it to the same bits.

Source: Nguyen et al., "Federated Learning with Buffered Asynchronous Aggregation", AISTATS 2022,
algorithm 1.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.learning.simulation.partition import Partitioner
from umbel.learning.simulation.simulate import Population, population_of
from umbel.learning.simulation.tables import columns_of
from umbel.learning.state import State, Vector
from umbel.learning.strategies.base import AggregationError, Memory, Settings, Strategy, Updates
from umbel.learning.strategies.fedavg import FedAvg
from umbel.learning.trainers.base import Rows, Trainer, generator, key_of

if TYPE_CHECKING:
    from umbel.api.dataframe import DataFrame

#: The seconds that a site takes for its n-th training, by its name and n, from 1.
Durations: TypeAlias = Callable[[str, int], float]


@dataclass(frozen=True)
class Buffer:
    """How updates are taken that come when they come.

    Attributes:
        size: so many updates make a state.
        concurrency: so many sites train at any time.
        staleness: an update that more states have overtaken is left out.
    """

    size: int = 10
    concurrency: int = 20
    staleness: int = 10

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError(f"A buffer takes 1 update or more, not {self.size}.")
        if self.concurrency < 1:
            raise ValueError(f"At least 1 site trains at any time, not {self.concurrency}.")
        if self.staleness < 0:
            raise ValueError(f"staleness must be at least 0, not {self.staleness}.")

    def factor(self, stale: int) -> float:
        """What an update counts that so many states have overtaken.

        >>> [Buffer().factor(stale) for stale in (0, 3, 8)]
        [1.0, 0.5, 0.3333333333333333]
        """
        return 1 / math.sqrt(1 + stale)


@dataclass(frozen=True)
class Arrival:
    """An update that comes.

    Attributes:
        start: counts the beginnings of all sites, from 1.
        site: the number of the site.
        began: from which state it was trained: so many buffers had been full.
        version: so many buffers are full when it comes.
        at: the seconds since the training began.
        used: whether it goes into the buffer.
    """

    start: int
    site: int
    began: int
    version: int
    at: float
    used: bool

    @property
    def stale(self) -> int:
        """How many states have overtaken it."""
        return self.version - self.began


def arrivals(
    names: Sequence[str], buffer: Buffer, durations: Durations, seed: int
) -> Iterator[Arrival]:
    """Give the order in which updates come; it has no end.

    A site that has ended makes room for one drawn from those that do not train.

    >>> order = arrivals(["a", "b"], Buffer(1, 2), lambda site, n: 1.0 if site == "a" else 2.5, 0)
    >>> [("ab"[one.site], one.at, one.stale) for one in itertools.islice(order, 4)]
    [('a', 1.0, 0), ('a', 2.0, 0), ('b', 2.5, 2), ('a', 3.0, 1)]
    """
    draw = generator(key_of(seed, 0, "who trains next"))
    idle = list(range(len(names)))
    running: list[tuple[float, str, int, int, int]] = []
    taken = dict.fromkeys(idle, 0)
    starts = itertools.count(1)
    version = filled = 0

    def begin(at: float) -> None:
        site = idle.pop(int(draw.integers(len(idle))))
        taken[site] += 1
        seconds = durations(names[site], taken[site])
        if not (math.isfinite(seconds) and seconds > 0):
            raise ValueError(f"The site {names[site]!r} takes {seconds} s; it must be above 0.")
        # Whoever comes at the same time comes in the order of the names.
        heapq.heappush(running, (at + seconds, names[site], next(starts), site, version))

    for _ in range(min(buffer.concurrency, len(names))):
        begin(0.0)
    while True:
        at, _, start, site, began = heapq.heappop(running)
        used = version - began <= buffer.staleness
        yield Arrival(start, site, began, version, at, used)
        filled += used
        if filled == buffer.size:
            version, filled = version + 1, 0
        idle.append(site)
        begin(at)


def lognormal(seed: int, *, spread: float = 0.5, mean: float = 1.0) -> Durations:
    """Sites of different speeds, each of which varies a little.

    >>> seconds = lognormal(3)
    >>> seconds("a", 1) == seconds("a", 1) != seconds("b", 1)
    True
    """

    def seconds(site: str, number: int) -> float:
        speed = generator(key_of(seed, 0, f"speed of {site}")).normal(0, spread)
        varies = generator(key_of(seed, number, f"duration of {site}")).normal(0, spread / 5)
        return float(mean * np.exp(speed + varies))

    return seconds


@dataclass(frozen=True, eq=False)
class Buffered:
    """What an asynchronous training led to.

    Attributes:
        state: the last state.
        memory: what the strategy remembers.
        history: a row for each state: when it was made, of how many updates, how stale they were,
            how many were left out meanwhile, and measures.
        order: a row for each update that came: whose, when, how stale, and whether it was used.
        versions: how many states there were.
        began: the states from which sites still train, by their versions.
    """

    state: State
    memory: Memory
    history: pa.Table
    order: pa.Table
    versions: int
    began: Mapping[int, State] = field(default_factory=dict)


def simulate_buffered(
    data: DataFrame | pa.Table,
    *,
    features: Sequence[str],
    label: str,
    trainer: Trainer,
    sites: int = 100,
    partition: Partitioner | str | None = None,
    strategy: Strategy | None = None,
    settings: Settings | None = None,
    buffer: Buffer | None = None,
    durations: Durations | None = None,
    versions: int = 10,
    seed: int = 0,
    test: DataFrame | pa.Table | None = None,
    resume: Buffered | None = None,
) -> Buffered:
    """Train over sites that are simulated in this process, and come when they come.

    Args:
        data: the rows of all sites together.
        features: columns of numbers.
        label: the column to predict.
        trainer: how a site trains, such as `LinearTrainer(2)`.
        sites: how many there are.
        partition: how rows are divided; see `simulate`.
        strategy: how a full buffer becomes a state; None is `FedAvg()`. All updates in it count the
            same, as in the paper, but for their staleness.
        settings: how sites train; None is `Settings()`.
        buffer: how updates are taken; None is `Buffer()`.
        durations: how long sites take; None is `lognormal(seed)`.
        versions: how many states are made now.
        seed: of all that is drawn.
        test: rows that each state is measured on; None takes those of training.
        resume: go on from there; everything else must be as it was.

    Raises:
        ValueError: the data can't be learned from, or the strategy needs something else of sites
            in every round.
        AggregationError: updates lead to no number.
    """
    strategy, settings = strategy or FedAvg(), settings or Settings()
    buffer, durations = buffer or Buffer(), durations or lognormal(seed)
    everything = columns_of(
        data, features, label, partition if isinstance(partition, str) else None
    )
    population = population_of(everything, partition, sites, seed)
    tested = everything if test is None else columns_of(test, features, label, None)
    measured = Rows.of(tested.features, tested.labels)
    for rows in (population.rows, measured):
        trainer.check(rows)
    state = trainer.initial(seed) if resume is None else resume.state
    memory = strategy.start(state) if resume is None else resume.memory
    done = 0 if resume is None else resume.versions
    began = {0: state} if resume is None else dict(resume.began)
    order = arrivals(population.sites, buffer, durations, seed)
    came: list[Arrival] = [] if done == 0 else _until(order, done, buffer.size)
    known = len(came)
    pending = _running(came, population, buffer)
    took: list[dict[str, Any]] = []
    for version in range(done, done + versions):
        some = _until(order, 1, buffer.size)
        came += some
        updates = _trained(
            trainer, strategy, memory, population, some, began, settings, buffer, seed
        )
        following, memory = strategy.aggregate(memory, state, updates, settings)
        if not np.isfinite(following.vector).all():
            raise AggregationError(
                f"Training diverged in state {version + 1}: it holds NaN or infinity. "
                f"Try a smaller learning_rate than {settings.learning_rate:g}."
            )
        moved, state = float(np.linalg.norm(following - state)), following
        began[version + 1] = state
        pending = _running(came, population, buffer)
        began = {number: one for number, one in began.items() if number in pending}
        stale = [one.stale for one in some if one.used]
        took.append(
            {
                "version": version + 1,
                "at": some[-1].at,
                "updates": len(updates),
                "left_out": len(some) - len(updates),
                "staleness": float(np.mean(stale)),
                "moved": moved,
                **trainer.measure(state, measured),
            }
        )
    history = pa.Table.from_pylist(took) if took else pa.table({})
    told = _told(came[known:], population)
    if resume is not None:
        history = pa.concat_tables([t for t in (resume.history, history) if t.num_columns])
        told = pa.concat_tables([resume.order, told])
    return Buffered(state, memory, history, told, done + versions, began)


def _until(order: Iterator[Arrival], buffers: int, size: int) -> list[Arrival]:
    """The updates that come until so many buffers are full."""
    came: list[Arrival] = []
    used = 0
    while used < buffers * size:
        came.append(next(order))
        used += came[-1].used
    return came


def _running(came: Sequence[Arrival], population: Population, buffer: Buffer) -> set[int]:
    """The versions from which sites train after some updates have come.

    Each that has come makes room for one that begins with the newest state of that moment.
    """
    begun = [0] * min(buffer.concurrency, len(population))
    version = filled = 0
    for one in came:
        filled += one.used
        if filled == buffer.size:
            version, filled = version + 1, 0
        begun.append(version)
    ended = {one.start for one in came}
    return {begun[start - 1] for start in range(1, len(begun) + 1) if start not in ended}


def _trained(
    trainer: Trainer,
    strategy: Strategy,
    memory: Memory,
    population: Population,
    came: Sequence[Arrival],
    began: Mapping[int, State],
    settings: Settings,
    buffer: Buffer,
    seed: int,
) -> Updates:
    """What the sites have learned whose updates have come, each as it counts."""
    used = sorted((one for one in came if one.used), key=lambda one: one.start)
    layout = next(iter(began.values())).layout
    deltas: Vector = np.empty((len(used), layout.size), layout.dtype)
    steps = np.empty(len(used), np.int64)
    for version in sorted({one.began for one in used}):
        group = np.flatnonzero([one.began == version for one in used])
        members = [used[i] for i in group.tolist()]
        names = [population.sites[one.site] for one in members]
        given = [strategy.configure(memory, began[version], settings, name) for name in names]
        if any(own.correction is not None or begin is not began[version] for begin, own in given):
            raise ValueError(
                f"{strategy.name} has something of its own for each site and round; asynchronous "
                "training takes strategies that have not, such as FedAvg() or FedAdam()."
            )
        starts = np.repeat(began[version].vector[None], len(group), axis=0)
        chosen: npt.NDArray[np.int64] = np.array([one.site for one in members], np.int64)
        keys = [key_of(seed, one.start, name) for one, name in zip(members, names, strict=True)]
        deltas[group], steps[group] = trainer.train(
            starts, population.rows, chosen, given[0][1], None, keys
        )
    if not np.isfinite(deltas).all():
        raise AggregationError(
            "Training diverged: an update holds NaN or infinity. "
            f"Try a smaller learning_rate than {settings.learning_rate:g}."
        )
    factors = np.array([buffer.factor(one.stale) for one in used], layout.dtype)
    names = [f"{population.sites[one.site]} {one.start}" for one in used]
    return Updates(tuple(names), deltas * factors[:, None], np.ones(len(used)), steps)


def _told(came: Sequence[Arrival], population: Population) -> pa.Table:
    """The recorded order."""
    return pa.table(
        {
            "start": pa.array([one.start for one in came], pa.int64()),
            "site": pa.array([population.sites[one.site] for one in came], pa.string()),
            "began": pa.array([one.began for one in came], pa.int64()),
            "staleness": pa.array([one.stale for one in came], pa.int64()),
            "at": pa.array([one.at for one in came], pa.float64()),
            "used": pa.array([one.used for one in came], pa.bool_()),
        }
    )


__all__ = [
    "Arrival",
    "Buffer",
    "Buffered",
    "Durations",
    "arrivals",
    "lognormal",
    "simulate_buffered",
]

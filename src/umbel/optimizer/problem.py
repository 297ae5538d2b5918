"""What has to be placed and what it would cost; the cheapest way from a producer to its readers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import field, replace
from typing import cast

from umbel.dataclass import dataclass
from umbel.optimizer.cost import Cost
from umbel.optimizer.movement import (
    ChannelGraph,
    ConversionTree,
    NoConversionError,
    minimum_conversion_tree,
)
from umbel.plan.operators import Operator
from umbel.platforms.base import Elsewhere, Platform
from umbel.platforms.costs import CostProfile, Linear, Price

#: The site of whoever plans and drives a run.
HERE = "here"


@dataclass(frozen=True)
class Problem:
    """What has to be placed, and what it would cost.

    Attributes:
        root: the plan.
        candidates: for each operator (by identity) the platforms that can run it.
        operator_cost: of one operator on one platform, over its estimated rows.
        conversion_cost: of moving an operator's output, given the seconds per row and byte.
        channels_for: the channels of a platform's list that can hold an operator's output.
        graph: the channels and conversions at hand.
        wanted: the channels of which the plan's result must come in one.
        up: names of the platforms whose engines need no starting.
        rounds: how often the plan runs; everything but starting engines is paid each time.
        price: what a platform costs while it works, hands data over included.
        profile: the seconds that a platform's work takes.
        barred: whether what an operator gives must not go to a site; None if there are no sites.
    """

    root: Operator
    candidates: Mapping[int, Sequence[Platform]]
    operator_cost: Callable[[Operator, Platform], Cost]
    conversion_cost: Callable[[Operator, Linear], float]
    channels_for: Callable[[Operator, Sequence[str]], Sequence[str]]
    graph: ChannelGraph
    wanted: Sequence[str]
    up: frozenset[str] = frozenset()
    rounds: float = 1
    price: Callable[[Platform], Price] = lambda platform: platform.costs.price
    profile: Callable[[Platform], CostProfile] = lambda platform: platform.costs
    barred: Callable[[Operator, str], bool] | None = None


@dataclass(frozen=True)
class Reader:
    """Who reads an output: the channels it can take, what taking them costs, and at which site."""

    channels: Sequence[str]
    costs: Mapping[str, Linear] = field(default_factory=dict)
    site: str = HERE

    @classmethod
    def of(cls, platform: Platform, profile: CostProfile) -> Reader:
        """A stage on a platform."""
        return cls(platform.reads, profile.read, site_of(platform))


def handover(
    problem: Problem, operator: Operator, producer: Platform, readers_at: Sequence[Reader]
) -> ConversionTree | None:
    """Find the cheapest way from a producer to its readers, if there is any.

    The seconds of the tree include what giving and taking the channels costs the platforms.
    """
    if not readers_at:
        return ConversionTree("", (), (), 0.0)
    there = elsewhere(producer)
    if there is not None and there.withheld(operator) is not None:
        return None
    if problem.barred is not None and any(
        problem.barred(operator, site) for site in sorted({r.site for r in readers_at})
    ):
        return None
    readable = [problem.channels_for(operator, reader.channels) for reader in readers_at]
    writing = problem.profile(producer).write
    best: tuple[float, ConversionTree] | None = None
    for channel in problem.channels_for(operator, producer.writes):
        try:
            found = minimum_conversion_tree(
                problem.graph,
                channel,
                readable,
                cost=lambda conversion: problem.conversion_cost(operator, conversion.cost),
            )
        except NoConversionError:
            continue
        seconds = found.seconds + _crossing(problem, operator, writing, channel)
        for reader, end in zip(readers_at, found.ends, strict=True):
            seconds += _crossing(problem, operator, reader.costs, end)
        if best is None or seconds < best[0]:
            best = seconds, found
    return None if best is None else replace(best[1], seconds=best[0])


def transfer(
    problem: Problem, operator: Operator, producer: Platform, readers_at: Sequence[Reader]
) -> Cost:
    """What an output costs that crosses borders: it comes here once, and goes on to other sites.

    Or straight to these, where there is a way to each; then each of them is paid for. The seconds
    are in the costs of the platforms' channels.
    """
    source = site_of(producer)
    sites = {reader.site for reader in readers_at} - {source}
    if not sites:
        return Cost()
    size = problem.conversion_cost(operator, Linear(per_byte=1.0))
    straight = straight_to(producer, {reader.site for reader in readers_at})
    if straight:
        dollars = _leaving(producer, size) * len(straight)
        return Cost(0.0, dollars, {(source, site): size for site in sorted(straight)})
    moved = {(HERE, site): size for site in sorted(sites - {HERE})}
    if elsewhere(producer) is not None:
        moved[source, HERE] = size
    return Cost(0.0, _leaving(producer, size), moved)


def straight_to(producer: Platform, sites: Set[str]) -> Set[str]:
    """Give the sites that read an output if there is a straight way to each of them; else none."""
    there = elsewhere(producer)
    return sites if there is not None and sites and sites <= set(there.routes) else frozenset()


def _leaving(producer: Platform, size: float) -> float:
    """What it costs that some bytes leave the site of a platform."""
    there = elsewhere(producer)
    return 0.0 if there is None else there.dollars_per_gb * size / 1e9


def site_of(platform: Platform) -> str:
    """The site that a platform is at."""
    there = elsewhere(platform)
    return HERE if there is None else there.site


#: Which classes of platforms are of other sites; to ask a protocol takes as long as a cost.
_KINDS: dict[type, bool] = {}


def elsewhere(platform: Platform) -> Elsewhere | None:
    """The platform as one of another site; None if it is here."""
    kind = type(platform)
    if kind not in _KINDS:
        _KINDS[kind] = isinstance(platform, Elsewhere)
    return cast("Elsewhere", platform) if _KINDS[kind] else None


def _crossing(
    problem: Problem, operator: Operator, costs: Mapping[str, Linear], channel: str
) -> float:
    return problem.conversion_cost(operator, costs[channel]) if channel in costs else 0.0

"""Placement: which platform runs each operator, by enumeration with lossless pruning.

Operators are taken inputs first. A partial plan is described by what still matters: the placement
of operators with consumers to come, where their consumers so far are, and the engines started. Of
partial plans with equal descriptions only those on the Pareto front of cost can be part of a best
plan, so the others are dropped and nothing is lost.

Source: Kruse et al., "RHEEMix in the data jungle", VLDB Journal 29, 2020, section 5.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from umbel.optimizer.cost import Budget, Cost
from umbel.optimizer.movement import (
    ChannelGraph,
    ConversionTree,
    NoConversionError,
    minimum_conversion_tree,
)
from umbel.plan.errors import PlacementError
from umbel.plan.operators import Operator, consumers, topological
from umbel.platforms.base import Platform
from umbel.platforms.costs import Linear, Price

#: Partial plans kept per step. Beyond it the cheapest survive, and pruning may lose the best plan;
#: no plan that people write comes near it.
WIDEST = 20_000


#: With more partial plans than this, those that cannot become the best are looked for.
MANY = 300


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


@dataclass(frozen=True)
class Reader:
    """Who reads an output: the channels it can take, and what taking them costs."""

    channels: Sequence[str]
    costs: Mapping[str, Linear] = field(default_factory=dict)

    @classmethod
    def of(cls, platform: Platform) -> Reader:
        """A stage on a platform."""
        return cls(platform.reads, platform.costs.read)


@dataclass(frozen=True)
class Placement:
    """A platform for every operator, by the operator's identity, and the whole plan's cost."""

    platforms: Mapping[int, Platform]
    cost: Cost
    pruned: bool = False


@dataclass(frozen=True)
class _Partial:
    """A plan for the operators taken so far, as a linked list of decisions."""

    cost: Cost
    used: frozenset[str]
    open: tuple[tuple[int, str, frozenset[str]], ...]
    decision: tuple[int, Platform] | None
    parent: _Partial | None


def place(problem: Problem, budget: Budget | None = None) -> Placement:
    """Find the placement that takes the least time within the budget; deterministic.

    Raises:
        PlacementError: the budget is below what the cheapest or the fastest plan costs.
    """
    finished, pruned = _enumerate(problem, keep_front=budget is not None)
    allowed = [p for p in finished if budget is None or budget.allows(p.cost)]
    if not allowed:
        fastest = min(finished, key=lambda p: p.cost.seconds).cost
        cheapest = min(finished, key=lambda p: p.cost.dollars).cost
        raise PlacementError(
            f"no plan fits the budget of {budget}",
            hint=f"the fastest is estimated at {fastest.seconds:.3g} s for "
            f"${fastest.dollars:.3g}; the cheapest at {cheapest.seconds:.3g} s for "
            f"${cheapest.dollars:.3g}",
        )
    best = min(allowed, key=lambda p: (p.cost.seconds, p.cost.dollars, sorted(p.used)))
    return Placement(_decisions(best), best.cost, pruned)


def _decisions(partial: _Partial) -> dict[int, Platform]:
    found: dict[int, Platform] = {}
    step: _Partial | None = partial
    while step is not None:
        if step.decision is not None:
            found[step.decision[0]] = step.decision[1]
        step = step.parent
    return found


def _enumerate(
    problem: Problem, *, keep_front: bool, bound: float | None = None
) -> tuple[list[_Partial], bool]:
    order = topological(problem.root)
    readers = consumers(problem.root)
    platforms = {p.name: p for ps in problem.candidates.values() for p in ps}
    trees: dict[tuple[int, str, frozenset[str]], ConversionTree | None] = {}

    def tree(
        operator: Operator, producer: str, readers_at: frozenset[str]
    ) -> ConversionTree | None:
        key = (id(operator), producer, readers_at)
        if key not in trees:
            trees[key] = handover(
                problem,
                operator,
                platforms[producer],
                [Reader.of(platforms[name]) for name in sorted(readers_at) if name != producer],
            )
        return trees[key]

    partials = [_Partial(Cost(), frozenset(), (), None, None)]
    pruned = False
    by_id = {id(operator): operator for operator in order}
    for operator in order:
        grown: dict[object, list[_Partial]] = {}
        left_to_read = _uses(operator)
        for partial in partials:
            for platform in problem.candidates[id(operator)]:
                step = _extend(
                    problem,
                    partial,
                    operator,
                    platform,
                    left_to_read,
                    readers,
                    by_id,
                    platforms,
                    tree,
                )
                if step is None:
                    continue
                front = grown.setdefault((step.used, step.open), [])
                _keep(front, step, keep_front=keep_front)
        partials = [partial for front in grown.values() for partial in front]
        if not partials:
            raise PlacementError(
                f"no placement can hand data to {operator.name} ({operator.describe()})",
                hint="some of its inputs cannot be converted to what its platforms read",
            )
        if not keep_front and len(partials) > MANY:
            # Costs only grow: what is dearer already than a whole plan cannot become the best.
            bound = _single_platform(problem) if bound is None else bound
            partials = [partial for partial in partials if partial.cost.seconds <= bound]
        if len(partials) > WIDEST:
            partials = sorted(partials, key=lambda p: p.cost.seconds)[:WIDEST]
            pruned = True
    return partials, pruned


def _single_platform(problem: Problem) -> float:
    """Seconds of the best plan that stays on one platform as far as that runs its operators."""
    best = float("inf")
    for name in sorted({p.name for ps in problem.candidates.values() for p in ps}):
        alone = {
            identity: [p for p in able if p.name == name] or able[:1]
            for identity, able in problem.candidates.items()
        }
        try:
            only = replace(problem, candidates=alone)
            found, _ = _enumerate(only, keep_front=False, bound=float("inf"))
        except PlacementError:
            continue  # its data cannot be handed on
        best = min(best, *(partial.cost.seconds for partial in found))
    return best


def _uses(operator: Operator) -> dict[int, int]:
    uses: dict[int, int] = {}
    for child in operator.inputs:
        uses[id(child)] = uses.get(id(child), 0) + 1
    return uses


def _keep(front: list[_Partial], step: _Partial, *, keep_front: bool) -> None:
    if keep_front:
        if any(other.cost.dominates(step.cost) for other in front):
            return
        front[:] = [other for other in front if not step.cost.dominates(other.cost)]
        front.append(step)
    elif not front:
        front.append(step)
    elif step.cost.seconds < front[0].cost.seconds:
        front[0] = step


def _extend(
    problem: Problem,
    partial: _Partial,
    operator: Operator,
    platform: Platform,
    uses: Mapping[int, int],
    readers: Mapping[int, list[Operator]],
    by_id: Mapping[int, Operator],
    platforms: Mapping[str, Platform],
    tree: Callable[[Operator, str, frozenset[str]], ConversionTree | None],
) -> _Partial | None:
    """Put `operator` on `platform`; None if some input cannot be handed over."""
    rounds = problem.rounds
    price = problem.price(platform)
    cost = partial.cost + problem.operator_cost(operator, platform).times(rounds)
    used = partial.used
    # Engines that are up cost nothing to use once more, so they do not tell partial plans apart.
    if platform.name not in used and platform.name not in problem.up:
        cost += Cost(platform.costs.start, price(platform.costs.start))
        used |= {platform.name}
    still_open = []
    fused = False
    for identity, producer, readers_at in partial.open:
        if identity not in uses:
            still_open.append((identity, producer, readers_at))
            continue
        readers_at |= {platform.name}
        if _last_reader(by_id[identity], operator, readers):
            way = tree(by_id[identity], producer, readers_at)
            if way is None:
                return None
            giver = problem.price(platforms[producer])
            cost += Cost(way.seconds * rounds, giver(way.seconds * rounds))
            fused = fused or readers_at == {producer}
        else:
            still_open.append((identity, producer, readers_at))
    if not fused:
        launch = platform.costs.stage * rounds
        cost += Cost(launch, price(launch))
    if operator is problem.root:
        way = handover(problem, operator, platform, [Reader(problem.wanted)])
        if way is None:
            return None
        cost += Cost(way.seconds * rounds, price(way.seconds * rounds))
    else:
        still_open.append((id(operator), platform.name, frozenset()))
    return _Partial(
        cost,
        used,
        tuple(sorted(still_open, key=lambda entry: entry[0])),
        (id(operator), platform),
        partial,
    )


def _last_reader(
    producer: Operator, reader: Operator, readers: Mapping[int, list[Operator]]
) -> bool:
    """Whether `reader` is the last of the producer's consumers in topological order."""
    return readers[id(producer)][-1] is reader


def handover(
    problem: Problem, operator: Operator, producer: Platform, readers_at: Sequence[Reader]
) -> ConversionTree | None:
    """Find the cheapest way from a producer to its readers, if there is any.

    The seconds of the tree include what giving and taking the channels costs the platforms.
    """
    if not readers_at:
        return ConversionTree("", (), (), 0.0)
    readable = [problem.channels_for(operator, reader.channels) for reader in readers_at]
    best: ConversionTree | None = None
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
        seconds = found.seconds + _crossing(problem, operator, producer.costs.write, channel)
        for reader, end in zip(readers_at, found.ends, strict=True):
            seconds += _crossing(problem, operator, reader.costs, end)
        if best is None or seconds < best.seconds:
            best = replace(found, seconds=seconds)
    return best


def _crossing(
    problem: Problem, operator: Operator, costs: Mapping[str, Linear], channel: str
) -> float:
    return problem.conversion_cost(operator, costs[channel]) if channel in costs else 0.0

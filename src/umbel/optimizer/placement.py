"""Placement: which platform runs each operator, by enumeration with lossless pruning.

Operators are taken inputs first. A partial plan is described by what still matters: the placement
of operators with consumers to come, where their consumers so far are, and the engines started. Of
partial plans with equal descriptions only those on the Pareto front of cost can be part of a best
plan, so the others are dropped and nothing is lost. Nor is anything lost by dropping what cannot
become as fast as a plan that is known: the best one that stays on one platform. So a platform that
cannot win costs little more than one look for each operator.

Source: Kruse et al., "RHEEMix in the data jungle", VLDB Journal 29, 2020, section 5 (the
enumeration); Land and Doig, "An automatic method of solving discrete programming problems",
Econometrica 28, 1960 (the bound).
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
from umbel.platforms.costs import CostProfile, Linear, Price

#: Partial plans kept per step. Beyond it the cheapest survive, and pruning may lose the best plan;
#: no plan that people write comes near it.
WIDEST = 20_000

#: Sums of the same costs in another order may differ by this factor.
_ROUNDING = 1 + 1e-9


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


@dataclass(frozen=True)
class Reader:
    """Who reads an output: the channels it can take, and what taking them costs."""

    channels: Sequence[str]
    costs: Mapping[str, Linear] = field(default_factory=dict)

    @classmethod
    def of(cls, platform: Platform, profile: CostProfile) -> Reader:
        """A stage on a platform."""
        return cls(platform.reads, profile.read)


@dataclass(frozen=True)
class Placement:
    """A platform for every operator, by the operator's identity, and the whole plan's cost."""

    platforms: Mapping[int, Platform]
    cost: Cost
    pruned: bool = False


#: An output still to be read: the operator's identity, its platform, and those of its readers so far.
_Open = tuple[int, str, frozenset[str]]


@dataclass(frozen=True, slots=True)
class _Partial:
    """A plan for the operators taken so far, as a linked list of decisions."""

    cost: Cost
    used: frozenset[str]
    open: tuple[_Open, ...]
    decision: tuple[int, Platform] | None
    parent: _Partial | None


@dataclass(frozen=True, slots=True)
class _Choice:
    """One platform for one operator, and what that costs whatever was decided before.

    Attributes:
        platform: runs the operator.
        start: of its engine, paid with its first operator; None if it is up.
        fused: the operator's own work, in the stage of an input.
        alone: the same in a stage of its own.
    """

    platform: Platform
    start: Cost | None
    fused: Cost
    alone: Cost


def place(
    problem: Problem, budget: Budget | None = None, *, bound: float | None = None
) -> Placement:
    """Find the placement that takes the least time within the budget; deterministic.

    Args:
        problem: what has to be placed.
        budget: bounds on the cost.
        bound: seconds that some plan within the budget is known to take; None looks for one.

    Raises:
        PlacementError: the budget is below what the cheapest or the fastest plan costs.
    """
    search = _Search(problem, keep_front=budget is not None)
    finished = search.plans(search.on_one_platform(budget) if bound is None else bound)
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
    return Placement(_decisions(best), best.cost, search.pruned)


def _decisions(partial: _Partial) -> dict[int, Platform]:
    found: dict[int, Platform] = {}
    step: _Partial | None = partial
    while step is not None:
        if step.decision is not None:
            found[step.decision[0]] = step.decision[1]
        step = step.parent
    return found


class _Search:
    """Enumerates the placements of one problem; what partial plans have in common is found once.

    Attributes:
        pruned: there were so many partial plans that a better one may have been lost.
    """

    def __init__(self, problem: Problem, *, keep_front: bool) -> None:
        self.pruned = False
        self._problem = problem
        self._keep_front = keep_front
        self._order = topological(problem.root)
        self._operators = {id(operator): operator for operator in self._order}
        #: The last reader of each output, with which it is handed over.
        self._last = {
            identity: id(above[-1]) for identity, above in consumers(problem.root).items() if above
        }
        self._platforms = {p.name: p for ps in problem.candidates.values() for p in ps}
        self._choices = {
            identity: [
                choice
                for platform in able
                if (choice := self._choice(self._operators[identity], platform)) is not None
            ]
            for identity, able in problem.candidates.items()
        }
        self._ways: dict[_Open, Cost | None] = {}

    def on_one_platform(self, budget: Budget | None) -> float:
        """Seconds of the best plan that stays on one platform as far as that runs its operators."""
        best = float("inf")
        for name in sorted(self._platforms):
            choices = {
                identity: [c for c in able if c.platform.name == name] or able[:1]
                for identity, able in self._choices.items()
            }
            try:
                found = self._enumerate(choices, best)
            except PlacementError:
                continue  # its data cannot be handed on
            for partial in found:
                if budget is None or budget.allows(partial.cost):
                    best = min(best, partial.cost.seconds)
        return best

    def plans(self, bound: float) -> list[_Partial]:
        """All plans that may be the best, if the best takes no more than some seconds."""
        return self._enumerate(self._choices, bound)

    def _choice(self, operator: Operator, platform: Platform) -> _Choice | None:
        """Reckon what one platform costs for one operator; None if its result cannot be given."""
        rounds, price, profile = (
            self._problem.rounds,
            self._problem.price(platform),
            self._problem.profile(platform),
        )
        fused = self._problem.operator_cost(operator, platform).times(rounds)
        if operator is self._problem.root:
            way = handover(self._problem, operator, platform, [Reader(self._problem.wanted)])
            if way is None:
                return None
            fused += _priced(way.seconds * rounds, price)
        alone = fused + _priced(profile.stage * rounds, price)
        # Engines that are up cost nothing to use once more, so they do not tell plans apart.
        start = None if platform.name in self._problem.up else _priced(profile.start, price)
        return _Choice(platform, start, fused, alone)

    def _enumerate(self, choices: Mapping[int, Sequence[_Choice]], bound: float) -> list[_Partial]:
        """Take the operators in order, and drop what cannot become a best plan within the bound."""
        least = [min((c.fused.seconds for c in choices[id(op)]), default=0.0) for op in self._order]
        to_come = sum(least)
        partials = [_Partial(Cost(), frozenset(), (), None, None)]
        for operator, own in zip(self._order, least, strict=True):
            to_come -= own
            most = (bound - to_come) * _ROUNDING
            reads = {id(child) for child in operator.inputs}
            grown: dict[object, list[_Partial]] = {}
            for partial in partials:
                for choice in choices[id(operator)]:
                    step = self._extend(partial, operator, reads, choice, most)
                    if step is not None:
                        front = grown.setdefault((step.used, step.open), [])
                        _keep(front, step, keep_front=self._keep_front)
            partials = [partial for front in grown.values() for partial in front]
            if not partials:
                raise PlacementError(
                    f"no placement can hand data to {operator.name} ({operator.describe()})",
                    hint="some of its inputs cannot be converted to what its platforms read",
                )
            if len(partials) > WIDEST:
                partials = sorted(partials, key=lambda p: p.cost.seconds)[:WIDEST]
                self.pruned = True
        return partials

    def _extend(
        self,
        partial: _Partial,
        operator: Operator,
        reads: set[int],
        choice: _Choice,
        most: float,
    ) -> _Partial | None:
        """Put `operator` on a platform; None if that takes too long, or cannot get its inputs."""
        name, cost, used = choice.platform.name, partial.cost, partial.used
        if choice.start is not None and name not in used:
            cost += choice.start
            used |= {name}
        if cost.seconds + choice.fused.seconds > most:
            return None
        still_open = []
        fused = False
        for output in partial.open:
            identity, producer, readers_at = output
            if identity not in reads:
                still_open.append(output)
                continue
            readers_at |= {name}
            if self._last[identity] != id(operator):
                still_open.append((identity, producer, readers_at))
            elif readers_at == {producer}:
                fused = True
            else:
                way = self._way((identity, producer, readers_at))
                if way is None:
                    return None
                cost += way
        cost += choice.fused if fused else choice.alone
        if cost.seconds > most:
            return None
        if operator is not self._problem.root:
            still_open.append((id(operator), name, frozenset()))
        decision = (id(operator), choice.platform)
        return _Partial(cost, used, tuple(still_open), decision, partial)

    def _way(self, output: _Open) -> Cost | None:
        """What it costs to hand an output to all its readers; None if that cannot be done."""
        if output not in self._ways:
            identity, producer, readers_at = output
            way = handover(
                self._problem,
                self._operators[identity],
                self._platforms[producer],
                [
                    Reader.of(self._platforms[n], self._problem.profile(self._platforms[n]))
                    for n in sorted(readers_at)
                    if n != producer
                ],
            )
            price = self._problem.price(self._platforms[producer])
            rounds = self._problem.rounds
            self._ways[output] = None if way is None else _priced(way.seconds * rounds, price)
        return self._ways[output]


def _priced(seconds: float, price: Price) -> Cost:
    return Cost(seconds, price(seconds))


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


def handover(
    problem: Problem, operator: Operator, producer: Platform, readers_at: Sequence[Reader]
) -> ConversionTree | None:
    """Find the cheapest way from a producer to its readers, if there is any.

    The seconds of the tree include what giving and taking the channels costs the platforms.
    """
    if not readers_at:
        return ConversionTree("", (), (), 0.0)
    readable = [problem.channels_for(operator, reader.channels) for reader in readers_at]
    writing = problem.profile(producer).write
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
        seconds = found.seconds + _crossing(problem, operator, writing, channel)
        for reader, end in zip(readers_at, found.ends, strict=True):
            seconds += _crossing(problem, operator, reader.costs, end)
        if best is None or seconds < best.seconds:
            best = replace(found, seconds=seconds)
    return best


def _crossing(
    problem: Problem, operator: Operator, costs: Mapping[str, Linear], channel: str
) -> float:
    return problem.conversion_cost(operator, costs[channel]) if channel in costs else 0.0

"""Placement: which platform runs each operator, by enumeration with lossless pruning.

Operators are taken inputs first. A partial plan is described by what still matters: the placement
of operators with consumers to come, where their consumers so far are, and the engines started. Of
partial plans with equal descriptions only those on the Pareto front of cost can be part of a best
plan, so the others are dropped and nothing is lost. Branches that have not met yet are enumerated
each for itself, and meet at the operator that reads them: so the work grows with what is open in
one branch, not with the number of branches. Nor is anything lost by dropping what cannot become as
fast as a plan that is known: the best one that stays on one platform. So a platform that cannot win
costs little more than one look for each operator.

Source: Kruse et al., "RHEEMix in the data jungle", VLDB Journal 29, 2020, section 5 (the
enumeration); Land and Doig, "An automatic method of solving discrete programming problems",
Econometrica 28, 1960 (the bound).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import isqrt
from typing import NamedTuple, TypeVar

from umbel.dataclass import dataclass
from umbel.optimizer.cost import Budget, Cost
from umbel.optimizer.driver import DRIVER
from umbel.optimizer.problem import Problem, Reader, elsewhere, handover, transfer
from umbel.plan.errors import PlacementError
from umbel.plan.operators import Operator, topological
from umbel.platforms.base import Platform
from umbel.platforms.costs import Price

#: Partial plans of one branch that are kept. Beyond it the fastest survive, and pruning may lose the
#: best plan. Where branches meet there are few; there are more only while many outputs that are
#: read twice lie open. It keeps the planning of the largest queries of TPC-DS below a second.
WIDEST = 200

#: Ways in which two branches may meet.
_MOST_MEETINGS = 2_000

_FAR = float("inf")

#: Sums of the same costs in another order may differ by this factor.
_ROUNDING = 1 + 1e-9


@dataclass(frozen=True)
class Placement:
    """A platform for every operator.

    Attributes:
        platforms: by the operator's identity.
        cost: the whole plan's.
        pruned: there were so many partial plans that a better one may have been lost.
        partials: how many partial plans were looked at.
    """

    platforms: Mapping[int, Platform]
    cost: Cost
    pruned: bool = False
    partials: int = 0

    @property
    def engines(self) -> set[str]:
        """The names of the platforms that take part, umbel itself aside."""
        return {platform.name for platform in self.platforms.values()} - {DRIVER}


#: An output still to be read: the operator's position, its platform, and those of its readers so far.
_Open = tuple[int, str, frozenset[str]]


class _Partial:
    """A plan for the operators of one branch, as a tree of decisions.

    Attributes:
        seconds: what it takes; engines' starts, which branches share, are not in it.
        used: names of the engines that it has to start.
        open: the outputs that are still to be read.
        decision: the platform that was chosen last, and the position of its operator.
        added: what that cost.
        parents: the plans for the branches that met there.
    """

    __slots__ = ("_cost", "added", "decision", "open", "parents", "seconds", "used")

    def __init__(
        self,
        seconds: float,
        used: frozenset[str],
        open_: tuple[_Open, ...],
        decision: tuple[int, Platform],
        added: tuple[Cost, ...],
        parents: tuple[_Partial, ...],
    ) -> None:
        self.seconds = seconds
        self.used = used
        self.open = open_
        self.decision = decision
        self.added = added
        self.parents = parents
        self._cost: Cost | None = None

    @property
    def cost(self) -> Cost:
        """The whole cost, starts left out; most searches go by the seconds and never ask."""
        if self._cost is None:
            self._cost = Cost()
            for step in self.steps():
                for part in step.added:
                    self._cost += part
        return self._cost

    def steps(self) -> Iterator[_Partial]:
        """This and all that it is made of."""
        open_ = [self]
        while open_:
            step = open_.pop()
            yield step
            open_.extend(step.parents)


class _Arrived(NamedTuple):
    """Branches whose outputs have been handed to an operator.

    Attributes:
        seconds, added: what they take, the hand-over included; what the hand-over cost.
        used, open: as in partial plans.
        fused: the operator is in the stage of an input.
        parents: the partial plans.
    """

    seconds: float
    added: tuple[Cost, ...]
    used: frozenset[str]
    open: tuple[_Open, ...]
    fused: bool
    parents: tuple[_Partial, ...]

    @property
    def cost(self) -> Cost:
        """The whole cost, starts left out."""
        return sum((*(parent.cost for parent in self.parents), *self.added), Cost())

    def beside(self, other: _Arrived) -> _Arrived:
        """Both together."""
        return _Arrived(
            self.seconds + other.seconds,
            self.added + other.added,
            self.used | other.used,
            self.open + other.open,
            self.fused or other.fused,
            self.parents + other.parents,
        )


_Costed = TypeVar("_Costed", _Partial, _Arrived)


class _Choice(NamedTuple):
    """One platform for one operator, and what that costs whatever was decided before.

    Attributes:
        platform: runs the operator.
        used: its name, if its engine has to be started.
        cost: the operator's own work.
        stage: what a stage of its own costs besides.
    """

    platform: Platform
    used: frozenset[str]
    cost: Cost
    stage: Cost


class _DeadEndError(Exception):
    """No placement hands data to an operator, or none within the bound; most are never shown."""

    def __init__(self, operator: Operator) -> None:
        self.operator = operator

    def explained(self) -> PlacementError:
        """The same for people."""
        operator = self.operator
        return PlacementError(
            f"no placement can hand data to {operator.name} ({operator.describe()})",
            hint="some of its inputs cannot be converted to what its platforms read",
        )


def place(
    problem: Problem,
    budget: Budget | None = None,
    *,
    known: Placement | None = None,
    sure: float = 1.0,
) -> Placement:
    """Find the placement that takes the least time within the budget; deterministic.

    Args:
        problem: what has to be placed.
        budget: bounds on the cost.
        known: a placement within the budget that was found among fewer platforms.
        sure: without a budget several engines are taken only if they take less than this part of
            the time that the best single one takes.

    Raises:
        PlacementError: the budget is below what the cheapest or the fastest plan costs.
    """
    search = _Search(problem, keep_front=budget is not None)
    alone = search.on_one_platform(_FAR if known is None else known.cost.seconds, budget)
    best = known if alone is None else search.placed(alone)
    bound = _FAR if best is None else best.cost.seconds
    if best is not None and budget is None and len(best.engines) == 1:
        bound *= sure
    try:
        finished = search.plans(bound)
    except _DeadEndError as end:
        if best is None:
            raise end.explained() from None
        return replace(best, pruned=search.pruned, partials=search.partials)
    allowed = [p for p in finished if budget is None or budget.allows(search.whole(p))]
    if not allowed:
        costs = [search.whole(partial) for partial in finished]
        fastest = min(costs, key=lambda cost: cost.seconds)
        cheapest = min(costs, key=lambda cost: cost.dollars)
        raise PlacementError(
            f"no plan fits the budget of {budget}",
            hint=f"the fastest is estimated at {fastest.seconds:.3g} s for "
            f"${fastest.dollars:.3g}; the cheapest at {cheapest.seconds:.3g} s for "
            f"${cheapest.dollars:.3g}",
        )
    return search.placed(min(allowed, key=search.rank))


class _Search:
    """Enumerates the placements of one problem; what partial plans have in common is found once.

    Attributes:
        pruned, partials: as in `Placement`.
    """

    def __init__(self, problem: Problem, *, keep_front: bool) -> None:
        self.pruned = False
        self.partials = 0
        self._problem = problem
        self._keep_front = keep_front
        self._order = topological(problem.root)
        position = {id(operator): at for at, operator in enumerate(self._order)}
        self._reads = [
            tuple(dict.fromkeys(position[id(child)] for child in operator.inputs))
            for operator in self._order
        ]
        #: The last reader of each output, with which it is handed over.
        self._last = {child: at for at, reads in enumerate(self._reads) for child in reads}
        self._platforms = {p.name: p for ps in problem.candidates.values() for p in ps}
        self._prices = {name: problem.price(p) for name, p in self._platforms.items()}
        profiles = {name: problem.profile(p) for name, p in self._platforms.items()}
        self._readers = {n: Reader.of(p, profiles[n]) for n, p in self._platforms.items()}
        self._starts = {
            name: _priced(profile.start, self._prices[name])
            for name, profile in profiles.items()
            # Engines that are up cost nothing to use once more, so they do not tell plans apart.
            if name not in problem.up
        }
        self._stages = {
            name: _priced(profile.stage * problem.rounds, self._prices[name])
            for name, profile in profiles.items()
        }
        self._used = {name: frozenset({name} & self._starts.keys()) for name in self._platforms}
        self._started: dict[frozenset[str], float] = {}
        self._choices = [
            [
                choice
                for platform in problem.candidates[id(operator)]
                if (choice := self._choice(operator, platform)) is not None
            ]
            for operator in self._order
        ]
        self._ways: dict[_Open, Cost | None] = {}

    def on_one_platform(self, bound: float, budget: Budget | None) -> _Partial | None:
        """The best plan that stays on one platform as far as that runs its operators.

        None if none of them is within the bound, in seconds, and the budget.
        """
        best = None

        def work(name: str) -> tuple[float, str]:
            own = (
                next((c for c in able if c.platform.name == name), able[0])
                for able in self._choices
                if able
            )
            return sum(choice.cost.seconds for choice in own), name

        here = [n for n, p in sorted(self._platforms.items()) if elsewhere(p) is None]
        # The cheapest first: it bounds the others.
        for name in sorted(here or self._platforms, key=work):
            choices = [
                [c for c in able if c.platform.name == name] or able[:1] for able in self._choices
            ]
            try:
                found = self._enumerate(choices, bound)
            except _DeadEndError:
                continue  # it takes too long, or its data cannot be handed on
            allowed = [p for p in found if budget is None or budget.allows(self.whole(p))]
            if best is not None:
                allowed.append(best)
            if allowed:
                best = min(allowed, key=self.rank)
                bound = self.whole(best).seconds
        return best

    def plans(self, bound: float) -> list[_Partial]:
        """All plans that may be the best, if the best takes no more than some seconds."""
        return self._enumerate(self._choices, bound)

    def whole(self, partial: _Partial) -> Cost:
        """What a plan costs, with the starts of its engines."""
        cost = partial.cost
        for name in sorted(partial.used):
            cost += self._starts[name]
        return cost

    def rank(self, partial: _Partial) -> tuple[float, float, list[str]]:
        """Orders plans from the best: by time, by price, and then by name."""
        cost = self.whole(partial)
        return cost.seconds, cost.dollars, sorted(partial.used)

    def placed(self, partial: _Partial) -> Placement:
        """The placement that a plan for all operators stands for."""
        chosen = (step.decision for step in partial.steps())
        platforms = {id(self._order[at]): platform for at, platform in chosen}
        return Placement(platforms, self.whole(partial), self.pruned, self.partials)

    def _starting(self, used: frozenset[str]) -> float:
        if used not in self._started:
            self._started[used] = sum(self._starts[name].seconds for name in sorted(used))
        return self._started[used]

    def _choice(self, operator: Operator, platform: Platform) -> _Choice | None:
        """Reckon what one platform costs for one operator; None if its result cannot be given."""
        name, rounds = platform.name, self._problem.rounds
        cost = self._problem.operator_cost(operator, platform).times(rounds)
        if operator is self._problem.root:
            readers = [Reader(self._problem.wanted)]
            way = handover(self._problem, operator, platform, readers)
            if way is None:
                return None
            cost += _priced(way.seconds * rounds, self._prices[name])
            cost += transfer(self._problem, operator, platform, readers).times(rounds)
        return _Choice(platform, self._used[name], cost, self._stages[name])

    def _enumerate(self, choices: Sequence[Sequence[_Choice]], bound: float) -> list[_Partial]:
        """Take the operators in order, and drop what cannot become a best plan within the bound."""
        least = [min((c.cost.seconds for c in able), default=0.0) for able in choices]
        to_come = sum(least)
        branches: dict[int, list[_Partial]] = {}  # by the position of their last operator
        branch_of: dict[int, int] = {}  # of each open output
        floors: dict[int, float] = {}  # what a branch takes at least
        for at, own in enumerate(least):
            to_come -= own
            met = tuple(dict.fromkeys(branch_of[child] for child in self._reads[at]))
            meeting = [branches.pop(branch) for branch in met]
            for branch in met:
                del floors[branch]
            most = (bound - to_come - sum(floors.values())) * _ROUNDING
            grown = [
                step for choice in choices[at] for step in self._taken(at, choice, meeting, most)
            ]
            self.partials += len(grown)
            kept = self._kept(grown)
            if not kept:
                raise _DeadEndError(self._order[at])
            branches[at] = kept
            floors[at] = min(partial.seconds for partial in kept)
            for output in kept[0].open:
                branch_of[output[0]] = at
        return branches[len(self._order) - 1]

    def _taken(
        self, at: int, choice: _Choice, meeting: Sequence[Sequence[_Partial]], most: float
    ) -> Iterator[_Partial]:
        """Put an operator on a platform, in all ways that may take no more than some seconds."""
        left = most - choice.cost.seconds
        if self._starting(choice.used) > left:
            return
        arrived = None
        for partials in meeting:
            arriving = self._best(self._arriving(at, choice, partials, left))
            arrived = (
                arriving
                if arrived is None
                else self._best(
                    one.beside(other)
                    for one in self._widest(arrived, len(arriving))
                    for other in self._widest(arriving, len(arrived))
                    if one.seconds + other.seconds <= left
                )
            )
        if arrived is None:  # a source
            arrived = [_Arrived(0.0, (), choice.used, (), False, ())]
        is_root = at == len(self._order) - 1
        own = () if is_root else ((at, choice.platform.name, frozenset[str]()),)
        decision = (at, choice.platform)
        for one in arrived:
            seconds = one.seconds + choice.cost.seconds
            added = (*one.added, choice.cost)
            if not one.fused:
                seconds += choice.stage.seconds
                added = (*added, choice.stage)
            if seconds + self._starting(one.used) <= most:
                open_ = tuple(sorted(one.open + own, key=_position)) if one.open else own
                yield _Partial(seconds, one.used, open_, decision, added, one.parents)

    def _arriving(
        self, at: int, choice: _Choice, partials: Sequence[_Partial], most: float
    ) -> Iterator[_Arrived]:
        """Hand the outputs of one branch to an operator that reads them on a platform."""
        name = choice.platform.name
        for partial in partials:
            if partial.seconds + self._starting(partial.used | choice.used) > most:
                continue
            seconds, fused = partial.seconds, False
            still_open: list[_Open] = []
            added: tuple[Cost, ...] = ()
            for output in partial.open:
                position, producer, readers_at = output
                if position not in self._reads[at]:
                    still_open.append(output)
                    continue
                if name not in readers_at:
                    readers_at = readers_at | {name}
                if self._last[position] != at:
                    still_open.append((position, producer, readers_at))
                elif producer == name and len(readers_at) == 1:
                    fused = True
                else:
                    way = self._way((position, producer, readers_at))
                    if way is None:
                        break
                    seconds += way.seconds
                    added += (way,)
            else:
                used = partial.used | choice.used if choice.used else partial.used
                yield _Arrived(seconds, added, used, tuple(still_open), fused, (partial,))

    def _best(self, arrived: Iterable[_Arrived]) -> list[_Arrived]:
        """Of those that are alike but for their cost, the ones that may be part of a best plan."""
        best: dict[object, list[_Arrived]] = {}
        for one in arrived:
            front = best.setdefault((one.used, one.open, one.fused), [])
            if self._keep_front:
                _keep(front, one)
            elif not front:
                front.append(one)
            elif one.seconds < front[0].seconds:
                front[0] = one
        return [one for front in best.values() for one in front]

    def _widest(self, arrived: list[_Arrived], others: int) -> list[_Arrived]:
        """The fastest of some, if they could meet the others in too many ways."""
        if len(arrived) * others <= _MOST_MEETINGS:
            return arrived
        self.pruned = True
        return sorted(arrived, key=lambda one: one.seconds)[: isqrt(_MOST_MEETINGS)]

    def _kept(self, grown: Sequence[_Partial]) -> list[_Partial]:
        """Drop partial plans that cannot be part of a best one."""
        by_open: dict[object, list[_Partial]] = {}
        if self._keep_front:
            for step in grown:
                _keep(by_open.setdefault((step.used, step.open), []), step)
        else:
            for step in grown:
                by_open.setdefault(step.open, []).append(step)
            for steps in by_open.values():
                if len(steps) > 1:
                    steps[:] = self._fastest(steps)
        kept = [step for front in by_open.values() for step in front]
        if len(kept) > WIDEST:
            self.pruned = True
            kept.sort(key=lambda step: step.seconds + self._starting(step.used))
            del kept[WIDEST:]
        return kept

    def _fastest(self, steps: list[_Partial]) -> list[_Partial]:
        """Of steps that differ in the engines started, those that may be part of a fastest plan.

        What another step saves by not starting engines that this one has started it may save no
        more: so it is worse if it takes longer even when both have started all of them.
        """
        if not self._starts:
            return [min(steps, key=lambda step: step.seconds)]
        kept: list[_Partial] = []
        for step in sorted(
            steps, key=lambda s: (s.seconds + self._starting(s.used), sorted(s.used))
        ):
            whole = (step.seconds + self._starting(step.used)) * _ROUNDING
            if all(
                other.seconds + self._starting(other.used | step.used) > whole for other in kept
            ):
                kept.append(step)
        return kept

    def _way(self, output: _Open) -> Cost | None:
        """What it costs to hand an output to all its readers; None if that cannot be done."""
        if output not in self._ways:
            position, producer, readers_at = output
            operator, platform = self._order[position], self._platforms[producer]
            readers = [self._readers[name] for name in sorted(readers_at) if name != producer]
            way = handover(self._problem, operator, platform, readers)
            if way is None:
                self._ways[output] = None
            else:
                rounds = self._problem.rounds
                crossing = transfer(self._problem, operator, platform, readers).times(rounds)
                seconds = way.seconds * rounds
                self._ways[output] = _priced(seconds, self._prices[producer]) + crossing
        return self._ways[output]


def _keep(front: list[_Costed], one: _Costed) -> None:
    """Put a plan on the Pareto front of cost, if it is not dominated."""
    cost = one.cost
    if not any(other.cost.dominates(cost) for other in front):
        front[:] = [other for other in front if not cost.dominates(other.cost)]
        front.append(one)


def _position(output: _Open) -> int:
    return output[0]


def _priced(seconds: float, price: Price) -> Cost:
    return Cost(seconds, price(seconds))

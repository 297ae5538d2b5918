"""From a logical plan to an execution plan: rewrite, estimate, place, cut into stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from umbel.garbage import fewer_collections
from umbel.optimizer.aggregation import GAIN, MOST_TRIED, partial_aggregates
from umbel.optimizer.candidates import Candidates
from umbel.optimizer.cost import Budget
from umbel.optimizer.estimates import Estimate
from umbel.optimizer.execution_plan import ExecutionPlan, Refusal
from umbel.optimizer.facts import Facts
from umbel.optimizer.keeping import Keeping, Kept
from umbel.optimizer.movement import ChannelGraph
from umbel.optimizer.operator_costs import OperatorCosts
from umbel.optimizer.placement import Placement, place
from umbel.optimizer.problem import Problem
from umbel.optimizer.reduction import Reduction, reduce_sides, reductions
from umbel.optimizer.rewrite import Observer, rewrite
from umbel.optimizer.stages import cut
from umbel.plan.errors import PlacementError
from umbel.plan.operators import (
    DoWhile,
    Element,
    Functional,
    Loop,
    Operator,
    ToFrame,
    Write,
    topological,
)
from umbel.plan.types import is_object
from umbel.platforms.base import ARROW, PYTHON, Platform
from umbel.platforms.registry import Registry

#: Several engines are taken only if they are reckoned to take less than this part of the time that
#: fewer take.
SURE = 0.8

#: Partial plans of one search beyond which no variants of a plan are searched too. A thousand take
#: a tenth of a second; TPC-H, its tables spread over three engines, looks at up to 1,200.
LABORIOUS = 3_000


def optimize(
    root: Operator,
    platforms: Registry,
    *,
    budget: Budget | None = None,
    lifting: bool | None = None,
    observer: Observer | None = None,
    measured: Mapping[str, float] | None = None,
    up: frozenset[str] | None = None,
) -> ExecutionPlan:
    """Choose how a plan is run.

    Args:
        root: the plan.
        platforms: what may run it.
        budget: bounds on the estimated cost.
        lifting: replace Python functions by equal expressions, or leave them as written; None
            does what is reckoned to be faster. For little data the functions themselves often
            are.
        observer: told of the plan after each rewrite rule.
        measured: rows that earlier runs counted, by operator digest.
        up: names of the platforms to be taken as started; None asks them.

    Returns:
        The execution plan that is reckoned to take the least time within the budget. Equal
        arguments give equal plans.

    Raises:
        PlacementError: no platform can run some operator, a pinned one cannot, or no plan fits
            the budget.
    """
    with fewer_collections():
        return _optimized(root, platforms, budget, lifting, observer, measured, up)


def _optimized(
    root: Operator,
    platforms: Registry,
    budget: Budget | None,
    lifting: bool | None,
    observer: Observer | None,
    measured: Mapping[str, float] | None,
    up: frozenset[str] | None,
) -> ExecutionPlan:
    facts = Facts.of(platforms, measured)
    planner = Planner(platforms, budget=budget, facts=facts, up=up)
    as_written: ExecutionPlan | None = None
    rewritten = rewrite(root, lifting=lifting is not False, observer=observer, facts=facts)
    lifted = _functions(rewritten) < _functions(root)
    if lifted and lifting is None:
        try:
            as_written = _plan_as_written(root, planner, facts)
        except PlacementError:
            as_written = None  # a pinned engine runs only the lifted form
    try:
        plan = planner.plan_reduced(rewritten, [result_channel(rewritten)])
    except PlacementError:
        if as_written is None:
            raise
        plan = as_written
    if as_written is not None and as_written.cost.seconds <= plan.cost.seconds:
        return as_written
    return replace(plan, logical=root, lifted=lifted)


def started(platforms: Registry) -> frozenset[str]:
    """The names of the platforms whose engines are up."""
    return frozenset(platform.name for platform in platforms if platform.started())


def _plan_as_written(root: Operator, planner: Planner, facts: Facts) -> ExecutionPlan:
    """Plan with the Python functions left as they are."""
    rewritten = rewrite(root, lifting=False, facts=facts)
    return replace(planner.plan_reduced(rewritten, [result_channel(rewritten)]), logical=root)


def _functions(root: Operator) -> int:
    """How many operators run Python functions, loops' bodies included."""
    count = 0
    for operator in topological(root):
        if isinstance(operator, Functional | ToFrame):
            count += 1
        elif isinstance(operator, Loop):
            count += _functions(operator.body)
            count += _functions(operator.condition) if isinstance(operator, DoWhile) else 0
    return count


def result_channel(root: Operator) -> str:
    """The channel in which `collect()` wants a plan's result."""
    return ARROW if root.element is Element.ROW else PYTHON


class Planner:
    """Places plans over one set of platforms."""

    def __init__(
        self,
        platforms: Registry,
        *,
        budget: Budget | None = None,
        facts: Facts | None = None,
        up: frozenset[str] | None = None,
    ) -> None:
        # Asked once and first: to ask an engine what it can run may start it.
        self._up = started(platforms) if up is None else up
        self._platforms = platforms
        self._budget = budget
        self._facts = Facts.of(platforms) if facts is None else facts
        self._candidates = Candidates(platforms)
        self._graph = ChannelGraph(platforms.conversions)
        self._keeping = Keeping(platforms)
        self._laborious = False

    def plan_reduced(self, root: Operator, wanted: Sequence[str]) -> ExecutionPlan:
        """Place a rewritten plan, with less data to move where that is cheaper.

        Rows are grouped, and those that a join drops are left out, where they lie.

        Args:
            root: the plan.
            wanted: the channels of which the result is wanted in one.

        Raises:
            PlacementError: it cannot be placed, or not within the budget.
        """
        self._facts.probes.at_borders(root, self._facts.estimate)
        kept: Kept | None = None
        if self._keeping.concerns(root):
            written, kept = root, self._keeping.kept(root, self._facts)
            root = kept.root
            refusal = self._keeping.refusal(written, root, self._facts)
            if refusal is not None:
                raise refusal
        root, best, grouped = self._grouped_early(root, wanted)
        if kept is not None:
            grouped = [*kept.what, *grouped]
        tried = reductions(root, self._facts.estimate)
        chosen: list[Reduction] = []
        if best is None:
            refusal = self._keeping.detour(root)
            if refusal is not None:
                raise refusal
            # Only a reduced plan may be within the budget.
            best, chosen = self.plan(reduce_sides(root, tried), wanted), tried
        for reduction in tried:
            if reduction in chosen or self._laborious:
                continue
            plan = self._attempt(reduce_sides(root, [*chosen, reduction]), wanted)
            # None if no platform runs the semi join there.
            if plan is not None and plan.cost.seconds < best.cost.seconds:
                best, chosen = plan, [*chosen, reduction]
        return replace(best, early=(*grouped, *(reduction.what for reduction in chosen)))

    def _grouped_early(
        self, root: Operator, wanted: Sequence[str]
    ) -> tuple[Operator, ExecutionPlan | None, list[str]]:
        """Group rows before they move, where that is cheaper.

        Returns:
            The plan, its placement if it has one, and what was done.
        """
        best = self._attempt(root, wanted)
        tried: list[str] = []
        chosen: list[str] = []
        while len(tried) < MOST_TRIED and not self._laborious:
            places = (p for p in partial_aggregates(root, self._facts) if p.what not in tried)
            place = next(places, None)
            if place is None:
                break
            tried.append(place.what)
            changed = place.apply()
            plan = self._attempt(changed, wanted)
            if plan is not None and (best is None or plan.cost.seconds < GAIN * best.cost.seconds):
                root, best = changed, plan
                chosen.append(place.what)
        return root, best, chosen

    def _attempt(self, root: Operator, wanted: Sequence[str]) -> ExecutionPlan | None:
        """Place a plan; None if that cannot be done, or not within the budget."""
        try:
            return self.plan(root, wanted)
        except PlacementError:
            return None

    def plan(
        self,
        root: Operator,
        wanted: Sequence[str],
        placeholders: Mapping[str, Estimate] | None = None,
        rounds: float = 1,
    ) -> ExecutionPlan:
        """Place a rewritten plan whose result is wanted in one of some channels.

        Args:
            root: the plan.
            wanted: the channels.
            placeholders: estimates of what is bound later.
            rounds: how often the plan will run; engines start only once.
        """
        reckon = self._facts.estimate if placeholders is None else self._facts.within(placeholders)
        order = topological(root)
        estimates = {id(op): reckon(op) for op in order}
        bodies = {id(op): self._plan_bodies(op, estimates) for op in order if isinstance(op, Loop)}
        anywhere = {id(op) for op in order if _fits_anywhere(op)}
        problem = Problem(
            root=root,
            candidates={},
            operator_cost=OperatorCosts(estimates, bodies, self._platforms),
            conversion_cost=lambda op, linear: linear(
                estimates[id(op)].expected, estimates[id(op)].size
            ),
            channels_for=lambda op, channels: (
                channels if id(op) in anywhere else channels_for(op, channels)
            ),
            graph=self._graph,
            wanted=wanted,
            up=self._up,
            rounds=rounds,
            price=self._platforms.price,
            profile=self._platforms.costs,
            barred=self._bars if self._keeping.knows_sites else None,
        )
        problem, placement, refusals = self._placed(problem)
        stages, result = cut(problem, placement, estimates, bodies, self._facts)
        return ExecutionPlan(
            logical=root,
            rewritten=root,
            stages=stages,
            result=result,
            cost=placement.cost,
            refusals=tuple(refusals),
            pruned=placement.pruned,
            estimates=estimates,
        )

    def _bars(self, operator: Operator, site: str) -> bool:
        return self._keeping.barred(operator, site) is not None

    def _plan_bodies(
        self, loop: Loop, estimates: Mapping[int, Estimate]
    ) -> tuple[ExecutionPlan, ...]:
        known = {
            label: estimates[id(source)]
            for label, source in zip(loop.labels, loop.inputs, strict=True)
        }
        rounds = max(1, loop.expected_rounds)
        plans = [self.plan(loop.body, [body_channel(loop)], known, rounds)]
        if isinstance(loop, DoWhile):
            plans.append(self.plan(loop.condition, [PYTHON], known, rounds))
        return tuple(plans)

    def _placed(self, problem: Problem) -> tuple[Problem, Placement, list[Refusal]]:
        """Place a plan, on no more platforms than are reckoned to be worth their while.

        Estimates are not better than some percent, and an engine that has more of a plan sees
        more to optimize; so what several engines are reckoned to gain little by, fewer do.
        """
        found = best = self._placed_freely(problem)
        # Without the places of its tables, and what it is pinned to, there is no plan.
        needed = problem.root.places | {op.pin for op in topological(problem.root)}
        while self._budget is None:
            used = best[1].engines
            fewer = [self._placed_within(used - {n}, problem) for n in sorted(used - needed)]
            close = [
                placed
                for placed in fewer
                if placed is not None
                and placed[1].engines < used  # what is pinned stays where it is
                and placed[1].cost.seconds * SURE <= found[1].cost.seconds
            ]
            if not close:
                return best[0], best[1], found[2]
            best = min(close, key=lambda placed: placed[1].cost.seconds)
        return found

    def _placed_within(
        self, names: set[str], problem: Problem
    ) -> tuple[Problem, Placement, list[Refusal]] | None:
        """Place a plan on some platforms, and those that it is pinned to; None if that fails."""
        if not names:
            return None
        try:
            return self._placed_on([p for p in self._platforms if p.name in names], problem)
        except PlacementError:
            return None

    def _placed_freely(self, problem: Problem) -> tuple[Problem, Placement, list[Refusal]]:
        """Place a plan on the platforms that are worth asking what they can run.

        Engines whose start alone takes longer than a plan without them are not. Nothing is lost:
        no plan with such an engine can be the fastest. But much is gained for small inputs, as to
        ask an engine may mean to import it. With a budget every engine is asked, as the dearest
        may be the only one within it.

        Returns:
            The problem with its candidates, the placement, and who refused what.
        """
        everyone = list(self._platforms)
        pinned = {op.pin for op in topological(problem.root)}
        starts = {p.name: self._platforms.costs(p).start for p in everyone}
        at_hand = [
            p for p in everyone if p.name in self._up or not starts[p.name] or p.name in pinned
        ]
        found = None
        if self._budget is None and len(at_hand) < len(everyone):
            try:
                found = self._placed_on(at_hand, problem)
            except PlacementError:
                found = None  # some operator needs one of the others
        if found is None:
            return self._placed_on(everyone, problem)
        seconds = found[1].cost.seconds
        worth = [p for p in everyone if p in at_hand or starts[p.name] < seconds]
        return found if len(worth) == len(at_hand) else self._placed_on(worth, problem, found[1])

    def _placed_on(
        self, platforms: Sequence[Platform], problem: Problem, known: Placement | None = None
    ) -> tuple[Problem, Placement, list[Refusal]]:
        refusals: list[Refusal] = []
        candidates = {
            id(op): self._candidates.of(op, platforms, refusals) for op in topological(problem.root)
        }
        whole = replace(problem, candidates=candidates)
        placement = place(whole, self._budget, known=known, sure=SURE)
        self._laborious |= placement.partials > LABORIOUS
        return whole, placement, refusals


def body_channel(loop: Loop) -> str:
    """The channel in which a loop hands its state from one round to the next."""
    typed = not any(
        is_object(field.type)
        for schema in (loop.body.schema, loop.initial.schema)
        for field in schema
    )
    body, initial = loop.body, loop.initial
    # Whether columns may be null is no matter: a round may know that they are not.
    same = body.schema.types == initial.schema.types and body.element is initial.element
    return ARROW if typed and same else PYTHON


def channels_for(operator: Operator, channels: Sequence[str]) -> Sequence[str]:
    """The channels that can hold an operator's output: Python objects live in Python only."""
    if _fits_anywhere(operator):
        return channels
    if any(map(is_object, operator.schema.types)):
        return [channel for channel in channels if channel == PYTHON]
    return [channel for channel in channels if channel in (ARROW, PYTHON)]  # what was written


def _fits_anywhere(operator: Operator) -> bool:
    """Whether every channel can hold an operator's output."""
    return not isinstance(operator, Write) and not any(map(is_object, operator.schema.types))

"""From a logical plan to an execution plan: rewrite, estimate, place, cut into stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from umbel.optimizer.cardinality import Estimate, Estimator
from umbel.optimizer.completion import to_complete
from umbel.optimizer.cost import Budget, Cost
from umbel.optimizer.driver import DRIVER, Driver
from umbel.optimizer.execution_plan import (
    ExecutionPlan,
    Location,
    PlannedOperator,
    PlannedStage,
    Refusal,
)
from umbel.optimizer.movement import ChannelGraph
from umbel.optimizer.placement import Placement, Problem, Reader, handover, place
from umbel.optimizer.reduction import Reduction, reduce_sides, reductions
from umbel.optimizer.rewrite import Observer, rewrite
from umbel.plan.errors import PlacementError
from umbel.plan.expressions import Call, Cast, Expression, WindowCall, walk
from umbel.plan.operators import (
    DoWhile,
    Element,
    Functional,
    Loop,
    Operator,
    Placeholder,
    Scan,
    ToFrame,
    Write,
    consumers,
    topological,
)
from umbel.plan.sinks import RelationSink
from umbel.plan.sources import AttachedSource
from umbel.plan.types import is_object
from umbel.platforms.base import ARROW, PYTHON, Conversion, Platform, Stage
from umbel.platforms.costs import Price
from umbel.platforms.registry import Registry


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
    planner = Planner(platforms, budget=budget, measured=measured, up=up)
    as_written: ExecutionPlan | None = None
    rewritten = rewrite(
        root, lifting=lifting is not False, observer=observer, known=platforms.statistics
    )
    lifted = _functions(rewritten) < _functions(root)
    if lifted and lifting is None:
        try:
            as_written = _plan_as_written(root, planner, platforms)
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


def _plan_as_written(root: Operator, planner: Planner, platforms: Registry) -> ExecutionPlan:
    """Plan with the Python functions left as they are."""
    rewritten = rewrite(root, lifting=False, known=platforms.statistics)
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
        measured: Mapping[str, float] | None = None,
        up: frozenset[str] | None = None,
    ) -> None:
        # Asked once and first: to ask an engine what it can run may start it.
        self._up = started(platforms) if up is None else up
        self._platforms = platforms
        self._budget = budget
        self._measured = measured
        self._driver = Driver()
        self._graph = ChannelGraph(platforms.conversions)

    def plan_reduced(self, root: Operator, wanted: Sequence[str]) -> ExecutionPlan:
        """Place a rewritten plan, with semi joins before data moves where that is cheaper.

        Args:
            root: the plan.
            wanted: the channels of which the result is wanted in one.
        """
        estimator = Estimator(self._measured, None, self._platforms.statistics)
        tried = reductions(root, estimator)
        if not tried:
            return self.plan(root, wanted)
        chosen: list[Reduction] = []
        try:
            best = self.plan(root, wanted)
        except PlacementError:
            # Only a reduced plan may be within the budget.
            best, chosen = self.plan(reduce_sides(root, tried), wanted), tried
        for reduction in tried:
            if reduction in chosen:
                continue
            try:
                plan = self.plan(reduce_sides(root, [*chosen, reduction]), wanted)
            except PlacementError:
                continue  # no platform runs the semi join there
            if plan.cost.seconds < best.cost.seconds:
                best, chosen = plan, [*chosen, reduction]
        return best

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
        estimator = Estimator(self._measured, placeholders, self._platforms.statistics)
        estimator(root)
        estimates = {id(op): estimator(op) for op in topological(root)}
        bodies = {
            id(op): self._plan_bodies(op, estimates)
            for op in topological(root)
            if isinstance(op, Loop)
        }
        refusals: list[Refusal] = []
        costs = _Costs(estimates, bodies, self._platforms.price)
        problem = Problem(
            root=root,
            candidates={},
            operator_cost=costs,
            conversion_cost=lambda op, linear: linear(
                estimates[id(op)].expected, estimates[id(op)].size
            ),
            channels_for=channels_for,
            graph=self._graph,
            wanted=wanted,
            up=self._up,
            rounds=rounds,
            price=self._platforms.price,
        )
        among = self._worth_asking(problem)
        problem = replace(
            problem,
            candidates={id(op): self._candidates(op, among, refusals) for op in topological(root)},
        )
        placement = place(problem, self._budget)
        stages, result = _cut(problem, placement, estimates, bodies)
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

    def _worth_asking(self, problem: Problem) -> list[Platform]:
        """Leave out engines whose start alone takes longer than a plan without them.

        Nothing is lost: no plan with such an engine can be the fastest. But much is gained for
        small inputs, as to ask an engine what it can run may mean to import it. With a budget
        every engine is asked, as the dearest may be the only one within it.
        """
        everyone = list(self._platforms)
        pinned = {op.pin for op in topological(problem.root)}
        at_hand = [
            p for p in everyone if p.name in self._up or not p.costs.start or p.name in pinned
        ]
        if self._budget is not None or len(at_hand) == len(everyone):
            return everyone
        try:
            candidates = {
                id(op): self._candidates(op, at_hand, []) for op in topological(problem.root)
            }
            known = place(replace(problem, candidates=candidates)).cost.seconds
        except PlacementError:
            return everyone
        return [p for p in everyone if p in at_hand or p.costs.start < known]

    def _candidates(
        self, operator: Operator, among: Sequence[Platform], refusals: list[Refusal]
    ) -> list[Platform]:
        if isinstance(operator, Placeholder):
            return [self._driver]
        if self._driver.refuse(operator) is None:
            if operator.pin:
                raise PlacementError(
                    f"{operator.name} runs in umbel itself and cannot be pinned to "
                    f"{operator.pin!r}{_at(operator)}"
                )
            return [self._driver]
        if operator.pin:
            platform = self._platforms[operator.pin]
            reason = platform.refuse(operator)
            if reason is not None:
                raise PlacementError(
                    f"platform {operator.pin!r} cannot run {operator.name} "
                    f"({operator.describe()}){_at(operator)}: {reason}",
                    hint="pin another platform, or leave the choice to umbel",
                )
            return [platform]
        able = []
        for platform in among:
            reason = platform.refuse(operator)
            if reason is None:
                able.append(platform)
            else:
                refusals.append(Refusal(operator, platform.name, reason))
        if not able:
            reasons = "; ".join(
                f"{r.platform}: {r.reason}" for r in refusals if r.operator is operator
            )
            raise PlacementError(
                f"no platform can run {operator.name} ({operator.describe()}){_at(operator)}",
                hint=_absent(operator, self._platforms)
                or reasons
                or "there are no platforms; see `umbel platforms`",
            )
        return able


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


def _absent(operator: Operator, platforms: Registry) -> str:
    """Say what to do if what an operator reads or writes lies in a platform that is not here."""
    match operator:
        case Scan(source=AttachedSource(platform=name)) | Write(sink=RelationSink(platform=name)):
            if name not in platforms:
                return f"there is no platform {name!r}: session.catalog.attach({name!r}, url)"
    return ""


def _at(operator: Operator) -> str:
    return f" at {operator.origin}" if operator.origin is not None else ""


def channels_for(operator: Operator, channels: Sequence[str]) -> Sequence[str]:
    """The channels that can hold an operator's output: Python objects live in Python only."""
    if any(is_object(field.type) for field in operator.schema):
        return [channel for channel in channels if channel == PYTHON]
    if isinstance(operator, Write):  # its one row says what was written
        return [channel for channel in channels if channel in (ARROW, PYTHON)]
    return channels


class _Costs:
    """The cost of operators on platforms, from the platforms' profiles."""

    def __init__(
        self,
        estimates: Mapping[int, Estimate],
        bodies: Mapping[int, tuple[ExecutionPlan, ...]],
        price: Callable[[Platform], Price],
    ) -> None:
        self._estimates = estimates
        self._bodies = bodies
        self._price = price
        self._known: dict[tuple[int, str], Cost] = {}
        self._calls: dict[int, list[str]] = {}

    def __call__(self, operator: Operator, platform: Platform) -> Cost:
        key = (id(operator), platform.name)
        if key not in self._known:
            self._known[key] = self._cost(operator, platform)
        return self._known[key]

    def _cost(self, operator: Operator, platform: Platform) -> Cost:
        profile = platform.costs
        output = self._estimates[id(operator)]
        rows = sum(self._estimates[id(child)].expected for child in operator.inputs)
        size = sum(self._estimates[id(child)].size for child in operator.inputs)
        key = operator.name
        if isinstance(operator, Scan):
            key = f"Scan.{operator.source.kind}"
            rows, size = output.expected, output.size
        seconds = 0.0
        if key in profile.operators:
            seconds += profile.operators[key](rows, size)
        if key in profile.output:
            seconds += profile.output[key](output.expected, output.size)
        for function in self._functions(operator):
            seconds += rows * profile.functions.get(function, profile.expression)
        # A source is paid for as it is read, whatever a filter then leaves of it.
        scanned = output.whole * output.width if isinstance(operator, Scan) else 0.0
        cost = Cost(seconds, self._price(platform)(seconds, scanned))
        if isinstance(operator, Loop):
            for body in self._bodies[id(operator)]:
                cost += body.cost  # of all rounds
        return cost

    def _functions(self, operator: Operator) -> list[str]:
        """The functions that an operator calls for each row, casts included."""
        if id(operator) not in self._calls:
            nodes = [node for e in expressions_of(operator) for node in walk(e)]
            self._calls[id(operator)] = [
                getattr(node, "function", "cast")
                for node in nodes
                if isinstance(node, Call | Cast | WindowCall)
            ]
        return self._calls[id(operator)]


def expressions_of(operator: Operator) -> list[Expression]:
    """All expressions that an operator evaluates."""
    found: list[Expression] = []

    def look(value: object) -> None:
        if isinstance(value, Expression):
            found.append(value)
        elif isinstance(value, tuple):
            for item in value:
                look(item)
        elif hasattr(value, "expression"):
            look(value.expression)

    for _, value in operator.arguments():
        look(value)
    return found


def _cut(
    problem: Problem,
    placement: Placement,
    estimates: Mapping[int, Estimate],
    bodies: Mapping[int, tuple[ExecutionPlan, ...]],
) -> tuple[tuple[PlannedStage, ...], Location]:
    """Cut a placed plan into maximal stages with one output each, and plan the hand-overs.

    A stage also ends where an operator must be complete before another begins: what may fail for
    some row is evaluated for the same rows on every engine.
    """
    order = topological(problem.root)
    readers = consumers(problem.root)
    platform_of = placement.platforms
    complete = to_complete(problem.root, platform_of)
    head: dict[int, Operator] = {}  # the operator whose output the stage of an operator gives
    for operator in reversed(order):
        above = readers[id(operator)]
        heads = {id(head[id(reader)]) for reader in above}
        fuses = (
            len(heads) == 1
            and all(
                platform_of[id(reader)].name == platform_of[id(operator)].name for reader in above
            )
            and platform_of[id(operator)].name != DRIVER
            and id(operator) not in complete
        )
        head[id(operator)] = head[id(above[0])] if fuses else operator
    heads_in_order = [op for op in order if head[id(op)] is op]
    index_of = {id(op): i for i, op in enumerate(heads_in_order)}

    trees: dict[int, tuple[str, tuple[Conversion, ...]]] = {}
    location: dict[tuple[int, int], Location] = {}
    result: Location = (index_of[id(problem.root)], "")
    for operator in heads_in_order:
        reading = sorted({index_of[id(head[id(r)])] for r in readers[id(operator)]})
        reading_at = [Reader.of(platform_of[id(heads_in_order[i])]) for i in reading]
        if operator is problem.root:
            reading_at.append(Reader(problem.wanted))
        way = handover(problem, operator, platform_of[id(operator)], reading_at)
        if way is None:
            raise PlacementError(f"the output of {operator.name} cannot be handed on")
        trees[id(operator)] = (way.root, way.edges)
        ends = way.ends
        for reader, end in zip(reading, ends, strict=False):
            location[id(operator), reader] = (index_of[id(operator)], end)
        if operator is problem.root:
            result = (index_of[id(operator)], ends[-1])

    stages = []
    for index, top in enumerate(heads_in_order):
        members = [op for op in order if head[id(op)] is top]
        inside = {id(op) for op in members}
        new: dict[int, Operator] = {}
        sources: dict[str, Location] = {}
        for operator in members:
            inputs = []
            for child in operator.inputs:
                if id(child) in inside:
                    inputs.append(new[id(child)])
                    continue
                label = f"stage_{index_of[id(child)]}"
                sources[label] = location[id(child), index]
                inputs.append(
                    new.setdefault(
                        id(child),
                        Placeholder(label=label, columns=child.schema, form=child.element),
                    )
                )
            new[id(operator)] = operator.with_inputs(tuple(inputs))
        channel, tree = trees[id(top)]
        stages.append(
            PlannedStage(
                index=index,
                platform=platform_of[id(top)],
                stage=Stage(new[id(top)], {k: v[1] for k, v in sources.items()}, channel),
                sources=sources,
                conversions=tree,
                operators=tuple(
                    PlannedOperator(
                        op,
                        estimates[id(op)],
                        problem.operator_cost(op, platform_of[id(op)]),
                    )
                    for op in members
                ),
                bodies=bodies.get(id(top), ()),
            )
        )
    return tuple(stages), result

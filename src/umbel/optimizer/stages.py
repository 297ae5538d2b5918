"""Cuts a placed plan into stages, and plans how each hands its output on."""

from __future__ import annotations

from collections.abc import Mapping

from umbel.optimizer.completion import to_complete
from umbel.optimizer.driver import DRIVER
from umbel.optimizer.estimates import Estimate
from umbel.optimizer.execution_plan import (
    COLLECTED,
    ExecutionPlan,
    Location,
    PlannedOperator,
    PlannedStage,
)
from umbel.optimizer.facts import Facts
from umbel.optimizer.placement import Placement
from umbel.optimizer.problem import Problem, Reader, handover
from umbel.plan.errors import PlacementError
from umbel.plan.operators import Broadcast, Operator, Placeholder, consumers, topological
from umbel.platforms.base import Conversion, Stage


def cut(
    problem: Problem,
    placement: Placement,
    estimates: Mapping[int, Estimate],
    bodies: Mapping[int, tuple[ExecutionPlan, ...]],
    facts: Facts,
) -> tuple[tuple[PlannedStage, ...], Location]:
    """Cut a placed plan into maximal stages with one output each, and plan the hand-overs.

    A stage also ends where an operator must be complete before another begins: what may fail for
    some row is evaluated for the same rows on every engine.
    """
    order = topological(problem.root)
    readers = consumers(problem.root)
    platform_of = placement.platforms
    complete = to_complete(problem.root, platform_of, facts.bounds)
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
        readers_at = [platform_of[id(heads_in_order[i])] for i in reading]
        reading_at = [Reader.of(reader, problem.profile(reader)) for reader in readers_at]
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
                if isinstance(child, Broadcast):
                    label += COLLECTED
                sources[label] = location[id(child), index]
                stand_in: Operator = Placeholder(
                    label=label, columns=child.schema, form=child.element
                )
                if isinstance(child, Broadcast):  # its reader knows it by its keyword
                    stand_in = child.with_inputs((stand_in,))
                inputs.append(new.setdefault(id(child), stand_in))
            new[id(operator)] = operator.with_inputs(tuple(inputs))
        channel, tree = trees[id(top)]
        reading_it = {platform_of[id(head[id(r)])].name for r in readers[id(top)]}
        stage = Stage(
            new[id(top)],
            {label: at[1] for label, at in sources.items()},
            channel,
            index,
            tuple(sorted(reading_it)),
        )
        stages.append(
            PlannedStage(
                index=index,
                platform=platform_of[id(top)],
                stage=stage,
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

"""Placement by enumeration against trying every placement."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.optimizer.fakes import ARROW, FakePlatform, conversion, profile
from umbel.optimizer.cost import Budget, Cost
from umbel.optimizer.movement import ChannelGraph
from umbel.optimizer.placement import place
from umbel.optimizer.problem import Problem, Reader, handover
from umbel.plan.errors import PlacementError
from umbel.plan.operators import Distinct, Operator, Union, Values, consumers, topological
from umbel.platforms.costs import Linear, Price


def problem(
    root: Operator, platforms: list[FakePlatform], costs: dict[tuple[int, str], float]
) -> Problem:
    """A problem whose operator costs are given by (position, platform)."""
    order = {id(op): i for i, op in enumerate(topological(root))}
    return Problem(
        root=root,
        candidates={id(op): platforms for op in topological(root)},
        operator_cost=lambda op, p: Cost(
            costs[order[id(op)], p.name], p.costs.price(costs[order[id(op)], p.name])
        ),
        conversion_cost=lambda op, linear: linear(0, 0),
        channels_for=lambda op, channels: channels,
        graph=ChannelGraph(c for p in platforms for c in p.conversions),
        wanted=[ARROW],
    )


def platforms_with(starts: list[float], moves: list[float]) -> list[FakePlatform]:
    """Platforms with a channel of their own each, and conversions to and from Arrow."""
    return [
        FakePlatform(
            name,
            costs=profile(start=start, stage=0.5),
            reads=(name,),
            writes=(name,),
            conversions=(conversion(name, ARROW, move), conversion(ARROW, name, move)),
            up=False,
        )
        for name, start, move in zip("xyz", starts, moves, strict=True)
    ]


def values(number: int) -> Values:
    return Values(table=pa.table({"a": [number]}))


def diamond() -> Operator:
    base = Distinct(input=values(1))
    return Union(members=(Distinct(input=base), Union(members=(base, values(2)))))


def total(root: Operator, task: Problem, chosen: dict[int, FakePlatform]) -> float | None:
    """What one placement costs, reckoned in one go."""
    seconds = sum(p.costs.start for p in {p.name: p for p in chosen.values()}.values())
    readers = consumers(root)
    for op in topological(root):
        here = chosen[id(op)]
        seconds += task.operator_cost(op, here).seconds
        at = {chosen[id(r)].name: chosen[id(r)] for r in readers[id(op)]}
        wanted = [Reader.of(p, p.costs) for name, p in sorted(at.items()) if name != here.name]
        if op is root:
            wanted = [Reader(task.wanted)]
        way = handover(task, op, here, wanted)
        if way is None:
            return None
        seconds += way.seconds
        fused = any(
            chosen[id(child)].name == here.name
            and {chosen[id(r)].name for r in readers[id(child)]} == {here.name}
            and readers[id(child)][-1] is op
            for child in op.inputs
        )
        seconds += 0.0 if fused else here.costs.stage
    return seconds


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 9), min_size=3, max_size=3),
    st.lists(st.integers(0, 9), min_size=3, max_size=3),
    st.lists(st.integers(0, 20), min_size=18, max_size=18),
)
def test_no_placement_is_cheaper(
    starts: list[float], moves: list[float], costs: list[float]
) -> None:
    root = diamond()
    platforms = platforms_with(starts, moves)
    order = topological(root)
    table = {
        (i, p.name): costs[(i * 3 + j) % len(costs)]
        for i in range(len(order))
        for j, p in enumerate(platforms)
    }
    task = problem(root, platforms, table)
    best = min(
        seconds
        for combination in itertools.product(platforms, repeat=len(order))
        if (
            seconds := total(
                root, task, {id(o): p for o, p in zip(order, combination, strict=True)}
            )
        )
        is not None
    )
    found = place(task)
    assert found.cost.seconds == pytest.approx(best)
    assert total(root, task, dict(found.platforms)) == pytest.approx(best)  # type: ignore[arg-type]


def test_a_hundred_operators_are_placed() -> None:
    root: Operator = values(1)
    for _ in range(99):
        root = Distinct(input=root)
    platforms = platforms_with([1, 2, 3], [5, 5, 5])
    table = {
        (i, p.name): float((i * 7 + j * 3) % 5) for i in range(100) for j, p in enumerate(platforms)
    }
    first, second = (place(problem(root, platforms, table)) for _ in range(2))
    assert first.cost == second.cost
    assert {k: p.name for k, p in first.platforms.items()} == {
        k: p.name for k, p in second.platforms.items()
    }


def test_a_budget_picks_on_the_front() -> None:
    fast = replace(platforms_with([0, 0, 0], [0, 0, 0])[0])
    dear = replace(fast, costs=replace(profile(), price=Price(per_hour=36_000)))
    slow = replace(fast, name="y", costs=replace(profile(), price=Price(per_hour=3_600)))
    root = values(1)
    table = {(0, "x"): 1.0, (0, "y"): 3.0}
    task = problem(root, [dear, slow], table)
    assert place(task).platforms[id(root)].name == "x"
    assert place(task, Budget(dollars=5.0)).platforms[id(root)].name == "y"
    with pytest.raises(PlacementError, match="no plan fits the budget") as caught:
        place(task, Budget(dollars=5.0, seconds=2.0))
    assert "the fastest is estimated at 1 s for $10" in caught.value.hint
    assert "the cheapest at 3 s for $3" in caught.value.hint


def three_diamonds() -> tuple[Operator, list[FakePlatform], dict[tuple[int, str], float]]:
    root = Union(members=tuple(diamond() for _ in range(3)))
    platforms = platforms_with([1, 2, 3], [1, 2, 1])
    table = {
        (i, p.name): float((i * 5 + j * 3) % 7) for i in range(100) for j, p in enumerate(platforms)
    }
    return root, platforms, table


def test_dropping_what_cannot_become_the_best_loses_nothing() -> None:
    root, platforms, table = three_diamonds()
    found = place(problem(root, platforms, table))
    far = replace(found, cost=Cost(float("inf")))  # nothing is dropped for the sake of this one
    for known in (found, far):
        again = place(problem(root, platforms, table), known=known)
        assert again.cost == found.cost
        assert {k: p.name for k, p in again.platforms.items()} == {
            k: p.name for k, p in found.platforms.items()
        }


def test_several_engines_must_gain_what_is_asked_of_them() -> None:
    root, platforms, table = three_diamonds()
    free = place(problem(root, platforms, table))
    assert len(free.engines) > 1
    alone = min(
        (place(problem(root, [platform], table)) for platform in platforms),
        key=lambda placement: placement.cost.seconds,
    )
    gain = free.cost.seconds / alone.cost.seconds
    assert place(problem(root, platforms, table), sure=gain * 1.01).cost == free.cost
    assert place(problem(root, platforms, table), sure=gain * 0.99).cost == alone.cost


def test_branches_that_have_not_met_are_placed_each_for_itself() -> None:
    """With all branches open at once this would be 3 to the power of 24 partial plans."""
    root = Union(members=tuple(Distinct(input=values(number)) for number in range(24)))
    platforms = platforms_with([0, 0, 0], [1, 1, 1])
    table = {
        (i, p.name): float((i * 5 + j * 3) % 7) for i in range(100) for j, p in enumerate(platforms)
    }
    task = problem(root, platforms, table)
    found = place(task)
    assert not found.pruned
    assert total(root, task, dict(found.platforms)) == pytest.approx(found.cost.seconds)  # type: ignore[arg-type]


def test_a_platform_that_cannot_win_is_looked_at_once_for_each_operator() -> None:
    asked: list[str] = []
    first, second, third = platforms_with([0, 0, 10_000], [1, 1, 1])
    root: Operator = values(1)
    for _ in range(9):
        root = Distinct(input=root)
    table = {(i, p.name): 1.0 for i in range(10) for p in (first, second, third)}
    task = problem(root, [first, second, third], table)

    def reckon(operator: Operator, linear: Linear) -> float:
        asked.append(operator.name)
        return linear(0, 0)

    place(replace(task, conversion_cost=reckon))
    with_third = len(asked)
    asked.clear()
    two = {id(op): [first, second] for op in topological(root)}
    place(replace(task, candidates=two, conversion_cost=reckon))
    # Only the way of its result to who wants that is looked at.
    assert with_third - len(asked) <= 2

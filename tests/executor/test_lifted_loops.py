"""Loops whose bodies are lifted give what the Python functions give, and raise where they do."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import umbel as ub
from tests.executor.test_pipelines import STEPS, VALUES, Step, exact
from umbel.executor import run
from umbel.optimizer.rewrite.lift import lift
from umbel.plan.operators import Functional, Loop, Operator, topological

#: Steps that give elements of the kind that they take, and not many more of them.
KEPT = {
    kind: [s for s in steps if s.kind in (None, kind) and s.name not in ("join", "co_group")]
    for kind, steps in STEPS.items()
}


@pytest.fixture(scope="module")
def session() -> ub.Session:
    return ub.connect(progress=False)


@st.composite
def loops(draw: st.DrawFn) -> tuple[list[Any], list[Step], int, list[Any]]:
    """What a loop begins with, its body's steps, its rounds, and elements that each round adds."""
    kind = draw(st.sampled_from(sorted(VALUES)))
    items = draw(st.lists(VALUES[kind], max_size=6))
    if items and draw(st.integers(0, 5)) == 0:
        items.append(None)
    steps = draw(st.lists(st.sampled_from(KEPT[kind]), min_size=1, max_size=3))
    return items, steps, draw(st.integers(0, 3)), draw(st.lists(VALUES[kind], max_size=2))


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(loops())
def test_a_loop_gives_what_plain_python_gives(
    session: ub.Session, loop: tuple[list[Any], list[Step], int, list[Any]]
):
    items, steps, rounds, added = loop
    modelled = list(items)
    expected: list[Any] | None = modelled
    try:
        for _ in range(rounds):
            for step in steps:
                modelled = list(step.model(modelled))
            modelled = modelled + added
        expected = modelled
    except Exception:  # noqa: BLE001 - whatever the function raises for its values
        expected = None
    more = session.from_items(added)

    def body(dataset: ub.Dataset) -> ub.Dataset:
        for step in steps:
            dataset = step.extend(dataset)
        return dataset.union(more) if added else dataset

    plan = session.from_items(items).repeat(rounds, body).plan
    for lifting in (True, False):
        if expected is None:
            with pytest.raises(ub.RunError):
                run(plan, platforms=session.platforms(), progress=False, lifting=lifting)
            continue
        result = run(plan, platforms=session.platforms(), progress=False, lifting=lifting)
        assert type(result.elements) is list
        assert Counter(map(exact, result.elements)) == Counter(map(exact, expected))


def functions(plan: Operator) -> int:
    """How many Python functions a plan runs, in bodies of loops too."""
    own = sum(isinstance(operator, Functional) for operator in topological(plan))
    bodies = [operator.body for operator in topological(plan) if isinstance(operator, Loop)]
    return own + sum(map(functions, bodies))


Body = Callable[[ub.Dataset], ub.Dataset]
LIFTED: dict[str, tuple[list[Any], Body]] = {
    "integers": ([1, 2], lambda d: d.map(lambda x: x + 1).filter(lambda x: x % 3 != 0)),
    "text": (["a b"], lambda d: d.flat_map(str.split).map(lambda w: w + " x")),
    "pairs": ([("a", 1)], lambda d: d.map(lambda p: (p[0], p[1] * 2)).reduce_by_key(max)),
    "nested": ([("a", (1, True))], lambda d: d.map(lambda p: (p[0], (p[1][0] + 1, not p[1][1])))),
    "a loop": ([1], lambda d: d.repeat(2, lambda e: e.map(lambda x: x + 1)).map(lambda x: x * 2)),
    "a join": (
        [("a", 1), ("b", 2)],
        lambda d: d.join(d.map(lambda p: (p[0], 1))).map(lambda p: (p[0], p[1][0] + p[1][1])),
    ),
}


@pytest.mark.parametrize("name", LIFTED)
def test_a_body_is_lifted_as_the_same_chain_outside(session: ub.Session, name: str):
    items, body = LIFTED[name]
    begin = session.from_items(items)
    unrolled = body(body(begin))
    assert functions(lift(unrolled.plan)) == functions(lift(begin.repeat(2, body).plan)) == 0
    assert begin.repeat(2, body).collect() == unrolled.collect()


def test_a_condition_is_lifted_too(session: ub.Session):
    loop = session.from_items([1, 5]).do_while(
        lambda d: d.map(lambda x: x < 50).reduce(lambda a, b: a and b),
        lambda d: d.map(lambda x: x * 2),
    )
    assert functions(lift(loop.plan)) == 0
    # Doubled until one is 50 or more: 1, 5 -> ... -> 16, 80.
    assert sorted(loop.collect()) == [16, 80]


def test_a_body_that_gives_another_type_stays_as_it_is(session: ub.Session):
    loop = session.from_items([7]).repeat(2, lambda d: d.map(lambda x: x / 2))
    assert functions(lift(loop.plan)) > 0
    assert loop.collect() == [1.75]
    assert session.from_items([7]).repeat(0, lambda d: d.map(lambda x: x / 2)).collect() == [7]


def test_integers_grow_beyond_64_bits_in_a_loop(session: ub.Session):
    loop = session.from_items([3]).repeat(50, lambda d: d.map(lambda x: x * 3))
    result = run(loop.plan, platforms=session.platforms(), progress=False, lifting=True)
    assert result.elements == [3**51]
    assert result.run.unlifted


def test_what_a_body_raises_is_what_the_function_raises(session: ub.Session):
    loop = session.from_items([4]).repeat(9, lambda d: d.map(lambda x: 100 // (x - 1) * 0 + x - 1))
    line = sys._getframe().f_lineno - 1
    for lifting in (True, False):
        with pytest.raises(ub.FunctionError, match="ZeroDivisionError") as caught:
            run(loop.plan, platforms=session.platforms(), progress=False, lifting=lifting)
        assert f":{line}" in str(caught.value)

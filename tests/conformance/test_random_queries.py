"""Random queries give the same answer on every engine and on random mixed placements."""

from __future__ import annotations

import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import sqlite_file
from tests.conformance.compare import assert_same_rows
from tests.conformance.engines import at_home, platform
from tests.conformance.random_queries import queries
from tests.postgres_server import available
from umbel.executor import run
from umbel.plan.operators import Operator, Sort, rebuild
from umbel.plan.text import plan_to_text
from umbel.platforms.registry import Registry

REGISTRY = Registry.discover()
ENGINES = [p.name for p in REGISTRY if p.name != "python"]
ENGINES.append("sqlite")
if available():
    ENGINES.append("postgres")
relaxed = settings(
    deadline=None,
    max_examples=120,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def pinned(root: Operator, choose: random.Random | str) -> Operator:
    """Pin each operator to an engine that does not refuse it: one engine, or a random one."""

    def pin(operator: Operator) -> Operator:
        if isinstance(choose, str):
            able = REGISTRY[choose].refuse(operator) is None
            return operator.pinned(choose if able else "python")
        return operator.pinned(
            choose.choice([p.name for p in REGISTRY if p.refuse(operator) is None])
        )

    return rebuild(root, pin)


def with_home(root: Operator, draw: random.Random) -> Operator:
    """The plan, in half of the draws with the tables that SQLite's file can hold in there."""
    return sqlite_file.stored(root) if draw.random() < 0.5 else root


def on_each_engine(root: Operator) -> list[Operator]:
    """The plan, as far as each engine runs it there."""
    return [pinned(at_home(engine, root), engine) for engine in ENGINES]


def check(root: Operator, *placements: Operator) -> None:
    expected = run(pinned(root, "python"), platforms=REGISTRY).table
    for placed in placements:
        actual = run(placed, platforms=REGISTRY).table
        assert actual.schema.types == root.schema.types
        context = plan_to_text(placed, where)
        assert_same_rows(actual, expected, ordered=isinstance(root, Sort), context=context)


def where(operator: Operator) -> str:
    return f"@{operator.pin}"


@pytest.fixture(scope="module", autouse=True)
def _with_databases() -> None:
    """PostgreSQL takes part too, once the server is up, and SQLite with its file."""
    for name in ("sqlite", *(["postgres"] if available() else [])):
        if name not in REGISTRY:
            REGISTRY.add(platform(name))


@relaxed
@given(root=queries())
def test_on_one_engine(root: Operator) -> None:
    check(root, *on_each_engine(root))


@relaxed
@given(root=queries(), seed=st.integers(0, 2**32))
def test_on_mixed_placements(root: Operator, seed: int) -> None:
    draw = random.Random(seed)
    check(root, pinned(with_home(root, draw), draw))


@relaxed
@given(root=queries(), seed=st.integers(0, 2**32))
def test_as_the_optimizer_chooses(root: Operator, seed: int) -> None:
    check(root, with_home(root, random.Random(seed)))

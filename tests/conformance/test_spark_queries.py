"""Random queries give the same answer on Spark, alone and mixed with the other engines."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import sqlite_file
from tests.conformance.compare import assert_same_rows
from tests.conformance.engines import platform
from tests.conformance.random_queries import queries
from tests.postgres_server import available
from umbel.executor import run
from umbel.plan.operators import Operator, Sort, rebuild
from umbel.plan.text import plan_to_text
from umbel.platforms.registry import Registry

#: A job costs about half a second, so few are drawn.
few = settings(
    deadline=None,
    max_examples=12,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)


#: What Spark is mixed with.
OTHERS = ["duckdb", "polars", "python", "datafusion", "sqlite"]
if available():
    OTHERS.append("postgres")


@pytest.fixture(scope="module")
def registry(spark_url: str) -> Iterator[Registry]:
    made = Registry.discover()
    made.attach("spark", spark_url)
    made.add(platform("sqlite"))
    if available():
        made.add(platform("postgres"))
    yield made
    made.detach("spark")


def check(root: Operator, registry: Registry, choices: list[str] | None) -> None:
    """Pin what Spark runs to it, or to one of several engines by a draw; compare with Python."""
    draw = random.Random(repr(choices))

    def pin(operator: Operator) -> Operator:
        able = [p.name for p in registry if p.refuse(operator) is None]
        if choices is None:
            return operator.pinned("spark" if "spark" in able else "python")
        return operator.pinned(draw.choice([name for name in able if name in choices] or able))

    placed = rebuild(root if choices is None else sqlite_file.stored(root), pin)
    reference = rebuild(root, lambda operator: operator.pinned("python"))
    expected = run(reference, platforms=registry).table
    actual = run(placed, platforms=registry).table
    shown = plan_to_text(placed, lambda operator: f"@{operator.pin}")
    assert actual.schema.types == root.schema.types
    assert_same_rows(actual, expected, ordered=isinstance(root, Sort), context=shown)


@few
@given(root=queries())
def test_on_spark(registry: Registry, root: Operator) -> None:
    check(root, registry, None)


@few
@given(root=queries(), other=st.sampled_from(OTHERS))
def test_on_spark_and_another_engine(registry: Registry, root: Operator, other: str) -> None:
    check(root, registry, ["spark", other])

"""Queries that may fail either fail on every engine and placement, or give one answer on all."""

from __future__ import annotations

import random

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conformance.compare import assert_same_rows
from tests.conformance.failing_queries import failing_queries
from tests.conformance.test_random_queries import (
    REGISTRY,
    _with_databases,
    on_each_engine,
    pinned,
    where,
    with_home,
)
from umbel.executor import run
from umbel.plan.errors import RunError
from umbel.plan.operators import Operator, Sort, Values, topological
from umbel.plan.text import plan_to_text

relaxed = settings(
    deadline=None,
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def outcome(root: Operator) -> pa.Table | RunError:
    try:
        return run(root, platforms=REGISTRY).table
    except RunError as error:
        return error


def check(root: Operator, *placements: Operator) -> None:
    """The outcome of a plan is that of the reference, which evaluates operator by operator."""
    expected = outcome(pinned(root, "python"))
    tables = [op.table.to_pydict() for op in topological(root) if isinstance(op, Values)]
    for placed in placements:
        actual = outcome(placed)
        context = f"{plan_to_text(placed, where)}\n{tables}"
        if isinstance(expected, RunError) or isinstance(actual, RunError):
            failed = [isinstance(found, RunError) for found in (expected, actual)]
            assert all(failed), f"{context}\n{expected}\n{actual}"
        else:
            assert_same_rows(actual, expected, ordered=isinstance(root, Sort), context=context)


_ = _with_databases  # PostgreSQL and SQLite take part


@relaxed
@given(root=failing_queries())
def test_on_one_engine(root: Operator) -> None:
    check(root, *on_each_engine(root))


@relaxed
@given(root=failing_queries(), seed=st.integers(0, 2**32))
def test_on_mixed_placements(root: Operator, seed: int) -> None:
    draw = random.Random(seed)
    check(root, pinned(with_home(root, draw), draw))


@relaxed
@given(root=failing_queries())
def test_rewritten(root: Operator) -> None:
    check(root, root)

"""Expressions may be nested as deep as a plan's JSON can hold them, and no deeper."""

from __future__ import annotations

import functools
import operator

import pyarrow as pa
import pytest

import umbel as ub
from umbel import col
from umbel.plan.codec import plan_from_json, plan_to_json
from umbel.plan.limits import MAX_EXPRESSION_DEPTH


@pytest.fixture(params=["python", "polars", "duckdb"])
def frame(request: pytest.FixtureRequest) -> ub.DataFrame:
    return ub.connect(progress=False).from_arrow(pa.table({"a": [1, 2]})).on(request.param)


def total(terms: int) -> ub.Expr:
    return functools.reduce(operator.add, [col("a")] * terms)


def test_the_deepest_expression_runs_and_is_written(frame: ub.DataFrame) -> None:
    deepest = frame.select(total(MAX_EXPRESSION_DEPTH).alias("x"))
    assert deepest.collect().column("x").to_pylist() == [128, 256]
    kept = frame.filter(total(MAX_EXPRESSION_DEPTH - 1) > 200)
    assert kept.collect().column("a").to_pylist() == [2]
    for plan in (deepest.plan, kept.plan, frame.sort(total(MAX_EXPRESSION_DEPTH)).plan):
        assert plan_from_json(plan_to_json(plan)) == plan


@pytest.mark.parametrize("terms", [MAX_EXPRESSION_DEPTH + 1, 2_000, 100_000])
def test_a_deeper_one_is_refused_where_it_is_used(terms: int) -> None:
    frame = ub.connect(progress=False).from_arrow(pa.table({"a": [1, 2], "b": [1, 2]}))
    deep = total(terms)
    assert repr(deep) == f"<an expression nested {terms:,} deep>"
    for use in (
        lambda: frame.select(deep),
        lambda: frame.with_columns(x=deep),
        lambda: frame.filter(deep > 1),
        lambda: frame.sort(deep),
        lambda: frame.group_by("b").agg(deep.sum().alias("x")),
        lambda: frame.group_by(deep.alias("k")).agg(ub.len()),
        lambda: frame.with_columns(deep.sum().over("b").alias("x")),
    ):
        with pytest.raises(ub.PlanError, match=f"deep, and at most {MAX_EXPRESSION_DEPTH}"):
            use()


def test_steps_go_as_deep_as_one_likes(frame: ub.DataFrame) -> None:
    for _ in range(3):
        frame = frame.with_columns(total(MAX_EXPRESSION_DEPTH).alias("a"))
    assert frame.collect().column("a").to_pylist() == [128**3, 2 * 128**3]


def test_a_case_may_have_many_branches(frame: ub.DataFrame) -> None:
    chain = ub.when(col("a") == 0).then(0)
    for number in range(1, 500):
        chain = chain.when(col("a") == number).then(-number)
    answer = frame.select(chain.otherwise(7).alias("x")).collect()
    assert sorted(answer.column("x").to_pylist()) == [-2, -1]


def test_a_function_that_would_be_deeper_stays_a_function() -> None:
    def added(x: int) -> int:
        for _ in range(500):
            x += 1
        return x

    assert ub.connect(progress=False).from_items([1, 2]).map(added).collect() == [501, 502]

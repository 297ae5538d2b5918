"""A frame written as SQL and read back gives the same answer."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

import umbel as ub
from tests.conformance.compare import assert_same_rows, rows_of
from tests.conformance.random_queries import queries
from tests.sql.test_golden import BLOCKS, tables
from umbel import col
from umbel.plan.errors import PlanError, UmbelError
from umbel.plan.operators import Operator


@pytest.fixture(scope="module")
def session() -> ub.Session:
    made = ub.connect(progress=False)
    for name, table in tables().items():
        made.register(name, table)
    return made


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_what_was_read_can_be_written_and_read_again(session: ub.Session, block: str) -> None:
    if "recursive" in block:
        pytest.skip("a loop has no SQL")
    frame = session.sql(block.removeprefix("-- ordered").strip())
    again = session.sql(frame.to_sql())
    assert again.plan.schema.names == frame.plan.schema.names
    ordered = block.startswith("-- ordered")
    left, right = frame.on("duckdb").collect(), again.on("duckdb").collect()
    assert_same_rows(rows_of(left), rows_of(right), ordered=ordered, context=frame.to_sql())


@given(plan=queries())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_random_plans_mean_the_same_after_writing_and_reading(plan: Operator) -> None:
    session = ub.connect(progress=False)
    try:
        text = ub.DataFrame(plan, session).to_sql()
    except PlanError as error:
        assert "SQL" in error.message  # noqa: PT017 (it is a way out, not what is tested)
        return
    again = session.sql(text)
    assert again.plan.schema.names == plan.schema.names
    try:
        expected = ub.DataFrame(plan, session).on("python").collect()
    except UmbelError:
        return
    actual = again.on("python").collect()
    assert_same_rows(rows_of(actual), rows_of(expected), context=text)


def test_another_dialect_is_written(session: ub.Session) -> None:
    frame = session.registered["t"].filter(col("i") > 1).select(half=col("j") / 2)
    assert "DOUBLE PRECISION" in frame.to_sql("postgres")
    with pytest.raises(PlanError, match="unknown SQL dialect"):
        frame.to_sql("klingon")


def test_what_has_no_sql_is_refused(session: ub.Session) -> None:
    frame = session.registered["t"].sample(2, seed=1)
    with pytest.raises(PlanError, match="SQL"):
        frame.to_sql()
    unnamed = session.from_dict({"a": [1]})
    with pytest.raises(PlanError, match="register"):
        unnamed.to_sql()

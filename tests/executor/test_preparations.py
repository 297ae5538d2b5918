"""A question that is asked again has its plan, as long as planning anew would give the same one."""

from __future__ import annotations

import gc
import os
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import umbel as ub
from umbel import col
from umbel.executor.preparations import Preparations
from umbel.platforms.costs import Price

#: Long enough ago that a file which changes again has another time for sure.
AN_HOUR = 3600


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.parquet"
    write(path, 1000)
    return path


def write(path: Path, rows: int, ago: float = AN_HOUR) -> None:
    pq.write_table(pa.table({"a": list(range(rows))}), path)
    then = time.time() - ago
    os.utime(path, (then, then))


def odd(session: ub.Session, path: Path) -> ub.DataFrame:
    return session.read_parquet(path).filter(col("a") % 2 == 1)


def ask(session: ub.Session, path: Path) -> bool:
    """Ask, always from this line; whether the plan was one of before."""
    count = odd(session, path).collect().num_rows
    assert count == pq.read_metadata(path).num_rows // 2
    return was_prepared(session)


def was_prepared(session: ub.Session) -> bool:
    run = session.last_run
    assert run is not None
    assert ("planned before" in str(run)) == run.prepared
    return run.prepared


def test_a_plan_serves_again_once_the_rows_are_counted(session: ub.Session, path: Path):
    # The first run counts, the second is planned with the counts, and there is no more to learn.
    assert [ask(session, path) for _ in range(4)] == [False, False, True, True]
    assert session.last_run is not None
    assert session.last_run.stages[-1].operators[-1].rows == 500
    assert session.last_run.stages[-1].text


@pytest.mark.parametrize("engine", ["duckdb", "polars", "datafusion", "python"])
def test_compiled_stages_serve_again(session: ub.Session, path: Path, engine: str):
    for _ in range(4):
        answer = odd(session, path).on(engine).sort("a").collect()
        assert answer == pa.table({"a": list(range(1, 1000, 2))})
    assert was_prepared(session)


def test_a_changed_file_is_planned_anew(session: ub.Session, path: Path):
    for _ in range(3):
        ask(session, path)
    write(path, 3000, ago=AN_HOUR - 10)
    assert [ask(session, path) for _ in range(3)] == [False, False, True]


def test_a_file_that_changed_just_now_is_not_relied_on(session: ub.Session, path: Path):
    write(path, 3000, ago=0)
    answers = [ask(session, path) for _ in range(3)]
    assert answers == [False, False, False]


def test_a_file_that_is_gone_is_an_error_as_before(session: ub.Session, path: Path):
    for _ in range(3):
        ask(session, path)
    frame = odd(session, path)
    path.unlink()
    with pytest.raises(ub.SourceError, match=r"a\.parquet"):
        frame.collect()


def test_new_prices_budgets_and_platforms_are_planned_anew(session: ub.Session, path: Path):
    for _ in range(3):
        ask(session, path)
    session.platforms().set_price("duckdb", Price(per_hour=1.0))
    assert [ask(session, path) for _ in range(2)] == [False, True]
    session.budget = ub.Budget(seconds=100)
    assert [ask(session, path) for _ in range(2)] == [False, True]
    session.catalog.attach("shop", f"sqlite:///{path.parent}/shop.db")
    assert [ask(session, path) for _ in range(2)] == [False, True]


def test_another_line_has_records_of_its_own(session: ub.Session, path: Path):
    for _ in range(3):
        ask(session, path)
    session.read_parquet(path).filter(col("a") % 2 == 1).collect()
    assert not was_prepared(session)


def test_tables_in_memory_and_functions_are_not_kept(session: ub.Session, path: Path):
    table = pa.table({"a": [1, 2, 3]})
    gone = weakref.ref(table)
    for _ in range(3):
        session.from_arrow(table).filter(col("a") > 1).collect()
        assert not was_prepared(session)
        session.read_parquet(path).rows().map(lambda row: row.a).count()
        assert not was_prepared(session)
    session.last_run = None
    del table
    gc.collect()
    assert gone() is None


def test_threads_share_a_plan_but_no_compiled_stage(session: ub.Session, path: Path):
    for _ in range(3):
        ask(session, path)
    frames = [odd(session, path).sort("a") for _ in range(8)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda frame: frame.collect(), frames * 3))
    assert all(answer.column("a").to_pylist() == list(range(1, 1000, 2)) for answer in answers)


def test_a_failure_leaves_nothing_behind(session: ub.Session, path: Path):
    def fail(divisor: int) -> ub.DataFrame:
        return session.read_parquet(path).select((col("a").cast(pa.int8()) + divisor).alias("b"))

    for _ in range(3):
        with pytest.raises(ub.RunError):
            fail(1).collect()
    write(path, 100, ago=AN_HOUR - 10)
    assert fail(1).collect().num_rows == 100


def test_only_so_many_plans_are_kept(path: Path, session: ub.Session):
    session._preparations = Preparations(limit=2)
    for number in range(5):
        session.read_parquet(path).filter(col("a") > number).collect()
    assert len(session._preparations) == 2


def sql(session: ub.Session, text: str) -> ub.DataFrame:
    """Read a statement, always from this line."""
    return session.sql(text)


def test_a_statement_is_read_once_while_its_names_mean_the_same(session: ub.Session, path: Path):
    text = "select count(*) as n from t where a % 2 = 1"
    session.register("t", session.read_parquet(path))
    first = sql(session, text)
    assert sql(session, text).plan is first.plan
    assert [sql(session, text).collect().to_pydict() for _ in range(3)] == [{"n": [500]}] * 3
    assert was_prepared(session)
    other = path.with_name("b.parquet")
    write(other, 10)
    session.register("t", session.read_parquet(other))
    assert sql(session, text).collect().to_pydict() == {"n": [5]}
    assert sql(session, text).plan is not first.plan
    del session.registered["t"]
    with pytest.raises(ub.PlanError, match="unknown table 't'"):
        sql(session, text)


def test_a_statement_over_a_file_sees_its_new_columns(session: ub.Session, path: Path):
    text = f"select * from '{path}' where 1 = 1"
    assert sql(session, text).schema.names == ["a"]
    assert sql(session, text).plan is sql(session, text).plan
    pq.write_table(pa.table({"b": ["x"]}), path)
    assert cast("pa.Table", sql(session, text).collect()).to_pydict() == {"b": ["x"]}


def test_statements_with_parameters_tables_in_memory_and_options_are_read_anew(
    session: ub.Session, path: Path
):
    session.register("t", session.from_dict({"a": [1, 2]}))
    text = "select a from t where a > ?"
    answers = [session.sql(text, parameters=[n]).collect().num_rows for n in (0, 1, 2)]
    assert answers == [2, 1, 0]
    session.register("u", session.from_dict({"b": [1, 2]}))
    assert (
        sql(session, "select b + 1 as c from u").plan
        is not sql(session, "select b + 1 as c from u").plan
    )
    csv = path.with_name("a.csv")
    csv.write_text("a;b\n1;2\n")
    text = f"select * from read_csv('{csv}', delim = ';')"
    assert sql(session, text).plan is not sql(session, text).plan
    assert session._readings is not None
    assert len(session._readings) == 0

"""Every row count that a record tells is true, on every engine; and many are told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import umbel as ub
from umbel import col
from umbel.executor import Run
from umbel.executor import run as run_plan
from umbel.executor.record import OperatorRecord
from umbel.plan.operators import Operator

ROWS = 5_000


@pytest.fixture
def numbers(session: ub.Session, tmp_path: Path) -> ub.DataFrame:
    path = tmp_path / "numbers.parquet"
    table = pa.table({"k": [i % 40 for i in range(ROWS)], "v": list(range(ROWS))})
    pq.write_table(table, path, row_group_size=1000)
    return session.read_parquet(path)


@pytest.fixture
def names(session: ub.Session) -> ub.DataFrame:
    return session.from_dict({"key": list(range(0, 80, 2)), "name": list("abcd") * 10})


Query = Callable[[ub.DataFrame, ub.DataFrame], ub.DataFrame]

#: In each, names of operators whose rows DuckDB's profile, or logic alone, must tell.
QUERIES: dict[str, tuple[Query, set[str]]] = {
    "filter and group": (
        lambda f, _: f.filter(col("v") > 1000).group_by("k").agg(s=col("v").sum()),
        {"Scan", "Aggregate"},
    ),
    "filter, group and aggregate": (
        lambda f, _: (
            f.filter(col("v") % 3 == 1).group_by("k").agg(s=col("v").sum()).select(col("s").max())
        ),
        {"Scan", "Aggregate"},
    ),
    "join and group": (
        lambda f, n: (
            f.filter(col("v") < 3000)
            .join(n, left_on="k", right_on="key")
            .group_by("name")
            .agg(s=col("v").sum())
            .sort("s")
        ),
        {"Join", "Aggregate", "Sort"},
    ),
    "left join": (
        lambda f, n: (
            f.join(n, left_on="k", right_on="key", how="left").group_by("name").agg(ub.len())
        ),
        {"Scan", "Join", "Aggregate"},
    ),
    "semi join": (
        lambda f, n: f.join(n, left_on="k", right_on="key", how="semi").select(col("v").sum()),
        {"Join", "Aggregate"},
    ),
    "residual condition": (
        lambda f, n: (
            f.join(
                n, left_on="k", right_on="key", where=col("v") > col("name").str.len_chars() * 50
            )
            .group_by("name")
            .agg(ub.len())
        ),
        {"Aggregate"},
    ),
    "filter above a join": (
        lambda f, n: (
            f.join(n, left_on="k", right_on="key", how="left")
            .filter((col("v") > 100) | col("name").is_null())
            .group_by("name")
            .agg(ub.len())
        ),
        {"Aggregate"},
    ),
    "filter above a group": (
        lambda f, _: f.group_by("k").agg(s=col("v").sum()).filter(col("k") > 7).sort("s"),
        {"Sort"},
    ),
    "best of groups": (
        lambda f, _: (
            f.filter(col("v") > 9)
            .group_by("k")
            .agg(s=col("v").sum())
            .sort("k", descending=True)
            .limit(3)
        ),
        {"Limit"},
    ),
    "limit": (lambda f, _: f.filter(col("v") % 2 == 0).limit(7), {"Limit"}),
    "distinct": (lambda f, _: f.select("k").distinct().select(n=col("k").sum()), {"Aggregate"}),
    "union": (lambda f, _: f.union(f).select(n=col("v") + 1), {"Union", "Scan"}),
    "two joins": (
        lambda f, n: (
            f.join(n, left_on="k", right_on="key")
            .join(n.rename({"key": "x", "name": "y"}), left_on="v", right_on="x")
            .group_by("y")
            .agg(ub.len())
        ),
        {"Aggregate"},
    ),
}


def pinned(frame: ub.DataFrame, platform: str) -> Operator:
    from umbel.plan.operators import rebuild

    return rebuild(frame.plan, lambda operator: operator.pinned(platform))


def records(run: Run) -> list[tuple[Operator, OperatorRecord]]:
    return [
        (planned.operator, record)
        for stage, recorded in zip(run.plan.stages, run.stages, strict=True)
        for planned, record in zip(stage.operators, recorded.operators, strict=True)
    ]


@pytest.mark.parametrize("platform", ["python", "polars", "duckdb"])
@pytest.mark.parametrize("name", QUERIES)
def test_what_is_told_is_true(
    name: str, platform: str, session: ub.Session, numbers: ub.DataFrame, names: ub.DataFrame
):
    """Each operator's rows are counted again by running the plan up to it on the reference."""
    query, told = QUERIES[name]
    reference = session.platforms().only("python")
    plan = pinned(query(numbers, names), platform)
    result = run_plan(plan, platforms=session.platforms(), progress=False, profile=True)
    found = records(result.run)
    for operator, record in found:
        if record.rows is None:
            continue
        from umbel.plan.operators import rebuild

        free = rebuild(operator, lambda op: op.pinned(""))
        true = run_plan(free, platforms=reference, progress=False).table.num_rows
        if record.partial:
            assert record.rows <= true, record
        else:
            assert record.rows == true, record
    if platform == "duckdb":
        known = {record.name for _, record in found if record.rows is not None}
        assert told <= known


def test_a_statement_is_profiled_only_when_asked(numbers: ub.DataFrame):
    """It costs DuckDB a few percent."""
    query, _ = QUERIES["filter and group"]
    for asked in (False, True):
        session = ub.connect(progress=False, profile=asked)
        run = session.run(pinned(query(numbers, numbers), "duckdb")).run
        # The filter goes into the scan.
        (filtered,) = [record for _, record in records(run) if record.name == "Scan"]
        assert filtered.rows == (ROWS - 1001 if asked else None)


def test_counts_that_follow_from_others_say_so(session: ub.Session):
    frame = session.from_dict({"a": [1, 2, 3]}).select(b=col("a") + 1).filter(col("b") > 2)
    plan = pinned(frame, "polars")
    run = run_plan(plan, platforms=session.platforms(), progress=False).run
    scan, *_, last = [record for _, record in records(run)]
    assert (scan.name, scan.rows, scan.inferred) == ("Scan", 3, True)
    assert (last.rows, last.inferred) == (2, False)


def test_what_a_limit_cut_short_is_marked_and_not_remembered(session: ub.Session):
    items = session.from_items(list(range(100_000)))
    some = items.filter(lambda x: hash(x) % 2).on("python").to_frame({"n": int}).limit(3)
    run = some.on("python").execute().run
    (cut,) = [record for _, record in records(run) if record.name == "FilterRows"]
    assert cut.partial
    assert cut.rows is not None
    assert 3 <= cut.rows < 50_000
    assert cut.digest not in run.measured_rows()
    assert f"≥ {cut.rows:,}" in str(run)

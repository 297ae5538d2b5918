"""A second run knows what the first has counted, as long as the sources stay what they are."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import umbel as ub
from umbel import col
from umbel.executor.measurements import Measurements


def write(path: Path, rows: int) -> None:
    pq.write_table(pa.table({"a": list(range(rows))}), path)


def odd(session: ub.Session, path: Path) -> ub.DataFrame:
    """A filter that statistics do not tell the rows of: half of them."""
    return session.read_parquet(path).filter(col("a") % 2 == 1)


def told(frame: ub.DataFrame) -> list[tuple[bool, list[float]]]:
    data = json.loads(frame.explain().to_json())
    return [(op["measured"], op["rows"]) for stage in data["stages"] for op in stage["operators"]]


def test_the_second_run_knows_what_the_first_counted(session: ub.Session, tmp_path: Path):
    path = tmp_path / "a.parquet"
    write(path, 1000)
    assert not any(measured for measured, _ in told(odd(session, path)))
    assert "measured" not in odd(session, path).explain().text()
    assert odd(session, path).collect().num_rows == 500
    assert (True, [500, 500]) in told(odd(session, path))
    assert "500 rows, measured" in odd(session, path).explain().text()
    odd(session, path).collect()
    assert session.last_run is not None
    (root,) = [stage.operators[-1] for stage in session.last_run.stages[-1:]]
    assert root.estimated_rows == (500, 500)  # the fact, beside what was counted again
    assert root.rows == 500


def test_other_queries_over_the_same_part_know_it_too(session: ub.Session, tmp_path: Path):
    path = tmp_path / "a.parquet"
    write(path, 1000)
    odd(session, path).collect()
    assert (True, [500, 500]) in told(odd(session, path).with_columns(b=col("a") + 1).sort("b"))


def test_a_changed_file_drops_it(session: ub.Session, tmp_path: Path):
    path = tmp_path / "a.parquet"
    write(path, 1000)
    odd(session, path).collect()
    write(path, 3000)
    assert not any(measured for measured, _ in told(odd(session, path)))
    odd(session, path).collect()
    assert (True, [1500, 1500]) in told(odd(session, path))


def test_a_file_that_only_looks_newer_drops_it(session: ub.Session, tmp_path: Path):
    path = tmp_path / "a.parquet"
    write(path, 1000)
    odd(session, path).collect()
    os.utime(path, ns=(1, 1))
    assert not any(measured for measured, _ in told(odd(session, path)))


def test_a_file_more_in_a_folder_drops_it(session: ub.Session, tmp_path: Path):
    write(tmp_path / "a.parquet", 1000)
    odd(session, tmp_path).collect()
    assert (True, [500, 500]) in told(odd(session, tmp_path))
    write(tmp_path / "b.parquet", 10)
    assert not any(measured for measured, _ in told(odd(session, tmp_path)))


def test_data_in_memory_is_known_by_who_it_is(session: ub.Session):
    frame = session.from_dict({"a": [1, 2, 3, 4, 5]})
    frame.filter(col("a") % 2 == 1).collect()
    assert (True, [3, 3]) in told(frame.filter(col("a") % 2 == 1))
    same = session.from_dict({"a": [1, 2, 3, 4, 5]})
    assert not any(measured for measured, _ in told(same.filter(col("a") % 2 == 1)))


def test_another_session_knows_nothing(session: ub.Session, tmp_path: Path):
    path = tmp_path / "a.parquet"
    write(path, 1000)
    odd(session, path).collect()
    assert not any(measured for measured, _ in told(odd(ub.connect(progress=False), path)))


def test_a_file_that_changed_while_it_was_read_is_not_remembered(
    session: ub.Session, tmp_path: Path
):
    path = tmp_path / "a.parquet"
    write(path, 1000)
    measurements = Measurements()
    plan = odd(session, path).plan
    facts = measurements.facts(plan)
    run = odd(session, path).execute().run
    write(path, 1000)
    os.utime(path, ns=(1, 1))
    measurements.remember(run, facts)
    assert len(measurements) == 0


def test_what_is_long_not_asked_for_is_forgotten(session: ub.Session):
    measurements = Measurements(limit=3)
    frames = [session.from_dict({"a": [n, 1, 2]}).filter(col("a") % 2 == 1) for n in range(4)]
    for frame in frames:
        measurements.remember(frame.execute().run, measurements.facts(frame.plan))
    assert 0 < len(measurements) <= 3
    assert not measurements.facts(frames[0].plan).rows
    assert measurements.facts(frames[-1].plan).rows


@pytest.mark.parametrize("rows", [0, 1])
def test_few_rows_are_facts_too(session: ub.Session, tmp_path: Path, rows: int):
    path = tmp_path / "a.parquet"
    write(path, 100)
    frame = session.read_parquet(path).filter(col("a") * 2 < rows * 2)
    assert frame.collect().num_rows == rows
    assert (True, [rows, rows]) in told(session.read_parquet(path).filter(col("a") * 2 < rows * 2))

"""Memory: limits reach the engines, results are whole however they were held, and held once."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute
import pytest

import umbel as ub
from umbel import col
from umbel.executor.events import Event, RunFinished
from umbel.executor.memory import machine_memory, memory_in_use


def test_a_limit_makes_python_spill_and_the_result_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The result itself lies in the run's scratch folder, which goes when the run ends."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    spilled: list[list[Path]] = []

    def last(x):
        if x[0] == 0:
            spilled.append(list(tmp_path.rglob("*.spill")))
        return x

    session = ub.connect(progress=False, memory_limit=200_000)
    numbers = session.from_items(list(range(30_000, -1, -1)))
    pairs = numbers.map(lambda x: (x, "x" * 50 + str(hash(x)))).sort_by().map(last)
    result = pairs.execute()
    assert [x for x, _ in result.elements] == list(range(30_001))
    assert type(result.elements) is list
    assert spilled[0]  # it did spill
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("platform", ["duckdb", "python", "polars"])
def test_the_limit_reaches_the_engine(platform: str, monkeypatch: pytest.MonkeyPatch):
    limits: list[int] = []
    session = ub.connect(progress=False, memory_limit=123_456_789)
    found = session.platforms()[platform]
    compile_stage = found.compile

    class Watching:
        def __init__(self, stage: Any) -> None:
            self.inner = compile_stage(stage)
            self.text = self.inner.text

        def run(self, inputs: Any, context: Any) -> Any:
            limits.append(context.memory_limit)
            return self.inner.run(inputs, context)

    monkeypatch.setattr(found, "compile", Watching)
    session.from_dict({"a": [2, 1]}).sort("a").on(platform).collect()
    assert set(limits) == {123_456_789}


def test_duckdb_keeps_to_the_limit():
    session = ub.connect(progress=False, memory_limit=200_000_000)
    session.from_dict({"a": [2, 1]}).sort("a").on("duckdb").collect()
    database = session.platforms()["duckdb"].database()
    (limit,) = database.cursor().execute("SELECT current_setting('memory_limit')").fetchone()
    assert limit.startswith("190.7")  # MiB


def test_the_result_of_a_frame_is_held_once():
    """While the result is handed over, no second copy of it is alive."""
    session = ub.connect(progress=False)
    rows = 2_000_000
    frame = session.from_arrow(pa.table({"a": pa.array(range(rows), pa.int64())}))
    doubled = frame.select((col("a") * 2).alias("b"))
    size = 8 * rows
    before = pa.total_allocated_bytes()
    result = doubled.on("duckdb").collect()
    assert result.nbytes >= size
    assert pa.total_allocated_bytes() - before < 1.5 * size
    del result
    assert pa.total_allocated_bytes() - before < 0.1 * size


def test_nothing_of_a_run_is_kept_but_its_result():
    """The record, the session and the platforms hold no data."""
    import gc
    import weakref

    class Value:
        alive: ClassVar[weakref.WeakSet[Any]] = weakref.WeakSet()

        def __init__(self, n: int) -> None:
            self.alive.add(self)

    ended: list[Event] = []
    session = ub.connect(progress=False, listener=ended.append)
    result = session.from_items([1, 2, 3]).map(Value).execute()
    run = result.run
    gc.collect()
    assert len(Value.alive) == 3
    del result
    gc.collect()
    assert len(Value.alive) == 0
    assert run.stages[0].rows == 3
    assert isinstance(ended[-1], RunFinished)
    assert session.last_run is run


def test_tables_kept_in_duckdb_are_dropped():
    """What stays inside the engine between two of its stages is gone after the run."""
    session = ub.connect(progress=False)
    frame = session.from_dict({"a": [3, 1, 2]}).sort("a").on("duckdb")
    shared = frame.filter(col("a") > 1).on("duckdb")
    left = shared.rows().map(lambda r: hash(r.a)).to_frame({"a": int}).on("python")
    shared.join(left, on="a").on("duckdb").collect()
    database = session.platforms()["duckdb"].database()
    tables = database.cursor().execute("SELECT table_name FROM duckdb_tables()").fetchall()
    assert tables == []


#: In a process of its own: another one holds what earlier tests let go of, and takes that first.
MORE = """
import sys
import pyarrow as pa
import umbel as ub
from umbel.executor.memory import memory_in_use

[platform] = sys.argv[1:]
ub.connect(progress=False).from_dict({"a": [1]}).on(platform).collect()
session = ub.connect(progress=False, memory_budget=memory_in_use() + (100 << 20))
left = session.from_arrow(pa.table({"a": pa.array(range(5_000))}))
right = session.from_arrow(pa.table({"b": pa.array(range(5_000))}))
try:
    left.join(right, how="cross").on(platform).collect()
except ub.MemoryLimitError as error:
    print(error)
# The session goes on.
few = session.from_dict({"b": [1, 2]})
print(left.join(few, how="cross").on(platform).count())
"""


@pytest.mark.parametrize("platform", ["polars", "datafusion"])
def test_a_run_that_takes_more_than_the_budget_is_stopped(platform: str):
    """400 MB of pairs, on engines that give them as a whole."""
    pytest.importorskip(platform)
    run = [sys.executable, "-c", MORE, platform]
    text = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    assert re.search(rf"for want of memory.*'{platform}'.*Join", text)
    assert text.endswith("\n10000\n")


def test_rows_that_come_in_pieces_are_spilled_and_stay_when_the_run_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    ub.connect(progress=False).from_dict({"a": [1]}).on("duckdb").collect()
    before = memory_in_use()
    session = ub.connect(progress=False, memory_limit=64 << 20, memory_budget=before + (300 << 20))
    left = session.from_arrow(pa.table({"a": pa.array(range(5_000))}))
    right = session.from_arrow(pa.table({"b": pa.array(range(5_000))}))
    pairs = left.join(right, how="cross").on("duckdb").collect()
    assert (pairs.num_rows, pairs.nbytes) == (25_000_000, 400_000_000)
    assert pa.compute.sum(pairs["b"]).as_py() == 5_000 * sum(range(5_000))
    assert not list(tmp_path.glob("umbel-*/*.arrow"))  # the file's name is gone
    del pairs


@pytest.mark.parametrize(
    ("groups", "own", "expected"),
    [
        ({"memory.max": "max"}, "0::/", None),
        ({"memory.max": "max", "a/memory.max": "3000", "a/b/memory.max": "max"}, "0::/a/b", 3000),
        ({"memory.max": "2000"}, "0::/of/the/host", 2000),
        ({"memory/memory.limit_in_bytes": "1000"}, "3:cpu:/x\n2:memory:/x", 1000),
    ],
    ids=["none", "of a parent", "of a container", "version 1"],
)
def test_memory_is_that_of_the_control_group(
    tmp_path: Path, groups: dict[str, str], own: str, expected: int | None
):
    for name, text in groups.items():
        path = tmp_path / "groups" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    (tmp_path / "own").write_text(own + "\n")
    found = machine_memory(tmp_path / "groups", tmp_path / "own")
    whole = machine_memory(tmp_path / "groups", tmp_path / "none")
    assert found == (whole if expected is None else expected)


def test_the_limits_of_a_configuration_are_for_sessions_without(tmp_path: Path):
    file = tmp_path / "umbel.toml"
    file.write_text("[limits]\nmemory_limit = 1_000_000\nmemory_budget = 2_000_000_000\n")
    session = ub.connect(config=file, memory_limit=5_000_000)
    assert (session.memory_limit, session.memory_budget) == (5_000_000, 2_000_000_000)
    file.write_text("[limits]\nmemory_budget = -1\n")
    with pytest.raises(ub.PlanError, match=r"umbel\.toml.*memory_budget"):
        ub.connect(config=file)
    with pytest.raises(ub.PlanError, match="memory budget cannot be -5 bytes"):
        ub.connect(memory_budget=-5, progress=False).from_dict({"a": [1]}).collect()

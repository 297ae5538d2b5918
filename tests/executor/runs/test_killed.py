"""Runs whose process is killed: resumed, they give what they would have given, and write once."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import umbel as ub
from tests import postgres_server
from tests.executor.runs import victims
from umbel.executor.runs import RunStore
from umbel.executor.runs.history import StageKept

#: The rows of the pipeline's data, and what it makes of them.
ROWS = [(a, a % 3) for a in range(50)]
NAMES = ["x", "y", "z"]
EXPECTED = {
    name: sum(a for a, b in ROWS if a > 4 and b == number) for number, name in enumerate(NAMES)
}
TABLE = {"name": list(EXPECTED), "total": list(EXPECTED.values())}
CSV = "name,total\n" + "".join(f"{name},{total}\n" for name, total in EXPECTED.items())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.parquet"
    pq.write_table(pa.table({"a": [a for a, _ in ROWS], "b": [b for _, b in ROWS]}), path)
    return path


#: A process dies at the first, the next resumes and dies at the second, and so on: before, in and
#: after each of three stages, and between all that is done to keep one.
FATE = [
    "run-created",
    "stage-started",
    "stage-done",
    "seal-written",
    "seal-placed",
    "stage-kept",  # the first
    "stage-started",
    "stage-kept",  # the second
    "stage-done",
    "seal-placed",
    "run-finished",  # the third, which gives the result
]


def test_a_run_that_dies_everywhere_gives_the_same_answer_and_does_nothing_twice(
    data: Path, tmp_path: Path
) -> None:
    place = tmp_path / "store"
    store = RunStore(place)
    assert victims.killed(FATE[0], victims.run_frame, place, data)
    [run] = store.runs()
    for number, fate in enumerate(FATE[1:], 1):
        assert store.run(run.id).state == "interrupted"
        assert store.history(run.id).tries == number
        assert victims.killed(fate, victims.resume_run, place, run.id), fate
    assert store.run(run.id).state == "finished"
    result = ub.connect(progress=False).resume(run.id, durable=place)
    assert result.table.to_pydict() == TABLE
    events = [timed.event for timed in store.events(run.id)]
    kept = [event for event in events if isinstance(event, StageKept)]
    assert [event.index for event in kept] == [0, 1, 2]  # each once, though all of them died
    assert store.history(run.id).tries == len(FATE)
    # Of all that was sealed only the result is left.
    assert [path.name for path in (store.folder / run.id).iterdir() if path.name != "lock"] == [
        kept[-1].file
    ]


def test_a_run_in_postgresql_goes_on(data: Path, tmp_path: Path) -> None:
    with postgres_server.server().fresh() as url:
        place = f"{url}&folder={tmp_path / 'outputs'}"
        assert victims.killed("stage-kept:2", victims.run_frame, place, data)
        store = RunStore(place)
        [run] = store.runs()
        assert run.state == "interrupted"
        session = ub.connect(progress=False)
        assert session.resume(run.id, durable=place).table.to_pydict() == TABLE
        assert session.last_run is not None
        assert [stage.resumed for stage in session.last_run.stages] == [False, True, False]
        store.close()


@pytest.mark.parametrize(
    ("exists", "place", "there"),
    [
        ("replace", "write-started", False),
        ("replace", "write-staged", False),
        ("replace", "write-intended", False),
        ("replace", "write-done", True),
        ("fail", "write-intended", False),
        ("fail", "write-linked", True),
        ("fail", "write-done", True),
    ],
)
def test_a_file_is_written_once_wherever_its_writer_dies(
    exists: str, place: str, there: bool, data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    target = folder / "out.csv"
    assert victims.killed(place, victims.run_file, tmp_path / "store", data, target, exists)
    [run] = RunStore(tmp_path / "store").runs()
    assert target.exists() == there
    before = target.stat().st_mtime_ns if there else None
    if place not in ("write-started", "write-staged"):
        data.unlink()  # what is staged is put in place as it is: nobody needs what it is made of
    result = ub.connect(progress=False).resume(run.id, durable=tmp_path / "store")
    assert result.table.to_pydict() == {"path": [str(target)], "rows": [3]}
    assert target.read_text() == CSV
    assert before in (None, target.stat().st_mtime_ns), "it was written again"
    assert [path.name for path in folder.iterdir()] == ["out.csv"], "something is left behind"


def test_a_file_that_another_wrote_meanwhile_is_not_replaced(data: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    store = tmp_path / "store"
    assert victims.killed("write-intended", victims.run_file, store, data, target, "fail")
    target.write_text("mine")
    [run] = RunStore(store).runs()
    with pytest.raises(ub.RunError, match="the file is there already"):
        ub.connect(progress=False).resume(run.id, durable=store)
    assert target.read_text() == "mine"
    target.unlink()
    ub.connect(progress=False).resume(run.id, durable=store)  # now it may
    assert target.read_text() == CSV


Rows = Callable[[], list[tuple[str, int]]]


#: Every kind of sink; replacing differs from appending only before the commit.
KINDS = [("sqlite", "append"), ("sqlite", "replace"), ("duckdb", "append"), ("postgres", "append"),
         ("delta", "append"), ("delta", "replace"), ("iceberg", "append")]  # fmt: skip


@pytest.fixture
def sink(kind: str, tmp_path: Path) -> Iterator[tuple[Any, Rows]]:
    """A table with one row, what writes to it, and what reads it by the engine's own means."""
    first = pa.table({"name": ["old"], "total": pa.array([7], pa.int64())})
    match kind:
        case "sqlite":
            path = tmp_path / "db.sqlite"
            with sqlite3.connect(path) as made:
                made.execute("create table t (name text, total bigint)")
                made.execute("insert into t values ('old', 7)")
            made.close()

            def read() -> list[tuple[str, int]]:
                with contextlib.closing(sqlite3.connect(path)) as db:
                    return db.execute("select name, total from t").fetchall()

            yield ("table", f"sqlite:///{path}", path, {}), read
        case "duckdb":
            import duckdb

            path = tmp_path / "db.duckdb"
            with duckdb.connect(path) as db:
                db.execute("create table t as select 'old' as name, 7::bigint as total")

            def read() -> list[tuple[str, int]]:
                with duckdb.connect(path, read_only=True) as db:
                    return db.execute("from t").fetchall()

            yield ("table", f"duckdb:///{path}", path, {}), read
        case "postgres":
            server = postgres_server.server()
            with server.fresh() as url:
                name = url.partition("@/")[2].partition("?")[0]
                server.execute(
                    "create table t (name text, total bigint)",
                    "insert into t values ('old', 7)",
                    database=name,
                )
                yield (
                    ("table", url, tmp_path, {}),
                    lambda: server.execute("select name, total from t", database=name),
                )
        case "delta":
            import deltalake

            path = tmp_path / "lake"
            deltalake.write_deltalake(path, first)

            def read() -> list[tuple[str, int]]:
                table = pa.table(deltalake.DeltaTable(path).to_pyarrow_dataset().to_table())
                return list(zip(*table.to_pydict().values(), strict=True))

            yield ("delta", "", path, {}), read
        case "iceberg":
            url, warehouse = f"iceberg+sqlite:///{tmp_path}/ice.db", str(tmp_path / "ice")
            session = victims.attached(None, url, warehouse=warehouse)
            session.from_arrow(first).write_iceberg("db.t", catalog="ice")

            def read() -> list[tuple[str, int]]:
                fresh = victims.attached(None, url, warehouse=warehouse)
                found = fresh.read_iceberg("db.t", catalog="ice").collect()
                return list(zip(*found.to_pydict().values(), strict=True))

            yield ("iceberg", url, tmp_path, {"warehouse": warehouse}), read


@pytest.mark.parametrize(("kind", "mode"), KINDS)
def test_a_table_is_written_once_though_its_writer_died_after_the_commit(
    kind: str, mode: str, sink: tuple[Any, Rows], data: Path, tmp_path: Path
) -> None:
    (writer, url, path, options), read = sink
    store = tmp_path / "store"
    work = (victims.run_sink, store, data, writer, mode, url, path, options)
    assert victims.killed("write-done", *work)
    old = [("old", 7)] if mode == "append" else []
    assert sorted(read()) == sorted([*old, *EXPECTED.items()])
    [run] = RunStore(store).runs()
    data.unlink()
    session = victims.attached(None, url, **options)
    result = session.resume(run.id, durable=store)
    assert result.table.column("rows").to_pylist() == [3]
    assert sorted(read()) == sorted([*old, *EXPECTED.items()])
    assert session.resume(run.id, durable=store).table == result.table
    assert sorted(read()) == sorted([*old, *EXPECTED.items()])

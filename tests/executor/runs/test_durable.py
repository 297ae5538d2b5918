"""What a durable run keeps and refuses, and what it says when something is wrong."""

from __future__ import annotations

import datetime
import os
import sqlite3
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

import umbel as ub
from tests import postgres_server
from tests.executor.runs import victims
from umbel import col
from umbel.api.durable import Keeping
from umbel.executor.runs import (
    LostRunError,
    RunInUseError,
    RunStore,
    StoreError,
    begin_script,
    preparing,
    resume_script,
    tables,
)
from umbel.executor.runs.history import Failed, Finished
from umbel.executor.runs.values import NoFormError, value_from_text, value_to_text
from umbel.plan.operators import Union, Write
from umbel.plan.sinks import CsvSink


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "runs"


@pytest.fixture
def session(folder: Path) -> ub.Session:
    return ub.connect(progress=False, durable=folder)


@pytest.fixture
def store(folder: Path) -> Iterator[RunStore]:
    made = RunStore(folder)
    yield made
    made.close()


def rows(session: ub.Session) -> ub.DataFrame:
    return session.from_dict({"a": [3, 1, 2], "b": ["x", "y", "x"]})


def begun(store: RunStore, run_id: str = "20260101-00000000", **more: Any) -> Any:
    given = {"kind": "plan", "title": "t", "digest": "d", "plan": "{}", "options": {}}
    return store.create(run_id, versions={}, **{**given, **more})


# --- what is kept -----------------------------------------------------------------------------


def test_values_come_back_equal_and_of_the_same_types() -> None:
    values = [
        None, True, 10**30, -0.5, "ä\ud800", b"\x00\xff", (1, [2, {3}]), frozenset({"a"}),
        {(1, 2): None, "k": [()]}, Decimal("1.50"), complex(1, -2), datetime.date(2026, 1, 2),
        datetime.datetime(2026, 1, 2, 3, 4, 5, 6), datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC),
        datetime.time(1, 2, fold=1), datetime.timedelta(days=-1, microseconds=7),
    ]  # fmt: skip
    for value in values:
        back = value_from_text(value_to_text(value))
        assert back == value
        assert type(back) is type(value)
    assert value_to_text(value_from_text(value_to_text(float("nan")))) == '["f", "nan"]'
    for odd in (object(), type("Row", (tuple,), {})((1,)), [print]):
        with pytest.raises(NoFormError):
            value_to_text(odd)


def test_python_objects_and_importable_functions_are_kept(session: ub.Session) -> None:
    items = [("a", 1), ("b", 2), ("c", 3)]
    made = session.from_items(items).map(victims.double).sort_by(str)
    expected = sorted(map(victims.double, items), key=str)
    assert made.collect() == expected
    assert session.last_run is not None
    assert ub.connect().resume(session.last_run.id, durable=session.durable).elements == expected


def test_a_function_that_cannot_be_found_again_is_refused_when_the_run_is_asked_for(
    session: ub.Session, store: RunStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def local(x: int) -> Any:
        return [x] if x else None

    seen: list[int] = []
    items = session.from_items([1, 2])
    for function, why in (
        (local, "is made inside of another function"),
        (lambda x: [x] if x else None, "is a lambda"),
        (
            type("Odd", (), {"__call__": lambda self, x: x})(),
            "has nothing of the name|is not known",
        ),
    ):
        with pytest.raises(ub.PlanError, match=why):
            items.map(function).collect()
    keeping = Keeping(store, begin_script(store, Path(__file__), [], {}))
    tied = items.map(lambda x: [x, *seen]).plan
    with pytest.raises(ub.PlanError, match="holds a value of type list"):
        session.run(tied, durable=keeping)
    assert keeping.script is not None
    keeping.script.owned.release()
    assert session.from_items([1, 2]).map(lambda x: x + 1).collect() == [2, 3]  # it is lifted
    assert [run.kind for run in store.runs()] == ["plan", "script"]
    # One that has become another meanwhile is told from what it was.
    session.from_items([("a", 1)]).map(victims.double_or_nothing).collect()
    assert session.last_run is not None
    with store.writing() as connection:  # as if it had not finished
        connection.execute(tables.RUNS.update().values(state="running", lease=0.0))
        connection.execute(tables.EVENTS.delete().where(tables.EVENTS.c.kind == "finished"))
    monkeypatch.setattr(victims, "double_or_nothing", victims.double)
    with pytest.raises(ub.PlanError, match="double_or_nothing is not the one that the run began"):
        session.resume(session.last_run.id)


def test_data_that_is_too_much_or_has_no_form_is_refused(
    session: ub.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ub.PlanError, match="values of type object cannot be kept"):
        session.from_items([object()]).collect()
    table = pa.table({"a": list(range(1000))})
    with pytest.raises(ub.PlanError, match=r"more than 7,999 bytes"):
        preparing.prepare(
            session.from_arrow(table).plan, Path(str(session.durable)), again=False, limit=7_999
        )
    prepared = preparing.prepare(
        session.from_arrow(table).plan, Path(str(session.durable)), again=False, limit=8_000
    )
    assert len(prepared.inputs) == 1


def test_what_a_sink_cannot_write_once_is_refused(session: ub.Session, tmp_path: Path) -> None:
    frame = rows(session)
    sink = CsvSink(str(tmp_path / "a.csv"))
    both = Union(members=(Write(input=frame.plan, sink=sink), Write(input=frame.plan, sink=sink)))
    with pytest.raises(ub.PlanError, match="writes twice to"):
        session.run(both)


def test_a_loop_is_one_stage(session: ub.Session, store: RunStore) -> None:
    made = session.from_items([("a", 1), ("b", 2)]).repeat(3, lambda d: d.map(victims.step))
    assert sorted(made.collect()) == [("a", 8), ("b", 16)]
    assert session.last_run is not None
    kept = store.history(session.last_run.id).stages.values()
    assert [stage.operators for stage in kept if "Repeat" in stage.operators] == ["Repeat"]
    assert sorted(session.resume(session.last_run.id).elements) == [("a", 8), ("b", 16)]


# --- sources that change ------------------------------------------------------------------------


def test_sources_that_changed_are_noticed(
    session: ub.Session, store: RunStore, tmp_path: Path
) -> None:
    data, other = tmp_path / "data.parquet", tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1, 2, 3], "b": ["x", "y", "x"]}), data)
    pq.write_table(pa.table({"b": ["x", "y"], "n": [1, 2]}), other)
    left = session.read_parquet(data).group_by("b").agg(col("a").sum().alias("t")).on("duckdb")
    frame = left.join(session.read_parquet(other).on("polars"), on="b").on("python")
    frame = frame.select("b", "t", (col("n") / 1).alias("n")).filter(col("b") != "z").on("python")
    expected = {("x", 4, 1.0), ("y", 2, 2.0)}

    def found(result: Any) -> set[tuple[Any, ...]]:
        return set(zip(*result.table.to_pydict().values(), strict=True))

    assert found(frame.execute()) == expected
    assert session.last_run is not None
    run_id = session.last_run.id
    kept = {s.platform: s for s in store.history(run_id).stages.values()}
    assert {"duckdb", "polars"} <= kept.keys()

    def forget(*platforms: str) -> None:
        """Make as if the run had died with only the stages of the other platforms kept."""
        with store.writing() as connection:
            connection.execute(tables.RUNS.update().values(state="running", lease=0.0))
            for row in connection.execute(sa.select(tables.EVENTS)).all():
                gone = row.kind in ("finished", "begun") and row.seq > 2
                gone = gone or any(f'"platform": "{p}"' in row.detail for p in platforms)
                if gone:
                    where = (tables.EVENTS.c.run == row.run) & (tables.EVENTS.c.seq == row.seq)
                    connection.execute(tables.EVENTS.delete().where(where))

    # Nothing is kept that has read the file: what is there now is read.
    forget("duckdb", "polars", "python", "umbel")
    pq.write_table(pa.table({"a": [10, 20, 30], "b": ["x", "y", "x"]}), data)
    assert found(session.resume(run_id)) == {("x", 40, 1.0), ("y", 20, 2.0)}


def test_a_source_that_a_kept_stage_has_read_must_be_as_it_was(
    session: ub.Session, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, switch = tmp_path / "data.parquet", tmp_path / "switch"
    table = pa.table({"a": [1, 2, 3], "b": ["x", "y", "x"]})
    pq.write_table(table, data)
    read = session.read_parquet(data)
    first = read.on("duckdb").group_by("b").agg(col("a").sum().alias("t")).on("duckdb")
    second = first.join(read.on("python"), on="b").on("python")
    frame = second.rows().map(victims.need_switch).sort_by()
    monkeypatch.setenv("UMBEL_TEST_SWITCH", str(switch))
    with pytest.raises(ub.RunError, match="no switch"):
        frame.collect()
    run_id = RunStore(str(session.durable)).runs()[0].id
    status = data.stat()
    pq.write_table(pa.table({"a": [5], "b": ["x"]}), data)
    switch.touch()
    with pytest.raises(ub.RunError, match=rf"data.parquet has changed since run {run_id}"):
        session.resume(run_id)
    pq.write_table(table, data)
    os.utime(data, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert session.resume(run_id).elements == [("x", 4, 1), ("x", 4, 3), ("y", 2, 2)]
    assert session.last_run is not None
    assert any(stage.resumed for stage in session.last_run.stages)


# --- the store ------------------------------------------------------------------------------------


@pytest.fixture(params=["sqlite", "postgres"])
def either(request: pytest.FixtureRequest, folder: Path) -> Iterator[RunStore]:
    """A store of each kind."""
    if request.param == "sqlite":
        store = RunStore(folder)
        yield store
        store.close()
        return
    with postgres_server.server().fresh() as url:
        store = RunStore(f"{url}&folder={folder}")
        yield store
        store.close()


def test_one_owner_wins_and_the_other_keeps_nothing(either: RunStore) -> None:
    first = begun(either)
    assert either.run(first.run.id).state == "running"
    with pytest.raises(RunInUseError, match=f"being run by process {os.getpid()}"):
        either.acquire(first.run.id)
    elsewhere = tables.RUNS.update().values(host="another", lease=sa.literal(1e12))
    with either.writing() as connection:  # of another machine only the lease tells
        connection.execute(elsewhere)
    first._lock.release()  # what the system does when a process dies
    assert either.run(first.run.id).state == "running"
    with pytest.raises(RunInUseError):
        either.acquire(first.run.id)
    with either.writing() as connection:
        connection.execute(elsewhere.values(lease=1.0))
    assert either.run(first.run.id).state == "interrupted"
    second = either.acquire(first.run.id)
    for late in (lambda: first.add(Finished(1.0)), first.renew, first.is_unwanted):
        with pytest.raises(LostRunError, match="another process has taken run"):
            late()
    assert either.cancel(first.run.id) is True
    assert second.is_unwanted()
    second.add(Failed("no space", "make some"))
    second.release()
    history = either.history(first.run.id)
    assert (history.state, history.error, history.tries) == ("failed", "no space", 2)
    assert either.run(first.run.id).state == "failed"
    assert either.cancel(first.run.id) is False
    with pytest.raises(ub.PlanError, match="is cancelled already"):
        either.cancel(first.run.id)
    # The state that lists show is no other than what the events say.
    for run in either.runs():
        assert run.state == either.history(run.id).state


def test_runs_are_kept_and_resumed_in_either_store(either: RunStore) -> None:
    session = ub.connect(progress=False, durable=either)
    expected = rows(session).sort("a").collect()
    assert session.last_run is not None
    assert session.resume(session.last_run.id).table == expected
    [run] = either.runs()
    assert either.find(run.id) == run
    assert (run.state, run.id) == ("finished", session.last_run.id)
    assert either.prune(seconds=3600) == []
    assert [r.id for r in either.prune(seconds=0, dry=True)] == [run.id]
    assert [r.id for r in either.prune(seconds=0)] == [run.id]
    assert either.runs() == []
    assert either.find(run.id) is None
    assert not (either.folder / run.id).exists()
    with pytest.raises(ub.UnknownNameError, match="unknown run"):
        session.resume(run.id)


def test_a_store_of_a_newer_version_is_refused_and_an_older_one_brought_up_to_date(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RunStore(folder)
    begun(store).release()

    def more(connection: sa.Connection) -> None:
        connection.execute(sa.text("ALTER TABLE umbel_runs ADD COLUMN more TEXT"))

    with monkeypatch.context() as later:
        later.setattr(tables, "STEPS", (*tables.STEPS, more))
        assert len(RunStore(folder).runs()) == 1
    with pytest.raises(StoreError, match="written by a newer umbel: its version is 2"):
        RunStore(folder)
    with sqlite3.connect(folder / "runs.db") as db:
        assert db.execute("SELECT count(more), count(*) FROM umbel_runs").fetchone() == (0, 1)
    db.close()


def test_a_locked_or_damaged_store_is_a_clear_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "PATIENCE", 0.1)
    store = RunStore(folder)
    other = sqlite3.connect(folder / "runs.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"runs.db is locked by another process"):
        begun(store)
    other.execute("ROLLBACK")
    other.close()
    begun(store).release()
    store.close()
    (folder / "runs.db").write_bytes(b"no database at all" * 1000)
    with pytest.raises(StoreError, match="is damaged, or no store of runs"):
        RunStore(folder)
    with pytest.raises(StoreError, match="cannot be made"):
        RunStore("/dev/null/runs")


def test_a_damaged_output_is_computed_again(session: ub.Session, store: RunStore) -> None:
    expected = rows(session).sort("a").collect()
    assert session.last_run is not None
    [sealed] = (store.folder / session.last_run.id).glob("*.arrow")
    content = sealed.read_bytes()
    for damaged in (content[:-1], content[:200] + b"\xff" + content[201:], b""):
        sealed.write_bytes(damaged)
        assert session.resume(session.last_run.id).table == expected
        assert sealed.read_bytes() == content
    sealed.unlink()
    assert session.resume(session.last_run.id).table == expected


def test_a_full_disk_loses_nothing(tmp_path: Path, folder: Path) -> None:
    data = tmp_path / "data.parquet"
    noise = [os.urandom(100).hex() for _ in range(3000)]
    pq.write_table(pa.table({"a": list(range(3000)), "b": [0] * 3000, "noise": noise}), data)
    process = victims.started(victims.run_on_a_full_disk, folder, data)
    process.join(60)
    assert process.exitcode == 0
    store = RunStore(folder)
    [run] = store.runs()
    assert run.state == "failed"
    assert "cannot be kept: File too large" in store.history(run.id).error
    assert "resume the run" in store.history(run.id).hint
    assert not list(store.folder.rglob("*.partial"))
    result = ub.connect(progress=False).resume(run.id, durable=store)
    assert result.table.num_rows == 3000
    assert result.table.column("noise").to_pylist() == noise


def test_a_run_of_another_process_is_cancelled_and_resumed(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = tmp_path / "switch"
    monkeypatch.setenv("UMBEL_TEST_SWITCH", str(switch))
    process = victims.started(victims.run_until_stopped, folder, str(switch))
    deadline = time.monotonic() + 60
    while not switch.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    store = RunStore(folder)
    [run] = store.runs()
    with pytest.raises(RunInUseError):
        ub.connect(progress=False).resume(run.id, durable=store)
    assert store.cancel(run.id) is True
    process.join(30)
    assert process.exitcode == 0  # the victim expected `CancelledError`
    assert store.run(run.id).state == "cancelled"
    switch.with_suffix(".go").touch()
    assert ub.connect(progress=False).resume(run.id, durable=store).elements == [1, 2, 3]


# --- scripts --------------------------------------------------------------------------------------


def test_a_script_that_is_run_again_takes_over_what_it_has_finished(
    session: ub.Session, store: RunStore, tmp_path: Path
) -> None:
    file, target = tmp_path / "script.py", tmp_path / "lake"
    file.write_text("…", encoding="utf-8")
    script = begin_script(store, file, ["--day", "1"], {})

    def first(keeping: Keeping) -> list[Any]:
        kept = ub.connect(progress=False, durable=keeping)
        return kept.from_items([1, 2, 3]).map(lambda x: [x] if x else None).collect()

    def second(keeping: Keeping) -> Any:
        return rows(ub.connect(progress=False, durable=keeping)).write_delta(target, mode="append")

    assert first(Keeping(store, script)) == [[1], [2], [3]]
    assert second(Keeping(store, script)).table.column("rows").to_pylist() == [3]
    script.owned.release()
    again = resume_script(store, store.run(script.id))
    assert first(Keeping(store, again)) == [[1], [2], [3]]
    with pytest.raises(ub.RunError, match=r"the script asks for another plan than it did: as run "):
        rows(ub.connect(progress=False, durable=Keeping(store, again))).count()
    second(Keeping(store, again))
    assert ub.connect().read_delta(target).count() == 3  # appended once
    rows(ub.connect(progress=False, durable=Keeping(store, again))).count()  # a new one
    again.finish(0.1)
    again.owned.release()
    parts = [f"{script.id}.{number}" for number in (1, 2, 3)]
    assert [run.id for run in store.runs_of(script.id)] == parts
    with pytest.raises(ub.PlanError, match=r"of script.py is finished"):
        resume_script(store, store.run(script.id))
    other = begin_script(store, file, [], {})
    other.owned.release()
    file.write_text("other", encoding="utf-8")
    with pytest.raises(ub.PlanError, match="has changed since run"):
        resume_script(store, store.run(other.id))

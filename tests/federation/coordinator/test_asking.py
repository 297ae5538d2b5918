"""Asking a coordinator: the same answers as at home, from the same FedPy and SQL."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import umbel as ub
from tests.federation.coordinator.conftest import PEOPLE, Running
from umbel import col
from umbel.executor import Cancellation, Run
from umbel.executor.events import Event, RunStarted, StageFinished
from umbel.executor.run_ids import new_id
from umbel.federation.access import Role
from umbel.federation.client import RemoteSession
from umbel.optimizer import Budget
from umbel.plan.codec import plan_to_json
from umbel.plan.errors import (
    CancelledError,
    EvaluationError,
    FunctionError,
    PlacementError,
    PlanError,
    RunError,
    SourceError,
    UnknownNameError,
)


def _rows(session: ub.Session) -> Any:
    people = session.table("ref.people")
    return people.filter(col("age") > 80).select("id", "name").sort("id").collect().to_pylist()


def _groups(session: ub.Session) -> Any:
    people = session.table("ref.people")
    grouped = people.group_by("age").agg(ub.len().alias("n"), col("id").max().alias("last"))
    return grouped.sort("age").collect().to_pylist()


def _own_rows(session: ub.Session) -> Any:
    own = session.from_dict({"age": [1, 2, None], "what": ["a", "b", "c"]})
    joined = own.join(session.table("ref.people"), on="age", how="left")
    return sorted(map(str, joined.collect().to_pylist()))


def _own_empty(session: ub.Session) -> Any:
    own = session.from_arrow(pa.table({"age": pa.array([], pa.int64())}))
    return session.table("ref.people").join(own, on="age").collect().to_pylist()


def _own_file(session: ub.Session) -> Any:
    path = os.environ["OWN_FILE"]
    own = session.read_csv(path).filter(col("age") > 1)
    return session.table("ref.people").join(own, on="age").count()


def _lifted(session: ub.Session) -> Any:
    pairs = session.table("ref.people").rows().map(lambda r: (r.id % 3, 1))
    return sorted(pairs.reduce_by_key(lambda a, b: a + b).collect())


def _functions(session: ub.Session) -> Any:
    names = session.table("ref.people").filter(col("id") < 20).rows().map(lambda r: hash(r.name))
    return sorted(names.map(lambda h: h % 5).collect())


def _broadcast(session: ub.Session) -> Any:
    wanted = session.table("ref.people").filter(col("id") < 3).rows().map(lambda r: r.id)
    found = session.from_items([1, 2, 3, 4]).filter(
        lambda x, wanted: x in set(wanted), broadcast={"wanted": wanted}
    )
    return sorted(found.collect())


def _loop(session: ub.Session) -> Any:
    start = session.table("ref.people").filter(col("id") < 3).rows().map(lambda r: r.id)
    return sorted(start.repeat(3, lambda ids: ids.map(lambda i: i * 2)).collect())


def _sql(session: ub.Session) -> Any:
    session.register("own", session.from_dict({"k": [3, 4]}))
    text = "select age, count(*) as n from ref.people join own on k = age group by age order by age"
    return session.sql(text).collect().to_pylist()


def _values(session: ub.Session) -> Any:
    return session.sql("select * from (values (1), (2)) t(x), ref.people where x = id").count()


def _empty(session: ub.Session) -> Any:
    table = session.table("ref.people").filter(col("id") < 0).collect()
    return table.num_rows, table.schema


def _nothing_remote(session: ub.Session) -> Any:
    return session.from_items([3, 1]).map(lambda x: [x]).collect()


def _description(session: ub.Session) -> Any:
    return session.table("ref.people").describe().collect().num_rows


QUESTIONS = [
    _rows, _groups, _own_rows, _own_empty, _own_file, _lifted, _functions, _broadcast, _loop,
    _sql, _values, _empty, _nothing_remote, _description,
]  # fmt: skip


@pytest.mark.parametrize("ask", QUESTIONS, ids=lambda ask: ask.__name__)
def test_the_answers_are_those_of_an_embedded_session(
    ask: Callable[[Any], Any],
    remote: RemoteSession,
    embedded: ub.Session,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "own.csv").write_text("age,what\n1,a\n2,b\n3,c\n")
    monkeypatch.setenv("OWN_FILE", str(tmp_path / "own.csv"))
    assert ask(remote) == ask(embedded)


def test_a_result_is_written_here(remote: RemoteSession, tmp_path: Path) -> None:
    remote.table("ref.people").filter(col("id") < 3).sort("id").write_csv(tmp_path / "a.csv")
    expected = "".join(f"{i},{age},{name}\n" for i, age, name in PEOPLE[:3])
    assert (tmp_path / "a.csv").read_text() == "id,age,name\n" + expected
    with pytest.raises(PlanError, match="cannot be written"):
        remote.from_dict({"a": [1]}).write_table("ref.mine")


def test_rows_are_delivered_while_they_come(remote: RemoteSession) -> None:
    pieces: list[pa.Table] = []
    result = remote.run(remote.table("ref.people").plan, deliver=pieces.append)
    assert sum(piece.num_rows for piece in pieces) == len(PEOPLE)
    assert result.table.num_rows == 0


def test_the_catalogue_is_the_coordinators_and_ones_own(
    remote: RemoteSession, tmp_path: Path
) -> None:
    assert remote.catalog.tables("ref").names == ["ref.people"]
    known = remote.catalog.describe("ref.people")
    assert known.schema.names == ["id", "age", "name"]
    assert known.statistics.rows.low <= len(PEOPLE) <= known.statistics.rows.high
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "own.csv").write_text("id\n1\n2\n")
    remote.catalog.attach("lake", tmp_path / "lake")
    assert list(remote.catalog) == ["lake", "ref"]
    own = remote.table("lake.own")
    assert own.join(remote.table("ref.people"), on="id").count() == 2
    remote.catalog.detach("lake")
    with pytest.raises(PlanError, match="coordinator's"):
        remote.catalog.detach("ref")
    for wrong in ("ref.peple", "raf.people"):
        with pytest.raises(UnknownNameError, match="did you mean"):
            remote.table(wrong)
    with pytest.raises(PlanError, match="version"):
        remote.table("ref.people", version=3)


def test_a_plan_is_explained_without_running(remote: RemoteSession) -> None:
    counted = remote.table("ref.people").group_by("age").agg(ub.len().alias("n"))
    found: Any = counted.explain()
    assert "stage 0 on ref" in str(found)
    assert found.to_dict()["platforms"] == ["ref"]
    assert found.to_svg().startswith("<svg")
    assert "flowchart" in found.to_mermaid()
    here: Any = remote.table("ref.people").rows().map(lambda r: hash(r.name)).explain()
    assert str(here).endswith("Map")
    with pytest.raises(PlacementError, match="budget"):
        counted.explain(budget=Budget(seconds=1e-9))


def test_pins_name_platforms_of_the_coordinator(remote: RemoteSession) -> None:
    people = remote.table("ref.people")
    assert people.filter(col("id") < 3).on("ref").count() == 3
    with pytest.raises(UnknownNameError, match="hospital-z"):
        people.on("hospital-z")


def test_the_record_says_what_was_measured(remote: RemoteSession) -> None:
    remote.table("ref.people").filter(col("age") == 1).collect()
    run = remote.last_run
    assert isinstance(run, Run)
    assert [stage.platform for stage in run.stages] == ["ref"]
    assert run.stages[0].rows == sum(age == 1 for _, age, _ in PEOPLE)
    assert "stage" in str(run)
    assert '"stages"' in run.to_json()
    with pytest.raises(PlanError, match="at the coordinator"):
        _ = run.plan


def test_events_come_to_listeners(running: Running) -> None:
    events: list[Event] = []
    session: Any = ub.connect(running.url, token=running.token(), listener=events.append)
    session.table("ref.people").count()
    session.close()
    kinds = Counter(type(event) for event in events)
    assert kinds[RunStarted] == 1
    (finished,) = [event for event in events if isinstance(event, StageFinished)]
    assert finished.stage.platform.name == "ref"
    assert finished.rows == 1


def test_progress_is_shown(running: Running, capfd: pytest.CaptureFixture[str]) -> None:
    session: Any = ub.connect(running.url, token=running.token(), progress=True)
    session.table("ref.people").count()
    session.close()
    assert "on ref" in capfd.readouterr().err


# --- what goes wrong ------------------------------------------------------------------------------


def test_errors_are_the_same_and_name_the_line(remote: RemoteSession) -> None:
    people = remote.table("ref.people")
    with pytest.raises(UnknownNameError, match="did you mean 'name'"):
        people.select("nmae")
    too_large = people.select((col("id") + (2**63 - 1)).alias("x"))
    with pytest.raises(EvaluationError, match="out of the range") as caught:
        too_large.collect()
    # The whole path: the coordinator knows the file's name only.
    assert f"{__file__}:" in str(caught.value)
    with pytest.raises(FunctionError, match="ZeroDivisionError"):
        people.rows().map(lambda r: 1 // (r.id - 5)).collect()


def test_what_is_missing_here_is_said_here(remote: RemoteSession) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        remote.read_csv("nowhere.csv").join(remote.table("ref.people"), on="id")


def _slow(session: RemoteSession) -> Any:
    """A question that takes minutes, and no memory: the square of the square of the people."""
    people = session.table("ref.people").select("id")
    pairs = people.join(people.rename({"id": "b"}), how="cross")
    more = pairs.join(pairs.rename({"id": "c", "b": "d"}), how="cross")
    some = more.filter((col("id") < col("c")) | (col("b") < col("d")))
    return some.group_by("id").agg(n=col("b").count())


def _wait_for_a_run(running: Running) -> Any:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for run in running.coordinator.runs._runs.values():
            if run.state.value == "running" and any(
                e["event"] == "StageStarted" for e in run.events
            ):
                return run
        time.sleep(0.01)
    raise AssertionError("no run began")


def test_a_run_is_cancelled_from_another_thread(remote: RemoteSession, running: Running) -> None:
    cancellation = Cancellation()
    found: list[Any] = []

    def stop() -> None:
        found.append(_wait_for_a_run(running))
        cancellation.cancel()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(CancelledError):
        remote.run(_slow(remote).plan, cancellation=cancellation)
    thread.join()
    assert found[0].state.value == "cancelled"
    assert not found[0].spool.path.exists()


def test_an_interrupt_reaches_the_coordinator(remote: RemoteSession, running: Running) -> None:
    import_module("polars")  # which takes the signal for itself, as the client must not let it
    # What a shell starts in the background ignores the signal from the start.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    found: list[Any] = []

    def interrupt() -> None:
        found.append(_wait_for_a_run(running))
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(CancelledError, match="interrupt"):
            _slow(remote).collect()
    finally:
        signal.signal(signal.SIGINT, before)
    thread.join()
    end = time.monotonic() + 20
    while not found[0].state.over and time.monotonic() < end:
        time.sleep(0.01)
    assert found[0].state.value == "cancelled"


def test_a_run_that_takes_too_long_is_stopped(
    remote: RemoteSession, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = running.coordinator.settings.limits.model_copy(update={"seconds": 0.2})
    monkeypatch.setattr(running.coordinator.runs, "_limits", limits)
    with pytest.raises(RunError, match=r"longer than the 0.2 seconds"):
        _slow(remote).collect()


def test_runs_are_their_users_and_an_auditor_sees_them(
    remote: RemoteSession, running: Running
) -> None:
    remote.table("ref.people").filter(col("id") == 7).collect()
    with running.http(user="zoe") as other, running.http(Role.AUDITOR, user="al") as auditor:
        with running.http() as own:
            newest = own.get("/v1/runs").json()[0]
        path = f"/v1/runs/{newest['id']}"
        assert newest["user"] == "ann"
        assert other.get("/v1/runs").json() == []
        for method, tail in (("GET", ""), ("GET", "/result"), ("POST", "/cancel")):
            assert other.request(method, path + tail).status_code == 404
        # A run that was cancelled before it came does not begin, and its name is its user's.
        name = new_id(16)
        assert other.post(f"/v1/runs/{name}/cancel").status_code == 204
        plan = plan_to_json(remote.table("ref.people").plan)
        assert other.post("/v1/runs", json={"id": name, "plan": plan}).status_code == 201
        assert '"CancelledError"' in other.get(f"/v1/runs/{name}/result").text
        assert auditor.get(f"/v1/runs/{name}").json()["state"] == "cancelled"
        assert other.post("/v1/runs", json={"id": "../../x", "plan": plan}).status_code == 422
        taken = other.post("/v1/runs", json={"id": newest["id"], "plan": plan})
        assert taken.status_code == 403
        assert auditor.get(path).json()["rows"] == 1
        assert auditor.post(f"{path}/cancel").status_code == 403
        assert "event: over" in auditor.get(f"{path}/events").text

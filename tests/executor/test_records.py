"""A run's record shows estimates beside measurements, and events tell of it while it runs."""

from __future__ import annotations

import json
import math

import pytest

import umbel as ub
from umbel import col
from umbel.executor.events import (
    ConversionFinished,
    Event,
    RoundFinished,
    RunFinished,
    RunStarted,
    StageCancelled,
    StageFailed,
    StageFinished,
    StageProgress,
    StageQueued,
    StageStarted,
    Unlifted,
)


def test_every_operator_of_a_python_stage_is_measured(session: ub.Session):
    numbers = session.from_items(list(range(100))).on("python")
    odd = numbers.map(lambda x: x + 1 if x else 1).filter(lambda x: hash(x) % 2)
    result = odd.execute()
    (stage,) = result.run.stages
    measured = {operator.name: operator for operator in stage.operators}
    assert {name: operator.rows for name, operator in measured.items()} == {
        "Scan": 100,
        "Map": 100,
        "FilterRows": 50,
    }
    assert stage.rows == 50
    assert stage.seconds is not None
    timed = [o.seconds for o in stage.operators if o.seconds is not None]
    assert timed  # those that run in one loop have no times of their own
    assert sum(timed) <= stage.seconds
    assert measured["Map"].origin.startswith(__file__)
    assert all(low <= high for low, high in (o.estimated_rows for o in stage.operators))


def test_operators_above_another_stages_output_are_measured_too(session: ub.Session):
    """Their inputs are placeholders when they run, which must not hide who they are."""
    frame = session.from_dict({"a": [1, 2, 3, 4]}).filter(col("a") > 1).on("duckdb")
    result = (
        frame.rows().map(lambda r: hash(r.a)).filter(lambda a: hash(a) > 2).on("python").execute()
    )
    last = result.run.stages[-1]
    assert [(o.name, o.rows) for o in last.operators][-2:] == [("Map", 3), ("FilterRows", 2)]


@pytest.mark.parametrize("platform", ["polars", "duckdb"])
def test_an_engine_that_fuses_measures_its_output_and_the_stage(session: ub.Session, platform: str):
    frame = session.from_dict({"a": [1, 2, 3]}).on(platform)
    result = frame.filter(col("a") > 1).on(platform).with_columns(b=col("a") + 1).on(platform)
    run = result.execute().run
    stage = run.stages[-1]
    assert stage.platform == platform
    assert stage.rows == stage.operators[-1].rows == 2
    assert stage.seconds is not None
    if len(stage.operators) > 1:
        assert stage.operators[-1].seconds is None  # the time is that of the whole stage
        assert "in stage" in str(run)
    assert stage.text


def test_the_record_is_json(session: ub.Session):
    loop = (
        session.from_items([1]).map(lambda x: hash(x)).repeat(2, lambda d: d.map(lambda x: x + 1))
    )
    result = loop.execute()
    record = json.loads(result.run.to_json())
    assert record["seconds"] == pytest.approx(result.run.seconds)
    assert record["unlifted"] == ""
    stages = record["stages"]
    assert [stage["index"] for stage in stages] == list(range(len(stages)))
    (body,) = stages[-1]["bodies"]
    assert {stage["rounds"] for stage in body} == {2}
    assert stages[0]["operators"][0]["rows"] == 1


def test_bounds_without_end_are_null_in_json(session: ub.Session):
    run = session.from_items([1]).execute().run
    run.stages[0].operators[0].estimated_rows = (0.0, math.inf)
    run.stages[0].estimated_rows = (math.nan, math.inf)
    stage = json.loads(run.to_json())["stages"][0]
    assert stage["operators"][0]["estimated_rows"] == [0.0, None]
    assert stage["estimated_rows"] == [None, None]


def test_the_record_prints_estimates_beside_measurements(session: ub.Session):
    result = session.from_items([3, 1, 2]).filter(lambda x: hash(x) > 1).on("python").execute()
    lines = str(result.run).splitlines()
    assert [word for word in ("rows: estimate", "measured") if word in lines[0]] == [
        "rows: estimate",
        "measured",
    ]
    (line,) = [line for line in lines if "FilterRows" in line]
    words = line.split()
    assert "2" in words  # the rows that were measured
    assert "…" in words  # between the bounds that were estimated
    assert "planned in" in lines[-1]


def test_the_rounds_of_a_loop_are_in_the_record(session: ub.Session):
    result = session.from_items([0]).repeat(3, lambda d: d.map(lambda x: hash(x) + 1)).execute()
    assert result.elements == [3]
    loop = result.run.stages[-1]
    (body,) = loop.bodies
    assert [stage.rounds for stage in body] == [3] * len(body)
    assert "3 rounds" in str(result.run)


def test_measured_rows_serve_later_estimates(session: ub.Session):
    from umbel.optimizer import optimize

    def some(x):
        return hash(str(x)) * 0 + x > 7

    numbers = session.from_items(list(range(10))).filter(some).on("python")
    result = numbers.execute()
    plan = optimize(
        numbers.plan, session.platforms(), measured=result.run.measured_rows(), lifting=False
    )
    root = plan.stages[-1].root
    assert root.estimate.expected == pytest.approx(2)


def test_events_in_order():
    events: list[Event] = []
    session = ub.connect(progress=False, listener=events.append)
    session.from_items([1]).map(lambda x: hash(x)).repeat(2, lambda d: d.map(str)).collect()
    assert isinstance(events[0], RunStarted)
    assert isinstance(events[-1], RunFinished)
    assert events[-1].error is None
    assert [e.at for e in events] == sorted(e.at for e in events)
    rounds = [e.round for e in events if isinstance(e, RoundFinished)]
    assert rounds == [1, 2]
    outer = [e for e in events if isinstance(e, StageFinished) and e.depth == 0]
    assert [e.stage.index for e in outer] == [0, 1]
    assert [e.rows for e in outer] == [1, 1]
    assert any(e.depth == 1 for e in events if isinstance(e, StageStarted))


def test_events_of_a_failure():
    events: list[Event] = []
    session = ub.connect(progress=False, listener=events.append)
    with pytest.raises(ub.FunctionError) as caught:
        session.from_items([1]).map(lambda x: hash(x) / 0).collect()
    (failed,) = [e for e in events if isinstance(e, StageFailed)]
    assert failed.error is caught.value
    assert isinstance(events[-1], RunFinished)
    assert events[-1].error is caught.value


def test_an_event_tells_why_the_functions_run_as_written():
    from umbel.executor import run

    events: list[Event] = []
    session = ub.connect(progress=False)
    numbers = session.from_items([2**62]).map(lambda x: x * 4)
    result = run(
        numbers.plan,
        platforms=session.platforms(),
        progress=False,
        lifting=True,
        listener=events.append,
    )
    (unlifted,) = [e for e in events if isinstance(e, Unlifted)]
    assert unlifted.reason == result.run.unlifted
    assert [type(e) for e in (events[0], events[-1])] == [RunStarted, RunFinished]
    assert sum(isinstance(e, RunFinished) for e in events) == 1


def test_what_a_listener_raises_fails_the_run():
    def listen(event: Event) -> None:
        raise RuntimeError("the listener broke")

    with pytest.raises(RuntimeError, match="the listener broke"):
        ub.connect(progress=False, listener=listen).from_items([1]).collect()


def test_the_session_keeps_the_last_run(session: ub.Session):
    assert session.last_run is None
    result = session.from_items([1]).execute()
    assert session.last_run is result.run


def test_a_stage_is_queued_then_starts_and_tells_what_it_gave():
    events: list[Event] = []
    session = ub.connect(progress=False, listener=events.append)
    frame = session.from_dict({"a": [1, 2, 3]}).filter(col("a") > 1).on("duckdb")
    frame.sort("a").on("polars").collect()
    told = [e for e in events if isinstance(e, StageQueued | StageStarted | StageFinished)]
    stages = {e.stage.index for e in told}
    assert len(stages) >= 2
    for index in stages:
        kinds = [type(e) for e in told if e.stage.index == index]
        assert kinds == [StageQueued, StageStarted, StageFinished]
    last = [e for e in events if isinstance(e, StageFinished)][-1]
    assert last.rows == 2
    for event in events:
        if isinstance(event, StageFinished | ConversionFinished) and event.bytes is not None:
            assert event.bytes >= 2 * 8  # two integers of eight bytes


def test_conversions_are_told():
    events: list[Event] = []
    session = ub.connect(progress=False, listener=events.append)
    session.from_items([1, 2, 3]).map(lambda x: x + 1).on("polars").collect()
    told = [e for e in events if isinstance(e, ConversionFinished)]
    planned = [
        (conversion.source, conversion.target)
        for event in events
        if isinstance(event, RunStarted)
        for stage in event.plan.stages
        for conversion in stage.conversions
    ]
    assert planned
    assert [(e.source, e.target) for e in told] == planned
    assert all(e.seconds >= 0 and e.rows == 3 for e in told)


def test_progress_grows_and_ends_with_a_cancel():
    import time

    events: list[Event] = []

    def listen(event: Event) -> None:
        events.append(event)
        if isinstance(event, StageProgress) and event.rows > 20:
            session.cancel()

    def slow(x):
        time.sleep(0.01)
        return hash(x)

    session = ub.connect(progress=False, listener=listen)
    with pytest.raises(ub.CancelledError):
        session.from_items(list(range(10_000))).map(slow).collect()
    told = [e for e in events if isinstance(e, StageProgress)]
    assert told
    assert all(e.fraction is None or 0 <= e.fraction <= 1 for e in told)
    assert any(isinstance(e, StageCancelled) for e in events)
    assert isinstance(events[-1], RunFinished)
    assert events[-1].cancelled


def test_the_time_of_day_is_told():
    import time

    events: list[Event] = []
    session = ub.connect(progress=False, listener=events.append)
    before = time.time()
    session.from_items([1]).collect()
    assert isinstance(events[0], RunStarted)
    assert before <= events[0].when <= time.time()
    assert isinstance(events[-1], RunFinished)
    assert not events[-1].cancelled

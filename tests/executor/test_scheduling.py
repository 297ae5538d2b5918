"""Independent stages run at once, and data is let go of once its last reader took it."""

from __future__ import annotations

import contextvars
import decimal
import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any, ClassVar

import pyarrow as pa
import pytest

import umbel as ub
from umbel import col
from umbel.executor.events import Event, StageFinished, StageStarted, Unlifted


def frame_of(session: ub.Session, function: Any) -> ub.DataFrame:
    """A frame whose rows a Python function makes, in a stage of its own."""
    return session.from_items([1, 2]).map(function).to_frame({"n": int}).on("python")


def test_independent_stages_run_at_the_same_time(session: ub.Session):
    """Each of the two functions waits for the other to be called."""
    meeting = threading.Barrier(2, timeout=20)

    def meet(x):
        if x == 1:
            meeting.wait()
        return x

    left = frame_of(session, meet)
    right = frame_of(session, lambda x: meet(x))
    both = left.join(right, on="n").on("duckdb")
    assert sorted(both.collect().column("n").to_pylist()) == [1, 2]


def test_dependent_stages_run_one_after_the_other():
    events: list[Event] = []
    session = ub.connect(progress=False, listener=events.append)
    frame = frame_of(session, lambda x: x * 2)
    frame.select(col("n").sum()).on("duckdb").sort("n").on("polars").collect()
    order = [type(e).__name__ for e in events if isinstance(e, StageStarted | StageFinished)]
    assert order == ["StageStarted", "StageFinished"] * 3


def test_a_failure_stops_the_other_stages(session: ub.Session):
    """The one that does not fail would run for a minute."""
    started = threading.Event()
    rounds = []

    def slow(x):
        started.set()
        threading.Event().wait(0.01)
        rounds.append(x)
        return x

    def fail(x):
        assert started.wait(20)
        raise ValueError("on purpose")

    many = session.from_items(list(range(6000))).map(slow).to_frame({"n": int}).on("python")
    both = many.join(frame_of(session, fail), on="n").on("duckdb")
    with pytest.raises(ub.FunctionError, match="on purpose"):
        both.collect()
    assert len(rounds) < 3000


def test_a_function_sees_the_context_of_the_thread_that_runs_the_plan(session: ub.Session):
    """Among context variables is the precision of decimals."""
    name = contextvars.ContextVar("name", default="none")
    name.set("here")
    with decimal.localcontext(prec=50):
        thirds = session.from_items([3]).map(lambda n: str(1 / decimal.Decimal(n))).collect()
    assert thirds == ["0." + 50 * "3"]
    assert session.from_items([1]).map(lambda _: name.get()).collect() == ["here"]


class Tracked:
    """A value whose life a test can watch."""

    alive: ClassVar[weakref.WeakSet[Tracked]] = weakref.WeakSet()

    def __init__(self, n: int) -> None:
        self.n = n
        self.alive.add(self)


def test_what_nobody_reads_any_more_is_released(session: ub.Session):
    """The objects of the first stage are gone when the third begins."""
    before_third: list[int] = []

    def count(d: ub.Dataset) -> ub.Dataset:
        return d.map(lambda t: t.n + 1)  # the loop's body: reads the objects, gives numbers

    def look(x):
        gc.collect()
        before_third.append(len(Tracked.alive))
        return x

    made = session.from_items(list(range(8))).map(Tracked)
    assert made.repeat(1, count).map(look).count() == 8
    assert set(before_third) == {0}


def watch_tables(
    session: ub.Session, monkeypatch: pytest.MonkeyPatch
) -> list[weakref.ref[pa.Table]]:
    """Collect the tables that stages of the python platform give."""
    tables: list[weakref.ref[pa.Table]] = []
    platform = session.platforms()["python"]
    compile_stage = platform.compile

    class Watching:
        def __init__(self, stage: Any) -> None:
            self.inner = compile_stage(stage)
            self.text = self.inner.text

        def run(self, inputs: Any, context: Any) -> Any:
            output = self.inner.run(inputs, context)
            if isinstance(output, pa.Table):
                tables.append(weakref.ref(output))
            return output

    monkeypatch.setattr(platform, "compile", Watching)
    return tables


def count_alive(tables: list[weakref.ref[pa.Table]]) -> int:
    gc.collect()
    return sum(table() is not None for table in tables)


def test_arrow_data_is_released_after_its_last_reader(monkeypatch: pytest.MonkeyPatch):
    alive: list[int] = []

    def listen(event: Event) -> None:
        if isinstance(event, StageStarted):
            alive.append(count_alive(tables))

    session = ub.connect(progress=False, listener=listen)
    tables = watch_tables(session, monkeypatch)
    frame = session.from_items([1, 2, 3]).map(lambda x: hash(x)).to_frame({"n": int}).on("python")
    once = frame.filter(col("n") > 1).on("duckdb")
    once.sort("n").on("polars").limit(2).on("duckdb").collect()
    # Python's table is read by DuckDB's stage, and gone when the next one begins.
    assert alive == [0, 1, 0, 0]


def test_a_failed_try_lets_go_of_its_data(monkeypatch: pytest.MonkeyPatch):
    """What the lifted try made is not kept while the functions run as written."""
    from umbel.executor import run

    alive: list[int] = []

    def listen(event: Event) -> None:
        if isinstance(event, Unlifted):
            alive.append(count_alive(tables))

    session = ub.connect(progress=False)
    tables = watch_tables(session, monkeypatch)
    items = session.from_items([1, 2**62]).map(lambda x: hash(str(x)) * 0 + x)
    frame = items.to_frame({"n": int}).on("python")
    numbers = frame.filter(col("n") > 0).on("duckdb").rows().map(lambda r: r.n * 4)
    result = run(
        numbers.plan,
        platforms=session.platforms(),
        progress=False,
        lifting=True,
        listener=listen,
    )
    assert sorted(result.elements) == [4, 2**64]
    assert len(tables) >= 1
    assert alive == [0]


def test_many_stages_wait_for_their_turn(session: ub.Session):
    """More independent stages than run at once."""
    running: set[int] = set()
    most: list[int] = []
    lock = threading.Lock()

    def branch(number: int) -> ub.DataFrame:
        def note(x):
            with lock:
                running.add(number)
                most.append(len(running))
            threading.Event().wait(0.02)
            with lock:
                running.discard(number)
            return x

        return session.from_items([number]).map(note).to_frame({"n": int}).on("python")

    branches = [branch(number) for number in range(9)]
    union = branches[0].union(*branches[1:]).on("duckdb")
    assert sorted(union.collect().column("n").to_pylist()) == list(range(9))
    assert 1 < max(most) <= 4


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    yield
    assert not [t for t in threading.enumerate() if t.name.startswith("umbel-stage")]

"""What is cancelled stops computing: not only the run ends, the engine's threads do too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pytest

import umbel as ub
from umbel import col
from umbel.executor.events import Event, RunStarted

#: Rows of the heavy queries. Each takes more than ten seconds of processor time by itself.
ROWS = 12_000_000
#: Rows of a query that is under way for about a second.
SOME = 2_000_000
#: Seconds of processor time that may go on after a cancel: about a second on two processors.
#: Not the clock's, for other processes may keep the processors from this one.
GOES_ON = 2.5
#: Seconds of the clock that this may take where other processes keep the processors busy.
PATIENCE = 60.0


@pytest.fixture(scope="module")
def numbers() -> pa.Table:
    generator = np.random.default_rng(1)
    return pa.table(
        {"k": generator.integers(0, ROWS, ROWS), "v": generator.random(ROWS)},
        schema=pa.schema([("k", pa.int64()), ("v", pa.float64())]),
    )


def sort(frame: ub.DataFrame, platform: str) -> ub.DataFrame:
    return frame.sort("v", "k").on(platform)


def join(frame: ub.DataFrame, platform: str) -> ub.DataFrame:
    other = frame.select(k2=col("k"), w=col("v")).on(platform)
    joined = frame.join(other, left_on="k", right_on="k2").on(platform)
    again = joined.join(frame.select(k3=col("k")).on(platform), left_on="k", right_on="k3")
    return again.on(platform).group_by("k").agg(s=col("w").sum()).on(platform).sort("s")


def product(frame: ub.DataFrame, platform: str) -> ub.DataFrame:
    some = frame.limit(60_000).on(platform)
    other = some.select(b=col("k")).on(platform)
    pairs = some.join(other, how="cross").filter((col("k") * col("b")) % 7 == 3).on(platform)
    return pairs.group_by("k").agg(s=col("b").sum()).on(platform)


WORK: dict[str, Callable[[ub.DataFrame, str], ub.DataFrame]] = {
    "sort": sort,
    "join": join,
    "product": product,
}


def working() -> bool:
    """Whether a thread of some run is there; the one that watches the memory does not compute."""
    names = [thread.name for thread in threading.enumerate()]
    return any(name.startswith("umbel-") and name != "umbel-memory" for name in names)


@pytest.fixture
def others_finished() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 60  # what a failed test left behind must not slow the next one
    while working():
        if time.monotonic() > deadline:
            break
        time.sleep(0.05)


def cancel_after(session: ub.Session, seconds: float) -> tuple[list[float], list[threading.Timer]]:
    """Cancel the session's run `seconds` of processor time after it began; tell when."""
    at: list[float] = []
    timers: list[threading.Timer] = []

    def wait_and_cancel() -> None:
        start = time.process_time()
        while time.process_time() - start < seconds:
            time.sleep(0.01)
        at.append(time.process_time())
        session.cancel()

    def listen(event: Event) -> None:
        if isinstance(event, RunStarted) and not timers:
            timers.append(threading.Timer(0, wait_and_cancel))
            timers[0].start()

    session.listener = listen
    return at, timers


@pytest.mark.parametrize("platform", ["polars", "duckdb"])
@pytest.mark.parametrize("name", WORK)
@pytest.mark.parametrize("main", [True, False], ids=["main thread", "another thread"])
def test_a_cancelled_engine_stops_computing(
    name: str, platform: str, main: bool, numbers: pa.Table, others_finished: None
):
    session = ub.connect(progress=False)
    query = WORK[name](session.from_arrow(numbers).on(platform), platform)
    at, timers = cancel_after(session, 0.7)
    caught: list[BaseException] = []

    def work() -> None:
        try:
            query.collect()
        except BaseException as error:  # noqa: BLE001 - looked at below
            caught.append(error)

    if main:
        work()
    else:
        thread = threading.Thread(target=work)
        thread.start()
        while thread.is_alive():
            thread.join(0.05)
    ended = time.monotonic()
    assert [type(error) for error in caught] == [ub.CancelledError]
    timers[0].join()
    while working():
        assert time.monotonic() - ended < PATIENCE, "a thread goes on"
        time.sleep(0.02)
    assert time.process_time() - at[0] < GOES_ON
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.15, "something computes on"
    assert session.from_arrow(numbers.slice(0, 3)).on(platform).collect().num_rows == 3


def test_a_polars_query_of_another_run_is_not_lost(numbers: pa.Table, others_finished: None):
    """Polars can only stop all its queries; the one that was not meant gives its answer."""
    stopped, other = ub.connect(progress=False), ub.connect(progress=False)
    at, timers = cancel_after(stopped, 0.7)
    answers: list[int] = []
    over = threading.Event()

    def work() -> None:
        frame = other.from_arrow(numbers.slice(0, SOME)).on("polars").sort("v").on("polars")
        query = frame.select(n=col("k").n_unique()).on("polars")
        while not over.is_set():  # some of them are under way at the cancel
            answers.append(query.collect()["n"][0].as_py())

    thread = threading.Thread(target=work)
    thread.start()
    with pytest.raises(ub.CancelledError):
        product(stopped.from_arrow(numbers).on("polars"), "polars").collect()
    timers[0].join()
    count = len(answers)
    while thread.is_alive() and len(answers) < count + 2:
        time.sleep(0.05)
    over.set()
    while thread.is_alive():
        thread.join(0.1)
    assert at
    assert len(answers) >= count + 2
    assert set(answers) == {len(np.unique(numbers["k"].to_numpy()[:SOME]))}


def test_pythons_handler_of_interrupts_is_what_it_was(numbers: pa.Table):
    import signal

    from umbel.platforms.handlers import current_action

    before = signal.getsignal(signal.SIGINT), current_action()
    session = ub.connect(progress=False)
    _, timers = cancel_after(session, 0.3)
    with pytest.raises(ub.CancelledError):
        product(session.from_arrow(numbers).on("polars"), "polars").collect()
    timers[0].join()
    assert signal.getsignal(signal.SIGINT) is before[0]
    assert current_action()[:8] == before[1][:8]

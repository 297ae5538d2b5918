"""A run that is cancelled ends at once, whatever its engine is at, and leaves nothing behind."""

from __future__ import annotations

import signal
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import umbel as ub
from tests.faults.conftest import Start
from umbel import col
from umbel.executor.events import Event, RunStarted

#: Seconds that a cancelled run may take to end. By itself it takes less than two; the machine of
#: the tests may be busy.
PROMPTLY = 6.0

#: Each runs for minutes.
PRODUCT = """
    session = ub.connect(listener=lambda event: pathlib.Path("begun").touch())
    a = session.from_dict({{"a": list(range(60_000))}})
    b = session.from_dict({{"b": list(range(60_000))}})
    product = a.join(b, how="cross").filter((col("a") * col("b")) % 7 == 3).on("{0}")
    product.group_by("a").agg(col("b").sum()).on("{0}").collect()
"""
FUNCTION = """
    def endless(x):
        pathlib.Path("begun").touch()
        {0}

    ub.connect().from_items([1]).map(endless).collect()
"""
SCRIPTS = {
    "duckdb": PRODUCT.format("duckdb"),
    "polars": PRODUCT.format("polars"),
    "python, many calls": """
    def slow(x):
        pathlib.Path("begun").touch()
        time.sleep(0.01)
        return hash(x)

    ub.connect().from_items(list(range(1_000_000))).map(slow).collect()
""",
    "python, one call that computes": FUNCTION.format("while True: pass"),
    "python, one call that waits": FUNCTION.format("time.sleep(600)"),
    "python, a function that catches all": FUNCTION.format(
        """
        while True:
            try:
                time.sleep(0.1)
            except Exception:
                pass
"""
    ),
    "python, that has spilled": """
    def slow(x):
        if x == 200_000:
            pathlib.Path("begun").touch()
        if x > 200_000:
            time.sleep(0.01)
        return (x % 1000, "x" * 100)

    session = ub.connect(memory_limit=1_000_000)
    session.from_items(list(range(300_000))).map(slow).sort_by().collect()
""",
}
HEAD = """
import pathlib, time
import umbel as ub
from umbel import col
"""


@pytest.mark.parametrize("name", SCRIPTS)
def test_an_interrupt_ends_the_run_at_once(
    name: str, start: Start, tmp_path: Path, temporary: Path
):
    process = start(HEAD + textwrap.dedent(SCRIPTS[name]))
    if "spilled" in name:
        assert list(temporary.iterdir())
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - began < PROMPTLY
    assert process.returncode == 1  # of an exception; the command `umbel run` gives 130
    assert err.splitlines()[-1].startswith(
        "umbel.plan.errors.CancelledError: the run was cancelled"
    )
    assert out == ""
    assert list(temporary.iterdir()) == []


def cross(session: ub.Session, platform: str) -> ub.DataFrame:
    a = session.from_dict({"a": list(range(40_000))})
    b = session.from_dict({"b": list(range(40_000))})
    product = a.join(b, how="cross").filter((col("a") * col("b")) % 7 == 3).on(platform)
    return product.group_by("a").agg(col("b").sum()).on(platform)


def endless(session: ub.Session) -> ub.Dataset:
    def turn(x):
        while True:
            x += 1

    return session.from_items([1]).map(turn)


LONG: dict[str, Callable[[ub.Session], ub.Dataset | ub.DataFrame]] = {
    "duckdb": lambda session: cross(session, "duckdb"),
    "polars": lambda session: cross(session, "polars"),
    "python": endless,
    "loop": lambda session: session.from_items([1]).do_while(
        lambda d: d.map(lambda x: x > 0), lambda d: d.map(lambda x: hash(x)), limit=10**9
    ),
}


@pytest.mark.parametrize("name", LONG)
def test_another_thread_can_cancel(name: str):
    timers: list[threading.Timer] = []

    def listen(event: Event) -> None:
        if isinstance(event, RunStarted) and not timers:
            timers.append(threading.Timer(0.7, session.cancel))
            timers[0].start()

    session = ub.connect(progress=False, listener=listen)
    long = LONG[name](session)
    began = time.monotonic()
    with pytest.raises(ub.CancelledError, match="the run was cancelled"):
        long.collect()
    assert time.monotonic() - began < PROMPTLY
    timers[0].join()
    # The session goes on; a new run is not cancelled.
    assert session.from_items([1]).map(lambda x: hash(x)).collect() == [1]
    deadline = time.monotonic() + PROMPTLY
    while any(t.name.startswith("umbel-stage") for t in threading.enumerate()):
        assert time.monotonic() < deadline, "a thread goes on for ever"
        time.sleep(0.02)


def test_a_run_that_is_cancelled_before_it_begins_does_nothing():
    from umbel.executor import Cancellation, run

    called: list[int] = []
    session = ub.connect(progress=False)
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(ub.CancelledError):
        run(
            session.from_items([1]).map(called.append).plan,
            platforms=session.platforms(),
            cancellation=cancellation,
        )
    assert called == []


def test_a_run_on_another_thread_can_be_cancelled():
    """As a server does it: runs on threads of its own, cancelled from its main thread."""
    started = threading.Event()
    session = ub.connect(progress=False, listener=lambda event: started.set())
    caught: list[BaseException] = []

    def work():
        try:
            cross(session, "duckdb").collect()
        except BaseException as error:  # noqa: BLE001 - looked at below
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert started.wait(20)
    time.sleep(0.3)
    session.cancel()
    thread.join(PROMPTLY)
    assert not thread.is_alive()
    assert [type(error) for error in caught] == [ub.CancelledError]


def test_engines_are_told_again_until_they_stop():
    """An engine that was about to begin when the first interrupt came hears a later one."""
    from umbel.executor.context import Cancellation
    from umbel.executor.workers import Workers

    cancellation = Cancellation()
    told: list[float] = []
    stopped = threading.Event()

    def interrupt():
        told.append(time.monotonic())
        if len(told) == 3:
            stopped.set()

    cancellation.register(interrupt)
    workers = Workers(cancellation)
    workers.start(0, lambda: stopped.wait(20) and None)
    workers.stop()
    assert stopped.is_set()
    assert len(workers) == 0


def test_an_interrupt_that_fails_does_not_keep_the_others():
    from umbel.executor.context import Cancellation

    cancellation = Cancellation()
    told: list[str] = []

    def broken():
        raise RuntimeError("the connection is closed already")

    cancellation.register(broken)
    cancellation.register(lambda: told.append("second"))
    cancellation.cancel()
    assert told == ["second"]

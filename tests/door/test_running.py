"""Statements end with their readers; only a few run; no result is whole in the server."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as adbc
import adbc_driver_manager
import duckdb
import psutil
import pyarrow as pa
import pytest
from pyarrow import flight, parquet

import umbel as ub
from tests.postgres_server import server
from umbel.door.backend import Settings
from umbel.door.messages import make, pack, read
from umbel.door.running import Execution, Places
from umbel.executor import Cancellation
from umbel.plan.errors import CancelledError
from umbel.platforms.registry import Registry

ROWS = 200_000
#: What is joined cannot be told apart before it is computed.
COUNT = "select count(*) as n from x a cross join x b where (a.x * b.x) % 7919 = 3"

CLIENT = """
import sys, adbc_driver_flightsql.dbapi as adbc
cursor = adbc.connect(sys.argv[1], autocommit=True).cursor()
cursor.execute(sys.argv[2])
cursor.fetchall()
"""


@pytest.fixture
def slow(tmp_path: Path) -> ub.Session:
    """A session in which `COUNT` takes minutes, on DuckDB."""
    parquet.write_table(pa.table({"x": range(ROWS)}), tmp_path / "x.parquet")
    session = ub.Session(platforms=Registry.discover().only("duckdb"), progress=False)
    session.register("x", session.read_parquet(tmp_path / "x.parquet"))
    return session


def until(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_a_statement_is_cancelled_by_its_client(slow: ub.Session) -> None:
    with (
        slow.serve(port=0) as door,
        adbc.connect(door.url, autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(COUNT)
        assert until(lambda: door.running == 1)
        threading.Timer(0.3, cursor.adbc_cancel).start()
        with pytest.raises(adbc_driver_manager.Error, match=r"(?i)cancel"):
            cursor.fetchall()
        assert until(lambda: door.running == 0)


def test_a_statement_is_cancelled_by_another_client(slow: ub.Session) -> None:
    with slow.serve(port=0) as door, flight.connect(door.url) as client:
        descriptor = flight.FlightDescriptor.for_command(
            pack(make("CommandStatementQuery", query=COUNT))
        )
        info = client.get_flight_info(descriptor)
        reader = client.do_get(info.endpoints[0].ticket)
        assert until(lambda: door.running == 1)
        body = make("CancelFlightInfoRequest", info=info.serialize()).SerializeToString()
        with flight.connect(door.url) as other:
            (result,) = other.do_action(flight.Action("CancelFlightInfo", body))
        assert read("CancelFlightInfoResult", result.body.to_pybytes()).status == 1
        with pytest.raises(flight.FlightServerError, match="cancelled"):
            reader.read_all()
        assert until(lambda: door.running == 0)


@pytest.mark.parametrize("engine", ["duckdb", "polars"])
def test_the_command_stops_computing_for_a_killed_client(engine: str, tmp_path: Path) -> None:
    parquet.write_table(pa.table({"x": range(ROWS)}), tmp_path / "x.parquet")
    options = ("--table", "x=x.parquet", "--on", engine, "--statements", "1")
    with _served(tmp_path, *options) as (process, url):
        client = subprocess.Popen([sys.executable, "-c", CLIENT, url, COUNT])
        server = psutil.Process(process.pid)
        try:
            idle = sum(server.cpu_times()[:2])
            assert until(lambda: sum(server.cpu_times()[:2]) > idle + 0.5, 60)
        finally:
            client.send_signal(signal.SIGKILL)
            client.wait()
        with adbc.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
            cursor.execute("select count(*) from x")  # there is one place only
            assert cursor.fetchall() == [(ROWS,)]
        time.sleep(1)
        used = sum(server.cpu_times()[:2])
        time.sleep(0.5)
        assert sum(server.cpu_times()[:2]) - used < 0.2


def test_a_statement_that_takes_too_long_is_stopped(slow: ub.Session) -> None:
    with (
        slow.serve(port=0, timeout=0.5) as door,
        adbc.connect(door.url, autocommit=True) as connection,
        connection.cursor() as cursor,
    ):
        cursor.execute(COUNT)
        with pytest.raises(adbc_driver_manager.Error, match=r"longer than 0\.5 seconds"):
            cursor.fetchall()
        assert until(lambda: door.running == 0)


def test_closing_the_door_stops_what_runs(slow: ub.Session) -> None:
    door = slow.serve(port=0)
    with contextlib.closing(door), flight.connect(door.url) as client:
        command = pack(make("CommandStatementQuery", query=COUNT))
        info = client.get_flight_info(flight.FlightDescriptor.for_command(command))
        reader = client.do_get(info.endpoints[0].ticket)
        assert until(lambda: door.running == 1)
        began = time.monotonic()
        door.close(grace=0.2)
        assert time.monotonic() - began < 6
        assert door.running == 0
        with pytest.raises(flight.FlightError, match="cancelled"):
            reader.read_all()


class Counting:
    """A statement of a million pieces; it counts how many it could hand over."""

    schema = pa.schema({"a": pa.int64()})
    writes = False

    def __init__(self) -> None:
        self.given = 0
        self.ended = threading.Event()

    def run(self, deliver: Callable[[pa.Table], None], cancellation: Cancellation) -> None:
        try:
            for _ in range(1_000_000):
                deliver(pa.table({"a": range(10)}))
                self.given += 1
        finally:
            self.ended.set()


def test_a_slow_reader_makes_the_run_wait() -> None:
    statement = Counting()
    execution = Execution(statement, None)
    threading.Thread(target=execution.run).start()
    rows = execution.batches(lambda: False)
    assert next(rows).num_rows == 10
    time.sleep(0.3)
    assert statement.given <= 5
    rows.close()  # type: ignore[attr-defined]
    assert statement.ended.wait(2)


def test_only_so_many_run_and_others_wait_their_turn() -> None:
    settings = Settings(statements=2, patience=0.1)
    places = Places(settings)
    first, second, third = Counting(), Counting(), Counting()
    readers = [places.start(s, b"", lambda: False).batches(lambda: False) for s in (first, second)]
    assert [next(reader).num_rows for reader in readers] == [10, 10]
    with pytest.raises(ub.UmbelError, match="2 statements are running"):
        places.start(third, b"", lambda: False)
    places._settings = replace(settings, patience=60)
    with pytest.raises(CancelledError, match="gone"):
        places.start(third, b"", lambda: True)
    threading.Timer(0.1, readers[0].close).start()  # type: ignore[attr-defined]
    waiting = places.start(third, b"h", lambda: False)
    assert third.given <= 4
    assert len(places) == 2
    assert places.cancel(b"h")
    assert not places.cancel(b"unknown")
    with pytest.raises(CancelledError):
        list(waiting.batches(lambda: False))
    places.close(0.0)
    assert len(places) == 0
    with pytest.raises(ub.UmbelError, match="shutting down"):
        places.start(first, b"", lambda: False)


@pytest.mark.parametrize("where", ["duckdb", "postgres"])
def test_a_big_result_streams(where: str, tmp_path: Path) -> None:
    """The server of 300 MB of rows grows by much less."""
    rows = 3_000_000
    text = "repeat('x', 92) || i::text as s"
    if where == "duckdb":
        with duckdb.connect(str(tmp_path / "big.duckdb")) as database:
            database.execute(f"create table big as select i, {text} from range({rows}) t(i)")
        attach = f"big=duckdb://{tmp_path}/big.duckdb"
    else:
        server().execute(
            f"create table big as select i, {text} from generate_series(1, {rows}) i",
        )
        attach = f"big={server().url()}"
    with _served(tmp_path, "--attach", attach) as (process, url):
        with adbc.connect(url, autocommit=True) as connection, connection.cursor() as cursor:
            # What is loaded and taken once does not count.
            cursor.execute("select i, s from big.big where i between 1 and 100000")
            assert cursor.fetch_arrow_table().num_rows == 100_000
            process_rss = psutil.Process(process.pid).memory_info
            before = peak = process_rss().rss
            cursor.execute("select i, s from big.big")
            count = 0
            for batch in cursor.fetch_record_batch():
                count += batch.num_rows
                peak = max(peak, process_rss().rss)
        assert count == rows
        assert peak - before < 150e6, f"{(peak - before) / 1e6:.0f} MB"


@contextlib.contextmanager
def _served(folder: Path, *options: str) -> Iterator[tuple[Any, str]]:
    """Run `umbel serve`; end it by SIGTERM."""
    process = subprocess.Popen(
        [sys.executable, "-m", "umbel", "serve", "--port", "0", *options],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("umbel answers SQL at grpc://127.0.0.1:"), process.communicate()
        yield process, line.split()[-1]
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors.strip()) == (0, "shutting down")

"""What the tests run in processes that die: started cheaply, and killed where a test wants it."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

#: Everything that a victim needs is imported once, in the process that all of them are forked from.
PRELOADED = [
    "umbel.api.dataframe",
    "umbel.api.durable",
    "umbel.executor.measurements",
    "umbel.executor.runs",
    "umbel.platforms.duckdb.attached",
    "umbel.platforms.duckdb.writing",
    "umbel.platforms.polars.stage",
    "umbel.platforms.python.compile",
    "umbel.platforms.registry",
    "umbel.platforms.sqlite.stage",
    "pandas",  # which DuckDB looks for
    "pyarrow.parquet",
    "sqlalchemy.dialects.sqlite",
    "sqlglot.dialects.duckdb",
    "tests.executor.runs.victims",
]

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(PRELOADED)


def killed(place: str, work: Callable[..., Any], *arguments: Any) -> bool:
    """Do some work in a process that is killed at a place; False if it did not come there."""
    process = _context.Process(target=_victim, args=(place, work, arguments))
    process.start()
    process.join(60)
    assert not process.is_alive(), "the victim hangs"
    if process.exitcode == -signal.SIGKILL:
        return True
    assert process.exitcode == 0, f"the victim ended by {process.exitcode}"
    return False


def started(work: Callable[..., Any], *arguments: Any) -> Any:
    """Begin some work in a process of its own."""
    process = _context.Process(target=work, args=arguments)
    process.start()
    return process


def _victim(place: str, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    from umbel import failpoints

    os.environ["UMBEL_COSTS"] = ""
    assert place.partition(":")[0] in failpoints.POINTS
    failpoints.arm(place)
    work(*arguments)


# --- what is run --------------------------------------------------------------------------------


def double(row: Any) -> Any:
    """A function that can be imported; it cannot be lifted."""
    return (row[0], str(row[1]) * 2) if row[1] % 2 else (row[0], [row[1]])


def pipeline(session: Any, data: Path, sink: str = "") -> Any:
    """Four engines one after the other: three stages, then a sink if there is one."""
    from umbel import col

    return (
        session.read_parquet(data)
        .filter(col("a") > 4)
        .on("polars")
        .join(session.from_dict({"b": [0, 1, 2], "name": ["x", "y", "z"]}), on="b")
        .on("duckdb")
        .group_by("name")
        .agg(col("a").sum().alias("total"))
        .on("python")
        .sort("name")
        .on("python")
    )


def run_frame(store: Path | str, data: Path) -> None:
    """Run the pipeline, and keep its rows."""
    import umbel as ub

    pipeline(ub.connect(progress=False, durable=store), data).collect()


def resume_run(store: Path, run_id: str) -> None:
    """Go on with a run."""
    import umbel as ub

    ub.connect(progress=False).resume(run_id, durable=store)


def run_file(store: Path, data: Path, target: Path, exists: str) -> None:
    """Run the pipeline into a file."""
    import umbel as ub

    session = ub.connect(progress=False, durable=store)
    pipeline(session, data).write_csv(target, exists=exists)


def run_items(store: Path, items: list[Any]) -> None:
    """Run functions over Python objects."""
    import umbel as ub

    session = ub.connect(progress=False, durable=store)
    session.from_items(items).map(double).sort_by(str).collect()


#: What writes each kind of sink, given a session, a frame, the sink's place and a mode.
WRITERS: dict[str, Callable[[Any, Any, Any, str], Any]] = {
    "delta": lambda session, frame, place, mode: frame.write_delta(place, mode=mode),
    "iceberg": lambda session, frame, place, mode: frame.write_iceberg(
        "db.t", catalog="ice", mode=mode
    ),
    "table": lambda session, frame, place, mode: frame.write_table("db.t", mode=mode),
}


def attached(store: Path | None, url: str, **options: Any) -> Any:
    """A session with durable runs and, if there is a URL, a place of tables."""
    import umbel as ub

    session = ub.connect(progress=False, durable=store)
    if url:
        name = "ice" if url.startswith("iceberg") else "db"
        session.catalog.attach(name, url, **options)
    return session


def run_sink(
    store: Path, data: Path, kind: str, mode: str, url: str, place: Path, options: dict[str, str]
) -> None:
    """Write the pipeline's rows to a sink of some kind."""
    session = attached(store, url, **options)
    WRITERS[kind](session, pipeline(session, data), place, mode)


def double_or_nothing(row: Any) -> Any:
    """As `double`; a test puts another function in its place."""
    return double(row) if row else None


def step(row: Any) -> Any:
    """Doubles a number; it branches, so that it stays a function."""
    return (row[0], row[1] * 2) if row[1] > 0 else (row[0], [])


def need_switch(row: Any) -> Any:
    """Fails until there is a file."""
    if not Path(os.environ["UMBEL_TEST_SWITCH"]).exists():
        raise ValueError("no switch")
    return (row.b, row.t, row.a)


def run_on_a_full_disk(store: Path, data: Path) -> None:
    """Run where no file may grow beyond some bytes."""
    import resource

    import umbel as ub

    session = ub.connect(progress=False, durable=store)
    limit = 400_000  # less than the rows take, and more than the store's own files
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    with pytest.raises(ub.RunError, match="cannot be kept"):
        session.read_parquet(data).sort("a").collect()


def wait_for_go(value: int) -> int:
    """Say that it runs, then wait for a file."""
    import time

    switch = Path(os.environ["UMBEL_TEST_SWITCH"])
    switch.touch()
    while not switch.with_suffix(".go").exists():
        time.sleep(0.01)
    return value


def run_until_stopped(store: Path, switch: str) -> None:
    """Run a function that does not come to its end, until somebody cancels the run."""
    import umbel as ub

    os.environ["UMBEL_TEST_SWITCH"] = switch
    session = ub.connect(progress=False, durable=store)
    with pytest.raises(ub.CancelledError):
        session.from_items([1, 2, 3]).map(wait_for_go).collect()

"""A database of a real server for each test, and a session that has it attached."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import umbel as ub
from tests.postgres_server import PostgresServer, available, server
from umbel.api.session import Session

Execute = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def postgres() -> PostgresServer:
    """The server; its `database` is this process's own."""
    assert available(), "install what the tests need: pip install 'umbel[dev,postgres]'"
    return server()


@pytest.fixture
def database(postgres: PostgresServer) -> Iterator[str]:
    """The URL of a database of this test's own."""
    with postgres.fresh() as url:
        yield url


@pytest.fixture
def execute(postgres: PostgresServer, database: str) -> Execute:
    """Runs statements in the test's database as its owner."""

    name = database.partition("@/")[2].partition("?")[0]
    return lambda *statements: postgres.execute(*statements, database=name)


@pytest.fixture
def session(database: str) -> Iterator[Session]:
    """A session with the database attached as `warehouse`."""
    made = ub.connect(progress=False)
    made.catalog.attach("warehouse", database)
    yield made
    if "warehouse" in made.catalog:
        made.catalog.detach("warehouse")


@pytest.fixture
def nothing_left(execute: Execute) -> Iterator[None]:
    """After the test no temporary table, no open transaction and no busy connection is there."""
    yield
    # The server takes a moment to notice that a connection was closed.
    until = time.monotonic() + 30
    while (left := _left(execute)) != (0, 0) and time.monotonic() < until:
        time.sleep(0.02)
    assert left == (0, 0)


def _left(execute: Execute) -> tuple[int, int]:
    """Temporary tables, and connections that are not idle."""
    [[tables]] = execute("SELECT count(*) FROM pg_class WHERE relpersistence = 't'")
    [[busy]] = execute(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND state <> 'idle'"
    )
    return tables, busy

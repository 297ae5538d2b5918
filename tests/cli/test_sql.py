"""`umbel sql`, and `umbel run` and `umbel explain` of SQL files."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def orders(folder: Path) -> Path:
    pq.write_table(pa.table({"id": [1, 2, 3], "price": [1.5, 2.5, 3.0]}), folder / "o.parquet")
    (folder / "names.csv").write_text("id,name\n1,ann\n3,bob\n")
    return folder


def test_a_statement_over_files_is_shown(umbel: Run, orders: Path) -> None:
    done = umbel("sql", "select sum(price) as total from 'o.parquet'", "--format", "csv")
    assert (done.returncode, done.stdout) == (0, "total\n7.0\n"), done.stderr


def test_files_get_names(umbel: Run, orders: Path) -> None:
    text = "select name, price from o join n using (id) order by id"
    done = umbel(
        "sql", text, "--table", "o=o.parquet", "--table", "n=names.csv", "--format", "json"
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == '{"name": "ann", "price": 1.5}\n{"name": "bob", "price": 3.0}\n'


def test_an_sql_file_runs_and_is_explained(umbel: Run, orders: Path) -> None:
    (orders / "q.sql").write_text("-- how many\nselect count(*) as n\nfrom 'o.parquet';\n")
    done = umbel("run", "q.sql", "--format", "csv")
    assert (done.returncode, done.stdout) == (0, "n\n3\n"), done.stderr
    explained = umbel("explain", "q.sql")
    assert explained.returncode == 0, explained.stderr
    assert "o.parquet" in explained.stdout
    (orders / "q.sql").write_text("select cast(name as integer) as n\nfrom 'names.csv'\n")
    failed = umbel("run", "q.sql")
    assert failed.returncode != 0
    assert "q.sql:1" in failed.stderr


def test_what_no_script_wrote_has_no_line(umbel: Run, orders: Path) -> None:
    done = umbel("sql", "select price / 2 as half from 'o.parquet'", "--explain")
    assert done.returncode == 0, done.stderr
    assert ".py:" not in done.stdout + done.stderr
    assert "half = " in done.stdout + done.stderr


def test_copy_writes_a_file(umbel: Run, orders: Path) -> None:
    done = umbel("sql", "copy (select id from 'o.parquet' where id > 1) to 'out.csv'")
    assert done.returncode == 0, done.stderr
    assert sorted((orders / "out.csv").read_text().splitlines()) == ["2", "3", "id"]


def test_the_dialect_decides_what_division_is(umbel: Run, folder: Path) -> None:
    for dialect, answer in (("duckdb", "3.5"), ("postgres", "3")):
        done = umbel("sql", "select 7 / 2 as x", "--dialect", dialect, "--format", "csv")
        assert done.stdout == f"x\n{answer}\n", done.stderr


def test_an_error_points_into_the_text(umbel: Run, orders: Path) -> None:
    done = umbel("sql", "select prise from 'o.parquet'")
    assert done.returncode == 2
    assert "unknown column 'prise' at line 1, column 8" in done.stderr
    assert "did you mean 'price'" in done.stderr
    assert "  |        ^" in done.stderr
    assert "Traceback" not in done.stderr


def test_wrong_use_is_said(umbel: Run, folder: Path) -> None:
    assert "NAME=FILE" in umbel("sql", "select 1", "--table", "x").stderr
    missing = umbel("run", "nothing.sql")
    assert missing.returncode == 4
    assert "nothing.sql" in missing.stderr

"""`umbel run plan.json`: what it shows, what it writes, and what it leaves alone."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.feather
import pyarrow.parquet
import pytest

import umbel as ub
from tests.cli.conftest import Run
from umbel import col

ROWS: list[dict[str, Any]] = [
    {"name": "ann", "n": 3},
    {"name": "bob", "n": None},
    {"name": 'c "d", e', "n": 5},
]
TABLE = pa.table({"name": [r["name"] for r in ROWS], "n": [r["n"] for r in ROWS]})


@pytest.fixture
def plan(folder: Path) -> Path:
    """A plan that sorts a Parquet file's rows by name."""
    pyarrow.parquet.write_table(TABLE, folder / "rows.parquet")
    frame = ub.connect().read_parquet(folder / "rows.parquet").sort("name")
    return write(folder, frame)


def write(folder: Path, handle: ub.DataFrame | ub.Dataset) -> Path:
    path = folder / "plan.json"
    path.write_text(handle.to_json(), encoding="utf-8")
    return path


def test_a_table_shows_names_types_and_values(umbel: Run, plan: Path):
    done = umbel("run", plan)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    names, types, *rows, last = done.stdout.splitlines()
    assert names.split() == ["name", "n"]
    assert types.split() == ["string", "int64"]
    assert [row.split()[-1] for row in rows] == ["3", "null", "5"]
    assert last == "3 rows"


def test_csv_is_for_programs(umbel: Run, plan: Path):
    done = umbel("run", plan, "--format", "csv")
    assert list(csv.reader(done.stdout.splitlines())) == [
        ["name", "n"],
        ["ann", "3"],
        ["bob", ""],
        ['c "d", e', "5"],
    ]


def test_json_is_an_object_a_line(umbel: Run, plan: Path):
    done = umbel("run", plan, "--format", "json")
    assert [json.loads(line) for line in done.stdout.splitlines()] == ROWS


def test_limit_takes_the_first_rows(umbel: Run, plan: Path):
    done = umbel("run", plan, "--format", "json", "--limit", "1")
    assert [json.loads(line) for line in done.stdout.splitlines()] == ROWS[:1]


def test_a_long_table_says_that_there_is_more(umbel: Run, folder: Path):
    path = write(folder, ub.connect().from_dict({"a": [1]}))
    pyarrow.parquet.write_table(pa.table({"a": range(1000)}), folder / "long.parquet")
    path = write(folder, ub.connect().read_parquet(folder / "long.parquet"))
    last = umbel("run", path).stdout.splitlines()[-1]
    assert last.startswith("1,000 rows, the first 20 shown")


def test_elements_of_a_dataset_are_shown_one_a_line(umbel: Run, folder: Path):
    (folder / "words.txt").write_text("b a\nc\n", encoding="utf-8")
    words = ub.connect().read_text(folder / "words.txt")
    path = write(folder, words.sort_by())
    assert umbel("run", path).stdout == "'b a'\n'c'\n"
    assert umbel("run", path, "--format", "json").stdout == '"b a"\n"c"\n'


READERS = {
    "out.parquet": pyarrow.parquet.read_table,
    "out.arrow": pyarrow.feather.read_table,
    "out.csv": pyarrow.csv.read_csv,
    "out.jsonl": lambda path: pa.Table.from_pylist(
        [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_output_is_written_in_the_format_of_its_name(
    umbel: Run, plan: Path, folder: Path, name: str
):
    done = umbel("run", plan, "--output", name)
    assert done.returncode == 0, done.stderr
    assert READERS[name](folder / name).to_pylist() == ROWS


def test_an_unknown_suffix_is_an_error(umbel: Run, plan: Path, folder: Path):
    done = umbel("run", plan, "--output", "out.xlsx")
    assert done.returncode == 2
    assert ".parquet" in done.stderr
    assert not (folder / "out.xlsx").exists()


def test_a_failed_write_leaves_what_was_there(umbel: Run, folder: Path):
    (folder / "data.csv").write_text("a\n1\n2\nx\n", encoding="utf-8")
    (folder / "out.parquet").write_bytes(b"before")
    frame = ub.connect().read_csv(folder / "data.csv").select(col("a").cast("int64"))
    done = umbel("run", write(folder, frame), "--output", "out.parquet")
    assert done.returncode == 6, done.stderr
    assert (folder / "out.parquet").read_bytes() == b"before"
    assert sorted(p.name for p in folder.iterdir()) == ["data.csv", "out.parquet", "plan.json"]


REFUSED = {
    "not json": ("{", 3),
    "another version": ('{"umbel": 99}', 3),
    "not a plan": ("[]", 3),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_no_plan_is_refused(umbel: Run, folder: Path, case: str):
    text, code = REFUSED[case]
    (folder / "plan.json").write_text(text, encoding="utf-8")
    done = umbel("run", "plan.json")
    assert done.returncode == code
    assert done.stdout == ""
    assert done.stderr.startswith("error: $")


def test_a_missing_plan_is_an_error_of_the_source(umbel: Run):
    assert umbel("run", "nowhere.json").returncode == 4


def test_a_plan_whose_file_is_gone_names_it(umbel: Run, plan: Path, folder: Path):
    (folder / "rows.parquet").unlink()
    done = umbel("run", plan)
    assert done.returncode == 4
    assert "rows.parquet" in done.stderr


def test_a_plan_with_a_python_function_says_that_its_code_is_not_here(umbel: Run, folder: Path):
    (folder / "words.txt").write_text("a\n", encoding="utf-8")
    words = ub.connect().read_text(folder / "words.txt").map(lambda word: sorted(word))
    done = umbel("run", write(folder, words))
    assert done.returncode == 2
    assert "code" in done.stderr
    assert "test_plans.py" not in done.stdout


def test_a_reader_that_goes_away_ends_it_quietly(folder: Path, environment: dict[str, str]):
    pyarrow.parquet.write_table(pa.table({"a": range(500_000)}), folder / "long.parquet")
    path = write(folder, ub.connect().read_parquet(folder / "long.parquet"))
    with subprocess.Popen(
        [sys.executable, "-m", "umbel", "run", path, "--format", "csv"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment,
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline() == b"a\n"
        running.stdout.close()
        assert running.stderr.read() == b""
        assert running.wait(timeout=60) == 141


def test_a_plan_that_trains_a_model_gives_scored_rows(umbel: Run, folder: Path):
    """y is 1 + 2 x, so the line that is found predicts 1 + 2 * 10 where y is missing."""
    (folder / "rows.csv").write_text("x,y\n0,1\n1,3\n2,5\n10,\n", encoding="utf-8")
    rows = ub.connect().read_csv(folder / "rows.csv")
    line = ub.learn.plan_fit(
        rows.filter(col("y").is_not_null()),
        features=["x"],
        label="y",
        model=ub.learn.LinearRegression(),
    )
    path = write(folder, line.predict(rows.filter(col("y").is_null())).select("x", "prediction"))
    done = umbel("run", path, "--format", "json")
    assert done.returncode == 0, done.stderr
    (found,) = map(json.loads, done.stdout.splitlines())
    assert found["x"] == 10
    assert found["prediction"] == pytest.approx(21)
    said = umbel("explain", path)
    assert said.stdout.startswith("first trains LinearRegression of y by x: exactly")

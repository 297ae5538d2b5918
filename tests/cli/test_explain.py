"""`umbel explain`: says how a plan would run, and runs nothing of it."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

import umbel as ub
from tests.cli.conftest import Run

SCRIPT = """
import pathlib
import umbel as ub

def seen(n):
    pathlib.Path("ran").touch()
    return str(n).rjust(3)

numbers = ub.connect().from_items([1, 2, 3])
doubled = numbers.map(lambda n: n * 2)
strange = numbers.map(seen)
print(strange.collect())
pathlib.Path("after").touch()
print(doubled.collect())
"""


@pytest.fixture
def script(folder: Path) -> Path:
    path = folder / "script.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


def test_a_script_stops_where_it_would_run_its_first_plan(umbel: Run, script: Path, folder: Path):
    done = umbel("explain", script)
    assert done.returncode == 0, done.stderr
    assert "runs on python" in done.stdout
    assert "seen" in done.stdout
    assert sorted(p.name for p in folder.iterdir()) == ["script.py"]


def test_a_name_chooses_the_plan(umbel: Run, script: Path, folder: Path):
    done = umbel("explain", "--name", "doubled", "--on", "polars", "--format", "json", script)
    operators = [o["name"] for s in json.loads(done.stdout)["stages"] for o in s["operators"]]
    assert operators == ["Scan", "Project"]  # the lambda was lifted
    assert not (folder / "ran").exists()


def test_an_unknown_name_is_an_error_with_those_that_are_there(umbel: Run, script: Path):
    done = umbel("explain", "--name", "doubles", script)
    assert done.returncode == 2
    assert "did you mean 'doubled'?" in done.stderr


def test_all_runs_the_script_and_explains_each_plan(umbel: Run, script: Path, folder: Path):
    done = umbel("explain", "--all", script)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("runs on ") == 2
    assert "[2, 4, 6]" in done.stdout
    assert (folder / "ran").exists()
    assert (folder / "after").exists()


def test_a_script_that_runs_nothing_has_its_last_handle_explained(umbel: Run, folder: Path):
    (folder / "lazy.py").write_text(
        "import umbel as ub\n"
        "first = ub.connect().from_dict({'a': [1]})\n"
        "last = first.select(ub.col('a') + 1)\n"
    )
    assert "add(a, 1)" in umbel("explain", "lazy.py").stdout


def test_a_script_without_a_plan_is_an_error(umbel: Run, folder: Path):
    (folder / "empty.py").write_text("print('hello')\n")
    done = umbel("explain", "empty.py")
    assert done.returncode == 2
    assert "runs no plan" in done.stderr


@pytest.fixture
def plan(folder: Path) -> Path:
    (folder / "data.csv").write_text("a,b\n1,x\n2,y\n", encoding="utf-8")
    frame = ub.connect().read_csv(folder / "data.csv").group_by("b").agg(ub.col("a").sum())
    path = folder / "plan.json"
    path.write_text(frame.to_json(), encoding="utf-8")
    return path


def test_json_has_stages_estimates_and_alternatives(umbel: Run, plan: Path):
    found = json.loads(umbel("explain", plan, "--format", "json").stdout)
    assert {"seconds", "dollars", "stages", "alternatives", "refusals"} <= set(found)


def test_mermaid_is_a_flowchart(umbel: Run, plan: Path):
    assert umbel("explain", plan, "--format", "mermaid").stdout.startswith("flowchart TD\n")


def test_output_goes_by_its_suffix(umbel: Run, plan: Path, folder: Path):
    done = umbel("explain", plan, "--output", "plan.svg")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    root = ElementTree.parse(folder / "plan.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_on_explains_that_platform(umbel: Run, plan: Path):
    found = json.loads(umbel("explain", plan, "--on", "python", "--format", "json").stdout)
    assert found["platforms"] == ["python"]


def test_an_output_that_cannot_be_written_is_an_error(umbel: Run, plan: Path):
    done = umbel("explain", plan, "--output", "plan.json/plan.svg")
    assert done.returncode == 6
    assert "plan.json" in done.stderr

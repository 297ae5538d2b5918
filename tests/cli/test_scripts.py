"""`umbel run script.py`: as Python would run it, with errors in one block."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

BAD = {
    2: 'ub.connect().from_dict({"price": [1]}).select("prise")',
    4: 'ub.connect().read_csv("missing.csv")',
    5: 'ub.connect().from_items([{1}]).map(len).on("duckdb").collect()',
    6: "ub.connect().from_items([1, 0]).map(lambda n: [7, 8][n + 5]).collect()",
}


def script(folder: Path, text: str, name: str = "script.py") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_script_is_main_and_gets_its_arguments(umbel: Run, folder: Path):
    script(folder, "NAME = 'beside'", "helper.py")
    script(
        folder,
        "import sys, json, helper\n"
        "print(json.dumps([__name__, sys.argv, helper.NAME, sys.modules['__main__'].__file__]))\n",
    )
    done = umbel("run", "script.py", "--limit", "3", "--", "x")
    assert done.returncode == 0, done.stderr
    name, arguments, beside, file = json.loads(done.stdout)
    assert name == "__main__"
    assert arguments == ["script.py", "--limit", "3", "--", "x"]
    assert beside == "beside"
    assert file == str(folder / "script.py")


@pytest.mark.parametrize(
    ("text", "code"), [("exit(7)", 7), ("exit()", 0), ("exit('gone wrong')", 1)]
)
def test_the_exit_code_of_a_script_is_kept(umbel: Run, folder: Path, text: str, code: int):
    script(folder, f"import sys\nsys.{text}\n")
    assert umbel("run", "script.py").returncode == code


def test_another_exception_is_shown_from_the_script_on(umbel: Run, folder: Path):
    script(folder, "def half(n):\n    return 1 / n\n\nhalf(0)\n")
    done = umbel("run", "script.py")
    assert done.returncode == 1
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert "script.py" in lines[1]
    assert "line 4" in lines[1]
    assert lines[-1].startswith("ZeroDivisionError")
    assert "umbel" not in done.stderr.replace(str(folder), "")


def test_a_syntax_error_names_the_line(umbel: Run, folder: Path):
    script(folder, "x = 1\ny = (\n")
    done = umbel("run", "script.py")
    assert done.returncode == 1
    assert "line 2" in done.stderr


@pytest.mark.parametrize("code", BAD)
def test_an_error_is_one_block_with_the_line(umbel: Run, folder: Path, code: int):
    script(folder, f"import umbel as ub\n\n{BAD[code]}\n")
    done = umbel("run", "script.py")
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert "script.py:3" in done.stderr


def test_the_block_has_what_is_wrong_the_hint_the_place_and_the_line(umbel: Run, folder: Path):
    script(folder, f"import umbel as ub\n\n{BAD[2]}\n")
    first, hint, place, line = umbel("run", "script.py").stderr.splitlines()
    assert first.startswith("error: unknown column 'prise'")
    assert "did you mean 'price'?" in hint
    assert place == "  at script.py:3"
    assert line == f"    {BAD[2]}"


def test_traceback_shows_the_whole_of_it(umbel: Run, folder: Path):
    script(folder, f"import umbel as ub\n{BAD[2]}\n")
    done = umbel("--traceback", "run", "script.py")
    assert done.returncode == 2
    assert "Traceback (most recent call last):" in done.stderr
    assert "error: unknown column 'prise'" in done.stderr


def test_a_missing_script_is_an_error_of_the_source(umbel: Run):
    done = umbel("run", "nowhere.py")
    assert done.returncode == 4
    assert "nowhere.py" in done.stderr


COUNT = """
import umbel as ub

words = ub.connect().from_items(["to be", "or", "not to be"]).flat_map(str.split)
counts = words.map(lambda w: (w, 1)).reduce_by_key(lambda a, b: a + b)
print(sorted(counts.collect()))
"""
COUNTED = "[('be', 2), ('not', 1), ('or', 1), ('to', 2)]\n"


@pytest.mark.parametrize("platform", ["python", "polars", "duckdb"])
def test_on_uses_only_that_platform(umbel: Run, folder: Path, platform: str):
    script(folder, COUNT)
    done = umbel("run", "--on", platform, "--record", "script.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout == COUNTED
    others = {"python", "polars", "duckdb"} - {platform}
    assert platform in done.stderr
    assert not any(other in done.stderr for other in others)


def test_an_unknown_platform_is_an_error_before_the_script_begins(umbel: Run, folder: Path):
    script(folder, "print('begun')")
    done = umbel("run", "--on", "duckbd", "script.py")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "did you mean 'duckdb'?" in done.stderr


def test_explain_and_record_are_on_standard_error(umbel: Run, folder: Path):
    script(folder, COUNT)
    done = umbel("run", "--explain", "--record", "script.py")
    assert done.stdout == COUNTED
    assert "stage 0 on" in done.stderr
    assert "considered instead" in done.stderr
    assert "measured" in done.stderr


def test_a_budget_that_no_plan_fits_is_refused(umbel: Run, folder: Path):
    script(folder, COUNT)
    done = umbel("run", "--budget-seconds", "0", "script.py")
    assert done.returncode == 5, done.stderr
    assert done.stdout == ""


def test_progress_is_silent_unless_asked_for(umbel: Run, folder: Path):
    script(folder, COUNT)
    assert umbel("run", "script.py").stderr == ""
    assert "stage" in umbel("run", "--progress", "script.py").stderr

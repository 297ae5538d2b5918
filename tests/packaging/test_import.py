"""`import umbel` is cheap: engines, parsers and the user interface are imported when first used."""

from __future__ import annotations

import subprocess
import sys

import pytest

LAZY = {"duckdb", "pandas", "polars", "pydantic", "rich", "sqlalchemy", "sqlglot", "typer"}


@pytest.fixture(scope="module")
def imported() -> set[str]:
    """The top-level modules that a new process has after `import umbel`."""
    code = "import sys, umbel; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_umbel_is_imported(imported: set[str]):
    assert "umbel" in imported


def test_no_engine_is_imported(imported: set[str]):
    assert imported & LAZY == set()


def test_a_small_job_in_python_imports_no_engine():
    code = """
import sys
import umbel as ub
session = ub.connect()
assert session.from_items([1, 2]).map(lambda x: x + 1).collect() == [2, 3]
print(*{name.partition('.')[0] for name in sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (
        set(done.stdout.split()) & {"datafusion", "duckdb", "polars", "sqlalchemy", "sqlglot"}
        == set()
    )

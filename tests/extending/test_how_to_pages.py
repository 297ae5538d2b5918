"""The pages that add a function and a rule: made in a copy of the tree, and tested there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.extending.pages import ROOT, apply, blocks, changes

#: Each page, and further tests that must still pass when it was followed.
FOLLOWED = {
    "add-a-function.md": ["src/umbel/plan/functions"],
    "add-a-rule.md": ["src/umbel/optimizer/rewrite", "tests/optimizer/test_rewrite.py"],
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what the pages change, and of what runs the tests."""
    ignored = shutil.ignore_patterns("__pycache__")
    for folder in ("src", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", FOLLOWED)
def test_a_page_can_be_followed(page: str, tree: Path):
    steps = [change for diff in blocks(page, "diff") for change in changes(diff)]
    for step in steps:
        apply(step, tree)
    added = [step.path for step in steps if step.path.startswith("tests/")]
    assert added, "the page adds no test"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *added, *FOLLOWED[page]],
        check=False,
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree / "src")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr

"""Every script in examples/ runs by itself, in an empty directory, and ends well."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import forked

SCRIPTS = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_example_runs(script: Path, tmp_path: Path):
    environment = {**os.environ, "HOME": str(tmp_path), "NO_COLOR": "1"}
    done = forked.run([script], cwd=tmp_path, env=environment, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr

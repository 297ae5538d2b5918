"""Runs the command as its users do: as a process of its own, mostly one whose start was skipped."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import forked

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables for the command: plain output, and temporary files below `tmp_path`."""
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    return {**os.environ, "NO_COLOR": "1", "COLUMNS": "100", "TMPDIR": str(scratch)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder that the command runs in."""
    made = tmp_path / "work"
    made.mkdir()
    return made


@pytest.fixture
def umbel(folder: Path, environment: dict[str, str]) -> Run:
    """Run `umbel` with some arguments; give what it printed and its exit code."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return forked.run(["-m", "umbel", *arguments], cwd=folder, env=environment)

    return run


@pytest.fixture
def started(folder: Path, environment: dict[str, str]) -> Run:
    """Run `umbel` from Python's start, as `umbel` does without it."""

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "umbel", *map(str, arguments)],
            check=False,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run

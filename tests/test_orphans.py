"""What a killed run leaves behind is ended, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests import orphans

pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="Linux only")

SLEEP = [sys.executable, "-I", "-S", "-c", "import time; print(flush=True); time.sleep(600)"]


def sleeper(mark: str) -> subprocess.Popen[bytes]:
    """A process in a session of its own; returns when it has its environment."""
    process = subprocess.Popen(
        SLEEP,
        stdout=subprocess.PIPE,
        env={**os.environ, orphans.VARIABLE: mark},
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout as told:
        told.readline()
    return process


def test_only_what_a_killed_run_has_left_is_ended():
    leader, left, others = sleeper("leader"), sleeper("mine"), sleeper("another's")
    try:
        watching = orphans.guard(leader.pid, "mine", grace=0.0)
        assert left.poll() is None
        leader.kill()
        assert left.wait(60) == -signal.SIGKILL
        assert watching.wait(60) == 0
        assert others.poll() is None
    finally:
        for process in (leader, left, others):
            process.kill()
            process.wait()


def test_processes_of_tests_have_the_runs_mark():
    mark = os.environ[orphans.VARIABLE]
    shown = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        f"import os; print(os.environ[{orphans.VARIABLE!r}])",
    ]
    assert subprocess.run(shown, capture_output=True, text=True, check=True).stdout.strip() == mark

"""A forked process is as one that Python started: what it is given, what it leaves, how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import forked

SCRIPT = """
import atexit, os, signal, sys, tempfile, threading, time

def late():
    time.sleep(0.05)
    print("a thread")

atexit.register(print, "the end")
threading.Thread(target=late).start()
print(__name__, __file__, sys.argv, sys.path[0], os.getcwd(), tempfile.gettempdir())
print(sorted(os.environ), sys.stdin.read(), os.getppid() != os.getpid())
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, signal.getsignal(signal.SIGCHLD))
print("told", file=sys.stderr)
"""
ENDS = {
    "well": "",
    "with a code": "sys.exit(3)",
    "with a word": "sys.exit('no more')",
    "with nothing": "sys.exit()",
    "by a signal": "os.kill(os.getpid(), signal.SIGKILL)",
    "at once": "os._exit(7)",
}


@pytest.mark.parametrize("end", ENDS)
def test_it_is_as_one_that_was_started(end: str, tmp_path: Path):
    (tmp_path / "tmp").mkdir()
    (tmp_path / "script.py").write_text(SCRIPT + ENDS[end], encoding="utf-8")
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp"), "ONLY": "here"}
    words = ["script.py", "one", "two words"]
    forks = forked.run(words, cwd=tmp_path, env=environment)
    real = subprocess.run(
        [sys.executable, *words], check=False, cwd=tmp_path, env=environment,
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert (forks.returncode, forks.stdout, forks.stderr) == (
        real.returncode,
        real.stdout,
        real.stderr,
    )


def test_an_error_is_shown_and_a_long_one_ended(tmp_path: Path):
    (tmp_path / "wrong.py").write_text("raise ValueError('so it is')", encoding="utf-8")
    done = forked.run(["wrong.py"], cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "ValueError: so it is"
    (tmp_path / "long.py").write_text(
        "import os, time\nopen('pid', 'w').write(str(os.getpid()))\ntime.sleep(600)\n"
    )
    with pytest.raises(TimeoutError):
        forked.run(["long.py"], cwd=tmp_path, timeout=1)


def test_what_python_reads_when_it_starts_is_refused(tmp_path: Path):
    with pytest.raises(AssertionError, match="PYTHONPATH"):
        forked.run(["-m", "umbel"], cwd=tmp_path, env={**os.environ, "PYTHONPATH": "/elsewhere"})


def test_the_program_takes_its_place_in_a_shell(tmp_path: Path):
    forked.command(tmp_path)
    done = subprocess.run(
        ["sh", "-c", "./umbel --version | tr a-z A-Z; ./umbel rnu 2>&1"],
        check=False, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout.startswith("UMBEL ")
    assert "'run'" in done.stdout

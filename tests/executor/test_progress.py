"""A progress line per stage on a terminal, and not a byte of it anywhere else."""

from __future__ import annotations

import io
import os
import pty
import select
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import umbel as ub
from tests import forked
from umbel.executor import progress, run

SCRIPT = textwrap.dedent(
    """
    import time
    import umbel as ub

    def slow(x):
        time.sleep(0.1)
        return x

    session = ub.connect()
    frame = session.from_items(list(range(6))).map(slow).to_frame({"n": int}).on("python")
    total = frame.select(ub.col("n").sum()).on("duckdb").collect()
    print(total.column("n").to_pylist())
    """
)


def in_terminal(arguments: list[str], folder: Path) -> tuple[int, str, str]:
    """Run with standard error on a terminal of its own; give code, output and what it showed."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}
    with subprocess.Popen(
        arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=slave, text=True
    ) as running:
        os.close(slave)
        shown = b""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if not select.select([master], [], [], 0.1)[0]:
                if running.poll() is not None:
                    break
                continue
            try:
                piece = os.read(master, 65536)
            except OSError:  # the other side is closed
                break
            if not piece:
                break
            shown += piece
        os.close(master)
        out = running.stdout.read() if running.stdout else ""
        code = running.wait(30)
    return code, out, shown.decode()


def test_a_terminal_shows_a_line_for_each_stage(tmp_path: Path):
    (tmp_path / "slow.py").write_text(SCRIPT, encoding="utf-8")
    code, out, shown = in_terminal([sys.executable, "slow.py"], tmp_path)
    assert (code, out) == (0, "[15]\n")
    assert "stage 0 on python: Scan > Map > ToFrame" in shown
    assert "stage 1 on duckdb: Aggregate" in shown
    assert "6 rows" in shown  # of the first stage, once it is done


class Terminal(io.StringIO):
    """A standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_quick_run_does_not_flicker(monkeypatch: pytest.MonkeyPatch, session: ub.Session):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(progress, "PAUSE", 60.0)
    assert run(session.from_items([1]).plan, platforms=session.platforms()).elements == [1]
    assert terminal.getvalue() == ""
    monkeypatch.setattr(progress, "PAUSE", 0.0)
    run(session.from_items([1]).plan, platforms=session.platforms())
    assert "stage 0 on python: Scan" in terminal.getvalue()


def test_elsewhere_nothing_is_shown(tmp_path: Path):
    (tmp_path / "slow.py").write_text(SCRIPT, encoding="utf-8")
    done = forked.run(["slow.py"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (done.stdout, done.stderr) == ("[15]\n", "")


def test_progress_can_be_asked_for(tmp_path: Path):
    script = SCRIPT.replace("ub.connect()", "ub.connect(progress=True)")
    (tmp_path / "slow.py").write_text(script, encoding="utf-8")
    done = forked.run(["slow.py"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "stage 0 on python" in done.stderr
    assert "\x1b" not in done.stderr  # no control sequences where there is no terminal


def test_the_functions_run_as_written_is_shown(tmp_path: Path):
    script = textwrap.dedent(
        """
        import umbel as ub
        from umbel.executor import run

        session = ub.connect()
        numbers = session.from_items([2**62]).map(lambda x: x * 4)
        run(numbers.plan, platforms=session.platforms(), progress=True, lifting=True)
        """
    )
    (tmp_path / "twice.py").write_text(script, encoding="utf-8")
    done = forked.run(["twice.py"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "running the Python functions as written" in done.stderr
    assert done.stderr.count("stage 0") == 1  # that of the second try only

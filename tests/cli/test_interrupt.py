"""Ctrl-C and SIGTERM end a long run within seconds, and nothing is left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

#: Each runs for minutes; each touches "begun" once the engine is about to begin or has begun.
LONG = {
    "python": """
import pathlib, time
import umbel as ub

def slow(n):
    pathlib.Path("begun").touch()
    time.sleep(0.01)
    return hash(str(n))

numbers = ub.connect().from_items(list(range(1_000_000)))
numbers.map(slow).to_frame({"n": int}).write_parquet("out.parquet")
""",
    "polars": """
import pathlib
import umbel as ub
from umbel import col

a = ub.connect().from_dict({"a": list(range(60_000))})
b = ub.connect().from_dict({"b": list(range(60_000))})
pathlib.Path("begun").touch()
product = a.join(b, how="cross").filter((col("a") * col("b")) % 7 == 3).on("polars")
product.group_by("a").agg(col("b").sum()).on("polars").write_parquet("out.parquet")
""",
}
LONG["duckdb"] = LONG["polars"].replace("polars", "duckdb")


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"]
)
@pytest.mark.parametrize("platform", LONG)
def test_a_signal_cancels_within_seconds(
    folder: Path, environment: dict[str, str], platform: str, number: signal.Signals, code: int
):
    (folder / "long.py").write_text(LONG[platform], encoding="utf-8")
    (folder / "out.parquet").write_bytes(b"before")
    with subprocess.Popen(
        [sys.executable, "-m", "umbel", "run", "long.py"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            wait_for(folder / "begun", running)
            time.sleep(1)  # well into the work
            assert running.poll() is None, running.communicate()
            started = time.monotonic()
            running.send_signal(number)
            out, err = running.communicate(timeout=30)
            assert time.monotonic() - started < 10
        finally:
            running.kill()
    assert running.returncode == code
    assert out == ""
    assert err.splitlines()[-1] == "cancelled"
    assert "Traceback" not in err
    assert (folder / "out.parquet").read_bytes() == b"before"
    assert list(Path(environment["TMPDIR"]).iterdir()) == []
    assert sorted(p.name for p in folder.iterdir()) == ["begun", "long.py", "out.parquet"]


def wait_for(path: Path, running: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)

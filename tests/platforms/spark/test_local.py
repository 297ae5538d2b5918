"""A Spark of our own on this machine: starts, works in parallel with others, leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

SCRIPT = """
import os, sys, time
import umbel as ub
session = ub.connect()
session.catalog.attach("own", "spark://local?cores=1&memory=600m")
session.catalog["own"].connection._settings["spark.driver.extraJavaOptions"] = "-XX:TieredStopAtLevel=1"

def square(x):
    return [x * x][0]

print(sorted(session.from_items([1, 2, 3]).map(square).on("own").collect()), flush=True)
if sys.argv[1:] == ["wait"]:
    time.sleep(300)

import psutil
(java,) = (p.pid for p in psutil.Process().children(recursive=True) if p.name() == "java")

def kill(x):
    os.kill(java, 9)
    time.sleep(60)

started = time.monotonic()
try:
    session.from_items([1]).map(kill).on("own").collect()
except ub.UmbelError as error:
    print(error.message, flush=True)
print("soon" if time.monotonic() - started < 30 else "late")
print(session.from_items([2]).map(square).on("own").collect())
"""


def sparks(under: int) -> list[psutil.Process]:
    """The Java processes below a process."""
    found = []
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(under).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):  # it ended just now
                if child.name() == "java":
                    found.append(child)
    return found


def gone(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=30)
    return not alive


@pytest.mark.slow
def test_a_killed_process_takes_its_spark_along(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), "wait"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        # `square` is of __main__, which workers cannot import.
        assert process.stdout.readline() == "[1, 4, 9]\n"
        running = sparks(process.pid)
        assert len(running) == 1
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert gone(running)
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
def test_a_spark_that_dies_is_said_and_replaced_and_nothing_is_left_at_the_end(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    deadline = time.monotonic() + 300
    running: list[psutil.Process] = []
    while process.poll() is None and time.monotonic() < deadline:
        running += [java for java in sparks(process.pid) if java not in running]
        time.sleep(0.1)
    output, errors = process.communicate()
    first, said, when, again = output.splitlines()
    assert first == "[1, 4, 9]"
    assert "Spark (local[1]) ended while it was at work" in said
    assert when == "soon"
    assert again == "[4]"
    assert errors == ""
    assert running
    assert gone(running)
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("umbel-")] == []

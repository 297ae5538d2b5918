"""Real processes that are killed at any moment: every task is committed once, and rightly.

`UMBEL_CHAOS_KILLS` and `UMBEL_CHAOS_SEED` make the test longer, or another.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.federation.harness import Federation, numbers
from tests.federation.wire import processes

KILLS = int(os.environ.get("UMBEL_CHAOS_KILLS", "4"))
SEED = int(os.environ.get("UMBEL_CHAOS_SEED", "7"))
SITES, ROWS = 2, 150_000
TASKS = 6 + 2 * KILLS


def prepared(folder: Path, sites: int) -> int:
    """Make the authority and the sites; give a free port."""
    made = Federation(folder)
    for number in range(sites):
        made.join(f"s{number}")
    made.store.close()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def check(folder: Path, tasks: int, sites: int, rows: int) -> Counter[str]:
    """Check a history: what was committed once, and read as anybody can work it out."""
    events = processes.History(folder).read()
    commits = Counter(event["task"] for event in events if event["event"] == "commit")
    assert set(commits.values()) <= {1}, "a task was committed twice"
    reads = {event["number"]: event for event in events if event["event"] == "read"}
    assert sorted(reads) == list(range(tasks))
    for event in [event for event in events if event["event"] == "read"]:
        of = processes.work(event["number"], sites, rows)
        assert event["task"] == of.id
        assert event["content"] == processes.content(numbers(of))
    return Counter(event["event"] for event in events)


@pytest.mark.slow
def test_kills_at_any_moment_change_nothing(tmp_path: Path) -> None:
    source = random.Random(SEED)
    port = prepared(tmp_path, SITES)
    address = f"127.0.0.1:{port}"

    def start(name: str) -> subprocess.Popen[bytes]:
        if name == "coordinator":
            return processes.start(tmp_path, name, tmp_path, port, SITES, TASKS, ROWS)
        return processes.start(tmp_path, "site", tmp_path, address, name)

    names = ["coordinator", *(f"s{number}" for number in range(SITES))]
    running = {name: start(name) for name in names}
    try:
        for kill in range(KILLS):
            # The first of each is let come up.
            time.sleep(source.uniform(0.3, 1.5) + (2.0 if kill == 0 else 0.0))
            name = source.choice(names)
            if running["coordinator"].poll() is not None:
                break
            running[name].kill()
            running[name].wait()
            running[name] = start(name)
        assert running["coordinator"].wait(120) == 0, (tmp_path / "coordinator.log").read_text()
        for name in names[1:]:
            running[name].send_signal(signal.SIGTERM)
            assert running[name].wait(20) == 0
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    counts = check(tmp_path, TASKS, SITES, ROWS)
    assert counts["execute"] >= TASKS
    for number in range(SITES):
        assert list((tmp_path / f"site-s{number}" / "spool").iterdir()) == []

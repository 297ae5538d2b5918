"""No process outlives a run of the tests for long, even one that is killed.

Tests start coordinators, sites and commands as processes of their own, in sessions of their own,
and end them; a run that is killed cannot. Each process inherits the run's mark in its environment.
A guard waits for the end of the process that leads the run, lets the servers that end by
themselves do so, and kills what still has the mark.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

#: The variable that holds the mark.
VARIABLE = "UMBEL_TEST_RUN"
#: Seconds in which servers end that notice by themselves that nobody uses them any more.
GRACE = 20.0

_GUARD = """
import os, select, signal, sys, time
leader, mark, grace = int(sys.argv[1]), sys.argv[2].encode(), float(sys.argv[3])
def left():
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/environ", "rb") as environ:
                if int(name) != os.getpid() and mark in environ.read().split(b"\\0"):
                    yield int(name)
        except OSError:
            pass  # it has ended, or is another's
try:
    waiting = select.poll()
    waiting.register(os.pidfd_open(leader), select.POLLIN)
    print("ready", flush=True)
    waiting.poll()
except ProcessLookupError:
    print("ready", flush=True)
end = time.monotonic() + grace
while time.monotonic() < end and any(left()):
    time.sleep(0.5)
for one in left():
    try:
        os.kill(one, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""


def guard(leader: int, mark: str, grace: float = GRACE) -> subprocess.Popen[bytes]:
    """Start the process that kills what still has the mark once the leader is gone."""
    started = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _GUARD, str(leader), f"{VARIABLE}={mark}", str(grace)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert started.stdout is not None
    with started.stdout as told:
        assert told.readline() == b"ready\n"
    return started


def lead() -> Callable[[], None]:
    """Mark the run that this process leads, and have it guarded; gives what ends the marking."""
    if not hasattr(os, "pidfd_open") or not Path("/proc/self/environ").exists():
        return lambda: None  # not Linux: who kills a run there ends its processes too
    before, mark = os.environ.get(VARIABLE), secrets.token_hex(8)
    started = guard(os.getpid(), mark)
    started.returncode = 0  # it outlives this process on purpose, so nobody shall warn that it runs
    os.environ[VARIABLE] = mark

    def end() -> None:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before

    return end


__all__ = ["GRACE", "VARIABLE", "guard", "lead"]

"""Compare whole commands fairly: interleaved, in pairs, each run a new process.

Every round runs each command once, in an order that rotates from round to round, so that a busy
machine slows all of them alike. A command is compared with the first one within a round, and the
median of those ratios is reported; it stays steady where the times themselves do not.
Work inside a process (a single plan, a warm engine) is not measured here.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from rich import box
from rich.console import Console
from rich.table import Table

SAMPLE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one run of one command took, its child processes included."""

    wall_seconds: float
    cpu_seconds: float
    peak_rss_mb: float


@dataclass(frozen=True, slots=True)
class Row:
    """One command's figures over all rounds; ratios are to the first command, below 1 is better."""

    name: str
    wall_min: float
    wall_median: float
    cpu_min: float
    cpu_median: float
    rss_median: float
    wall_ratio: float
    cpu_ratio: float
    rss_ratio: float


class CommandFailedError(Exception):
    """A command under measurement ended with an error: its figures would mean nothing."""


def measure(command: Sequence[str]) -> Measurement:
    """Run a command once.

    CPU time is the kernel's, for the process and every child it waited for. Peak memory is the
    larger of the kernel's figure for the biggest single process and the largest sum over the
    process tree seen in samples 20 ms apart; pages shared between processes count in each.

    Raises:
        CommandFailedError: the exit code is not zero.
    """
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        ended = threading.Event()
        sampler = _TreeMemory(process.pid, ended)
        sampler.start()
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        ended.set()
        sampler.join()
        if process.returncode != 0:
            output.seek(0)
            said = output.read().decode(errors="replace")[-4000:]
            raise CommandFailedError(f"{shlex.join(command)}: exit {process.returncode}\n{said}")
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss: bytes on macOS, KiB elsewhere
    peak = max(usage.ru_maxrss * unit, sampler.peak_bytes)
    return Measurement(wall, usage.ru_utime + usage.ru_stime, peak / 1e6)


class _TreeMemory(threading.Thread):
    """Samples the resident memory of a process and its descendants until told to stop."""

    def __init__(self, pid: int, ended: threading.Event) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self._pid = pid
        self._ended = ended

    def run(self) -> None:
        try:
            root = psutil.Process(self._pid)
        except psutil.NoSuchProcess:
            return
        while not self._ended.wait(SAMPLE_SECONDS):
            total = 0
            try:
                tree = [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            for process in tree:
                try:
                    total += process.memory_info().rss
                except psutil.NoSuchProcess:  # it ended between the listing and now
                    continue
            self.peak_bytes = max(self.peak_bytes, total)


def interleave(
    commands: Mapping[str, Sequence[str]], rounds: int, warmups: int = 1
) -> dict[str, list[Measurement]]:
    """Run every command once per round; warm-up rounds are thrown away.

    Returns:
        The measurements of each command, by round: equal positions belong together.
    """
    names = list(commands)
    runs: dict[str, list[Measurement]] = {name: [] for name in names}
    for turn in range(warmups + rounds):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            measurement = measure(commands[name])
            if turn >= warmups:
                runs[name].append(measurement)
    return runs


def summarise(runs: Mapping[str, Sequence[Measurement]]) -> list[Row]:
    """Reduce measurements to one row per command; the first command is the baseline."""
    baseline = next(iter(runs.values()))
    rows = []
    for name, own in runs.items():
        pairs = list(zip(own, baseline, strict=True))
        wall = [run.wall_seconds for run in own]
        cpu = [run.cpu_seconds for run in own]
        rows.append(
            Row(
                name=name,
                wall_min=min(wall),
                wall_median=statistics.median(wall),
                cpu_min=min(cpu),
                cpu_median=statistics.median(cpu),
                rss_median=statistics.median(run.peak_rss_mb for run in own),
                wall_ratio=statistics.median(a.wall_seconds / b.wall_seconds for a, b in pairs),
                cpu_ratio=statistics.median(a.cpu_seconds / b.cpu_seconds for a, b in pairs),
                rss_ratio=statistics.median(a.peak_rss_mb / b.peak_rss_mb for a, b in pairs),
            )
        )
    return rows


def report(
    commands: Mapping[str, Sequence[str]],
    runs: Mapping[str, Sequence[Measurement]],
    json_path: Path | None = None,
) -> None:
    """Print a table; write everything, raw figures and machine included, as JSON if asked."""
    rows = summarise(runs)
    table = Table(
        title=f"{len(next(iter(runs.values())))} interleaved rounds",
        box=box.SIMPLE,
        padding=(0, 1, 0, 0),
    )
    table.add_column("command", no_wrap=True)
    for title in ("wall s", "median", "cpu s", "median", "MB", "×wall", "×cpu", "×MB"):
        table.add_column(title, justify="right")
    for row in rows:
        table.add_row(
            row.name,
            *(f"{t:.3f}" for t in (row.wall_min, row.wall_median, row.cpu_min, row.cpu_median)),
            f"{row.rss_median:.0f}",
            *(f"{r:.2f}" for r in (row.wall_ratio, row.cpu_ratio, row.rss_ratio)),
        )
    Console().print(table)
    if json_path is not None:
        document = {
            "machine": {
                "platform": platform.platform(),
                "python": platform.python_version(),
                "cpus": os.cpu_count(),
                "memory_mb": round(psutil.virtual_memory().total / 1e6),
                "load": os.getloadavg()[0],
            },
            "commands": {name: list(command) for name, command in commands.items()},
            "summary": [asdict(row) for row in rows],
            "runs": {name: [asdict(run) for run in own] for name, own in runs.items()},
        }
        json_path.write_text(json.dumps(document, indent=2) + "\n")


def parse_command(text: str) -> tuple[str, list[str]]:
    """Split `NAME=COMMAND`; `python` as the command's first word is this interpreter."""
    name, separator, command = text.partition("=")
    words = shlex.split(command)
    if not separator or not words:
        raise argparse.ArgumentTypeError(f"expected NAME=COMMAND, got {text!r}")
    return name, [sys.executable if words[0] == "python" else words[0], *words[1:]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare the commands given on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.harness", description=__doc__)
    parser.add_argument("commands", nargs="+", type=parse_command, metavar="NAME=COMMAND")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--warmups", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    commands = dict(options.commands)
    report(commands, interleave(commands, options.rounds, options.warmups), options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())

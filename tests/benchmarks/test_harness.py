"""The benchmark harness measures what it says."""

from __future__ import annotations

import json
import sys

import pytest

from benchmarks.harness import CommandFailedError, Measurement, main, measure, summarise

ALLOCATE = "import time; held = bytearray(80_000_000); time.sleep(0.3)"
SPAWN = "import subprocess, sys; " + "".join(
    f"p{i} = subprocess.Popen([sys.executable, '-c', {ALLOCATE!r}]); " for i in (1, 2)
)


def test_sleep_costs_wall_time_and_no_cpu_time():
    run = measure([sys.executable, "-S", "-c", "import time; time.sleep(0.5)"])
    assert run.wall_seconds >= 0.5
    assert run.cpu_seconds < 0.4


def test_cpu_time_of_children_counts():
    busy = "import time; end = time.process_time() + 0.4\nwhile time.process_time() < end: pass"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])"
    assert measure([sys.executable, "-c", code]).cpu_seconds >= 0.4


def test_memory_of_children_is_summed():
    run = measure([sys.executable, "-c", SPAWN + "p1.wait(); p2.wait()"])
    assert run.peak_rss_mb >= 160


def test_a_failed_command_is_an_error_with_its_output():
    with pytest.raises(CommandFailedError, match="no such luck"):
        measure([sys.executable, "-c", "raise SystemExit('no such luck')"])


def test_ratios_are_medians_over_rounds():
    # The machine slows down tenfold in round 2; the ratio to the baseline stays 2.
    base = [Measurement(1, 1, 100), Measurement(10, 10, 100), Measurement(1, 1, 100)]
    other = [Measurement(2, 3, 50), Measurement(20, 30, 50), Measurement(2.2, 3, 50)]
    first, second = summarise({"base": base, "other": other})
    assert (first.wall_ratio, first.cpu_ratio, first.rss_ratio) == (1, 1, 1)
    assert (second.wall_ratio, second.cpu_ratio, second.rss_ratio) == (2, 3, 0.5)
    assert (second.wall_min, second.wall_median) == (2, 2.2)


def test_the_command_line_writes_json(tmp_path, capsys):
    file = tmp_path / "result.json"
    quick = "python -S -c pass"
    main(["--rounds", "2", "--warmups", "0", "--json", str(file), f"a={quick}", f"b={quick}"])
    document = json.loads(file.read_text())
    assert [row["name"] for row in document["summary"]] == ["a", "b"]
    assert len(document["runs"]["a"]) == len(document["runs"]["b"]) == 2
    assert "2 interleaved rounds" in capsys.readouterr().out

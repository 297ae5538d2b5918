"""`umbel calibrate`, with the real engines of this machine, roughly."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from umbel.platforms.calibrated import load_calibration, this_machine


@pytest.fixture
def costs(environment: dict[str, str], tmp_path: Path) -> Path:
    """The file that the command writes."""
    path = tmp_path / "config" / "umbel" / "costs.toml"
    environment.pop("UMBEL_COSTS", None)
    environment["XDG_CONFIG_HOME"] = str(tmp_path / "config")
    return path


def test_the_machine_is_measured_and_sessions_read_it(umbel: Run, costs: Path) -> None:
    done = umbel("calibrate", "--quick", "--engines", "duckdb,python", "--engines", "python")
    assert done.returncode == 0, done.stderr
    found = load_calibration(costs)
    assert found.machine == this_machine()
    assert set(found.platforms) == {"duckdb", "python"}
    for name, measured in found.platforms.items():
        profile = measured.profile
        assert any(profile.operators["Aggregate"](rows, 8 * rows) for rows in (1e3, 1e6)), name
        # How much is no matter: what is measured on a busy machine may be all noise.
        assert profile.operators["Sort"](500_000, 8_000_000) > 0, name
        assert profile.operators["Scan.csv"](1e6, 60e6) > 0, name
        assert (profile.start > 0) == (name != "python")
        assert measured.error[0] <= measured.error[1]
    assert {"arrow -> duckdb", "duckdb -> arrow"} <= set(
        found.platforms["duckdb"].profile.conversions
    )
    for name in found.platforms:
        assert f"\n{name} " in done.stdout
    assert "error before" in done.stdout
    done = umbel("sql", "select 1 as one", "--format", "csv")
    assert (done.stdout, done.stderr) == ("one\n1\n", "")

    before = costs.read_text()
    done = umbel("calibrate", "--quick", "--engines", "python", "--dry-run", "--verbose")
    assert done.returncode == 0, done.stderr
    assert "after" in done.stdout
    assert costs.read_text() == before


def test_wrong_names_are_errors_before_anything_is_measured(umbel: Run, costs: Path) -> None:
    done = umbel("calibrate", "--engines", "duckbd")
    assert done.returncode == 2
    assert "did you mean 'duckdb'" in done.stderr
    done = umbel("calibrate", "--config", "none.toml")
    assert done.returncode == 4
    assert not costs.exists()


def test_nowhere_to_write_is_an_error(umbel: Run, environment: dict[str, str]) -> None:
    environment["UMBEL_COSTS"] = ""
    done = umbel("calibrate", "--quick")
    assert done.returncode == 2
    assert "--output" in done.stderr


def test_ctrl_c_leaves_the_old_file(costs: Path, folder: Path, environment: dict[str, str]) -> None:
    costs.parent.mkdir(parents=True)
    costs.write_text("# as it was\n")
    command = [sys.executable, "-W", "ignore", "-m", "umbel", "calibrate", "--quick", "--progress"]
    shown = folder / "shown"
    with shown.open("wb") as file:
        process = subprocess.Popen(
            command, cwd=folder, env={**environment, "FORCE_COLOR": "1"}, stderr=file
        )
    try:
        until = time.monotonic() + 60
        while b"duckdb: read" not in shown.read_bytes() and time.monotonic() < until:
            time.sleep(0.05)
        assert b"duckdb: read" in shown.read_bytes()  # it is measuring
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 130
    assert costs.read_text() == "# as it was\n"
    assert [p.name for p in costs.parent.iterdir()] == ["costs.toml"]
    assert not list(Path(environment["TMPDIR"]).iterdir())

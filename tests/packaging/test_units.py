"""The systemd units are what systemd takes, as far as it says without starting them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNITS = sorted((Path(__file__).parents[2] / "deploy").glob("*.service"))


def test_there_are_units() -> None:
    assert [unit.stem for unit in UNITS] == ["umbel-coordinator", "umbel-site"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: str(unit.stem))
def test_systemd_takes_the_units(unit: Path, tmp_path: Path) -> None:
    # It looks for the program, which is not where an operator would install it.
    copied = tmp_path / unit.name
    copied.write_text(unit.read_text().replace("/opt/umbel/bin/umbel", "/bin/true"))
    said = subprocess.run(
        ["systemd-analyze", "verify", str(copied)], check=False, capture_output=True, text=True
    )
    own = [line for line in said.stderr.splitlines() if unit.stem in line]
    assert (said.returncode, own) == (0, [])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_a_mistake(tmp_path: Path) -> None:
    """So that the test above can fail."""
    copied = tmp_path / UNITS[0].name
    copied.write_text(UNITS[0].read_text().replace("Restart=on-failure", "Restart=now and then"))
    said = subprocess.run(
        ["systemd-analyze", "verify", str(copied)], check=False, capture_output=True, text=True
    )
    assert "now and then" in said.stderr

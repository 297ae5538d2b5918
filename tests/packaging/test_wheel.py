"""The wheel holds the whole package, and works where only its default dependencies are."""

from __future__ import annotations

import configparser
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "umbel"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", folder, ROOT)
    [path] = folder.glob("umbel-*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin directory of a new environment with the wheel and no extras."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    run(
        python,
        *("-m", "pip", "install", "--quiet", "--no-compile"),
        *("-c", ROOT / "constraints.txt", wheel),
    )
    return folder / "bin"


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path):
    files = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("umbel/")}
    assert packed == files


def test_the_license_is_in_the_wheel(wheel: Path):
    with zipfile.ZipFile(wheel) as archive:
        names = [Path(name).name for name in archive.namelist()]
    assert {"LICENSE", "NOTICE"} <= set(names)


def test_every_entry_point_can_be_loaded_without_extras(wheel: Path, installed: Path):
    with zipfile.ZipFile(wheel) as archive:
        [name] = [n for n in archive.namelist() if n.endswith(".dist-info/entry_points.txt")]
        groups = configparser.ConfigParser()
        groups.read_string(archive.read(name).decode())
    assert set(groups.sections()) == {
        "console_scripts",
        "umbel.namespaces",
        "umbel.platforms",
    }
    code = (
        "from importlib.metadata import distribution\n"
        "for entry in distribution('umbel').entry_points: entry.load()"
    )
    run(installed / "python", "-c", code)


def test_the_command_starts(installed: Path):
    assert "umbel" in run(installed / "umbel", "--help")


def run(*command: str | Path) -> str:
    """Run a command outside the source tree's reach; fail with what it said."""
    done = subprocess.run(
        [*command], check=False, cwd="/", capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout

"""The page that adds an engine: its files make a package, which is installed, found and run."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.extending.pages import ROOT, named_files

PAGE = "add-an-engine.md"


def build_wheel(folder: Path, files: dict[str, str]) -> Path:
    """Pack a project of Python files as its build backend would, which need not be installed."""
    project = tomllib.loads(files["pyproject.toml"])["project"]
    name, version = project["name"].replace("-", "_"), project["version"]
    info = f"{name}-{version}.dist-info"
    points = "".join(
        f"[{group}]\n" + "".join(f"{key} = {value}\n" for key, value in entries.items())
        for group, entries in project["entry-points"].items()
    )
    packed = {path: text for path, text in files.items() if path.startswith(f"{name}/")}
    packed[f"{info}/METADATA"] = (
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {version}\n"
    )
    packed[f"{info}/WHEEL"] = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    packed[f"{info}/entry_points.txt"] = points
    record = "".join(
        f"{path},sha256={_digest(text)},{len(text.encode())}\n" for path, text in packed.items()
    )
    packed[f"{info}/RECORD"] = record + f"{info}/RECORD,,\n"
    wheel = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in packed.items():
            archive.writestr(path, text)
    return wheel


def _digest(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The variables of a process that has the package on its path."""
    folder = tmp_path_factory.mktemp("acero")
    wheel = build_wheel(folder, named_files(PAGE, "python", "toml"))
    target = folder / "installed"
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel)
    path = os.pathsep.join([str(target), str(ROOT / "src")])
    return {**os.environ, "PYTHONPATH": path}


def run(*arguments: object, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        env=env,
        cwd=cwd,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_entry_point_is_found(environment: dict[str, str]):
    found = json.loads(run("-m", "umbel", "platforms", "--json", env=environment))
    [acero] = [row for row in found if row["name"] == "acero"]
    assert acero["state"] == "here"
    assert acero["takes"] == ["arrow"]


def test_the_tests_of_the_page_pass(environment: dict[str, str], tmp_path: Path):
    (tmp_path / "test_acero.py").write_text(named_files(PAGE, "python")["test_acero.py"])
    out = run(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tmp_path, "test_acero.py",
        env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert "7 passed" in out


def test_the_optimizer_reckons_with_it(environment: dict[str, str]):
    explained = run(
        "-c",
        "import umbel as ub; print(ub.connect().from_dict({'a': [1]})"
        ".filter(ub.col('a') > 0).explain())",
        env=environment,
    )
    assert "acero" in explained

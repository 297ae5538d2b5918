"""What packages offer is read once, and again when one comes or goes."""

from __future__ import annotations

import os
import shutil
import sys
from importlib import metadata
from pathlib import Path

import pytest

from umbel import installed


def install(folder: Path, name: str, point: str) -> Path:
    """What pip leaves of a package, in a folder whose time of change moves on."""
    made = folder / f"{name}-1.0.dist-info"
    made.mkdir()
    (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (made / "entry_points.txt").write_text(f"[umbel.tested]\n{point} = {name}:engine\n")
    return made


def names() -> list[str]:
    return sorted(entry.name for entry in installed.offered("umbel.tested"))


def test_a_package_that_comes_or_goes_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert names() == []
    monkeypatch.syspath_prepend(str(tmp_path))
    install(tmp_path, "one", "first")
    os.utime(tmp_path, ns=(1, 1))
    assert names() == ["first"]
    other = install(tmp_path, "two", "second")
    os.utime(tmp_path, ns=(2, 2))
    assert names() == ["first", "second"]
    shutil.rmtree(other)
    os.utime(tmp_path, ns=(3, 3))
    assert names() == ["first"]
    sys.path.remove(str(tmp_path))
    assert names() == []


def test_nothing_is_read_twice(monkeypatch: pytest.MonkeyPatch):
    before = installed.offered("umbel.platforms")
    assert before == tuple(metadata.entry_points(group="umbel.platforms"))

    def read(**wanted: str) -> None:
        raise AssertionError(wanted)

    monkeypatch.setattr(installed, "entry_points", read)
    assert installed.offered("umbel.platforms") == before

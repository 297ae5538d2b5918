"""Which Java is found, and what is said of one that is missing or too old. No Java starts here."""

from __future__ import annotations

from pathlib import Path

import pytest

from umbel.catalog.address import Address
from umbel.plan.errors import PlacementError
from umbel.platforms.spark.attach import attached
from umbel.platforms.spark.java import OLDEST, find_java, refuse_java


def fake_java(folder: Path, version: str) -> Path:
    """A Java that would not run, with the file beside it that says its version."""
    program = folder / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    (folder / "release").write_text(f'IMPLEMENTOR="Debian"\nJAVA_VERSION="{version}"\n')
    return folder


@pytest.mark.parametrize(
    ("version", "first"), [("17.0.15", 17), ("21", 21), ("1.8.0_392", 8), ("11.0.2", 11)]
)
def test_the_version_is_read_from_the_file_beside_it(tmp_path, monkeypatch, version, first):
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path, version)))
    java = find_java()
    assert java is not None
    assert java.version == first
    assert (refuse_java() is None) == (first >= OLDEST)


def test_no_java_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = refuse_java()
    assert reason is not None
    assert "there is none here" in reason
    assert "apt-get install openjdk-17-jre-headless" in reason


def test_a_java_that_is_too_old_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("JAVA_HOME", str(fake_java(tmp_path, "11.0.2")))
    with pytest.raises(PlacementError) as caught:
        attached("lab", Address.of("spark://local"))
    assert "lab" in caught.value.message
    assert "bin/java is version 11" in caught.value.hint


def test_a_java_that_does_not_run_is_no_java(tmp_path, monkeypatch):
    home = fake_java(tmp_path, "17")
    (home / "release").unlink()
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert "does not run" in (refuse_java() or "")


def test_a_spark_elsewhere_needs_no_java_here(tmp_path, monkeypatch):
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert attached("lab", Address.of("sc://host")).address == "sc://host:15002"

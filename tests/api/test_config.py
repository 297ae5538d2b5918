"""The configuration file: what it attaches, and what it says of mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import umbel as ub
from umbel.api.config import read_config
from umbel.plan.errors import PlanError, SourceError


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    work = tmp_path / "work"
    (work / "lake").mkdir(parents=True)
    (work / "lake" / "orders.csv").write_text("id\n1\n2\n")
    monkeypatch.chdir(work)
    monkeypatch.delenv("UMBEL_CONFIG", raising=False)
    return work


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


LAKE = '[catalog.lake]\nurl = "lake"\n'


def test_the_file_that_is_named_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(ub.connect().catalog) == []
    write(folder / "umbel.toml", LAKE)
    assert list(ub.connect().catalog) == ["lake"]
    other = write(folder / "other.toml", LAKE.replace("catalog.lake", "catalog.sea"))
    monkeypatch.setenv("UMBEL_CONFIG", str(other))
    assert list(ub.connect().catalog) == ["sea"]
    assert list(ub.connect(config=folder / "umbel.toml").catalog) == ["lake"]


def test_paths_are_relative_to_the_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = write(folder / "umbel.toml", LAKE)
    monkeypatch.chdir(tmp_path)
    session = ub.connect(config=file, progress=False)
    assert session.table("lake.orders").count() == 2


def test_options_reach_the_store(folder: Path) -> None:
    file = write(
        folder / "umbel.toml",
        '[catalog.far]\nurl = "s3://bucket-of-config"\n[catalog.far.options]\n'
        'region = "eu-west-1"\nretries = 2\nsecret_access_key = "env:NONE"\n'
        'access_key_id = "k"\n',
    )
    session = ub.connect(config=file)
    assert "retries=2" in session.catalog["far"].address
    assert "env:NONE" not in session.catalog["far"].address
    session.catalog.detach("far")


@pytest.mark.parametrize(
    ("text", "kind", "words"),
    [
        ("[catalog.lake\n", SourceError, ["not TOML", "line 1"]),
        (LAKE + 'ulr = "x"\n', PlanError, [", line 3", "unknown key catalog.lake.ulr",
                                            "did you mean url?"]),
        ('[catalogue.lake]\nurl = "lake"\n', PlanError, [", line", "did you mean catalog?"]),
        ("# first\n[catalog.lake]\n", PlanError, [", line 2", "catalog.lake.url is missing"]),
        ("[catalog.lake]\nurl = 3\n", PlanError, [", line 2", "catalog.lake.url"]),
        (LAKE + "options = { a = [1] }\n", PlanError, [", line 3", "catalog.lake.options.a"]),
        ('[catalog.a]\nurl = "s3://b"\noptions = { endpoint = "x" }\n', PlanError,
         ["line", "unknown option 'endpoint'", "did you mean 'endpoint_url'?"]),
        ('[catalog.a]\nurl = "gopher://b"\n', PlanError, ["umbel.toml, line 1", "gopher"]),
    ],
)  # fmt: skip
def test_mistakes_are_named(folder: Path, text: str, kind: Any, words: list[str]) -> None:
    file = write(folder / "umbel.toml", text)
    with pytest.raises(ub.UmbelError) as caught:
        ub.connect()
    assert isinstance(caught.value, kind)
    assert str(file.name) in str(caught.value)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        '[catalog.a]\nurl = "s3://b"\noptions = { secret_access_key = "hunter2" }\n',
        '[catalog.a]\nurl = "postgresql://ann:hunter2@db/sales"\n',
        '[catalog.a]\nurl = "https://host/?token=hunter2"\n',
    ],
)
def test_secrets_do_not_stand_in_the_file(folder: Path, text: str) -> None:
    file = write(folder / "umbel.toml", text)
    with pytest.raises(PlanError) as caught:
        read_config(file)
    shown = str(caught.value)
    assert "hunter2" not in shown
    assert "umbel.toml, line" in shown
    assert "env:NAME" in shown


def test_a_file_that_is_not_there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UMBEL_CONFIG", "none.toml")
    with pytest.raises(SourceError, match=r"none.toml: the configuration cannot be read"):
        ub.connect()

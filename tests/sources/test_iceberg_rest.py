"""Iceberg tables by a REST catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import umbel as ub
from tests.sources.conftest import ENGINES
from tests.sources.rest_catalogue import RestCatalogue
from umbel import col


@pytest.fixture
def rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RestCatalogue]:
    monkeypatch.setenv("REST_TOKEN", "hunter2")
    with RestCatalogue(tmp_path, "hunter2") as server:
        yield server


def test_tables_are_written_and_read(session: ub.Session, rest: RestCatalogue) -> None:
    session.catalog.attach("rest", rest.url, token="env:REST_TOKEN")
    frame = session.from_dict({"id": [1, 2], "part": ["a", "b"]})
    frame.write_iceberg("db.t", catalog="rest", partition_by="part")
    first = session.read_iceberg("db.t", catalog="rest")
    frame.write_iceberg("db.t", catalog="rest", mode="append")
    assert rest.commits == 2
    assert session.catalog.tables().names == ["rest.db.t"]
    for engine in ENGINES:
        chosen = session.table("rest.t").filter(col("part") == "b").select("id").on(engine)
        assert chosen.collect().column("id").to_pylist() == [2, 2]
        assert first.on(engine).count() == 2
    assert "hunter2" not in repr(session.catalog) + ub.plan_to_json(first.plan)
    session.catalog.detach("rest")


def test_commits_that_lose_are_tried_again(session: ub.Session, rest: RestCatalogue) -> None:
    session.catalog.attach("rest", rest.url, token="env:REST_TOKEN")
    frame = session.from_dict({"id": [1]})
    frame.write_iceberg("db.t", catalog="rest")
    rest.fail_commits = 2
    frame.write_iceberg("db.t", catalog="rest", mode="append")
    assert session.table("rest.db.t").count() == 2
    rest.fail_commits = 99
    with pytest.raises(ub.RunError, match="others commit to the table at the same time"):
        frame.write_iceberg("db.t", catalog="rest", mode="append")
    rest.fail_commits = 0
    assert session.table("rest.db.t").count() == 2
    session.catalog.detach("rest")


def test_a_wrong_token(
    session: ub.Session, rest: RestCatalogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REST_TOKEN", "wrong-secret")
    session.catalog.attach("rest", rest.url, token="env:REST_TOKEN")
    with pytest.raises(ub.SourceError) as caught:
        session.catalog.tables("rest")
    assert rest.url in str(caught.value)
    assert "wrong-secret" not in str(caught.value)

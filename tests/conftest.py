"""What all tests share: servers that the suite starts, and stops at its end."""

from __future__ import annotations

import os
import sys

import pytest

from tests import spark_server

# Tests plan with the costs that ship with the engines, whatever was measured on this machine.
os.environ["UMBEL_COSTS"] = ""


def pytest_configure(config: pytest.Config) -> None:
    """Let the process that leads the run hold what its Spark lives by."""
    if not hasattr(config, "workerinput"):
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

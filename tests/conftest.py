"""What all tests share: servers that the suite started are stopped at its end."""

from __future__ import annotations

import os
import sys

# Tests plan with the costs that ship with the engines, whatever was measured on this machine.
os.environ["UMBEL_COSTS"] = ""


def pytest_sessionfinish() -> None:
    """Stop the servers that this process used, unless others still do."""
    servers = sys.modules.get("tests.postgres_server")
    if servers is not None:
        servers.stop()

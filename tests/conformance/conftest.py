"""Every test that asks for an `engine` runs on each of them."""

from __future__ import annotations

import pytest

from tests.conformance.engines import ENGINES


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The name of an engine."""
    return str(request.param)

"""After a module's tests some engines are asked what they recorded for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.functions import recorded


@pytest.fixture(scope="module", autouse=True)
def _asked_at_the_end() -> Iterator[None]:
    yield
    recorded.ask_all()

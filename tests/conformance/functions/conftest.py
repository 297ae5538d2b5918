"""After a module's tests PostgreSQL is asked what they recorded for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.functions import on_postgres


@pytest.fixture(scope="module", autouse=True)
def _asked_of_postgres() -> Iterator[None]:
    yield
    on_postgres.ask_all()

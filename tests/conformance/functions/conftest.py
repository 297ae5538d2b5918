"""After a module's tests some engines are asked what they recorded for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.functions import on_spark, recorded


@pytest.fixture(scope="module", autouse=True)
def _asked_at_the_end() -> Iterator[None]:
    yield
    recorded.ask_all()


@pytest.fixture(scope="module", autouse=True)
def _asked_of_spark() -> Iterator[None]:
    yield
    on_spark.ask_all()

"""Frames that the tests of the API build on."""

from __future__ import annotations

import pyarrow as pa
import pytest

import umbel as ub


@pytest.fixture
def session() -> ub.Session:
    return ub.connect(progress=False)


@pytest.fixture
def orders(session: ub.Session) -> ub.DataFrame:
    return session.from_arrow(
        pa.table(
            {
                "id": pa.array([1, 2, 3, 4], pa.int64()),
                "customer": pa.array(["ann", "bob", "ann", None]),
                "price": pa.array([10.0, 2.5, None, 4.0]),
                "day": pa.array([18262, 18263, 18262, 18264], pa.date32()),
                "tags": pa.array([["a", "b"], [], None, ["c"]], pa.list_(pa.string())),
            }
        )
    )

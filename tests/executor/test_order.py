"""The order that a sort gives holds on every engine that goes on with its rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

import umbel as ub
from umbel import col

#: So many rows that engines work on several pieces of them at once.
ROWS = 400_000
ENGINES = ("duckdb", "polars", "datafusion")


@pytest.fixture(scope="module")
def shuffled() -> ub.DataFrame:
    values = np.random.default_rng(1).permutation(ROWS)
    return ub.connect().from_arrow(pa.table({"a": values}))


@pytest.mark.parametrize("after", ENGINES)
@pytest.mark.parametrize("before", ENGINES)
def test_rows_sorted_elsewhere_stay_in_order(
    shuffled: ub.DataFrame, before: str, after: str
) -> None:
    ordered = shuffled.sort("a").on(before)
    some = ordered.slice(300_000, 3).on(after).with_columns(b=col("a") + 1).on(after)
    assert some.collect().column("a").to_pylist() == [300_000, 300_001, 300_002]
    even = ordered.filter(col("a") % 2 == 0).on(after)
    rows = even.collect().column("a")
    assert len(rows) == ROWS // 2
    assert pc.all(pc.equal(rows, pa.array(range(0, ROWS, 2)))).as_py()
    # A limit below something that keeps no order.
    total = ordered.limit(1000).on(after).select(total=col("a").sum()).on(after)
    assert total.collect().to_pydict() == {"total": [1000 * 999 // 2]}


def test_a_dataset_takes_the_rows_in_order(shuffled: ub.DataFrame) -> None:
    for engine in ENGINES:
        rows = shuffled.sort("a").on(engine).slice(200_000, 2000).on(engine).rows()
        found = rows.map(lambda row: row.a if row.a % 2 else -row.a).collect()
        assert found == [a if a % 2 else -a for a in range(200_000, 202_000)]

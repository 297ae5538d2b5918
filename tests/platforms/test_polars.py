"""What only Polars has: its engines, and frames without columns."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tests.conformance.compare import assert_same_rows
from tests.conformance.engines import memory, refusal, run
from umbel.plan.expressions import Call, Column, Literal, SortKey
from umbel.plan.operators import Filter, Join, Limit, Project, Sample, Sort


def test_a_relation_without_columns_is_refused():
    nothing = Project(input=memory(a=[1, 2]), columns=())
    assert "without columns" in (refusal("polars", nothing) or "")


@pytest.mark.parametrize("how", ["left", "full"])
def test_row_numbers_of_a_residual_join_are_the_same_in_all_its_parts(how):
    # More rows than a batch holds, in an order that a second numbering would not repeat.
    count = 300_000
    left = Sort(
        input=memory(a=pa.array(range(count), pa.int64())),
        keys=(SortKey(Column("a"), descending=True),),
    )
    even = Call("equal", (Call("modulo", (Column("a"), _int(2))), _int(0)))
    plan = Join(
        left=left,
        right=memory(b=pa.array(range(count), pa.int64())),
        how=how,
        on=(("a", "b"),),
        residual=even,
    )
    result = run("polars", plan)
    assert sorted(value for value in result["a"].to_pylist() if value is not None) == list(
        range(count)
    )
    matched = [
        a for a, b in zip(*map(pa.ChunkedArray.to_pylist, result.columns), strict=True) if b == a
    ]
    assert sorted(matched) == list(range(0, count, 2))


def test_a_filter_does_not_move_below_a_sample():
    sample = Sample(input=memory(a=list(range(1000))), count=5, seed=3)
    everything = run("polars", sample)["a"].to_pylist()
    above = Filter(
        input=Sample(input=memory(a=list(range(1000))), count=5, seed=3),
        predicate=Call("less", (Column("a"), _int(500))),
    )
    assert_same_rows(run("polars", above), [(value,) for value in everything if value < 500])


def test_the_order_of_a_large_sort_holds():
    numbers = pa.array([(i * 7919) % 200_003 for i in range(200_000)], pa.int64())
    ordered = Sort(input=memory(a=numbers), keys=(SortKey(Column("a")),))
    assert run("polars", ordered)["a"].to_pylist() == sorted(numbers.to_pylist())
    top = Limit(input=ordered, count=3, offset=2)
    assert run("polars", top)["a"].to_pylist() == sorted(numbers.to_pylist())[2:5]


def _int(value: int) -> Literal:
    return Literal(value, pa.int64())


def test_chunks_of_empty_lists_can_be_joined() -> None:
    import polars as pl

    from umbel.platforms.polars.stage import to_arrow

    lists = pa.table({"x": pa.array([[None], []], pa.list_(pa.float64()))})
    frame = pl.DataFrame(lists).lazy().select(pl.col("x").list.sort()).collect()
    assert to_arrow(frame, lists.schema).combine_chunks()["x"].to_pylist() == [[None], []]

"""Stages end behind what may fail, where an engine could skip it; and nowhere else."""

from __future__ import annotations

import pyarrow as pa
import pytest

import umbel as ub
from umbel import col

#: More than a reader of the plan can prove to fit: nothing is known of these bounds.
TEXTS = pa.table({"k": [1, 2, 3], "s": ["1", "2", "x"], "d": [0.5, 1.5, 2.5]})


@pytest.fixture(scope="module")
def frame() -> ub.DataFrame:
    return ub.connect(progress=False).from_arrow(TEXTS)


def number() -> ub.Expr:
    return col("s").cast("int64").alias("n")


def stages(frame: ub.DataFrame, engine: str) -> int:
    """How many stages a frame takes if every operator is pinned to an engine."""
    from umbel.optimizer import optimize
    from umbel.plan.operators import rebuild
    from umbel.platforms.registry import Registry

    plan = rebuild(frame.plan, lambda operator: operator.pinned(engine))
    return len(optimize(plan, Registry.discover()).stages)


@pytest.mark.parametrize("engine", ["polars", "duckdb"])
class TestStages:
    def test_end_before_a_filter_on_other_columns(self, frame: ub.DataFrame, engine: str) -> None:
        assert stages(frame.with_columns(number()).filter(col("k") > 1), engine) == 2

    def test_go_on_where_nothing_can_fail(self, frame: ub.DataFrame, engine: str) -> None:
        safe = frame.with_columns((col("d") * 2).alias("n"), (col("k") + 1).alias("m"))
        assert stages(safe.filter(col("k") > 1), engine) == 1

    def test_go_on_to_a_filter_that_reads_it(self, frame: ub.DataFrame, engine: str) -> None:
        assert stages(frame.with_columns(number()).filter(col("n") > 1), engine) == 1

    def test_go_on_to_groups_and_orders(self, frame: ub.DataFrame, engine: str) -> None:
        groups = frame.with_columns(number()).group_by("k").agg(col("n").max()).sort("k")
        assert stages(groups, engine) == 1

    def test_end_before_the_first_rows_of_an_order(self, frame: ub.DataFrame, engine: str) -> None:
        assert stages(frame.sort("k").with_columns(number()).limit(1), engine) == 2

    def test_go_on_to_any_rows(self, frame: ub.DataFrame, engine: str) -> None:
        assert stages(frame.with_columns(number()).limit(1), engine) == 1

    def test_end_before_a_filter_that_may_fail(self, frame: ub.DataFrame, engine: str) -> None:
        numbers = frame.filter(col("k") < 3).filter(col("s").cast("int64") > 1)
        assert stages(numbers, engine) == 2


class TestTheRule:
    """The rule of docs/decisions/0008, on whatever engine is chosen, and on each."""

    @pytest.fixture(params=["", "python", "polars", "duckdb"])
    def frame(self, request: pytest.FixtureRequest) -> ub.DataFrame:
        frame = ub.connect(progress=False).from_arrow(TEXTS)
        return frame.on(request.param) if request.param else frame

    def test_an_unread_column_fails_nothing(self, frame: ub.DataFrame) -> None:
        assert frame.with_columns(number()).select("k").collect().num_rows == 3
        assert frame.select(number()).count() == 3

    def test_a_filter_hides_nothing(self, frame: ub.DataFrame) -> None:
        with pytest.raises(ub.RunError, match="x"):
            frame.with_columns(number()).filter(col("k") < 3).collect()

    def test_a_row_that_was_taken_away_fails_nothing(self, frame: ub.DataFrame) -> None:
        kept = frame.filter(col("k") < 3).with_columns(number()).filter(col("n") > 1)
        assert kept.collect().column("n").to_pylist() == [2]
        twice = frame.filter(col("k") < 3).filter(col("s").cast("int64") > 1)
        assert twice.collect().column("k").to_pylist() == [2]

    def test_an_empty_join_hides_nothing(self, frame: ub.DataFrame) -> None:
        nobody = frame.select(col("k").alias("other")).filter(col("other") > 9)
        with pytest.raises(ub.RunError, match="x"):
            frame.with_columns(number()).join(nobody, left_on="k", right_on="other").collect()

    def test_all_conditions_are_evaluated(self, frame: ub.DataFrame) -> None:
        with pytest.raises(ub.RunError, match="x"):
            frame.filter((col("k") < 3) & (col("s").cast("int64") > 1)).collect()

    def test_a_case_waits(self, frame: ub.DataFrame) -> None:
        safe = ub.when(col("k") < 3).then(col("s").cast("int64")).otherwise(0).alias("n")
        assert frame.select(safe).sort("n").collect().column("n").to_pylist() == [0, 1, 2]

    def test_a_filtered_aggregate_waits(self, frame: ub.DataFrame) -> None:
        total = col("s").cast("int64").filter(col("k") < 3).sum().alias("n")
        assert frame.select(total).collect().column("n").to_pylist() == [3]

"""Estimates: what is known exactly, what footers and samples tell, and defaults."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import umbel as ub
from umbel import col
from umbel.catalog.statistics import Interval
from umbel.optimizer.cardinality import Estimator
from umbel.optimizer.estimates import Estimate, expected
from umbel.optimizer.selectivity import selectivity
from umbel.plan.expressions import Call, Column, Literal
from umbel.plan.types import INT64


@pytest.fixture
def session() -> ub.Session:
    return ub.connect()


@pytest.fixture
def numbers(tmp_path: Path, session: ub.Session) -> ub.DataFrame:
    """1,000 rows: `n` from 0 to 999, `tens` with 100 different values."""
    table = pa.table({"n": range(1000), "tens": [i // 10 for i in range(1000)]})
    pq.write_table(table, tmp_path / "numbers.parquet")
    return session.read_parquet(str(tmp_path / "numbers.parquet"))


def rows(frame: ub.DataFrame | ub.Dataset) -> Interval:
    return Estimator()(frame.plan).rows


def test_footers_give_rows_exactly(numbers: ub.DataFrame) -> None:
    assert rows(numbers) == Interval(1000, 1000, 1.0)


def test_a_range_is_reckoned_from_the_footers_bounds(numbers: ub.DataFrame) -> None:
    # 250 of the 1,000 values are below 250.
    assert expected(rows(numbers.filter(col("n") < 250))) == pytest.approx(250, rel=0.01)
    assert expected(rows(numbers.filter(col("n") >= 900))) == pytest.approx(100, rel=0.02)


def test_limits_bound_estimates(numbers: ub.DataFrame) -> None:
    assert rows(numbers.limit(7)) == Interval(7, 7, 1.0)
    assert rows(numbers.sample(5)).high == 5
    assert rows(numbers.sample(fraction=0.5)).high == rows(numbers).high // 2


def test_unions_add_and_global_aggregates_are_one(numbers: ub.DataFrame) -> None:
    assert rows(numbers.union(numbers)) == Interval(2000, 2000, 1.0)
    assert rows(numbers.select(col("n").sum())) == Interval(1, 1, 1.0)


def test_a_join_on_a_key_gives_the_larger_side(numbers: ub.DataFrame, session: ub.Session) -> None:
    small = session.from_arrow(pa.table({"n": range(10)}))
    # Every one of the 10 keys is among the 1,000: 10 * 1000 / 1000 rows.
    assert expected(rows(numbers.join(small, on="n"))) == pytest.approx(10, rel=0.5)


def test_measured_rows_win(numbers: ub.DataFrame) -> None:
    plan = numbers.filter(col("n") < 250).plan
    assert Estimator({plan.digest: 3.0})(plan).rows == Interval(3, 3, 1.0)


def test_words_and_vocabulary_of_a_text(tmp_path: Path, session: ub.Session) -> None:
    (tmp_path / "t.txt").write_text("to be or not to be\n" * 100)
    words = session.read_text(str(tmp_path / "t.txt")).flat_map(str.split)
    lifted = words.map(lambda w: (w, 1)).reduce_by_key(lambda a, b: a + b)
    from umbel.optimizer.rewrite import rewrite

    estimator = Estimator()
    exploded = rewrite(words.plan)
    assert expected(estimator(exploded).rows) == pytest.approx(600, rel=0.01)
    counts = estimator(rewrite(lifted.plan)).rows
    assert counts.low <= 4 <= counts.high  # to, be, or, not


@pytest.mark.parametrize(
    ("predicate", "share"),
    [
        (Literal(True, pa.bool_()), 1.0),
        (Call("and", (Call("equal", (Column("x"), Literal(1, INT64))),) * 2), 0.01),
        (Call("not", (Call("equal", (Column("x"), Literal(1, INT64))),)), 0.9),
    ],
)
def test_defaults(predicate: Call, share: float) -> None:
    assert selectivity(predicate, Estimate(Interval(1, 1, 1), 8.0)) == pytest.approx(share)


def test_pairs_have_no_more_values_than_their_sides(
    numbers: ub.DataFrame, session: ub.Session
) -> None:
    small = session.from_arrow(pa.table({"m": range(10)}))
    pairs = Estimator()(numbers.join(small, how="cross").plan)
    assert pairs.expected == 10_000
    alone = Estimator()(numbers.plan)
    for name in ("n", "tens"):
        assert pairs.distinct(name) == alone.distinct(name)
    assert pairs.distinct("m") == 10
    # One row in ten refers to a value of "m": a join by it finds as many pairs as there are rows.
    again = Estimator()(
        numbers.join(small, how="cross")
        .join(small.rename({"m": "k"}), left_on="m", right_on="k")
        .plan
    )
    assert again.expected == pytest.approx(10_000, rel=0.01)

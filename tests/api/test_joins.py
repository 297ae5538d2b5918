"""Joins name their columns as Polars does, and as their documentation says."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
import pytest

import umbel as ub
from umbel import col
from umbel.plan.expressions import Call, Column
from umbel.plan.operators import Join, topological

LEFT = {"k": [1, 2, 2, None], "x": [10, 20, 21, 30], "v": ["a", "b", "c", "d"]}
RIGHT = {"k": [2, 3, None], "y": [200, 300, 400], "v": ["B", "C", "D"]}


@pytest.fixture
def left(session) -> ub.DataFrame:
    return session.from_dict(LEFT)


@pytest.fixture
def right(session) -> ub.DataFrame:
    return session.from_dict(RIGHT)


def join_of(frame: ub.DataFrame) -> Join:
    [join] = [o for o in topological(frame.plan) if isinstance(o, Join)]
    return join


@pytest.mark.parametrize("how", ["inner", "left", "right", "semi", "anti"])
@pytest.mark.parametrize("keys", [{"on": "k"}, {"left_on": "x", "right_on": "y"}])
def test_columns_are_those_of_polars(left, right, how, keys):
    expected = pl.DataFrame(LEFT).join(pl.DataFrame(RIGHT), how=how, **keys).columns
    assert left.join(right, how=how, **keys).columns == expected


def test_a_full_join_has_one_key_that_is_never_null_on_one_side_only(left, right):
    frame = left.join(right, on="k", how="full")
    expected = pl.DataFrame(LEFT).join(pl.DataFrame(RIGHT), on="k", how="full", coalesce=True)
    assert frame.columns == expected.columns
    assert isinstance(dict(frame.plan.columns)["k"], Call)


@pytest.mark.parametrize("how", ["inner", "left", "right", "full"])
def test_without_coalescing_both_keys_stay(left, right, how):
    frame = left.join(right, on="k", how=how, coalesce=False)
    expected = pl.DataFrame(LEFT).join(pl.DataFrame(RIGHT), on="k", how=how, coalesce=False)
    assert frame.columns == expected.columns


def test_a_cross_join_pairs_all(left, right):
    expected = pl.DataFrame(LEFT).join(pl.DataFrame(RIGHT), how="cross").columns
    assert left.join(right, how="cross").columns == expected


def test_keys_may_be_expressions(left, right):
    frame = left.join(right, left_on=col("x") // 10, right_on="k", suffix="_r")
    assert frame.columns == ["k", "x", "v", "k_r", "y", "v_r"]


def test_the_condition_reads_both_sides(left, right):
    frame = left.join(right, on="k", where=(col("x") < col("y")) & (col("v") != col("v_right")))
    join = join_of(frame)
    assert join.residual == Call(
        "and",
        (
            Call("less", (Column("x"), Column("y"))),
            Call("not_equal", (Column("v"), Column("v_right"))),
        ),
    )
    alone = left.join(right, how="semi", where=col("x") < col("y"))
    assert join_of(alone).on == ()
    assert alone.columns == left.columns


def test_a_frame_joins_itself(left):
    frame = left.join(left, on="k", suffix="_2")
    assert frame.columns == ["k", "x", "v", "x_2", "v_2"]


def test_the_right_side_of_a_left_join_may_be_null(session):
    one = session.from_arrow(pa.table([[1]], schema=pa.schema([pa.field("k", pa.int64(), False)])))
    two = session.from_arrow(
        pa.table([[1], [2]], schema=pa.schema([pa.field(n, pa.int64(), False) for n in "ky"]))
    )
    schema = one.join(two, on="k", how="left").schema
    assert [f.nullable for f in schema] == [False, True]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda a, b: a.join(b, on="z"), "unknown column 'z'"),
        (lambda a, b: a.join(b, left_on="k", right_on="zz"), "unknown column 'zz'"),
        (lambda a, b: a.join(b), "needs keys"),
        (lambda a, b: a.join(b, left_on="k"), "both left_on and right_on"),
        (lambda a, b: a.join(b, on="k", left_on="k"), "either on, or"),
        (lambda a, b: a.join(b, left_on=["k", "x"], right_on="k"), "2 keys, but right_on has 1"),
        (lambda a, b: a.join(b, on="k", how="outer"), "unknown join type 'outer'"),
        (lambda a, b: a.join(b, on="k", how="cross"), "no keys"),
        (lambda a, b: a.join(b, on="v", left_on=None, suffix=""), "two columns 'k'"),
        (
            lambda a, b: a.with_columns(v_right=1).join(b, on="k"),
            r"two columns 'v_right': 'v_right' and 'v' of the right side with suffix '_right'",
        ),
        (lambda a, b: a.join(b, left_on="v", right_on="y"), "cannot be compared"),
        (lambda a, b: a.join(b, on="k", where=col("q") > 1), "unknown column 'q'"),
        (lambda a, b: a.join(b, on="k", where=col("x").sum() > 1), "condition of a join"),
        (lambda a, b: a.join(b, on="k", where=col("x")), "must be a boolean"),
    ],
)
def test_a_mistake_is_named(left, right, build, message):
    with pytest.raises(ub.PlanError, match=message) as caught:
        build(left, right)
    assert f"{__file__}:" in str(caught.value)

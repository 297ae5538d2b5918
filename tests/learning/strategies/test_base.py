"""Updates in columns, and what is done with those that can't be used."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.learning.state import Layout, State, TensorSpec
from umbel.learning.strategies.base import (
    AggregationError,
    Settings,
    Strategy,
    Update,
    Updates,
    combine,
)
from umbel.learning.strategies.fedavg import FedAvg

LAYOUT = Layout((TensorSpec("w", (2,)),))
GOOD = Update("good", np.array([1.0, 2.0]), 3.0)


def test_the_mean_counts_by_weight():
    # (1 * [0, 4] + 3 * [8, 0]) / 4
    updates, excluded = Updates.gather(
        [Update("b", np.array([8.0, 0.0]), 3), Update("a", np.array([0.0, 4.0]), 1)], LAYOUT
    )
    assert excluded == {}
    assert updates.sites == ("a", "b")
    assert updates.mean().tolist() == [6.0, 1.0]
    state, memory = FedAvg().aggregate({}, State.of({"w": [1.0, 1.0]}), updates, Settings())
    assert state["w"].tolist() == [7.0, 2.0]
    assert memory == {}
    assert isinstance(FedAvg(), Strategy)


@given(st.randoms(use_true_random=False), st.integers(1, 12))
def test_the_order_of_arrival_changes_no_bit(random, n):
    rng = np.random.default_rng(n)
    updates = [
        Update(f"site {i}", rng.normal(size=2), float(rng.integers(1, 100))) for i in range(n)
    ]
    state = State.of({"w": [0.1, 0.2]})
    first = FedAvg().aggregate({}, state, Updates.gather(updates, LAYOUT)[0], Settings())[0]
    random.shuffle(updates)
    assert FedAvg().aggregate({}, state, Updates.gather(updates, LAYOUT)[0], Settings())[0] == first


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_added_one_after_the_other(dtype):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(37, 1001)).astype(dtype)
    factors = rng.uniform(size=37)
    expected = np.zeros(1001, dtype)
    for factor, row in zip(factors.astype(dtype), rows, strict=True):
        expected += factor * row
    # A machine that multiplies and adds in one step rounds once where this loop rounds twice.
    np.testing.assert_allclose(
        combine(factors, rows), expected, rtol=0, atol=40 * np.finfo(dtype).eps
    )


@pytest.mark.parametrize(
    ("update", "why"),
    [
        (Update("bad", np.array([1.0, np.nan]), 1), "holds NaN or infinity"),
        (Update("bad", np.array([1.0, -np.inf]), 1), "holds NaN or infinity"),
        (Update("bad", np.zeros(3), 1), r"shape \(3,\), the model has 2 numbers"),
        (Update("bad", np.zeros((1, 2)), 1), r"shape \(1, 2\)"),
        (Update("bad", np.array([1, 2]), 1), "type int64"),
        (Update("bad", np.zeros(2), 0), "weight is 0"),
        (Update("bad", np.zeros(2), -1.0), "weight is -1.0"),
        (Update("bad", np.zeros(2), float("nan")), "weight is nan"),
        (Update("bad", np.zeros(2), float("inf")), "weight is inf"),
        (Update("bad", np.zeros(2), 1, steps=0), "made 0 steps"),
    ],
)
def test_a_broken_update_is_left_out_with_its_reason(update, why):
    updates, excluded = Updates.gather([GOOD, update], LAYOUT)
    assert updates.sites == ("good",)
    with pytest.raises(AggregationError, match=why):
        Updates.gather([update], LAYOUT)
    assert list(excluded) == ["bad"]


def test_nothing_and_double_updates_are_errors():
    with pytest.raises(AggregationError, match=r"No site gave an update that can be used\.$"):
        Updates.gather([], LAYOUT)
    with pytest.raises(AggregationError, match="'good' gave two updates"):
        Updates.gather([GOOD, GOOD], LAYOUT)


@pytest.mark.parametrize(
    "wrong",
    [
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"epochs": 0},
        {"batch_size": 0},
        {"momentum": 1.0},
        {"proximal": -1.0},
    ],
)
def test_settings_that_train_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Settings(**wrong)

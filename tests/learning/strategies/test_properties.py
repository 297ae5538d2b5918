"""What holds for every strategy: order changes no bit, and robust ones stay near the honest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel.learning.state import State, from_bytes, to_bytes
from umbel.learning.strategies.base import Settings, Strategy, Update, Updates
from umbel.learning.strategies.catalogue import STRATEGIES, strategy

OPTIONS: dict[str, dict[str, Any]] = {
    "bulyan": {"byzantine": 1},
    "krum": {"byzantine": 1, "keep": 2},
    "norm_bounding": {"bound": 1.0},
    "personal": {"tensors": ("b",)},
    "scaffold": {"population": 9},
    "trimmed_mean": {"byzantine": 1},
}
ALL = [strategy(name, **OPTIONS.get(name, {})) for name in STRATEGIES]
EACH = pytest.mark.parametrize("each", ALL, ids=STRATEGIES)


def some_updates(seed, dtype, n=9):
    rng = np.random.default_rng(seed)
    return [
        Update(f"site {i}", rng.normal(size=4).astype(dtype), int(rng.integers(1, 50)), i + 1)
        for i in range(n)
    ]


@EACH
@settings(max_examples=10)
@given(seed=st.integers(0, 1000), random=st.randoms(use_true_random=False))
def test_two_rounds_give_the_same_bits_in_any_order_and_from_a_checkpoint(each, seed, random):
    dtype = np.float32 if seed % 2 else np.float64
    start = State.of({"w": np.ones((3,), dtype), "b": np.zeros((), dtype)})
    assert isinstance(each, Strategy)

    def two_rounds(shuffle, checkpoint):
        state, memory = start, each.start(start)
        for r in range(2):
            updates = some_updates(seed + r, dtype)
            if shuffle:
                random.shuffle(updates)
            gathered, _ = Updates.gather(updates, state.layout)
            state, memory = each.aggregate(memory, state, gathered, Settings())
            if checkpoint:
                state = State.from_bytes(state.to_bytes())
                memory = from_bytes(to_bytes(memory))[0]
        return state, memory

    state, memory = two_rounds(shuffle=False, checkpoint=False)
    again, remembered = two_rounds(shuffle=True, checkpoint=True)
    assert state.vector.dtype == dtype
    assert again == state
    assert to_bytes(remembered) == to_bytes(memory)
    assert np.isfinite(state.vector).all()


@EACH
def test_updates_of_zero_change_nothing(each):
    start = State.of({"w": [1.0, 2.0, 3.0], "b": 4.0})
    zero = [Update(f"site {i}", np.zeros(4), 1) for i in range(7)]
    gathered, _ = Updates.gather(zero, start.layout)
    state, _ = each.aggregate(each.start(start), start, gathered, Settings())
    assert state == start


@pytest.mark.parametrize("name", ["fedavg", "fedprox", "fednova", "fedavgm"])
def test_a_site_of_weight_two_counts_like_two_sites(name):
    start = State.of({"w": [0.0, 0.0]})
    one, two = np.array([8.0, 2.0]), np.array([0.0, 4.0])
    split = [Update("a", one, 1), Update("b", one, 1), Update("c", two, 2)]
    whole = [Update("a", one, 2), Update("c", two, 2)]
    each = strategy(name)
    results = [
        each.aggregate(each.start(start), start, Updates.gather(u, start.layout)[0], Settings())[0]
        for u in (split, whole)
    ]
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "robust",
    [
        strategy("median"),
        strategy("trimmed_mean", byzantine=2),
        strategy("krum", byzantine=2),
        strategy("krum", byzantine=2, keep=3),
        strategy("bulyan", byzantine=2),
    ],
    ids=["median", "trimmed_mean", "krum", "multi-krum", "bulyan"],
)
@pytest.mark.parametrize("attack", ["huge", "sign", "close", "same"])
@settings(max_examples=15)
@given(seed=st.integers(0, 10_000))
def test_two_false_sites_of_eleven_do_not_move_the_result_out_of_the_honest(robust, attack, seed):
    rng = np.random.default_rng(seed)
    honest = rng.normal(loc=1.0, scale=0.1, size=(9, 5))
    false = {
        "huge": np.array([[1e9] * 5, [-1e300] * 5]),
        "sign": -10 * honest[:2],
        "close": honest.mean(axis=0) + np.array([[2.0, 0, 0, 0, 0]] * 2),
        "same": np.full((2, 5), 5.0),
    }[attack]
    start = State.of({"w": np.zeros(5)})
    rows = rng.permutation(np.concatenate([honest, false]))
    updates = [
        Update(f"s{i:02}", row, 1e6 if abs(row).max() > 3 else 1) for i, row in enumerate(rows)
    ]
    gathered, _ = Updates.gather(updates, start.layout)
    state, _ = robust.aggregate(robust.start(start), start, gathered, Settings())
    # Coordinate by coordinate the result lies within what honest sites sent.
    assert (state.vector >= honest.min(axis=0) - 1e-12).all()
    assert (state.vector <= honest.max(axis=0) + 1e-12).all()


def test_the_mean_is_moved_by_one_false_site_as_far_as_it_likes():
    start = State.of({"w": [0.0]})
    updates = [Update(f"s{i}", np.array([1.0]), 1) for i in range(10)]
    updates.append(Update("false", np.array([1e9]), 1))
    gathered, _ = Updates.gather(updates, start.layout)
    moved = {
        each: strategy(each, **OPTIONS.get(each, {}))
        .aggregate({}, start, gathered, Settings())[0]["w"]
        .item()
        for each in ("fedavg", "norm_bounding", "median")
    }
    assert moved["fedavg"] > 1e7
    assert moved["norm_bounding"] == pytest.approx(1.0)
    assert moved["median"] == 1.0

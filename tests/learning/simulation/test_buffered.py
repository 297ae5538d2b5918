"""Asynchronous training follows its paper, and its recorded order, to the last bit."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from umbel.learning.simulation.buffered import (
    Buffer,
    Buffered,
    arrivals,
    lognormal,
    simulate_buffered,
)
from umbel.learning.state import State
from umbel.learning.strategies.base import Settings
from umbel.learning.strategies.fedadam import FedAdam
from umbel.learning.strategies.scaffold import Scaffold
from umbel.learning.trainers.linear import LinearTrainer

DRAW = np.random.default_rng(5)
X = DRAW.normal(size=(240, 3))
TABLE = pa.table(
    {
        **{f"x{i}": X[:, i] for i in range(3)},
        "y": X @ [1.0, -2.0, 0.5] + 0.1 * DRAW.normal(size=240),
        "site": [f"s{i % 8}" for i in range(240)],
    }
)
GIVEN: dict[str, Any] = {
    "features": ["x0", "x1", "x2"],
    "label": "y",
    "trainer": LinearTrainer(3),
    "partition": "site",
    "settings": Settings(learning_rate=0.05, batch_size=8),
    "seed": 2,
}


def slow_one(site: str, number: int) -> float:
    return 7.5 if site == "s0" else 1.0


def test_the_first_full_buffer_is_the_mean_of_all() -> None:
    """Of updates from one state, all counting the same, and none of them stale."""
    every = {**GIVEN, "settings": Settings(learning_rate=0.05)}
    done = simulate_buffered(
        TABLE, **every, buffer=Buffer(8, 8), durations=lambda site, n: 1.0, versions=1
    )
    y = np.asarray(TABLE["y"])
    slopes = [np.append(X[s::8].T @ y[s::8], y[s::8].sum()) / len(y[s::8]) for s in range(8)]
    assert np.abs(done.state.vector - 0.05 * np.mean(slopes, axis=0)).max() < 1e-14
    assert done.history["at"].to_pylist() == [1.0]
    assert set(done.order["staleness"].to_pylist()) == {0}


def test_a_stale_update_counts_as_the_paper_says() -> None:
    """Of two sites one takes three times as long: by hand, version by version."""
    table = pa.table({"x": [1.0, 2.0], "y": [1.0, 6.0], "site": ["a", "b"]})
    done = simulate_buffered(
        table,
        features=["x"],
        label="y",
        trainer=LinearTrainer(1),
        partition="site",
        settings=Settings(learning_rate=0.1),
        buffer=Buffer(1, 2),
        durations=lambda site, n: 1.0 if site == "a" else 2.5,
        versions=3,
    )

    def delta(state: Any, x: float, y: float) -> Any:
        apart = state[0] * x + state[1] - y
        return np.array([-0.1 * apart * x, -0.1 * apart])

    start: Any = np.zeros(2)
    one = start + delta(start, 1.0, 1.0)
    two = one + delta(one, 1.0, 1.0)
    three = two + delta(start, 2.0, 6.0) / math.sqrt(1 + 2)
    assert np.abs(done.state.vector - three).max() < 1e-15
    assert done.order.select(["site", "staleness", "used"]).to_pylist() == [
        {"site": "a", "staleness": 0, "used": True},
        {"site": "a", "staleness": 0, "used": True},
        {"site": "b", "staleness": 2, "used": True},
    ]


def test_too_stale_updates_are_left_out_and_recorded() -> None:
    given = {**GIVEN, "durations": slow_one, "versions": 20}
    bounded = simulate_buffered(TABLE, **given, buffer=Buffer(4, 8, staleness=3))
    out = bounded.order.filter(pa.compute.invert(bounded.order["used"])).to_pylist()
    assert [(one["site"], one["staleness"] > 3) for one in out] == [("s0", True)]
    assert sum(bounded.history["left_out"].to_pylist()) == 1
    assert set(bounded.history["updates"].to_pylist()) == {4}
    free = simulate_buffered(TABLE, **given, buffer=Buffer(4, 8, staleness=30))
    assert all(free.order["used"].to_pylist())


def test_nobody_waits_for_the_slowest() -> None:
    done = simulate_buffered(TABLE, **GIVEN, durations=slow_one, buffer=Buffer(4, 8), versions=20)
    in_rounds = 7.5 * 20 * 4 / 8  # as many updates, with all eight in every round
    assert done.history["at"][-1].as_py() < in_rounds / 4
    assert done.history["loss"][-1].as_py() < 0.3 * done.history["loss"][0].as_py()


@pytest.mark.parametrize("strategy", [None, FedAdam(server_rate=0.05)])
@pytest.mark.parametrize("cut", [1, 4, 7])
def test_whoever_goes_on_gets_the_same_bits(cut: int, strategy: Any) -> None:
    given = {**GIVEN, "buffer": Buffer(3, 5, staleness=2), "durations": lognormal(1, spread=1.0)}
    whole = simulate_buffered(TABLE, **given, strategy=strategy, versions=9)
    half = simulate_buffered(TABLE, **given, strategy=strategy, versions=cut)
    # What a checkpoint holds: bytes of states, and tables.
    kept = Buffered(
        State.from_bytes(half.state.to_bytes()),
        half.memory,
        half.history,
        half.order,
        half.versions,
        {number: State.from_bytes(one.to_bytes()) for number, one in half.began.items()},
    )
    rest = simulate_buffered(TABLE, **given, strategy=strategy, versions=9 - cut, resume=kept)
    assert rest.state == whole.state
    assert rest.history.equals(whole.history)
    assert rest.order.equals(whole.order)
    assert not all(whole.order["used"].to_pylist())


def test_no_more_sites_train_than_were_to_and_none_twice_at_once() -> None:
    names = [f"s{i}" for i in range(6)]
    seconds = lognormal(4)
    came = list(itertools.islice(arrivals(names, Buffer(2, 4), seconds, 9), 200))
    assert [one.at for one in came] == sorted(one.at for one in came)
    taken = dict.fromkeys(range(6), 0)
    spans = []
    for one in came:
        taken[one.site] += 1
        spans.append((one.at - seconds(names[one.site], taken[one.site]), one.at, one.site))
    for begin, _, site in spans:
        running = [s for b, e, s in spans if b <= begin + 1e-9 and e > begin + 1e-9]
        assert len(running) <= 4
        assert running.count(site) == 1


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(ValueError, match="1 update or more, not 0"):
        Buffer(0)
    with pytest.raises(ValueError, match="something of its own for each site"):
        simulate_buffered(TABLE, **GIVEN, strategy=Scaffold(population=8), versions=2)
    with pytest.raises(ValueError, match="takes nan s; it must be above 0"):
        simulate_buffered(TABLE, **GIVEN, durations=lambda site, n: math.nan)

"""Simulated training: the same bits, the same model as pooled, and plain errors."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import umbel as ub
from umbel.learning.simulation.partition import dirichlet, iid, quantity_skew
from umbel.learning.simulation.simulate import Population, simulate, train_round
from umbel.learning.simulation.tables import columns_of
from umbel.learning.state import to_bytes
from umbel.learning.strategies.base import AggregationError, Settings
from umbel.learning.strategies.catalogue import STRATEGIES, strategy
from umbel.learning.strategies.fedavg import FedAvg
from umbel.learning.strategies.scaffold import Scaffold
from umbel.learning.trainers.linear import LinearTrainer

NAMES = ["x0", "x1", "x2", "x3"]


def blobs(rows=600, classes=3, seed=0):
    """Rows of some classes around as many points."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(scale=2.0, size=(classes, 4))
    labels = rng.integers(0, classes, rows)
    x = centres[labels] + rng.normal(size=(rows, 4))
    return pa.table({**dict(zip(NAMES, x.T, strict=True)), "y": labels})


TABLE, TEST = blobs(), blobs(seed=1)
SOFTMAX = LinearTrainer(4, "softmax", 3)
HOW = {"features": NAMES, "label": "y", "trainer": SOFTMAX}


def test_full_batches_of_one_step_are_gradient_descent_on_all_rows():
    # The mean by rows of the sites' gradients is the gradient over all rows.
    settings = Settings(learning_rate=0.3)
    apart = simulate(
        TABLE, **HOW, sites=37, partition=quantity_skew(0.5), settings=settings, rounds=20
    )
    pooled = simulate(TABLE, **HOW, sites=1, settings=settings, rounds=20)
    np.testing.assert_allclose(apart.state.vector, pooled.state.vector, rtol=1e-10, atol=1e-12)


def test_evenly_divided_it_is_as_good_as_pooled():
    # Ten sites go as far in four epochs as all rows at one place do in one, and then average.
    test = blobs(4000, seed=1)
    apart = simulate(
        TABLE,
        **HOW,
        sites=10,
        settings=Settings(0.1, epochs=4, batch_size=16),
        rounds=15,
        test=test,
    )
    pooled = simulate(
        TABLE, **HOW, sites=1, settings=Settings(0.1, batch_size=16), rounds=15, test=test
    )
    scores = [done.history["accuracy"][-1].as_py() for done in (apart, pooled)]
    assert scores[1] > 0.9
    assert scores[0] >= scores[1] - 0.01


OPTIONS = {
    "bulyan": {"byzantine": 2},
    "krum": {"byzantine": 2, "keep": 5},
    "norm_bounding": {"bound": 1.0},
    "personal": {"tensors": ("bias",)},
    "scaffold": {"population": 15},
    "trimmed_mean": {"byzantine": 2},
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_learns_and_a_resumed_training_gives_the_same_bits(name):
    each = strategy(name, **OPTIONS.get(name, {}))
    how = dict(
        **HOW,
        sites=15,
        partition=dirichlet(0.5),
        strategy=each,
        settings=Settings(learning_rate=0.05, batch_size=8),
        seed=3,
        test=TEST,
        fraction=0.8,
    )
    whole = simulate(TABLE, **how, rounds=8)
    half = simulate(TABLE, **how, rounds=3)
    resumed = simulate(TABLE, **how, rounds=5, resume=half)
    assert resumed.state == whole.state
    assert to_bytes(resumed.memory) == to_bytes(whole.memory)
    assert resumed.rounds == whole.rounds == 8
    assert whole.history["round"].to_pylist() == list(range(1, 9))
    assert whole.history["accuracy"][-1].as_py() > 0.7  # one in three by chance
    assert simulate(TABLE, **{**how, "seed": 4}, rounds=8).state != whole.state


def test_the_order_in_which_sites_train_changes_no_bit():
    columns = columns_of(TABLE, NAMES, "y", None)
    owners = dirichlet(0.5)(columns.labels, 30, np.random.default_rng(0))
    population = Population.divide(columns, owners, [f"s{i:02}" for i in range(30)])
    state, settings = SOFTMAX.initial(0), Settings(0.1, epochs=2, batch_size=8)
    order = np.random.default_rng(1).permutation(30)
    one, other = (
        train_round(SOFTMAX, FedAvg(), {}, state, population, chosen, settings, 0, 1)
        for chosen in (np.arange(30), order)
    )
    assert one.deltas[order].tobytes() == other.deltas.tobytes()
    assert one.weights[order].tolist() == other.weights.tolist()
    assert [one.sites[i] for i in order] == list(other.sites)


def test_scaffold_finds_the_pooled_model_where_averaging_drifts():
    # Site a only sees the left of a curve, site b its right. In many local steps each goes to a
    # line of its own, and the mean of both lines is not the best one.
    x = np.concatenate([np.linspace(-2, -1, 20), np.linspace(1, 2, 20)])
    table = pa.table({"x": x, "y": x**3, "who": ["a"] * 20 + ["b"] * 20})
    best = np.polyfit(x, x**3, 1)
    how = {
        "features": ["x"],
        "label": "y",
        "trainer": LinearTrainer(1),
        "partition": "who",
        "settings": Settings(learning_rate=0.1, epochs=10),
        "rounds": 80,
    }
    far = {
        each.name: np.abs(simulate(table, **how, strategy=each).state.vector - best).max()
        for each in (FedAvg(), Scaffold(population=2))
    }
    assert far["Scaffold"] < 1e-6
    assert far["FedAvg"] > 0.05


def test_sites_come_from_a_column_or_a_frame():
    session = ub.connect()
    table = TABLE.append_column("ward", pa.array(["n", "s", "s"] * 200))
    done = simulate(session.from_arrow(table), **HOW, partition="ward", rounds=1)
    assert done.sites == {"n": 200, "s": 400}
    assert done.history["rows"].to_pylist() == [600]
    even = simulate(table, **HOW, sites=12, partition=iid(), rounds=1)
    assert list(even.sites) == [f"site {i:02}" for i in range(12)]


def test_each_round_draws_its_sites_of_all_of_them():
    done = simulate(TABLE, **HOW, sites=50, fraction=0.1, rounds=6)
    assert done.history["sites"].to_pylist() == [5] * 6
    assert len(set(done.history["rows"].to_pylist())) >= 1
    assert (
        simulate(TABLE, **HOW, sites=50, fraction=0.001, rounds=1).history["sites"][0].as_py() == 1
    )


def test_thousands_of_sites_in_one_process():
    done = simulate(blobs(8000), **HOW, sites=4000, rounds=5, settings=Settings(0.5), test=TEST)
    assert len(done.sites) == 4000
    assert done.history["accuracy"][-1].as_py() > 0.85


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"features": ["x0", "gone"]}, "no column 'gone'; there are x0, x1, x2, x3, y"),
        ({"features": []}, "at least one feature"),
        ({"features": ["x0"]}, "have 1 features; the trainer takes 4"),
        ({"label": "x0"}, "softmax takes whole numbers"),
        ({"sites": 601}, "600 rows are too few for 601 sites"),
        ({"sites": 0}, "at least one site"),
        ({"fraction": 0.0}, r"fraction must lie in \(0, 1\]"),
        ({"partition": "who"}, "no column 'who'"),
    ],
)
def test_what_can_not_be_simulated_says_why(change, said):
    with pytest.raises(ValueError, match=said):
        simulate(TABLE, **{**HOW, **change}, rounds=1)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([1.0, None, 2.0]), "holds 1 nulls"),
        (pa.array([1.0, float("nan"), 2.0]), "holds NaN or infinity"),
        (pa.array(["a", "b", "c"]), "is of type string; it must be numbers"),
    ],
)
@pytest.mark.parametrize("which", ["x", "y"])
def test_columns_that_are_no_numbers_are_refused(column, said, which):
    table = pa.table({"x": [1.0, 2.0, 3.0], "y": [1.0, 2.0, 3.0]})
    table = table.set_column(table.column_names.index(which), which, column)
    with pytest.raises(ValueError, match=f"'{which}' {said}"):
        simulate(table, features=["x"], label="y", trainer=LinearTrainer(1), sites=2)
    with pytest.raises(ValueError, match="no rows"):
        simulate(table.slice(0, 0), features=["x"], label="y", trainer=LinearTrainer(1), sites=1)


def test_a_row_without_a_site_is_refused():
    table = pa.table({"x": [1.0, 2.0], "y": [1.0, 2.0], "who": ["a", None]})
    with pytest.raises(ValueError, match="'who' holds null"):
        simulate(table, features=["x"], label="y", trainer=LinearTrainer(1), partition="who")


@pytest.mark.filterwarnings("ignore:overflow", "ignore:invalid value")
def test_diverging_training_is_an_error_and_one_diverging_site_is_left_out():
    x = np.linspace(1, 2, 20)
    table = pa.table(
        {"x": np.where(x > 1.9, 1e200, x), "y": x, "who": ["good"] * 18 + ["wild"] * 2}
    )
    how = {"features": ["x"], "label": "y", "trainer": LinearTrainer(1), "partition": "who"}
    good = simulate(
        table, **how, rounds=2, settings=Settings(0.1, epochs=5), test=table.slice(0, 18)
    )
    assert good.history["left_out"].to_pylist() == [1, 1]
    assert good.history["sites"].to_pylist() == [1, 1]
    with pytest.raises(
        AggregationError, match=r"diverged in round \d+.*smaller learning_rate than 1e\+60"
    ):
        simulate(table.slice(0, 18), **how, rounds=9, settings=Settings(1e60, epochs=3))

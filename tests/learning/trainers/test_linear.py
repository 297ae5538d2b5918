"""Training at many sites at once is training at each alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel.learning.strategies.base import Settings
from umbel.learning.trainers.base import Rows, Shuffler, key_of
from umbel.learning.trainers.linear import LinearTrainer, batch_widths

LINKS = {
    "identity": LinearTrainer(3),
    "logit": LinearTrainer(3, "logit"),
    "softmax": LinearTrainer(3, "softmax", 4),
    "log": LinearTrainer(3, "log"),
}


def some_rows(link, counts, seed=0):
    rng = np.random.default_rng(seed)
    n = sum(counts)
    labels = {
        "identity": rng.normal(size=n),
        "logit": rng.integers(0, 2, n),
        "softmax": rng.integers(0, 4, n),
        "log": rng.poisson(2.0, n),
    }[link]
    return Rows(rng.normal(size=(n, 3)), labels, np.cumsum(counts))


def train(trainer, rows, chosen, how, *, starts=None, corrections=None, number=1):
    chosen = np.array(chosen)
    keys = [key_of(5, number, f"site {i}") for i in chosen]
    if starts is None:
        starts = np.tile(np.linspace(-0.2, 0.3, trainer.layout.size), (len(chosen), 1))
    return trainer.train(starts, rows, chosen, how, corrections, keys)


def one_site_by_loop(trainer, start, x, y, how, correction, key):
    """Train one site as the text books write it."""
    w, velocity, steps = start.copy(), np.zeros_like(start), 0
    size = len(y) if how.batch_size is None else how.batch_size
    for epoch in range(how.epochs):
        order = (
            np.arange(len(y)) if how.batch_size is None else Shuffler().order(key, epoch, len(y))
        )
        for begin in range(0, len(y), size):
            batch = order[begin : begin + size]
            parts = trainer.layout.split(w)
            scores = x[batch] @ parts["weights"] + parts["bias"]
            if trainer.link == "softmax":
                mean = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
                apart = mean - np.eye(4)[y[batch]]
            else:
                link = {
                    "identity": lambda s: s,
                    "logit": lambda s: 1 / (1 + np.exp(-s)),
                    "log": np.exp,
                }
                apart = link[trainer.link](scores) - y[batch][:, None]
            gradient = np.concatenate(
                [(x[batch].T @ apart).ravel() / len(batch), apart.mean(axis=0)]
            )
            gradient = gradient + how.proximal * (w - start) + correction
            velocity = how.momentum * velocity + gradient
            w = w - how.learning_rate * velocity
            steps += 1
    return w - start, steps


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize(
    "how",
    [
        Settings(0.1),
        Settings(0.1, epochs=3, batch_size=4),
        Settings(0.05, epochs=2, batch_size=5, momentum=0.5),
        Settings(0.05, epochs=2, batch_size=7, proximal=2.0),
    ],
    ids=["all rows", "batches", "momentum", "proximal"],
)
def test_it_equals_a_loop_over_sites_and_batches(link, how):
    trainer, counts = LINKS[link], [5, 1, 12, 8, 4]
    rows = some_rows(link, counts)
    corrections = np.random.default_rng(1).normal(size=(5, trainer.layout.size))
    starts = np.random.default_rng(2).normal(scale=0.1, size=corrections.shape)
    deltas, steps = train(trainer, rows, range(5), how, starts=starts, corrections=corrections)
    for i, (begin, end) in enumerate(zip(rows.begins, rows.ends, strict=True)):
        expected, took = one_site_by_loop(
            trainer,
            starts[i],
            rows.features[begin:end],
            rows.labels[begin:end],
            how,
            corrections[i],
            key_of(5, 1, f"site {i}"),
        )
        np.testing.assert_allclose(deltas[i], expected, rtol=1e-9, atol=1e-12)
        assert steps[i] == took


@pytest.mark.parametrize("link", LINKS)
@settings(max_examples=12)
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    batch_size=st.sampled_from([None, 1, 7, 16]),
    data=st.data(),
)
def test_a_site_gets_the_same_bits_alone_and_among_others(link, counts, batch_size, data):
    trainer, how = LINKS[link], Settings(0.1, epochs=2, batch_size=batch_size)
    rows = some_rows(link, counts, seed=len(counts))
    order = data.draw(st.permutations(range(len(counts))))
    together, steps = train(trainer, rows, order, how)
    for i, delta, took in zip(order, together, steps, strict=True):
        alone = Rows.of(
            rows.features[rows.begins[i] : rows.ends[i]], rows.labels[rows.begins[i] : rows.ends[i]]
        )
        starts = np.linspace(-0.2, 0.3, trainer.layout.size)[None]
        single, same = trainer.train(
            starts, alone, np.array([0]), how, None, [key_of(5, 1, f"site {i}")]
        )
        assert single[0].tobytes() == delta.tobytes()
        assert same[0] == took


def test_a_site_without_rows_learns_nothing():
    rows = some_rows("identity", [3, 0, 2])
    deltas, steps = train(LINKS["identity"], rows, [0, 1, 2], Settings())
    assert deltas[1].tolist() == [0.0] * 4
    assert steps.tolist() == [1, 0, 1]


def test_widths_depend_on_the_site_alone_and_waste_at_most_a_quarter():
    counts = np.arange(1, 5000)
    widths = batch_widths(counts, None)
    assert (widths >= counts).all()
    assert (widths <= counts * 1.25).all()
    assert len(np.unique(widths)) < 60
    assert batch_widths(np.array([31, 32, 33]), 32).tolist() == [32, 32, 32]


def test_batches_change_from_epoch_to_epoch_round_to_round_and_site_to_site():
    shuffler = Shuffler()
    orders = {
        tuple(shuffler.order(key_of(seed, number, site), epoch, 30).tolist())
        for seed in (0, 1)
        for number in (1, 2)
        for site in ("a", "b")
        for epoch in (0, 1)
    }
    assert len(orders) == 16
    assert all(sorted(order) == list(range(30)) for order in orders)


@pytest.mark.parametrize("link", LINKS)
def test_the_gradient_is_the_losss(link):
    trainer = LINKS[link]
    rows = some_rows(link, [20])
    vector = np.random.default_rng(3).normal(scale=0.3, size=trainer.layout.size)
    delta, _ = trainer.train(vector[None], rows, np.array([0]), Settings(1.0), None, [b"k" * 16])
    state = trainer.initial(0)
    for i in range(len(vector)):
        step = np.zeros_like(vector)
        step[i] = 1e-6
        above, below = (
            trainer.measure(state.with_vector(vector + s), rows)["loss"] for s in (step, -step)
        )
        assert -delta[0, i] == pytest.approx((above - below) / 2e-6, abs=1e-7)


def test_measures_by_hand():
    rows = Rows.of(np.array([[0.0], [math.log(3)]]), np.array([0, 1]))
    trainer = LinearTrainer(1, "logit")
    state = trainer.initial(0).with_vector(np.array([1.0, 0.0]))
    # probabilities of the second class: 1/2 and 3/4
    measured = trainer.measure(state, rows)
    assert measured["loss"] == pytest.approx((math.log(2) + math.log(4 / 3)) / 2)
    assert measured["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("link", "labels", "said"),
    [
        (
            "softmax",
            np.array([0, 4]),
            "lie between 0 and 4; softmax takes whole numbers from 0 to 3",
        ),
        ("softmax", np.array([0.0, 1.5]), "whole numbers"),
        ("softmax", np.array([-1, 1]), "whole numbers"),
        ("logit", np.array([0, 2]), "logit takes 0 or 1"),
        ("log", np.array([-1, 2]), "log takes 0 or more"),
    ],
)
def test_labels_that_do_not_fit_are_refused(link, labels, said):
    with pytest.raises(ValueError, match=said):
        LINKS[link].check(Rows.of(np.zeros((2, 3)), labels))


def test_a_trainer_that_can_not_be_is_refused():
    with pytest.raises(ValueError, match="features must be at least 1"):
        LinearTrainer(0)
    with pytest.raises(ValueError, match="softmax takes 2 or more"):
        LinearTrainer(1, "softmax")
    with pytest.raises(ValueError, match="have 2 features; the trainer takes 3"):
        LINKS["logit"].check(Rows.of(np.zeros((1, 2)), np.array([0])))

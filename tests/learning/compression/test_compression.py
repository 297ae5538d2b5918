"""Compression: nothing lost on average, nothing lost for good, and the bytes that are said."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel.learning.compression.base import CompressionError, ErrorFeedback
from umbel.learning.compression.quantized import Quantized
from umbel.learning.compression.sparse import RandomK, TopK
from umbel.learning.simulation.simulate import simulate
from umbel.learning.strategies.base import Settings
from umbel.learning.trainers.linear import LinearTrainer

ALL = [Quantized(8, 16), Quantized(4, 16), Quantized(1, 16), TopK(0.2), RandomK(0.2)]
EACH = pytest.mark.parametrize("each", ALL, ids=str)
VECTOR = np.random.default_rng(0).normal(size=37)


def draw(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("bits", [8, 4, 1])
def test_rounding_is_unbiased(bits):
    each = Quantized(bits, 16)
    n = 4000
    generator = draw()
    mean = np.mean([each.expand(each.compress(VECTOR, generator), 37) for _ in range(n)], axis=0)
    # A step is 2 s / steps wide; a number rounded by chance deviates by half of it at most.
    largest = np.abs(np.pad(VECTOR, (0, 11)).reshape(3, 16)).max(axis=1).repeat(16)[:37]
    assert (np.abs(mean - VECTOR) < 5 * largest / each.steps / np.sqrt(n) + 1e-6).all()


@pytest.mark.parametrize("bits", [8, 4, 1])
@given(st.lists(st.floats(-1e30, 1e30), max_size=40))
@settings(max_examples=40)
def test_no_number_is_off_by_more_than_a_step(bits, numbers):
    each, vector = Quantized(bits, 16), np.array(numbers, np.float64)
    back = each.expand(each.compress(vector, draw()), len(vector))
    padded = np.pad(vector, (0, -len(vector) % 16)).reshape(-1, 16)
    step = (2 * np.abs(padded).max(axis=1, initial=0) / each.steps).repeat(16)[: len(vector)]
    assert (np.abs(back - vector) <= step * (1 + 1e-5) + 1e-44).all()


@EACH
@given(st.integers(0, 300))
@settings(max_examples=15)
def test_bytes_are_as_few_as_said_and_zeros_stay_zeros(each, size):
    data = each.compress(np.zeros(size), draw())
    match each:
        case Quantized():
            assert len(data) == each.length(size)
            # One step up or down is the same as none where the largest number is zero.
        case TopK():
            assert len(data) == 8 * (max(1, round(size / 5)) if size else 0)
        case _:
            assert len(data) == 8 + 4 * (max(1, round(size / 5)) if size else 0)
    assert each.expand(data, size).tolist() == [0.0] * size


def test_top_k_keeps_the_largest_and_the_same_ones_where_they_are_equal():
    vector = np.array([1.0, -5.0, 0.0, 4.0, 4.0, -4.0])
    back = TopK(0.5).expand(TopK(0.5).compress(vector, draw()), 6)
    assert back.tolist() == [0.0, -5.0, 0.0, 4.0, 4.0, 0.0]


def test_random_k_is_unbiased_if_it_is_asked_to():
    each, n = RandomK(0.25, unbiased=True), 4000
    generator = draw()
    mean = np.mean([each.expand(each.compress(VECTOR, generator), 37) for _ in range(n)], axis=0)
    # A number is sent 37/9 times as large with probability 9/37: deviation |x| sqrt(37/9 - 1).
    assert (
        np.abs(mean - VECTOR) < 5 * np.abs(VECTOR) * np.sqrt(37 / 9 - 1) / np.sqrt(n) + 1e-6
    ).all()


BIASED = pytest.mark.parametrize("each", [TopK(0.2), RandomK(0.2)], ids=str)


@BIASED
@given(st.integers(1, 30), st.integers(0, 1000))
@settings(max_examples=15)
def test_with_error_feedback_all_that_is_given_is_sent_or_kept(each, rounds, seed):
    generator = draw(seed)
    feedback = ErrorFeedback(each)
    given_, sent = np.zeros(37), np.zeros(37)
    for _ in range(rounds):
        update = generator.normal(size=37)
        given_ += update
        sent += each.expand(feedback.compress(update, generator), 37)
    np.testing.assert_allclose(sent + feedback.rest, given_, atol=1e-5 * rounds)


@BIASED
def test_with_error_feedback_the_mean_of_what_is_sent_becomes_the_update(each):
    feedback, sent, generator = ErrorFeedback(each), np.zeros(37), draw()
    for _ in range(400):
        sent += each.expand(feedback.compress(VECTOR, generator), 37)
    # The rest does not grow, so its part of the mean goes to zero.
    np.testing.assert_allclose(sent / 400, VECTOR, atol=0.1)
    assert np.abs(feedback.rest).max() < 40


@pytest.mark.parametrize("each", [Quantized(1), RandomK(0.1, unbiased=True)], ids=str)
def test_feedback_refuses_what_would_grow_with_it(each):
    with pytest.raises(ValueError, match="diverges with feedback"):
        ErrorFeedback(each)


@EACH
def test_training_with_it_finds_the_model_and_says_the_bytes(each):
    x = np.random.default_rng(0).normal(size=(400, 8))
    weights = np.arange(8.0)
    table = pa.table({**{f"x{i}": x[:, i] for i in range(8)}, "y": x @ weights + 3})
    how = {
        "features": [f"x{i}" for i in range(8)],
        "label": "y",
        "trainer": LinearTrainer(8),
        "sites": 4,
        "settings": Settings(0.1),
    }
    done = simulate(table, **how, compression=each, rounds=150)
    np.testing.assert_allclose(done.state.vector, [*weights, 3.0], atol=0.2)
    size = len(each.compress(np.ones(9), draw()))
    assert done.history["bytes"].to_pylist() == [4 * size] * 150
    half = simulate(table, **how, compression=each, rounds=7)
    resumed = simulate(table, **how, compression=each, rounds=5, resume=half)
    assert resumed.state == simulate(table, **how, compression=each, rounds=12).state


@EACH
def test_bytes_of_another_size_are_refused(each):
    data = each.compress(VECTOR, draw())
    for wrong in (data[:-1], data + b"x", b""):
        with pytest.raises(CompressionError, match="bytes are"):
            each.expand(wrong, 37)


def test_hostile_bytes_are_refused():
    places = np.array([0, 1, 2, 3, 4, 5, 99], "<u4").tobytes()
    with pytest.raises(CompressionError, match="lie beyond the end"):
        TopK(0.2).expand(places + bytes(28), 37)
    with pytest.raises(CompressionError, match="do not rise"):
        TopK(0.2).expand(bytes(28) + bytes(28), 37)
    scale = np.array([np.nan], "<f4").tobytes()
    with pytest.raises(CompressionError, match="scale"):
        Quantized(8, 16).expand(scale + bytes(16), 16)
    with pytest.raises(CompressionError, match="a step that there is not"):
        Quantized(8, 16).expand(bytes(4) + b"\xff" * 16, 16)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_what_is_no_number_is_not_compressed(value):
    with pytest.raises(ValueError, match="can't be compressed"):
        Quantized(8).compress(np.array([1.0, value]), draw())


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Quantized(3), "bits must be 8, 4 or 1"),
        (lambda: Quantized(8, 7), "block must be a multiple of 8"),
        (lambda: TopK(0.0), "share must lie in"),
        (lambda: RandomK(1.5), "share must lie in"),
    ],
)
def test_compression_that_can_not_be_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()

"""Shares of secrets over the field of 2^16 elements."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel.learning.secure.errors import SecureAggregationError
from umbel.learning.secure.shamir import ORDER, POLYNOMIAL, _tables, join, multiply, split


def slow_product(a: int, b: int) -> int:
    """Multiply polynomials over the field of two elements, and take the rest."""
    product = 0
    for bit in range(16):
        if b >> bit & 1:
            product ^= a << bit
    for bit in range(31, 15, -1):
        if product >> bit & 1:
            product ^= POLYNOMIAL << (bit - 16)
    return product


@given(st.integers(0, ORDER), st.integers(0, ORDER))
def test_products_equal_those_of_polynomials(a, b):
    product = multiply(np.array([a], np.uint16), np.array([b], np.uint16))
    assert product.dtype == np.uint16
    assert product[0] == slow_product(a, b)


def test_the_powers_run_through_all_elements():
    assert sorted(_tables()[1][:ORDER].tolist()) == list(range(1, ORDER + 1))


@settings(max_examples=30)
@given(st.data(), st.binary(min_size=32, max_size=32), st.integers(1, 30))
def test_any_threshold_of_the_shares_give_the_secret_and_fewer_give_nothing(data, secret, n):
    threshold = data.draw(st.integers(1, n))
    places = data.draw(st.lists(st.integers(1, ORDER), min_size=n, max_size=n, unique=True))
    shares = split(secret, places, threshold)
    kept = data.draw(st.permutations(places))
    for count in (threshold, n):
        assert join({place: shares[place] for place in kept[:count]}, threshold) == secret
    with pytest.raises(SecureAggregationError, match=f"it takes {threshold}"):
        join({place: shares[place] for place in kept[: threshold - 1]}, threshold)


def test_one_share_of_two_fits_every_secret():
    share = np.frombuffer(split(b"ab", [3, 5], 2)[3], "<u2")
    # For any secret g there is a share at 5 that leads to it: the line through (0, g) and (3, y).
    logarithms, powers = _tables()
    third = powers[(ORDER - logarithms[3]) % ORDER]
    for guess in (b"ab", b"\0\0", b"\xff\xff", b"zz"):
        g = np.frombuffer(guess, "<u2").astype(np.uint16)
        slope = multiply(share.astype(np.uint16) ^ g, np.array([third], np.uint16))
        other = g ^ multiply(slope, np.array([5], np.uint16))
        assert join({3: share.tobytes(), 5: other.astype("<u2").tobytes()}, 2) == guess


def test_the_same_secret_is_never_shared_the_same_way():
    assert split(bytes(32), [1, 2], 2) != split(bytes(32), [1, 2], 2)


def test_shares_that_can_not_be_are_refused():
    for secret, places, threshold, said in (
        (b"odd", [1, 2], 1, "even number"),
        (b"even", [1, 2], 3, "3 of 2 shares"),
        (b"even", [1, 2], 0, "0 of 2 shares"),
        (b"even", [1, 1], 1, "different numbers"),
        (b"even", [0, 1], 1, "different numbers"),
        (b"even", [1, ORDER + 1], 1, "different numbers"),
    ):
        with pytest.raises(ValueError, match=said):
            split(secret, places, threshold)
    with pytest.raises(SecureAggregationError, match="different lengths"):
        join({1: b"ab", 2: b"abcd"}, 2)

"""Sharing a secret among many, any `threshold` of whom can put it together.

Over the field of 2^16 elements: a secret is cut into numbers of 16 bits, each the value at zero of
a random polynomial. Addition is exclusive or, multiplication goes by tables of logarithms, so all
shares of a secret are some array operations.

Source: Shamir, "How to Share a Secret", Communications of the ACM, 1979.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from umbel.learning.secure.errors import SecureAggregationError

Elements: TypeAlias = npt.NDArray[np.uint16]

ORDER = (1 << 16) - 1
"""How many elements are not zero; the powers of `x` run through all of them."""

POLYNOMIAL = 0x1100B
"""x^16 + x^12 + x^3 + x + 1, which is primitive."""


@cache
def _tables() -> tuple[npt.NDArray[np.int64], Elements]:
    """Logarithms, and powers for exponents up to twice the order."""
    powers = np.empty(2 * ORDER, np.uint16)
    value = 1
    for exponent in range(ORDER):
        powers[exponent] = value
        value <<= 1
        if value > ORDER:
            value ^= POLYNOMIAL
    powers[ORDER:] = powers[:ORDER]
    logarithms = np.zeros(ORDER + 1, np.int64)
    logarithms[powers[:ORDER]] = np.arange(ORDER)
    return logarithms, powers


def multiply(a: Elements, b: Elements) -> Elements:
    """Multiply elements of the field.

    >>> multiply(np.array([0, 1, 2], np.uint16), np.array([7, 7, 0x8000], np.uint16)).tolist()
    [0, 7, 4107]
    """
    logarithms, powers = _tables()
    product = powers[logarithms[a] + logarithms[b]]
    return np.where((a == 0) | (b == 0), np.uint16(0), product).astype(np.uint16)


def split(secret: bytes, places: Sequence[int], threshold: int) -> dict[int, bytes]:
    """Share a secret; fewer than `threshold` shares say nothing about it.

    Args:
        secret: an even number of bytes.
        places: the numbers of those who get a share, from 1 to 65535.
        threshold: how many of them can put it together.

    Returns:
        The shares, by place; each as long as the secret.
    """
    if len(secret) % 2:
        raise ValueError("A secret has an even number of bytes.")
    if not 1 <= threshold <= len(places):
        raise ValueError(f"{threshold} of {len(places)} shares can't be asked for.")
    x = np.array(places, np.int64)
    if len(set(places)) < len(places) or x.min() < 1 or x.max() > ORDER:
        raise ValueError(f"Places are different numbers from 1 to {ORDER}.")
    constant = np.frombuffer(secret, "<u2").astype(np.uint16)
    random = np.frombuffer(os.urandom((threshold - 1) * len(secret)), "<u2")
    coefficients = random.astype(np.uint16).reshape(threshold - 1, len(constant))
    at = x.astype(np.uint16)[:, None]
    values = np.zeros((len(places), len(constant)), np.uint16)
    for coefficient in coefficients:
        values = multiply(values ^ coefficient, at)
    values ^= constant
    return {place: row.astype("<u2").tobytes() for place, row in zip(places, values, strict=True)}


def join(shares: Mapping[int, bytes], threshold: int) -> bytes:
    """Put a secret together of its shares.

    Raises:
        SecureAggregationError: there are too few, or they are of different lengths.
    """
    if len(shares) < threshold:
        raise SecureAggregationError(f"{len(shares)} shares are too few: it takes {threshold}.")
    chosen = sorted(shares.items())[:threshold]
    if len({len(share) for _, share in chosen}) > 1:
        raise SecureAggregationError("Shares of one secret are of different lengths.")
    places = np.array([place for place, _ in chosen], np.int64)
    values = np.stack([np.frombuffer(share, "<u2").astype(np.uint16) for _, share in chosen])
    weights = lagrange_at_zero(places.astype(np.uint16))
    terms = multiply(values, weights[:, None])
    secret: npt.NDArray[Any] = np.bitwise_xor.reduce(terms, axis=0)
    return secret.astype("<u2").tobytes()


def lagrange_at_zero(places: Elements) -> Elements:
    """For each place the product, over all others, of `other / (other - place)`."""
    logarithms, powers = _tables()
    apart = places[:, None] ^ places[None, :]
    own = logarithms[places]
    exponents = own.sum() - own - np.where(apart == 0, 0, logarithms[apart]).sum(axis=1)
    return powers[exponents % ORDER]

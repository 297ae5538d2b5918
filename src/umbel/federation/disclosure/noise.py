"""Cell-key noise and rounding: the same cell has the same noise, however often it is asked for.

The key of a cell is made of the keys of the individuals behind it, and the noise of the cell's key
alone (Fraser and Wooton, A proposed method for confidentialising tabular output to protect against
differencing, UNECE 2005; Thompson, Broadfoot and Elazar, UNECE 2013). So asking again does not
average it out. What the individuals' keys are is a secret of the site.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

#: All 64 bits of a key.
_ALL = (1 << 64) - 1


def cell_key(members: Iterable[int]) -> int:
    """The key of a cell: of whom it is made, in whatever order."""
    return sum(members) & _ALL


def noise_of(key: int, most: int, what: str = "") -> int:
    """The noise of a cell: a whole number from -most to most, small ones more often.

    It is binomial: of 2 * most fair coins, made of the key, the heads without half of them; its
    mean is 0 and its variance most / 2.

    Args:
        key: of the cell.
        most: the greatest noise; at most 128.
        what: sets apart the noise of several values of one cell.

    >>> abs(noise_of(7, 3)) <= 3, noise_of(7, 3) == noise_of(7, 3)
    (True, True)
    """
    digest = hashlib.blake2b(b"%d %s" % (key, what.encode()), digest_size=32).digest()
    coins = int.from_bytes(digest, "big") & ((1 << 2 * most) - 1)
    return coins.bit_count() - most


def rounded(value: int, base: int) -> int:
    """The nearest multiple of a base; what is in the middle goes up.

    >>> rounded(12, 5), rounded(13, 5), rounded(0, 5)
    (10, 15, 0)
    """
    return (value + base // 2) // base * base if base > 1 else value


__all__ = ["cell_key", "noise_of", "rounded"]

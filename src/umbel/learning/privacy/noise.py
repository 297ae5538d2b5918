"""Noise that nobody can take off again: normal, from the operating system's entropy.

A seed that is known, or a generator that can be run backwards, gives the noise away. So each
vector of noise has a key of its own of 256 bits, from the operating system, that is used once and
forgotten. Four draws are summed for each number, and the result is rounded to a grid: the last
bits of floating-point noise would otherwise say what it was added to.

Sources: Mironov, "On Significance of the Least Significant Bits for Differential Privacy", CCS
2012; Holohan and Braghin, "Secure Random Sampling in Differential Privacy", ESORICS 2021.
"""

from __future__ import annotations

import math
import os

import numpy as np
import numpy.typing as npt

SUMMED = 4
"""So many normal numbers make one."""

GRID = 2.0**-20
"""Results lie on multiples of this part of the noise's standard deviation, rounded to a power of 2."""


def normal(size: int) -> npt.NDArray[np.float64]:
    """Standard normal numbers of fresh entropy: no seed, never the same twice."""
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    pairs = (SUMMED * size + 1) // 2
    cipher = Cipher(algorithms.AES256(os.urandom(32)), modes.CTR(bytes(16))).encryptor()
    bits = np.frombuffer(cipher.update(bytes(16 * pairs)), "<u8").reshape(2, pairs)
    # In (0, 1]: the logarithm of zero is none.
    radius = np.sqrt(-2.0 * np.log(((bits[0] >> np.uint64(11)) + 1.0) * 2.0**-53))
    angle = (bits[1] >> np.uint64(11)) * (2.0**-53 * 2.0 * math.pi)
    drawn = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[: SUMMED * size]
    together: npt.NDArray[np.float64] = drawn.reshape(SUMMED, size).sum(axis=0)
    return together / math.sqrt(SUMMED)


def noisy(values: npt.NDArray[np.float64], deviation: float) -> npt.NDArray[np.float64]:
    """Add noise of a standard deviation, and round to its grid."""
    step = 2.0 ** math.floor(math.log2(deviation * GRID))
    together: npt.NDArray[np.float64] = np.rint((values + deviation * normal(values.size)) / step)
    return together * step

"""Masks: long vectors of uniformly random numbers, of a key of 256 bits.

AES-256 in counter mode makes them: whoever lacks the key can't tell them from chance, and
processors make them at gigabytes a second.
"""

from __future__ import annotations

from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

Numbers: TypeAlias = npt.NDArray[np.uint32]
"""Numbers modulo 2^32."""

CHUNK = 1 << 16
"""So many numbers are masked at once: they and their mask stay in a processor's cache."""


def derive(secret: bytes, context: bytes) -> bytes:
    """Make a key of 256 bits for one use, said by the context."""
    return HKDF(SHA256(), 32, None, b"umbel secure aggregation\0" + context).derive(secret)


def agreed_key(own: X25519PrivateKey, other: bytes, context: bytes) -> bytes:
    """The key that only the owners of two key pairs know.

    Raises:
        ValueError: the other's public key is none.
    """
    return derive(own.exchange(X25519PublicKey.from_public_bytes(other)), context)


@cache
def _zeros() -> bytes:
    return bytes(4 * CHUNK)


def add_mask(total: Numbers, key: bytes, *, subtract: bool = False) -> None:
    """Add the mask of a key to numbers, or subtract it; in place.

    A key makes one mask: it is never used for anything else.

    >>> numbers = np.arange(5, dtype=np.uint32)
    >>> add_mask(numbers, bytes(32))
    >>> numbers.tolist() == [0, 1, 2, 3, 4]
    False
    >>> add_mask(numbers, bytes(32), subtract=True)
    >>> numbers.tolist()
    [0, 1, 2, 3, 4]
    """
    stream = Cipher(algorithms.AES256(key), modes.CTR(bytes(16))).encryptor()
    into = bytearray(4 * CHUNK)
    buffer = np.frombuffer(into, "<u4")
    apply = np.subtract if subtract else np.add
    for begin in range(0, len(total), CHUNK):
        part = total[begin : begin + CHUNK]
        stream.update_into(_zeros()[: 4 * len(part)], into)
        apply(part, buffer[: len(part)], out=part)

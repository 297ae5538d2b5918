"""Makes the text: 100,000 words, Zipf-Mandelbrot distributed, 8 to 14 a line, seed 7."""

from __future__ import annotations

from pathlib import Path

import numpy as np

WORDS = 100_000
BLOCK_BYTES = 10_000_000


def make_text(path: Path, size: int) -> None:
    """Write about `size` bytes of text, unless a file of that size is there already.

    A larger file begins with the lines of a smaller one; beyond 100 MB the lines repeat, which
    leaves the number of distinct words as it is.
    """
    if path.exists() and abs(path.stat().st_size - size) < 0.25 * size:
        return
    generator = np.random.default_rng(7)
    letters = np.array(list("etaoinshrdlucmfwypvbgkjqxz"))
    lengths = generator.integers(2, 11, WORDS)
    words = np.array(
        sorted({"".join(generator.choice(letters[:20], n)) for n in lengths}, key=hash_order)
    )
    weights = 1 / (np.arange(len(words)) + 2.7) ** 1.05
    weights /= weights.sum()
    blocks: list[bytes] = []
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with path.open("wb") as file:
        while written < size:
            if len(blocks) < 10:
                blocks.append(_block(generator, words, weights))
            block = blocks[(written // BLOCK_BYTES) % len(blocks)]
            file.write(block)
            written += len(block)


def hash_order(word: str) -> tuple[int, str]:
    """An order that has nothing to do with the words' frequency, and is the same every time."""
    return (sum(ord(c) * 31**i for i, c in enumerate(word)) % 1_000_003, word)


def _block(generator: np.random.Generator, words: np.ndarray, weights: np.ndarray) -> bytes:
    count = BLOCK_BYTES // 6
    drawn = words[generator.choice(len(words), count, p=weights)]
    ends = np.cumsum(generator.integers(8, 15, count // 8))
    lines = np.split(drawn, ends[ends < count])
    return ("\n".join(" ".join(line) for line in lines) + "\n").encode()

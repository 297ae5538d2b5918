"""What every program prints, so that answers can be compared before times are."""

from __future__ import annotations

from collections.abc import Sequence


def finish(counts: Sequence[tuple[str, int]]) -> None:
    """Print the number of distinct words, of all words, and the most frequent one."""
    word, most = max(counts, key=lambda pair: (pair[1], pair[0]))
    print(len(counts), sum(count for _, count in counts), word, most)

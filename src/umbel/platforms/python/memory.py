"""How much memory Python values take, estimated from a few of them."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

#: How deep and how wide a value is looked into; beyond that, what was seen stands for the rest.
_DEPTH, _WIDTH = 6, 8


def size_of(value: Any, depth: int = _DEPTH) -> int:
    """Estimate the bytes that a value takes, with what it contains.

    >>> size_of("a" * 1000) > 1000
    True
    >>> size_of([b"x" * 100] * 50) > 5000
    True
    """
    size = sys.getsizeof(value, 64)
    if depth == 0 or value is None or isinstance(value, str | bytes | int | float):
        return size
    if isinstance(value, tuple | list):
        return size + _size_of_items(value, depth)
    if isinstance(value, Mapping):
        return size + _size_of_items(_some(value.items()), depth, len(value))
    if isinstance(value, set | frozenset):
        return size + _size_of_items(_some(value), depth, len(value))
    inner = getattr(value, "__dict__", None)
    if isinstance(inner, dict):
        size += size_of(inner, depth - 1)
    for name in getattr(type(value), "__slots__", ()):
        if isinstance(name, str) and hasattr(value, name):
            size += size_of(getattr(value, name), depth - 1)
    return size


def _some(values: Any) -> list[Any]:
    return [item for item, _ in zip(values, range(_WIDTH), strict=False)]


def _size_of_items(items: Sequence[Any], depth: int, count: int | None = None) -> int:
    count = len(items) if count is None else count
    if not items:
        return 0
    step = max(1, len(items) // _WIDTH)
    seen = items[::step]
    return sum(size_of(item, depth - 1) for item in seen) * count // len(seen)


def size_of_piece(piece: Sequence[Any], samples: int = 4) -> int:
    """Estimate the bytes that the elements of a list take, from a few of them.

    >>> size_of_piece([])
    0
    >>> 80_000 < size_of_piece(list(range(1000, 3000))) < 110_000
    False
    """
    count = len(piece)
    if not count:
        return 0
    step = max(1, count // samples)
    seen = piece[::step]
    return sum(map(size_of, seen)) * count // len(seen) + 8 * count

"""Scales of axes: which numbers stand at an axis, and where a value lies on it."""

from __future__ import annotations

import math
from collections.abc import Iterable

from umbel.dataclass import dataclass


@dataclass(frozen=True)
class Scale:
    """One axis.

    Attributes:
        low: the value at its beginning.
        high: the value at its end; another one than `low`.
        ticks: the values that are written at it.
        log: equal factors are equally far apart, rather than equal differences.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False

    def at(self, value: float) -> float:
        """Where a value lies: 0 at the beginning, 1 at the end.

        >>> Scale(1.0, 100.0, (1.0, 100.0), log=True).at(10.0)
        0.5
        """
        low, high = (math.log10(end) if self.log else end for end in (self.low, self.high))
        return ((math.log10(value) if self.log else value) - low) / (high - low)


def linear(values: Iterable[float], count: int = 6, least: float = 0.0) -> Scale:
    """A scale that holds all values, with about so many round numbers at it.

    Args:
        values: finite numbers, at least one.
        count: about so many numbers stand at it.
        least: they are at least so far apart.

    >>> linear([0.12, 0.69]).ticks
    (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    """
    found = list(values)
    low, high = min(found), max(found)
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        # A curve that does not rise or fall lies in the middle.
        room = max(abs(low), abs(high)) / 2 or 0.5
        low, high = low - room, high + room
    step = max(_round_step((high - low) / count), least)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    places = max(0, 1 - math.floor(math.log10(step)))
    ticks = tuple(round(i * step, places) + 0.0 for i in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], ticks)


def logarithmic(values: Iterable[float]) -> Scale:
    """A scale of positive values by powers of ten, with 1, 2 and 5 between a few.

    >>> logarithmic([0.004, 3.0]).ticks
    (0.001, 0.01, 0.1, 1.0, 10.0)
    """
    found = list(values)
    first = math.floor(math.log10(min(found)) + 1e-9)
    last = max(math.ceil(math.log10(max(found)) - 1e-9), first + 1)
    factors = (1, 2, 5) if last - first <= 2 else (1,)
    every = max(1, (last - first) // 8)
    ticks = [
        factor * 10.0**power
        for power in range(first, last + 1, every)
        for factor in factors
        if power < last or factor == 1
    ]
    return Scale(10.0**first, 10.0**last, tuple(ticks), log=True)


def _round_step(rough: float) -> float:
    """The smallest of 1, 2, 5 times a power of ten that is not less."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(f * power for f in (1, 2, 5, 10) if f * power >= rough * (1 - 1e-9))


__all__ = ["Scale", "linear", "logarithmic"]

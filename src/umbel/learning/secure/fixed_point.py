"""Real numbers as numbers modulo 2^32, which masks can be added to and sums stay exact.

As long as the true sum fits, it comes out whatever wraps around on the way. A vector takes the
bytes that it would take as float32.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import numpy.typing as npt

from umbel.dataclass import dataclass
from umbel.learning.secure.masks import Numbers
from umbel.learning.state import Vector


@dataclass(frozen=True)
class FixedPoint:
    """How finely real numbers are kept.

    Attributes:
        bound: no number of any site is larger than this, nor smaller than its negative.
        sites: so many vectors can be summed, at most.

    >>> code = FixedPoint(bound=1.0, sites=3)
    >>> total = code.encode(np.array([0.5, -1.0])) + code.encode(np.array([0.25, -1.0]))
    >>> code.decode(total).round(6).tolist()
    [0.75, -2.0]
    """

    bound: float
    sites: int

    def __post_init__(self) -> None:
        if not (np.isfinite(self.bound) and self.bound > 0):
            raise ValueError(f"bound must be above 0 and finite, not {self.bound}.")
        if not 1 <= self.sites < 1 << 24:
            raise ValueError(f"sites must lie between 1 and 2^24, not {self.sites}.")

    @property
    def scale(self) -> float:
        """How many steps there are in 1.0; rounded down, so that no sum runs over."""
        return ((1 << 31) // self.sites - 1) / self.bound

    def encode(self, vector: Vector) -> Numbers:
        """Round to the nearest step.

        Raises:
            ValueError: a number is larger than the bound, or none.
        """
        largest = float(np.abs(vector).max(initial=0.0))
        if not largest <= self.bound:  # NaN too
            raise ValueError(
                f"A vector holds {largest:g}; secure aggregation was set up for numbers up to "
                f"{self.bound:g}. Clip it before, or raise the bound."
            )
        steps = np.rint(vector.astype(np.float64, copy=False) * self.scale)
        return steps.astype(np.int64).astype(np.uint32)

    def decode(self, total: Numbers) -> npt.NDArray[np.float64]:
        """The sum that numbers stand for."""
        return total.view(np.int32).astype(np.float64) / self.scale


#: Bits of a digit of a wide number, and how many digits stand before the point and after it.
_DIGIT, _DIGITS = 24, 2
_HALF, _BASE = 1 << (_DIGIT - 1), 1 << _DIGIT


@dataclass(frozen=True)
class Wide:
    """Numbers that take four places each, 128 bits, in which every sum of doubles has a place.

    Each number is a multiple of 2^-48 below 2^46, written in four digits to the base 2^24 that are
    summed each by itself: so up to 255 sites leave room for the carries. The sum of `n` sites is
    off from the plain one by n 2^-49 at most, and by what 64-bit floats round off.

    Attributes:
        sites: so many vectors can be summed, at most.

    >>> code = Wide(sites=2)
    >>> total = code.encode(np.array([1e9, -0.1])) + code.encode(np.array([2.5, 0.3]))
    >>> code.decode(total).round(12).tolist()
    [1000000002.5, 0.2]
    """

    sites: int
    bound: ClassVar[float] = 2.0**46
    places: ClassVar[int] = 2 * _DIGITS

    def __post_init__(self) -> None:
        if not 1 <= self.sites <= 255:
            raise ValueError(f"sites must lie between 1 and 255, not {self.sites}.")

    def encode(self, vector: Vector) -> Numbers:
        """Write numbers in digits, those of one number beside each other.

        Raises:
            ValueError: a number is larger than 2^46, or none.
        """
        exact = np.asarray(vector, np.float64)
        if not float(np.abs(exact).max(initial=0.0)) < self.bound:  # NaN too
            raise ValueError("A vector holds a number that is none, or is beyond 2^46.")
        whole = np.rint(exact)
        after = np.rint((exact - whole) * float(_BASE) ** _DIGITS)
        digits = np.empty((exact.size, self.places), np.int64)
        for first, number in ((0, after.astype(np.int64)), (_DIGITS, whole.astype(np.int64))):
            last = first + _DIGITS - 1
            for place in range(first, last):
                digits[:, place] = ((number + _HALF) & (_BASE - 1)) - _HALF
                number = (number - digits[:, place]) >> _DIGIT  # noqa: PLW2901
            digits[:, last] = number  # as it is: one half has no other digit to carry to
        return digits.ravel().astype(np.uint32)

    def decode(self, total: Numbers) -> npt.NDArray[np.float64]:
        """The sums that digits stand for."""
        digits = total.view(np.int32).reshape(-1, self.places).astype(np.int64)
        after = digits[:, 0] + (digits[:, 1] << _DIGIT)
        whole = digits[:, 2] + (digits[:, 3] << _DIGIT)
        return whole.astype(np.float64) + after.astype(np.float64) / float(_BASE) ** _DIGITS

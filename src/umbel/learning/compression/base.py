"""What compresses, and what makes up for what compression loses."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from umbel.dataclass import dataclass
from umbel.learning.state import Vector


class CompressionError(ValueError):
    """Bytes that are no compressed update of this size."""


class Compressor(Protocol):
    """Makes bytes of vectors, and vectors of bytes."""

    @property
    def unbiased(self) -> bool:
        """Whether the mean over all draws is the vector itself."""
        ...

    def compress(self, vector: Vector, draw: np.random.Generator) -> bytes:
        """Give the bytes; whatever is drawn is drawn from `draw`."""
        ...

    def expand(self, data: bytes, size: int) -> npt.NDArray[np.float32]:
        """Give the vector that bytes stand for.

        Raises:
            CompressionError: they are not of a vector of this size.
        """
        ...


@dataclass
class ErrorFeedback:
    """Adds to each update what compression took from the ones before.

    So nothing is lost for good: all that was sent, and the rest that is kept here, is all that was
    given. What is right on average already must not be used with it: its errors can be longer than
    the update itself, and would grow from round to round.

    Source: Karimireddy et al., "Error Feedback Fixes SignSGD and other Gradient Compression
    Schemes", ICML 2019, algorithm 2.

    Attributes:
        compressor: what loses something.
        rest: what has not been sent yet; part of a site's memory.
    """

    compressor: Compressor
    rest: npt.NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if self.compressor.unbiased:
            raise ValueError(f"{self.compressor} is right on average, and diverges with feedback.")

    def compress(self, vector: Vector, draw: np.random.Generator) -> bytes:
        """Compress an update and the rest of the ones before, and keep the new rest."""
        whole = vector.astype(np.float64) + (0.0 if self.rest is None else self.rest)
        data = self.compressor.compress(whole, draw)
        self.rest = whole - self.compressor.expand(data, len(whole))
        return data

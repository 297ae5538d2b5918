"""Fewer numbers: the largest ones, or some drawn by chance.

Source: Stich, Cordonnier and Jaggi, "Sparsified SGD with Memory", NeurIPS 2018. Both lose much of a
single update, so they are used with `ErrorFeedback`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from umbel.dataclass import dataclass
from umbel.learning.compression.base import CompressionError
from umbel.learning.state import Vector


def _kept(share: float, size: int) -> int:
    return max(1, round(share * size)) if size else 0


def _check_share(share: float) -> None:
    if not 0 < share <= 1:
        raise ValueError(f"share must lie in (0, 1], not {share}.")


@dataclass(frozen=True)
class TopK:
    """The largest numbers and where they stand: eight bytes each.

    Attributes:
        share: which part of the numbers is sent.
    """

    share: float = 0.01

    def __post_init__(self) -> None:
        _check_share(self.share)

    @property
    def unbiased(self) -> bool:
        """It is not."""
        return False

    def compress(self, vector: Vector, draw: np.random.Generator) -> bytes:
        """See `Compressor.compress`; nothing is drawn."""
        count = _kept(self.share, len(vector))
        # By size, then by place: equal numbers are chosen the same way everywhere.
        places = np.sort(np.argsort(-np.abs(vector), kind="stable")[:count])
        return places.astype("<u4").tobytes() + vector[places].astype("<f4").tobytes()

    def expand(self, data: bytes, size: int) -> npt.NDArray[np.float32]:
        """See `Compressor.expand`."""
        count = _kept(self.share, size)
        if len(data) != 8 * count:
            raise CompressionError(f"{len(data)} bytes are not the {8 * count} of {count} numbers.")
        places = np.frombuffer(data, "<u4", count).astype(np.int64)
        if count and (places[-1] >= size or (np.diff(places) <= 0).any()):
            raise CompressionError("The places of the numbers do not rise, or lie beyond the end.")
        vector = np.zeros(size, np.float32)
        vector[places] = np.frombuffer(data, "<f4", count, 4 * count)
        return vector


@dataclass(frozen=True)
class RandomK:
    """Numbers at places that follow from eight bytes: four bytes each, and these.

    Attributes:
        share: which part of the numbers is sent.
        unbiased: whether they are made larger, so that the mean over all draws is the update; not
            with `ErrorFeedback`, which makes up for the rest by itself.
    """

    share: float = 0.01
    unbiased: bool = False

    def __post_init__(self) -> None:
        _check_share(self.share)

    def compress(self, vector: Vector, draw: np.random.Generator) -> bytes:
        """See `Compressor.compress`."""
        seed = int(draw.integers(1 << 63))
        values = vector[self._places(seed, len(vector))]
        if self.unbiased:
            values = values * (len(vector) / max(1, len(values)))
        return seed.to_bytes(8, "little") + values.astype("<f4").tobytes()

    def expand(self, data: bytes, size: int) -> npt.NDArray[np.float32]:
        """See `Compressor.expand`."""
        count = _kept(self.share, size)
        if len(data) != 8 + 4 * count:
            raise CompressionError(
                f"{len(data)} bytes are not the {8 + 4 * count} of {count} numbers."
            )
        vector = np.zeros(size, np.float32)
        places = self._places(int.from_bytes(data[:8], "little"), size)
        vector[places] = np.frombuffer(data, "<f4", count, 8)
        return vector

    def _places(self, seed: int, size: int) -> npt.NDArray[np.int64]:
        draw = np.random.Generator(np.random.Philox(key=seed))
        return np.sort(draw.choice(size, _kept(self.share, size), replace=False))

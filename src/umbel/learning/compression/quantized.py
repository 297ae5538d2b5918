"""Fewer bits for each number, rounded by chance so that nothing is lost on average.

Sources: Alistarh et al., "QSGD: Communication-Efficient SGD via Gradient Quantization and
Encoding", NeurIPS 2017; for one bit, Suresh et al., "Distributed Mean Estimation with Limited
Communication", ICML 2017, section 2.1.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from umbel.dataclass import dataclass
from umbel.learning.compression.base import CompressionError
from umbel.learning.state import Vector


@dataclass(frozen=True)
class Quantized:
    """Each number is one of a few steps between the largest of its block and its negative.

    Attributes:
        bits: 8, 4 or 1 for each number.
        block: so many numbers share a scale, which takes four bytes.
    """

    bits: int = 8
    block: int = 1024

    def __post_init__(self) -> None:
        if self.bits not in (8, 4, 1):
            raise ValueError(f"bits must be 8, 4 or 1, not {self.bits}.")
        if self.block < 8 or self.block % 8:
            raise ValueError(f"block must be a multiple of 8, not {self.block}.")

    @property
    def unbiased(self) -> bool:
        """It is."""
        return True

    @property
    def steps(self) -> int:
        """How many steps there are from the one end to the other."""
        return 1 if self.bits == 1 else (1 << self.bits) - 2

    def length(self, size: int) -> int:
        """How many bytes a vector of so many numbers takes.

        >>> [Quantized(bits).length(1_000_000) for bits in (8, 4, 1)]
        [1003908, 503908, 128908]
        """
        return 4 * -(-size // self.block) + -(-size * self.bits // 8)

    def compress(self, vector: Vector, draw: np.random.Generator) -> bytes:
        """See `Compressor.compress`.

        Raises:
            ValueError: a number is NaN or infinite, or beyond float32.
        """
        blocks = -(-len(vector) // self.block)
        padded = np.zeros(blocks * self.block)
        padded[: len(vector)] = vector
        rows = padded.reshape(blocks, self.block)
        largest = np.abs(rows).max(axis=1, initial=0.0)
        if not (largest < np.finfo(np.float32).max).all():
            raise ValueError(
                "An update with NaN, infinity or more than float32 holds can't be compressed."
            )
        # Rounded up, so that no number lies beyond the ends.
        scales = np.nextafter(largest.astype("<f4"), np.float32(np.inf), dtype="<f4")
        scales[largest == 0] = 0
        unit = rows / np.where(scales > 0, scales, 1).astype(np.float64)[:, None]
        places = (unit + 1) * (self.steps / 2)
        codes = np.floor(places + draw.random(rows.shape)).astype(np.uint8)
        codes = np.minimum(codes, self.steps).ravel()[: len(vector)].astype(np.uint8)
        return scales.tobytes() + self._pack(codes)

    def expand(self, data: bytes, size: int) -> npt.NDArray[np.float32]:
        """See `Compressor.expand`."""
        if len(data) != self.length(size):
            raise CompressionError(
                f"{len(data)} bytes are no update of {size} numbers of {self.bits} bits, which "
                f"takes {self.length(size)}."
            )
        blocks = -(-size // self.block)
        scales = np.frombuffer(data, "<f4", blocks)
        if not np.isfinite(scales).all():
            raise CompressionError("A scale of the update is no number.")
        unit = self._unpack(data[4 * blocks :], size) * (2 / self.steps) - 1.0
        return (unit * np.repeat(scales, self.block)[:size].astype(np.float64)).astype(np.float32)

    def _pack(self, codes: npt.NDArray[np.uint8]) -> bytes:
        match self.bits:
            case 8:
                return codes.tobytes()
            case 4:
                even = np.append(codes, np.uint8(0))[: len(codes) + len(codes) % 2]
                return (even[0::2] << np.uint8(4) | even[1::2]).astype(np.uint8).tobytes()
            case _:
                return np.packbits(codes).tobytes()

    def _unpack(self, data: bytes, size: int) -> npt.NDArray[np.uint8]:
        packed = np.frombuffer(data, np.uint8)
        match self.bits:
            case 8:
                codes = packed
            case 4:
                codes = np.stack([packed >> np.uint8(4), packed & np.uint8(15)], axis=1).ravel()
            case _:
                codes = np.unpackbits(packed)
        codes = codes[:size]
        if codes.max(initial=0) > self.steps:
            raise CompressionError("The update holds a step that there is not.")
        return codes

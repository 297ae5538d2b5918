"""Named arrays in one flat buffer: what a state, an update and a sum are.

A buffer is an array of 64-bit floats; only its length travels with it, as bytes. Who reads it
knows from the design which numbers it holds, so nothing else can be smuggled along.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError
from umbel.plan.operators.learning import STATE

#: An array of 64-bit floats.
Array = np.ndarray[tuple[int, ...], np.dtype[np.float64]]

#: How a buffer's numbers are written.
_LITTLE = np.dtype("<f8")


@dataclass(frozen=True)
class Layout:
    """The names and shapes of the arrays in a buffer, in order.

    >>> layout = Layout((("weights", (2, 3)), ("loss", ())))
    >>> layout.size
    7
    >>> layout.split(np.arange(7.0))["weights"].shape
    (2, 3)
    """

    parts: tuple[tuple[str, tuple[int, ...]], ...]

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return sum(prod(shape) for _, shape in self.parts)

    def split(self, flat: Array) -> dict[str, Array]:
        """Give views of a buffer's arrays, by name.

        Raises:
            PlanError: the buffer has another length.
        """
        if flat.shape != (self.size,):
            raise PlanError(
                f"{flat.size} numbers are not the {self.size} of {', '.join(n for n, _ in self.parts)}"
            )
        found, start = {}, 0
        for name, shape in self.parts:
            found[name] = flat[start : start + prod(shape)].reshape(shape)
            start += prod(shape)
        return found

    def join(self, arrays: Mapping[str, Array | float]) -> Array:
        """Make a buffer of arrays."""
        flat = np.empty(self.size)
        for name, view in self.split(flat).items():
            view[...] = arrays[name]
        return flat


def state_table(flat: Array) -> pa.Table:
    """Put a buffer into a plan.

    >>> state_table(np.array([1.0, 2.0])).column("values").to_pylist()
    [1.0, 2.0]
    """
    return pa.Table.from_arrays([pa.array(flat)], schema=STATE)


def state_array(table: pa.Table) -> Array:
    """Take a buffer out of a plan; a copy."""
    return np.array(table.column(0).to_numpy(), dtype=np.float64)


def to_bytes(flat: Array) -> bytes:
    """Write a buffer."""
    return flat.astype(_LITTLE).tobytes()


def from_bytes(data: bytes, layout: Layout, what: str) -> Array:
    """Read a buffer that somebody else wrote.

    Args:
        data: its bytes.
        layout: what it must hold.
        what: whose it is, for the error.

    Raises:
        UpdateError: it has another length, or holds a number that is not finite.
    """
    if len(data) != layout.size * _LITTLE.itemsize:
        raise UpdateError(
            f"{what} gave {len(data)} bytes where {layout.size} numbers were asked for"
        )
    flat = np.frombuffer(data, _LITTLE).astype(np.float64)
    if not np.isfinite(flat).all():
        found = layout.split(flat)
        name = next(name for name, view in found.items() if not np.isfinite(view).all())
        raise UpdateError(f"{what} gave numbers that are not finite, in {name!r}")
    return flat


class UpdateError(PlanError):
    """What one part of the data gave cannot be an update."""


__all__ = [
    "Array",
    "Layout",
    "UpdateError",
    "from_bytes",
    "state_array",
    "state_table",
    "to_bytes",
]

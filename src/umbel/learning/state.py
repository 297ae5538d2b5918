"""The state of a model: named tensors over one flat buffer.

A strategy, a mask, noise and compression all work on vectors; a model works on named tensors. Both
see the same memory here, so that nothing is copied or concatenated between them. On the wire and
on disk a state is a safetensors file: numbers and names, nothing that could be executed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from umbel.dataclass import dataclass

Vector: TypeAlias = npt.NDArray[np.floating[Any]]
"""One number for each parameter; or rows of such vectors, one for each site."""

DTYPES = ("float32", "float64")


class StateError(ValueError):
    """A state that does not fit: other names, shapes or types than were agreed."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, shape and type of one tensor of a model.

    >>> TensorSpec("weights", (3, 2), "float32").size
    6
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float64"

    @property
    def size(self) -> int:
        """How many numbers the tensor holds; one for a shape of no dimensions."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Layout:
    """Which part of the flat buffer is which tensor.

    All tensors of a model have one type, because together they are one vector. What counts rather
    than being learned (steps, batches seen) belongs to the metrics of an update.

    Raises:
        StateError: a name occurs twice, or types differ, or are neither float32 nor float64.
    """

    specs: tuple[TensorSpec, ...]

    def __post_init__(self) -> None:
        names = [spec.name for spec in self.specs]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise StateError(f"Two tensors are called {twice[0]!r}; each needs a name of its own.")
        for spec in self.specs:
            if spec.dtype not in DTYPES:
                raise StateError(
                    f"The tensor {spec.name!r} is of type {spec.dtype}; a state takes "
                    f"{' or '.join(DTYPES)}. Convert it, or keep counters in the metrics."
                )
            if spec.dtype != self.specs[0].dtype:
                raise StateError(
                    f"The tensor {spec.name!r} is of type {spec.dtype}, "
                    f"{self.specs[0].name!r} of {self.specs[0].dtype}; one state has one type."
                )

    @cached_property
    def dtype(self) -> np.dtype[np.floating[Any]]:
        """The type of all tensors; float64 where there are none."""
        return np.dtype(self.specs[0].dtype if self.specs else "float64")

    @cached_property
    def size(self) -> int:
        """How many numbers the whole state holds."""
        return sum(spec.size for spec in self.specs)

    @cached_property
    def spans(self) -> Mapping[str, tuple[slice, tuple[int, ...]]]:
        """By name, where a tensor lies in the buffer, and its shape."""
        spans, begin = {}, 0
        for spec in self.specs:
            spans[spec.name] = (slice(begin, begin + spec.size), spec.shape)
            begin += spec.size
        return spans

    def span(self, name: str) -> tuple[slice, tuple[int, ...]]:
        """Where the tensor `name` lies.

        Raises:
            StateError: there is none of that name.
        """
        try:
            return self.spans[name]
        except KeyError:
            raise StateError(f"No tensor {name!r}; there are {', '.join(self.spans)}.") from None

    def split(self, vector: Vector) -> dict[str, Vector]:
        """Views of a vector, or of rows of vectors, as named tensors.

        >>> layout = Layout((TensorSpec("w", (2,)), TensorSpec("b", ())))
        >>> layout.split(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))["w"].tolist()
        [[1.0, 2.0], [4.0, 5.0]]
        """
        rows = vector.shape[:-1]
        return {
            name: vector[..., span].reshape(rows + shape)
            for name, (span, shape) in self.spans.items()
        }


@dataclass(frozen=True, eq=False)
class State:
    """Named tensors over one flat buffer that does not change.

    >>> state = State.of({"w": [1.0, 2.0], "b": 0.5})
    >>> state["w"].tolist(), state.vector.tolist()
    ([1.0, 2.0], [1.0, 2.0, 0.5])
    >>> (state + np.ones(3))["b"].item()
    1.5
    >>> State.from_bytes(state.to_bytes()) == state
    True
    """

    layout: Layout
    vector: Vector

    def __post_init__(self) -> None:
        vector = np.ascontiguousarray(self.vector, self.layout.dtype)
        if vector.shape != (self.layout.size,):
            raise StateError(
                f"A vector of shape {vector.shape} for tensors of {self.layout.size} numbers."
            )
        if vector.flags.writeable:
            vector = vector.view()
            vector.flags.writeable = False
        object.__setattr__(self, "vector", vector)

    @classmethod
    def of(cls, tensors: Mapping[str, npt.ArrayLike]) -> State:
        """Copy tensors, in the order given, into one buffer.

        Python's own numbers become float64.
        """
        arrays = {name: np.asarray(tensor) for name, tensor in tensors.items()}
        specs = tuple(
            TensorSpec(name, array.shape, array.dtype.name) for name, array in arrays.items()
        )
        layout = Layout(specs)
        vector = np.empty(layout.size, layout.dtype)
        for array, (span, _) in zip(arrays.values(), layout.spans.values(), strict=True):
            vector[span] = array.ravel()
        return cls(layout, vector)

    @classmethod
    def zeros(cls, specs: tuple[TensorSpec, ...]) -> State:
        """A state of these tensors, all zero."""
        layout = Layout(specs)
        return cls(layout, np.zeros(layout.size, layout.dtype))

    def __getitem__(self, name: str) -> Vector:
        span, shape = self.layout.span(name)
        return self.vector[span].reshape(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.layout.spans)

    def __len__(self) -> int:
        return len(self.layout.specs)

    def items(self) -> Iterator[tuple[str, Vector]]:
        """Names and tensors; the tensors are views that can't be written to."""
        return ((name, self[name]) for name in self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, State):
            return NotImplemented
        return self.layout == other.layout and self.vector.tobytes() == other.vector.tobytes()

    __hash__ = None  # type: ignore[assignment]  # equal only bit by bit: no key

    def with_vector(self, vector: Vector) -> State:
        """The same tensors with other numbers."""
        return State(self.layout, vector)

    def __add__(self, delta: Vector) -> State:
        return self.with_vector(self.vector + delta)

    def __sub__(self, other: State) -> Vector:
        """How this state differs from another one of the same tensors."""
        if other.layout != self.layout:
            raise StateError("States of different tensors can't be subtracted.")
        return self.vector - other.vector

    def to_bytes(self) -> bytes:
        """As a safetensors file."""
        return to_bytes({name: self[name] for name in self})

    @classmethod
    def from_bytes(cls, data: bytes) -> State:
        """Read a safetensors file that `to_bytes` wrote.

        Raises:
            StateError: it is none, or holds what no state holds.
        """
        return cls.of(from_bytes(data)[0])


def to_bytes(
    tensors: Mapping[str, npt.NDArray[Any]], notes: Mapping[str, str] | None = None
) -> bytes:
    """Write tensors, in their order, and short texts beside them as a safetensors file.

    Equal tensors and notes give equal bytes.
    """
    from safetensors.numpy import save

    # The format keeps neither the order of tensors nor that of several texts: one text holds both.
    about = json.dumps({"order": list(tensors), "notes": dict(sorted((notes or {}).items()))})
    dense = {name: np.array(tensor, order="C") for name, tensor in tensors.items()}
    return save(dense, {"umbel": about})


def from_bytes(data: bytes) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Read tensors, in the order in which they were written, and texts from a safetensors file.

    Files of other programs are read too: their tensors come in the order of their names.

    Raises:
        StateError: it is no such file.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(data)
    except (SafetensorError, KeyError) as error:
        raise StateError(f"Not a file in the safetensors format: {error}.") from error
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    metadata = header.get("__metadata__", {})
    if "umbel" not in metadata:
        return {name: tensors[name] for name in sorted(tensors)}, dict(metadata)
    try:
        about = json.loads(metadata["umbel"])
        order, notes = list(about["order"]), dict(about["notes"])
        ordered = {name: tensors.pop(name) for name in order}
    except (KeyError, TypeError, ValueError) as error:
        raise StateError("The file's list of its tensors is broken.") from error
    if tensors:
        raise StateError(f"The file holds {min(tensors)!r}, which its list does not name.")
    return ordered, notes

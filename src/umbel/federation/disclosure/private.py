"""Makes the cells of one aggregate differentially private: bounds each individual, then adds noise.

Neighbours are a table with and without all rows of one individual. An individual counts in
`groups` cells at most, in each with `rows` rows at most and with values within `bounds`; who has
more rows counts with their mean. Cells come from domains that the policy names, so that a cell of
nobody has noise, too; or, where it names none, only those leave that enough individuals are in,
counted with noise (Korolova, Kenthapadi, Mishra and Ntoulas, WWW 2009).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from umbel.federation.disclosure.individuals import hashed
from umbel.federation.disclosure.mechanism import Laplace
from umbel.federation.errors import FederationError
from umbel.federation.noise import CONFIDENCE, Value
from umbel.federation.policy.clauses import Privacy
from umbel.federation.policy.private import PEOPLE, Asked
from umbel.federation.policy.verdict import INDIVIDUAL, ROWS, VALUE, Cells

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Whole = npt.NDArray[np.int64]

#: Steps from 0 to the bound of a sum: what is rounded away is far below the noise.
_STEPS = 20


def private_answer(
    cells: Cells, asked: Asked, epsilon: float, delta: float, secret: str
) -> tuple[pa.Table, tuple[Value, ...]]:
    """Compute cells with noise, and say how much each value has.

    Args:
        cells: the aggregate; its `contributions` are clipped to the bounds row by row.
        asked: what is computed, and over which keys.
        epsilon: what it may cost.
        delta: what finding cells may cost, if there is no domain for them.
        secret: of the site; chooses the cells in which somebody counts who is in too many.
    """
    if cells.contributions is None:
        raise FederationError("the parts of individuals in this result cannot be told apart")
    privacy = asked.privacy
    parts = cells.contributions()
    parts = parts.filter(pc.is_valid(parts.column(f"{INDIVIDUAL}0")))
    keys, parts, cell = _placed(parts, cells.keys, asked.domains)
    reach = min(privacy.groups, len(keys)) if asked.known else privacy.groups
    reach = reach if cells.keys else 1
    parts, cell = _bounded(parts, cell, reach, secret)
    measured = asked.measurements
    each = epsilon / max(1, measured)
    if not asked.known:
        chosen = _enough(cell, keys, Laplace(reach, each), delta / reach)
        cell, parts = _renumbered(cell, parts, chosen, len(keys))
        keys = [keys[number] for number in chosen]
    columns: dict[str, list[Any]] = {
        name: [key[position] for key in keys] for position, name in enumerate(cells.keys)
    }
    noise = []
    for name, what in asked.functions.items():
        made = _Column(name, asked.calls[name], what, asked.bounds.get(name), privacy, reach, each)
        columns[name], told = made.of(parts, cell, len(keys))
        noise.append(told)
    schema = cells.table.schema
    arrays = [_typed(columns[field.name], field.type) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema), tuple(noise)


# --- cells ----------------------------------------------------------------------------------------


def _placed(
    parts: pa.Table, names: Sequence[str], domains: Mapping[str, Sequence[Any]]
) -> tuple[list[tuple[Any, ...]], pa.Table, Whole]:
    """The cells, the parts that lie in one, and in which."""
    import numpy as np

    keys: list[tuple[Any, ...]] = [()]
    cell = np.zeros(parts.num_rows, np.int64)
    for name in names:
        column, known = parts.column(name), name in domains
        values = pa.array(domains[name], column.type) if known else column.unique()
        levels = values.to_pylist()
        at = pc.index_in(column, value_set=values, skip_nulls=known)
        inside = np.asarray(pc.is_valid(at))
        parts = parts.filter(pa.array(inside))
        cell = cell[inside] * len(levels) + np.asarray(at.drop_null()).astype(np.int64)
        if all(name in domains for name in names):
            keys = [(*key, level) for key in keys for level in levels]
            continue
        # Without a domain there are too many to list: those that occur.
        found, cell = np.unique(cell, return_inverse=True)
        pairs = [divmod(code, len(levels)) for code in found.tolist()]
        keys = [(*keys[before], levels[at_level]) for before, at_level in pairs]
    return keys, parts, cell.astype(np.int64)


def _bounded(parts: pa.Table, cell: Whole, reach: int, secret: str) -> tuple[pa.Table, Whole]:
    """The parts of each individual in so many cells at most, chosen by the site's secret."""
    import numpy as np

    if not parts.num_rows:
        return parts, cell
    who = parts.column(f"{INDIVIDUAL}0").cast(pa.string())
    of_who = np.asarray(who.combine_chunks().dictionary_encode().indices)
    if np.bincount(of_who).max() <= reach:
        return parts, cell
    text = pc.binary_join_element_wise(who, pa.array(cell).cast(pa.string()), " in ")
    order = np.lexsort((np.asarray(hashed(_chunked(text), secret)), of_who))
    sorted_who = of_who[order]
    first = np.r_[True, sorted_who[1:] != sorted_who[:-1]]
    start = np.maximum.accumulate(np.where(first, np.arange(len(order)), 0))
    kept = np.sort(order[np.arange(len(order)) - start < reach])
    return parts.take(pa.array(kept)), cell[kept]


def _enough(cell: Whole, keys: list[tuple[Any, ...]], noise: Laplace, delta: float) -> list[int]:
    """The cells in which there are enough individuals, counted with noise, in the keys' order."""
    import numpy as np

    people = noise.add(np.bincount(cell, minlength=len(keys)).tolist()) if keys else []
    least = noise.threshold(delta)
    found = [number for number, count in enumerate(people) if count >= least]
    return sorted(found, key=lambda number: [(v is None, str(v)) for v in keys[number]])


def _renumbered(
    cell: Whole, parts: pa.Table, chosen: list[int], count: int
) -> tuple[Whole, pa.Table]:
    """The parts that lie in chosen cells, and in which of these."""
    import numpy as np

    position = np.full(count, -1, np.int64)
    position[chosen] = np.arange(len(chosen))
    at = position[cell]
    return at[at >= 0], parts.filter(pa.array(at >= 0))


# --- columns --------------------------------------------------------------------------------------


class _Column:
    """Computes one aggregate of all cells."""

    def __init__(
        self,
        name: str,
        call: str,
        what: str,
        bounds: tuple[float, float] | None,
        privacy: Privacy,
        reach: int,
        epsilon: float,
    ) -> None:
        self._name = name
        self._call = call
        self._what = what
        self._bounds = bounds or (0.0, 1.0)
        self._most = 1 if what == PEOPLE else privacy.rows
        self._reach = reach
        self._epsilon = epsilon

    def of(self, parts: pa.Table, cell: Whole, count: int) -> tuple[list[Any], Value]:
        """Its values with noise, and what there is to say of that."""
        import numpy as np

        rows = np.asarray(parts.column(f"{ROWS} {self._name}")).astype(np.int64)
        counted = np.minimum(rows, self._most)
        if self._what not in ("sum", "mean"):
            noise = Laplace(self._reach * self._most, self._epsilon)
            values = noise.add(_sums(counted, cell, count))
            return list(values), Value(self._call, noise.scale, noise.half_width())
        low, high = self._bounds
        middle = (low + high) / 2 if self._what == "mean" else 0.0
        column = parts.column(f"{VALUE}{self._name}").cast(pa.float64(), safe=False)
        sums = np.asarray(pc.fill_null(column, 0.0))
        # Who has more rows than count, counts with so many of the mean of them.
        share = np.divide(counted, rows, out=np.zeros(len(rows)), where=rows > 0)
        sums = sums * share - middle * counted
        largest = self._most * max(abs(low - middle), abs(high - middle))
        unit = 2.0 ** (math.ceil(math.log2(largest)) - _STEPS)
        most = math.ceil(largest / unit)
        whole = np.clip(np.rint(sums / unit), -most, most).astype(np.int64)
        noise = Laplace(self._reach * most, self._epsilon)
        noisy = [value * unit for value in noise.add(_sums(whole, cell, count))]
        if self._what == "sum":
            return noisy, Value(self._call, noise.scale * unit, noise.half_width() * unit)
        # Sum and size are each where it is told but for half of the rest, so both are but for that.
        size = Laplace(self._reach * self._most, self._epsilon)
        sizes = size.add(_sums(counted, cell, count))
        half = 1 - (1 - CONFIDENCE) / 2
        of_sum, of_size = noise.half_width(half) * unit, size.half_width(half)
        means, widths = [], []
        for value, number in zip(noisy, sizes, strict=True):
            mean = min(max(middle + value / max(1, number), low), high)
            ends = [
                middle + (value + sign * of_sum) / max(1, number + other * of_size)
                for sign in (-1, 1)
                for other in (-1, 1)
            ]
            clipped = [min(max(end, low), high) for end in ends]
            means.append(mean)
            widths.append(max(max(clipped) - mean, mean - min(clipped)))
        worst = max(widths, default=0.0)
        return means, Value(self._call, noise.scale * unit, worst, tuple(widths))


def _sums(values: Whole, cell: Whole, count: int) -> list[int]:
    """Exact sums by cell."""
    import numpy as np

    found = np.zeros(count, np.int64)
    np.add.at(found, cell, values)
    return [int(value) for value in found]


def _typed(values: list[Any], dtype: pa.DataType) -> pa.Array:
    """The values in the type that was asked for."""
    if pa.types.is_integer(dtype):
        return pa.array([round(value) for value in values], dtype)
    if pa.types.is_decimal(dtype):
        return pa.array(values, pa.float64()).cast(dtype, safe=False)
    return pa.array(values, dtype)


def _chunked(array: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


__all__ = ["private_answer"]

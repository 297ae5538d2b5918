"""Sets of individuals behind cells, by keyed hashes: exact, and of no use elsewhere."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from umbel.dataclass import dataclass
from umbel.federation.disclosure.cells import keys_of
from umbel.federation.policy.verdict import INDIVIDUAL, ROWS, Cells

#: Of all cells of one answer together.
WHOLE = "*"


@dataclass(frozen=True)
class Population:
    """The individuals behind one value of one cell.

    Attributes:
        source: identifies the rows that the answer is about, whatever their columns.
        cell: the cell's key, or `WHOLE`.
        argument: identifies what of the rows is told: "=" and a column, or a digest.
        members: their hashes, each once.
    """

    source: str
    cell: str
    argument: str
    members: pa.UInt64Array

    def __len__(self) -> int:
        return len(self.members)

    @property
    def plain(self) -> bool:
        """Whether a column is told as it is."""
        return self.argument.startswith("=")

    def same_question(self, other: Population) -> bool:
        """Whether the two were asked for in the same way."""
        return (self.source, self.argument) == (other.source, other.argument)

    def beside(self, other: Population) -> bool:
        """Whether the two are of different columns of the same rows: their difference is nothing."""
        both = self.plain and other.plain and self.source == other.source
        return both and self.argument != other.argument

    def difference(self, members: pa.UInt64Array) -> int:
        """How many individuals are in one of the two and not in the other."""
        both = pc.sum(pc.is_in(self.members, value_set=members)).as_py() or 0
        return len(self.members) + len(members) - 2 * int(both)


def hashed(values: pa.ChunkedArray, secret: str) -> pa.UInt64Array:
    """Hash individuals with a secret: 64 bits of MD5, as the same in every version."""
    import duckdb

    text = pa.table({"who": values.cast(pa.string())})
    with duckdb.connect() as connection:
        connection.register("given", text)
        query = "select md5_number_lower(concat(?, who)) as h from given"
        found: pa.Table = connection.sql(query, params=[secret]).to_arrow_table()
    return pa.concat_arrays([pa.array([], pa.uint64()), *found.column("h").chunks])


def populations(
    cells: Cells, parts: pa.Table, position: int, secret: str
) -> list[list[Population]]:
    """For each row of the cells the individuals behind each of its values, each set once."""
    known = parts.filter(pc.is_valid(parts.column(f"{INDIVIDUAL}{position}")))
    who = hashed(known.column(f"{INDIVIDUAL}{position}"), secret)
    groups: dict[tuple[object, ...], list[int]] = {}
    for row, key in enumerate(keys_of(known, cells.keys)):
        groups.setdefault(key, []).append(row)
    named = [("", ROWS)]
    named += [(name, f"{ROWS} {name}") for name in cells.functions]
    counted = {name: known.column(column).combine_chunks() for name, column in named}
    found = []
    for key in keys_of(cells.table, cells.keys):
        rows = pa.array(groups.get(key, []), pa.int64())
        found.append(
            [
                Population(cells.population, _cell(cells, key), argument, members)
                for argument, members in _sets(cells, rows, who, counted)
            ]
        )
    return found


def _cell(cells: Cells, key: tuple[object, ...]) -> str:
    return repr(dict(zip(cells.keys, key, strict=True)))


def _sets(
    cells: Cells, rows: pa.Array, who: pa.UInt64Array, counted: dict[str, pa.Array]
) -> list[tuple[str, pa.UInt64Array]]:
    """The sets of one cell, by what is computed; columns as they are count as one question."""
    made: dict[tuple[str, bytes], pa.UInt64Array] = {}
    mine = who.take(rows)
    for name, counts in counted.items():
        there = pc.greater(counts.take(rows), 0)
        members = pc.unique(mine.filter(there))
        members = members.take(pc.sort_indices(members))
        argument = cells.arguments.get(name, "=")
        made[argument, blob_of(members)] = members
    return [(argument, members) for (argument, _), members in made.items()]


def united(source: str, sets: Sequence[Population]) -> list[Population]:
    """All individuals of some cells together, for each thing that is told of them."""
    told: dict[str, list[pa.UInt64Array]] = {}
    for one in sets:
        told.setdefault(one.argument, []).append(one.members)
    return [
        Population(source, WHOLE, argument, pc.unique(pa.concat_arrays(arrays)))
        for argument, arrays in told.items()
    ]


def blob_of(members: pa.UInt64Array) -> bytes:
    """Write a set."""
    whole = pa.concat_arrays([members])  # without an offset
    raw = whole.buffers()[1]
    return b"" if raw is None else raw.to_pybytes()[: 8 * len(whole)]


def members_of(blob: bytes) -> pa.UInt64Array:
    """Read a set back."""
    return pa.UInt64Array.from_buffers(pa.uint64(), len(blob) // 8, [None, pa.py_buffer(blob)])


__all__ = ["WHOLE", "Population", "blob_of", "hashed", "members_of", "populations", "united"]

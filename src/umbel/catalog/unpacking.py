"""How many rows of a Parquet file may be unpacked at once, however small the file is.

A column chunk can name one long value for each of its rows and be a few hundred bytes long: each
row then is an index into the chunk's dictionary. What the footer says of sizes counts the
dictionary once. So a chunk that may be such a one has its dictionary looked at, and is read in as
many rows at once as are surely no more than `AT_ONCE` bytes of values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa

from umbel.lazy import LazyModule

pc = LazyModule("pyarrow.compute")

#: Rows of a batch, if nothing speaks against it.
ROWS = 65_536

#: Bytes of values that a batch should not exceed; one row may.
AT_ONCE = 16 << 20

#: Times as many bytes are let pass before a dictionary is looked at, which takes time.
_LET_PASS = 4

#: Rows in which dictionaries are looked for at once.
_LOOKED = 1024

#: Opens the file, so that it gives some columns (named as in the footer) with their dictionaries.
Open = Callable[[Sequence[str]], AbstractContextManager[Any]]


def portions(
    metadata: Any, groups: Sequence[int], columns: Sequence[str], opened: Open
) -> Iterator[tuple[list[int], int]]:
    """Cut the reading of row groups into portions: which groups, in how many rows at once.

    Args:
        metadata: a `pyarrow.parquet.FileMetaData`.
        groups: the row groups that are read.
        columns: the columns that are read.
        opened: opens the file.
    """
    texts = _texts(metadata, columns)
    plain: list[int] = []
    for group in groups:
        if not _may_unfold(metadata.row_group(group), texts):
            plain.append(group)
            continue
        if plain:
            yield plain, ROWS
            plain = []
        yield [group], _rows_at_once(metadata, group, columns, texts, opened)
    if plain:
        yield plain, ROWS


def _texts(metadata: Any, columns: Sequence[str]) -> list[int]:
    """The positions of columns whose values have a length of their own."""
    found = []
    for position in range(metadata.num_columns):
        column = metadata.schema.column(position)
        if column.physical_type in ("BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY") and any(
            _is_of(column.path, name) for name in columns
        ):
            found.append(position)
    return found


def _is_of(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}.")


def _may_unfold(group: Any, texts: Sequence[int]) -> bool:
    """Whether a batch may be too large if each value were as long as its chunk."""
    rows, most = min(ROWS, group.num_rows), _LET_PASS * AT_ONCE
    return any(rows * group.column(at).total_uncompressed_size > most for at in texts)


def _rows_at_once(
    metadata: Any, number: int, columns: Sequence[str], texts: Sequence[int], opened: Open
) -> int:
    group = metadata.row_group(number)
    rows = max(1, group.num_rows)
    packed = [at for at in texts if group.column(at).has_dictionary_page]
    named = [metadata.schema.column(at).path for at in packed]
    names = [name for name in columns if any(_is_of(path, name) for path in named)]
    width = sum(group.column(at).total_uncompressed_size for at in texts) / rows
    longest = dict.fromkeys(names, 0)
    if names:
        # Empty lists before the first value tell of no dictionary; indices take little memory.
        with opened(named) as file:
            for batch in file.iter_batches(_LOOKED, row_groups=[number], columns=names):
                longest = {
                    name: max(known, _longest(batch.column(name)))
                    for name, known in longest.items()
                }
                if all(longest.values()):
                    break
    for name, most in longest.items():
        values = max(
            group.column(at).num_values
            for at, path in zip(packed, named, strict=True)
            if _is_of(path, name)
        )
        width += most * values / rows
    return max(1, min(ROWS, int(AT_ONCE / max(1.0, width))))


def _longest(array: pa.Array) -> int:
    """The bytes of the longest values of the dictionaries in a column, one of each.

    >>> _longest(pa.array([["a", "bcd"]], pa.list_(pa.dictionary(pa.int32(), pa.string()))))
    3
    """
    dtype = array.type
    if pa.types.is_dictionary(dtype):
        return pc.max(pc.binary_length(array.dictionary)).as_py() or 0
    if pa.types.is_struct(dtype):
        return sum(map(_longest, array.flatten()))
    if pa.types.is_map(dtype):
        return _longest(array.keys) + _longest(array.items)
    if pa.types.is_nested(dtype):
        return _longest(array.values)
    return 0


__all__ = ["AT_ONCE", "ROWS", "portions"]

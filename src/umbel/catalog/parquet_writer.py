"""Writing Parquet: how rows are cut into groups, and which columns get a dictionary."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.types import is_list

pc = LazyModule("pyarrow.compute")

#: Rows and bytes of a row group: enough to pack well, few enough to share among cores.
GROUP_ROWS, GROUP_BYTES = 2**17, 2**26

#: Rows in which values are looked at for whether they come again, and the share of different ones
#: above which they do not.
_SAMPLE, _DIFFERENT = 2**13, 0.9


def write_parquet(
    file: Any, compression: str, batches: Iterator[pa.RecordBatch], schema: pa.Schema
) -> int:
    """Write batches to an open file; give the number of rows.

    Equal batches give an equal file to the last bit.

    >>> import io, pyarrow.parquet
    >>> file, rows = io.BytesIO(), pa.record_batch({"a": [1, 2]})
    >>> write_parquet(file, "zstd", iter([rows]), rows.schema)
    2
    >>> pyarrow.parquet.read_table(file)["a"].to_pylist()
    [1, 2]
    """
    import pyarrow.parquet as parquet

    total = rows = size = 0
    group: list[pa.RecordBatch] = []
    first = list(next(((batch,) for batch in batches), ()))
    repeating = [name for batch in first for name in _repeating(batch)]
    with parquet.ParquetWriter(
        file, schema, compression=compression, use_dictionary=repeating
    ) as writer:
        for batch in chain(first, batches):
            group.append(batch)
            rows, total = rows + batch.num_rows, total + batch.num_rows
            size += pa.ipc.get_record_batch_size(batch)
            if rows >= GROUP_ROWS or size >= GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(group, schema), row_group_size=GROUP_ROWS)
                group, rows, size = [], 0, 0
        if group:
            writer.write_table(pa.Table.from_batches(group, schema), row_group_size=GROUP_ROWS)
    return total


def _repeating(batch: pa.RecordBatch) -> list[str]:
    """The leaves whose values come again, so that a dictionary of them is worth its time.

    TPC-H's orders are written in two thirds of the time, and are smaller, without those of keys,
    prices and comments.
    """
    sample = batch.slice(0, _SAMPLE)
    found = []
    for field, column in zip(sample.schema, sample.columns, strict=True):
        counted = not pa.types.is_nested(field.type) and not pa.types.is_null(field.type)
        if counted and pc.count_distinct(column).as_py() > _DIFFERENT * len(column):
            continue
        found.extend(_leaves(field.name, field.type))
    return found


def _leaves(path: str, dtype: pa.DataType) -> list[str]:
    """Name a column's leaves as Parquet does.

    >>> _leaves("a", pa.list_(pa.struct([("x", pa.int8()), ("y", pa.string())])))
    ['a.list.element.x', 'a.list.element.y']
    """
    if is_list(dtype):
        return _leaves(f"{path}.list.element", dtype.value_type)
    if pa.types.is_map(dtype):
        keys = _leaves(f"{path}.key_value.key", dtype.key_type)
        return keys + _leaves(f"{path}.key_value.value", dtype.item_type)
    if pa.types.is_struct(dtype):
        return [leaf for f in dtype for leaf in _leaves(f"{path}.{f.name}", f.type)]
    return [path]


__all__ = ["GROUP_BYTES", "GROUP_ROWS", "write_parquet"]

"""Give an engine's Arrow output the exact types of the plan: same values, canonical layout."""

from __future__ import annotations

import pyarrow as pa


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Cast a table's columns, taken by name, to a schema; fails where a value would change.

    >>> narrow = pa.schema([("a", pa.int64())])
    >>> conform(pa.table({"a": pa.array([1], pa.decimal128(38, 0))}), narrow).schema.types
    [DataType(int64)]
    """
    if not schema.names:
        return table.select([])  # keeps the number of rows
    columns = [_column(table.column(field.name), field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def _column(column: pa.ChunkedArray, dtype: pa.DataType) -> pa.ChunkedArray:
    if column.type == dtype:
        return column
    if pa.types.is_null(dtype):
        return pa.chunked_array([pa.nulls(len(column))])
    return column.cast(dtype)

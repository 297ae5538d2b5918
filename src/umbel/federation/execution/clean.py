"""Makes tables anew before they leave, so that nothing of what they were made of goes along.

An Arrow table that was filtered, masked or cut still holds what it does not show: all words of a
dictionary, the bytes under nulls, the neighbours of a slice, the schema's metadata.
"""

from __future__ import annotations

import pyarrow as pa

from umbel.federation.errors import FederationError


def cleaned(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Copy what a table shows into buffers of their own.

    Args:
        table: what leaves.
        schema: its columns as the task has them; carries no metadata.

    Raises:
        FederationError: the table has other columns.

    >>> words = pa.array(["secret", "open"]).dictionary_encode().filter(pa.array([False, True]))
    >>> cleaned(pa.table({"w": words}), pa.schema([("w", pa.string())])).column("w").to_pylist()
    ['open']
    """
    if table.schema.names != schema.names:
        raise FederationError("the result has other columns than the task")
    columns = [_copied(column, field) for column, field in zip(table.columns, schema, strict=True)]
    made = pa.Table.from_arrays(columns, schema=schema.remove_metadata())
    made.validate(full=True)
    return made


def _copied(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if field.type.num_fields:
        # Of what lies inside of null structs and lists, nothing but values is to be trusted.
        return pa.chunked_array([pa.array(column.to_pylist(), field.type)], field.type)
    if column.type != field.type:
        column = column.cast(field.type)
    positions = pa.arange(0, len(column))
    taken = column.combine_chunks().take(positions)
    return pa.chunked_array([taken], field.type)


__all__ = ["cleaned"]

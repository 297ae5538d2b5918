"""Arrow tables and batches between the plan's types and the layouts that Spark takes and gives.

See `umbel.platforms.spark.types` for the layouts. Values never change on the way; what has no
place in a type fails.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from umbel.plan.types import is_list

#: The unsigned types that Spark keeps in wider signed ones.
_WIDER = {pa.uint8(): pa.int16(), pa.uint16(): pa.int32(), pa.uint32(): pa.int64()}


def physical_type(dtype: pa.DataType) -> pa.DataType:
    """Give the Arrow type of Spark's layout of a plan type.

    >>> physical_type(pa.list_(pa.duration("s")))
    ListType(list<item: int64>)
    """
    if pa.types.is_null(dtype):
        return pa.bool_()
    if pa.types.is_duration(dtype) or pa.types.is_time(dtype):
        return pa.int64()
    if pa.types.is_timestamp(dtype):
        return pa.timestamp("us", "UTC" if dtype.tz else None)
    if is_list(dtype):
        return pa.list_(physical_type(dtype.value_type))
    if pa.types.is_struct(dtype):
        return pa.struct([(field.name, physical_type(field.type)) for field in dtype])
    return _WIDER.get(dtype, dtype)


def physical_schema(schema: pa.Schema) -> pa.Schema:
    """Give the layouts of a schema's columns, all of which may be null."""
    return pa.schema([(field.name, physical_type(field.type)) for field in schema])


def to_physical(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Bring a table of the plan's columns into Spark's layouts.

    >>> import datetime
    >>> spans = pa.table({"a": [datetime.timedelta(seconds=2)]})
    >>> to_physical(spans, spans.schema).column("a").to_pylist()
    [2000000]
    """
    wanted = physical_schema(schema)
    if not schema.names:
        return table.select([])
    columns = [
        pa.chunked_array(
            [_to_physical(chunk, field.type) for chunk in table.column(field.name).chunks],
            type=wanted.field(field.name).type,
        )
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=wanted)


def from_physical(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give what came out of Spark the plan's types; columns are taken by their place."""
    if not schema.names:
        return table.select([])
    columns = [
        pa.chunked_array(
            [_from_physical(chunk, field.type) for chunk in column.chunks], type=field.type
        )
        for column, field in zip(table.columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def _to_physical(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    wanted = physical_type(dtype)
    if array.type == wanted:
        return array
    if pa.types.is_null(dtype):
        return pa.nulls(len(array), wanted)
    if _is_nested(dtype):
        return _rebuild(_plain(array, dtype), dtype, wanted, _to_physical)
    if pa.types.is_duration(dtype):
        return array.cast(pa.duration("us")).cast(wanted)
    if pa.types.is_time(dtype):
        return array.cast(dtype).cast(wanted)
    return array.cast(dtype).cast(wanted)


def _from_physical(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    if array.type == dtype:
        return array
    if pa.types.is_null(dtype):
        return pa.nulls(len(array))
    if _is_nested(dtype):
        return _rebuild(array, dtype, dtype, _from_physical)
    if pa.types.is_duration(dtype):
        return array.cast(pa.duration("us")).cast(dtype)
    return array.cast(dtype)


def _is_nested(dtype: pa.DataType) -> bool:
    return bool(is_list(dtype) or pa.types.is_struct(dtype))


def _plain(array: pa.Array, dtype: pa.DataType) -> pa.Array:
    """Give a nested array one of the layouts that `_rebuild` takes apart."""
    if pa.types.is_list(array.type) or pa.types.is_struct(array.type):
        return array
    return array.cast(dtype)


def _rebuild(array: pa.Array, dtype: pa.DataType, wanted: pa.DataType, change: Any) -> pa.Array:
    """Change the items of a list, or the fields of a struct; nulls stay where they are."""
    if is_list(dtype):
        items = change(array.flatten(), dtype.value_type)
        lengths = array.value_lengths().fill_null(0)
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), _running(lengths)])
        return pa.ListArray.from_arrays(offsets, items, type=wanted, mask=array.is_null())
    fields = [change(part, field.type) for part, field in zip(array.flatten(), dtype, strict=True)]
    return pa.StructArray.from_arrays(fields, fields=list(wanted), mask=array.is_null())


def _running(lengths: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.cumulative_sum(lengths).cast(pa.int32())

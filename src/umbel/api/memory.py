"""What lies in memory as a source of a plan: Arrow tables and columns of Python values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from umbel.api.items import new_token
from umbel.plan.errors import PlanError, SourceError, TypeClashError
from umbel.plan.operators import Element
from umbel.plan.sources import MemorySource
from umbel.plan.types import canonical_type, type_to_json


def memory_source(table: pa.Table) -> MemorySource:
    """Make a source of a table, in the types of a plan.

    Raises:
        SourceError: a column's name stands twice, or its type or a value has no place in a plan.
    """
    fields, columns = [], []
    for field, column in zip(table.schema, table.columns, strict=True):
        if table.schema.names.count(field.name) > 1 or not field.name:
            what = f"has column {field.name!r} twice" if field.name else "has a column without name"
            raise SourceError(f"the table {what}", hint="rename the columns")
        dtype = canonical_type(field.type)
        try:
            type_to_json(dtype)  # refuses types that plans do not know
            columns.append(column if column.type == dtype else column.cast(dtype))
        except (PlanError, pa.ArrowException) as error:
            raise SourceError(
                f"column {field.name!r} of type {field.type} has no place in a plan: {error}",
                hint="cast or drop it before",
            ) from None
        fields.append(pa.field(field.name, dtype, field.nullable))
    made = pa.Table.from_arrays(columns, schema=pa.schema(fields))
    return MemorySource(made.schema, new_token(), Element.ROW.value, made)


def arrow_table(data: Any) -> pa.Table:
    """Take whatever has Arrow's form for a table."""
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, pa.RecordBatch):
        return pa.Table.from_batches([data])
    if isinstance(data, pa.RecordBatchReader):
        return data.read_all()
    if hasattr(data, "__arrow_c_stream__") or hasattr(data, "__arrow_c_array__"):
        return pa.table(data)
    raise PlanError(
        f"from_arrow takes a pyarrow Table, not {type(data).__name__}",
        hint="lists go to from_dict or from_items",
    )


def column_of(name: str, values: Sequence[Any], dtype: pa.DataType | None) -> pa.Array:
    """Make a column of values.

    Raises:
        TypeClashError: they are not of one type, or not of this one.
    """
    try:
        column = pa.array(values, dtype)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        raise TypeClashError(
            f"column {name!r}: {error}", hint="give it values of one type, or say it in the schema"
        ) from None
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


__all__ = ["arrow_table", "column_of", "memory_source"]

"""Rows on their way between the server and Arrow, in forms that lose nothing.

ADBC gives decimals as text in an opaque type. Short ones leave the server as scaled integers
instead, which is quicker, long ones as text; both become exact decimals here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.errors import EvaluationError
from umbel.plan.types import is_decimal, is_list
from umbel.platforms.postgres.snippets import snippet
from umbel.platforms.postgres.types import convert, literal

pc = LazyModule("pyarrow.compute")

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: Digits of a decimal that a BIGINT holds.
_SHORT = 18
#: The years 1 to 9999, as days and as microseconds since 1970; infinity lies outside.
_DAYS = (-719_162, 2_932_896)
_MICROS = (-62_135_596_800_000_000, 253_402_300_799_999_999)


def outgoing(node: exp.Expr, dtype: pa.DataType) -> exp.Expr:
    """Write a value in the form in which it leaves the server."""
    if is_decimal(dtype):
        if dtype.precision <= _SHORT:
            power = convert(exp.Literal.string(f"1{'0' * dtype.scale}"), "NUMERIC")
            return convert(snippet("x * p", x=node, p=power), "BIGINT")
        return convert(node, "TEXT")
    if is_list(dtype) and is_decimal(dtype.value_type):
        return convert(node, "TEXT[]")
    if pa.types.is_null(dtype):
        return literal(None, pa.string())
    return node


def arrived(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Give what came from the server, column by column, the types of the plan.

    Raises:
        EvaluationError: a value has no form there, such as an infinite date.
    """
    if not schema.names:
        return table.select([])
    columns = [_column(table.column(number), field) for number, field in enumerate(schema)]
    return pa.Table.from_arrays(columns, schema=schema)


def _column(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    dtype = field.type
    if pa.types.is_null(dtype):
        return pa.chunked_array([pa.nulls(len(column))])
    if is_decimal(dtype):
        return _decimals(column, field)
    if pa.types.is_date(dtype):
        _check_range(column.cast(pa.int32()), _DAYS, field)
    if pa.types.is_timestamp(dtype):
        _check_range(column.cast(pa.int64()), _MICROS, field)
        return column.cast(pa.timestamp("us", dtype.tz)).cast(dtype)
    if pa.types.is_duration(dtype):
        return column.cast(pa.duration("us")).cast(dtype)
    return column if column.type == dtype else column.cast(dtype)


def _decimals(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    dtype = field.type
    if dtype.precision > _SHORT:
        try:
            return column.cast(pa.string()).cast(dtype)
        except pa.ArrowInvalid as error:
            raise EvaluationError(
                f"column {field.name!r}: a numeric has no form as {dtype}: {error}",
                hint="NaN and infinity are no decimals: leave such rows out, or cast to float",
            ) from None
    whole = column.cast(pa.decimal128(19, 0))
    chunks = [
        pa.Array.from_buffers(dtype, len(c), c.buffers(), c.null_count, c.offset)
        for c in whole.chunks
    ]
    return pa.chunked_array(chunks, dtype)


def _check_range(ticks: pa.ChunkedArray, bounds: tuple[int, int], field: pa.Field) -> None:
    found = pc.min_max(ticks).as_py()
    if found["min"] is not None and (found["min"] < bounds[0] or found["max"] > bounds[1]):
        raise EvaluationError(
            f"column {field.name!r} holds a time outside the years 1 to 9999, or infinity",
            hint="leave such rows out: their time has no form in a plan",
        )


def incoming(table: pa.Table) -> pa.Table:
    """Give a table the types in which it is copied to the server."""
    columns, fields = [], []
    for field, given in zip(table.schema, table.columns, strict=True):
        column = given
        if pa.types.is_duration(field.type):
            column = column.cast(pa.duration("us")).cast(pa.int64())
        elif pa.types.is_null(field.type):
            column = pa.chunked_array([pa.nulls(len(column), pa.string())])
        elif pa.types.is_timestamp(field.type):
            column = column.cast(pa.timestamp("us", field.type.tz))
        columns.append(column)
        fields.append(pa.field(field.name, column.type))
    if not fields:  # COPY needs a column
        return pa.table({"umbel_nothing": pa.nulls(table.num_rows, pa.string())})
    return pa.Table.from_arrays(columns, schema=pa.schema(fields))


__all__ = ["arrived", "incoming", "outgoing"]

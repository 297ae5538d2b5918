"""Plan types and constants in Polars' terms."""

from __future__ import annotations

import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.errors import TypeClashError
from umbel.plan.types import is_decimal, is_list, type_name

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")


#: Names in the module, which is not imported yet.
_PRIMITIVES: dict[pa.DataType, str] = {
    pa.null(): "Null",
    pa.bool_(): "Boolean",
    pa.int8(): "Int8",
    pa.int16(): "Int16",
    pa.int32(): "Int32",
    pa.int64(): "Int64",
    pa.uint8(): "UInt8",
    pa.uint16(): "UInt16",
    pa.uint32(): "UInt32",
    pa.uint64(): "UInt64",
    pa.float32(): "Float32",
    pa.float64(): "Float64",
    pa.string(): "String",
    pa.binary(): "Binary",
    pa.date32(): "Date",
    pa.time64("us"): "Time",
}


@lru_cache(maxsize=4096)
def polars_type(dtype: pa.DataType) -> pl.DataType:
    """Give the Polars type that holds a plan type's values.

    Polars counts time in milliseconds at the coarsest, so seconds become milliseconds.

    Raises:
        TypeClashError: Polars has no such type.

    >>> polars_type(pa.list_(pa.decimal128(15, 2)))
    List(Decimal(precision=15, scale=2))
    """
    primitive = _PRIMITIVES.get(dtype)
    if primitive is not None:
        dtype_class: type[pl.DataType] = getattr(pl, primitive)
        return dtype_class()
    if is_decimal(dtype):
        return pl.Decimal(dtype.precision, dtype.scale)
    if pa.types.is_timestamp(dtype):
        return pl.Datetime("ms" if dtype.unit == "s" else dtype.unit, dtype.tz)
    if pa.types.is_duration(dtype):
        return pl.Duration("ms" if dtype.unit == "s" else dtype.unit)
    if is_list(dtype):
        return pl.List(polars_type(dtype.value_type))
    if pa.types.is_struct(dtype):
        return pl.Struct([pl.Field(field.name, polars_type(field.type)) for field in dtype])
    raise TypeClashError(f"Polars has no type for {type_name(dtype)}")


def literal(value: Any, dtype: pa.DataType) -> pl.Expr:
    """Write a constant of exactly this type; None is null.

    >>> pl.select(literal(1, pa.int8())).to_series()
    shape: (1,)
    Series: 'literal' [i8]
    [
        1
    ]
    """
    if isinstance(value, datetime.datetime) and dtype.tz is not None:
        value = value.astimezone(ZoneInfo(dtype.tz))
    return pl.lit(value, dtype=polars_type(dtype))

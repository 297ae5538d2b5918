"""Plan types and constants in DataFusion's terms: its types are Arrow's, as the plan's are."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.errors import TypeClashError
from umbel.plan.types import is_decimal, is_list, is_object, type_name
from umbel.sql.expressions import function
from umbel.sql.nodes import number

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

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
    pa.string(): "Utf8",
    pa.binary(): "Binary",
    pa.date32(): "Date32",
    pa.time64("us"): "Time64(Microsecond)",
}
_UNITS = {"s": "Second", "ms": "Millisecond", "us": "Microsecond", "ns": "Nanosecond"}


def refuse_type(dtype: pa.DataType) -> str | None:
    """Say why DataFusion cannot hold values of a type; None if it can.

    >>> refuse_type(pa.list_(pa.int8())) is None
    True
    """
    if is_object(dtype):
        return "DataFusion holds no Python objects"
    if is_list(dtype):
        return refuse_type(dtype.value_type)
    if pa.types.is_struct(dtype):
        if not dtype.num_fields:
            return "DataFusion holds no structs without fields"
        if any('"' in field.name or "\0" in field.name for field in dtype):
            return "DataFusion cannot name a field of a struct that has a quote in it"
        return next(filter(None, (refuse_type(field.type) for field in dtype)), None)
    if dtype in _PRIMITIVES or is_decimal(dtype):
        return None
    if pa.types.is_timestamp(dtype) or pa.types.is_duration(dtype):
        return None
    return f"DataFusion has no type for {type_name(dtype)}"


@lru_cache(maxsize=4096)
def arrow_name(dtype: pa.DataType) -> str:
    """Name a type as `arrow_cast` takes it.

    Raises:
        TypeClashError: there is no such type.

    >>> arrow_name(pa.list_(pa.timestamp("us", "UTC")))
    'List(Timestamp(Microsecond, Some("UTC")))'
    """
    if dtype in _PRIMITIVES:
        return _PRIMITIVES[dtype]
    if is_decimal(dtype):
        bits = "Decimal256" if pa.types.is_decimal256(dtype) else "Decimal128"
        return f"{bits}({dtype.precision}, {dtype.scale})"
    if pa.types.is_timestamp(dtype):
        zone = f'Some("{dtype.tz}")' if dtype.tz else "None"
        return f"Timestamp({_UNITS[dtype.unit]}, {zone})"
    if pa.types.is_duration(dtype):
        return f"Duration({_UNITS[dtype.unit]})"
    if is_list(dtype):
        return f"List({arrow_name(dtype.value_type)})"
    if pa.types.is_struct(dtype):
        fields = ", ".join(f'"{field.name}": {arrow_name(field.type)}' for field in dtype)
        return f"Struct({fields})"
    raise TypeClashError(f"DataFusion has no type for {type_name(dtype)}")


def convert(operand: exp.Expr, target: pa.DataType, *, strict: bool = True) -> exp.Expr:
    """Write DataFusion's own cast to a type.

    By `arrow_cast`, which knows every type. (CAST has SQL's names, among them TIMESTAMP for
    nanoseconds, and two aggregates that differ only in a CAST have one name, which is an error.)

    >>> convert(exp.column("a"), pa.uint8(), strict=False).sql("postgres")
    "ARROW_TRY_CAST(a, 'UInt8')"
    """
    name = "arrow_cast" if strict else "arrow_try_cast"
    return function(name, operand, exp.Literal.string(arrow_name(target)))


def literal(value: Any, dtype: pa.DataType) -> exp.Expr:
    """Write a constant of exactly this type; None is null.

    >>> literal(1, pa.int64()).sql("postgres")
    '1'
    >>> literal(1, pa.int8()).sql("postgres")
    "ARROW_CAST('1', 'Int8')"
    """
    if pa.types.is_null(dtype):
        return exp.Null()
    if value is None:
        return convert(exp.Null(), dtype)
    if pa.types.is_boolean(dtype):
        return exp.Boolean(this=value)
    if pa.types.is_string(dtype):
        return _text(value)
    if pa.types.is_binary(dtype):
        return convert(
            function("decode", exp.Literal.string(value.hex()), exp.Literal.string("hex")), dtype
        )
    if is_list(dtype):
        items = [literal(item, dtype.value_type) for item in value]
        return convert(function("make_array", *items), dtype)
    if pa.types.is_struct(dtype):
        pairs = [
            node
            for field in dtype
            for node in (exp.Literal.string(field.name), literal(value[field.name], field.type))
        ]
        return convert(function("named_struct", *pairs), dtype)
    if pa.types.is_integer(dtype):
        if dtype == pa.int64() and value > -(2**63):
            return number(value)
        return convert(exp.Literal.string(str(value)), dtype)
    if pa.types.is_timestamp(dtype) or pa.types.is_duration(dtype):
        return convert(literal(_ticks(value, dtype), pa.int64()), dtype)
    return convert(exp.Literal.string(_plain(value, dtype)), dtype)


def _ticks(value: Any, dtype: pa.DataType) -> int:
    """A time or duration as Arrow counts it; texts of times reach only from 1677 to 2262."""
    ticks: int | None = pa.scalar(value, dtype).cast(pa.int64()).as_py()
    if ticks is None:
        raise TypeClashError(f"{value!r} is no {type_name(dtype)}")
    return ticks


def _plain(value: Any, dtype: pa.DataType) -> str:
    """The text that DataFusion reads back as exactly this value."""
    if is_decimal(dtype):
        return format(value, f".{dtype.scale}f")
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else str(value)
    return str(value.isoformat())


def _text(value: str) -> exp.Expr:
    # An expression's text is its column's name inside DataFusion, and Arrow's names end at a NUL.
    if "\0" not in value:
        return exp.Literal.string(value)
    coded = function("decode", exp.Literal.string(value.encode().hex()), exp.Literal.string("hex"))
    return convert(coded, pa.string())


__all__ = ["arrow_name", "convert", "literal", "refuse_type"]

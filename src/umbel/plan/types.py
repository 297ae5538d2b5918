"""Arrow's types, the only type system of a plan: names, families, promotion and JSON form.

Nothing here defines a type. Engines speak many dialects of Arrow (string views, dictionaries,
32-bit strings); a plan knows one canonical type per meaning, given by `canonical_type`.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pyarrow as pa

from umbel.plan.errors import PlanFormatError, TypeClashError

#: Python values without an Arrow type. Only the python platform can hold them.
OBJECT: pa.DataType = pa.opaque(pa.null(), "object", "python")

INT64, FLOAT64, STRING, BOOL = pa.int64(), pa.float64(), pa.string(), pa.bool_()
DATE, TIMESTAMP, DURATION, BINARY = pa.date32(), pa.timestamp("us"), pa.duration("us"), pa.binary()

MAX_DECIMAL_PRECISION = 38

_PRIMITIVES: dict[str, pa.DataType] = {
    "null": pa.null(),
    "bool": pa.bool_(),
    "int8": pa.int8(),
    "int16": pa.int16(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "uint8": pa.uint8(),
    "uint16": pa.uint16(),
    "uint32": pa.uint32(),
    "uint64": pa.uint64(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "string": pa.string(),
    "binary": pa.binary(),
    "date": pa.date32(),
    "time": pa.time64("us"),
    "object": OBJECT,
}
_PRIMITIVE_NAMES = {dtype: name for name, dtype in _PRIMITIVES.items()}


def primitive_names() -> tuple[str, ...]:
    """List the names of the types that need no parameters, as messages and JSON show them.

    >>> primitive_names()[:3]
    ('null', 'bool', 'int8')
    """
    return tuple(_PRIMITIVES)


def type_name(dtype: pa.DataType) -> str:
    """Name a type as messages and JSON show it.

    >>> type_name(pa.list_(pa.decimal128(15, 2)))
    'list<decimal(15,2)>'
    >>> type_name(pa.timestamp("us", "UTC"))
    'timestamp[us,UTC]'
    """
    if dtype in _PRIMITIVE_NAMES:
        return _PRIMITIVE_NAMES[dtype]
    if is_decimal(dtype):
        return f"decimal({dtype.precision},{dtype.scale})"
    if pa.types.is_timestamp(dtype):
        return f"timestamp[{dtype.unit},{dtype.tz}]" if dtype.tz else f"timestamp[{dtype.unit}]"
    if pa.types.is_duration(dtype):
        return f"duration[{dtype.unit}]"
    if is_list(dtype):
        return f"list<{type_name(dtype.value_type)}>"
    if pa.types.is_struct(dtype):
        return "struct<" + ", ".join(f"{f.name}: {type_name(f.type)}" for f in dtype) + ">"
    return str(dtype)


def type_to_json(dtype: pa.DataType) -> Any:
    """Give a type's JSON form: a name, or an object for a nested type.

    >>> type_to_json(pa.list_(pa.int64()))
    {'list': 'int64'}
    """
    if is_list(dtype):
        return {"list": type_to_json(dtype.value_type)}
    if pa.types.is_struct(dtype):
        return {"struct": [[f.name, type_to_json(f.type)] for f in dtype]}
    if is_decimal(dtype):
        return {"decimal": [dtype.precision, dtype.scale]}
    if pa.types.is_timestamp(dtype):
        return {"timestamp": [dtype.unit, dtype.tz]}
    if pa.types.is_duration(dtype):
        return {"duration": dtype.unit}
    if dtype in _PRIMITIVE_NAMES:
        return _PRIMITIVE_NAMES[dtype]
    raise PlanFormatError(f"type {dtype} has no JSON form")


def type_from_json(data: Any) -> pa.DataType:
    """Read a type's JSON form back.

    Raises:
        PlanFormatError: the form is not on the closed list.

    >>> type_from_json({"struct": [["a", "int64"]]})
    StructType(struct<a: int64>)
    """
    match data:
        case str() if data in _PRIMITIVES:
            return _PRIMITIVES[data]
        case {"list": item, **rest} if not rest:
            return pa.list_(type_from_json(item))
        case {"struct": [*fields], **rest} if not rest:
            return pa.struct([_field_from_json(field) for field in fields])
        case {"decimal": [int(precision), int(scale)], **rest} if not rest:
            if 1 <= precision <= MAX_DECIMAL_PRECISION and 0 <= scale <= precision:
                return pa.decimal128(precision, scale)
        case {"timestamp": [("s" | "ms" | "us" | "ns") as unit, (str() | None) as tz], **rest} if (
            not rest
        ):
            return pa.timestamp(unit, tz)
        case {"duration": ("s" | "ms" | "us" | "ns") as unit, **rest} if not rest:
            return pa.duration(unit)
    raise PlanFormatError(f"not a type of a plan: {str(data)[:80]}")


def _field_from_json(data: Any) -> pa.Field:
    match data:
        case [str(name), dtype]:
            return pa.field(name, type_from_json(dtype))
    raise PlanFormatError(f"not a field of a struct: {str(data)[:80]}")


def canonical_type(dtype: pa.DataType) -> pa.DataType:
    """Map Arrow's physical variants to the one type that a plan uses for that meaning.

    >>> canonical_type(pa.dictionary(pa.int32(), pa.string_view()))
    DataType(string)
    """
    if pa.types.is_dictionary(dtype):
        return canonical_type(dtype.value_type)
    if pa.types.is_large_string(dtype) or pa.types.is_string_view(dtype):
        return STRING
    if (
        pa.types.is_large_binary(dtype)
        or pa.types.is_binary_view(dtype)
        or pa.types.is_fixed_size_binary(dtype)
    ):
        return BINARY
    if pa.types.is_date64(dtype):
        return DATE
    if pa.types.is_time(dtype):
        return pa.time64("us")
    if pa.types.is_float16(dtype):
        return pa.float32()
    if is_decimal(dtype):
        return pa.decimal128(min(dtype.precision, MAX_DECIMAL_PRECISION), dtype.scale)
    if is_list(dtype):
        return pa.list_(canonical_type(dtype.value_type))
    if pa.types.is_struct(dtype):
        return pa.struct([pa.field(f.name, canonical_type(f.type)) for f in dtype])
    return dtype


def canonical_schema(schema: pa.Schema) -> pa.Schema:
    """Give every column its canonical type; metadata is dropped, nullability kept."""
    return pa.schema([pa.field(f.name, canonical_type(f.type), f.nullable) for f in schema])


def is_list(dtype: pa.DataType) -> bool:
    """Whether the type is any of Arrow's list types."""
    return bool(
        pa.types.is_list(dtype)
        or pa.types.is_large_list(dtype)
        or pa.types.is_fixed_size_list(dtype)
        or pa.types.is_list_view(dtype)
        or pa.types.is_large_list_view(dtype)
    )


def is_integer(dtype: pa.DataType) -> bool:
    """Whether the type is a signed or unsigned integer."""
    return bool(pa.types.is_integer(dtype))


def is_float(dtype: pa.DataType) -> bool:
    """Whether the type is a binary floating-point number."""
    return bool(pa.types.is_floating(dtype))


def is_decimal(dtype: pa.DataType) -> bool:
    """Whether the type is an exact decimal number."""
    return bool(pa.types.is_decimal(dtype))


def is_numeric(dtype: pa.DataType) -> bool:
    """Whether the type is an integer, a float or a decimal."""
    return is_integer(dtype) or is_float(dtype) or is_decimal(dtype)


def is_string(dtype: pa.DataType) -> bool:
    """Whether the type is UTF-8 text."""
    return bool(
        pa.types.is_string(dtype)
        or pa.types.is_large_string(dtype)
        or pa.types.is_string_view(dtype)
    )


def is_temporal(dtype: pa.DataType) -> bool:
    """Whether the type is a date, a time, a timestamp or a duration."""
    return bool(pa.types.is_temporal(dtype))


def is_object(dtype: pa.DataType) -> bool:
    """Whether values of the type are Python objects without an Arrow type."""
    return dtype == OBJECT


_INTEGER_DIGITS = {8: 3, 16: 5, 32: 10, 64: 20}


def decimal_of_integer(dtype: pa.DataType) -> pa.DataType:
    """Give the decimal type that holds every value of an integer type.

    >>> decimal_of_integer(pa.int32())
    Decimal128Type(decimal128(10, 0))
    """
    digits = 19 if dtype == pa.int64() else _INTEGER_DIGITS[dtype.bit_width]
    return pa.decimal128(digits, 0)


def common_type(left: pa.DataType, right: pa.DataType) -> pa.DataType:
    """Find the type in which values of both types can be compared or unified.

    Integers widen to the smallest integer that holds both (`uint64` with a signed one becomes
    `decimal(20,0)`), an integer with a decimal becomes a decimal, anything with a float becomes
    `float64` (two `float32` stay), null becomes the other, dates become timestamps.

    Raises:
        TypeClashError: there is no such type.

    >>> common_type(pa.int32(), pa.float32())
    DataType(double)
    >>> common_type(pa.date32(), pa.timestamp("us"))
    TimestampType(timestamp[us])
    """
    if left == right:
        return left
    if pa.types.is_null(left):
        return right
    if pa.types.is_null(right):
        return left
    if is_integer(left) and is_integer(right):
        return _common_integer(left, right)
    if is_numeric(left) and is_numeric(right):
        if is_float(left) or is_float(right):
            return FLOAT64
        exact = [decimal_of_integer(t) if is_integer(t) else t for t in (left, right)]
        scale = max(t.scale for t in exact)
        whole = max(t.precision - t.scale for t in exact)
        if whole + scale > MAX_DECIMAL_PRECISION:
            scale = max(0, MAX_DECIMAL_PRECISION - whole)
        return pa.decimal128(min(whole + scale, MAX_DECIMAL_PRECISION), scale)
    if pa.types.is_timestamp(left) and pa.types.is_timestamp(right):
        if (left.tz is None) == (right.tz is None):
            units = ["s", "ms", "us", "ns"]
            unit = units[max(units.index(left.unit), units.index(right.unit))]
            return pa.timestamp(unit, left.tz)
    elif pa.types.is_date(left) and pa.types.is_timestamp(right) and right.tz is None:
        return right
    elif pa.types.is_timestamp(left) and pa.types.is_date(right) and left.tz is None:
        return left
    elif pa.types.is_duration(left) and pa.types.is_duration(right):
        return DURATION
    elif is_list(left) and is_list(right):
        return pa.list_(common_type(left.value_type, right.value_type))
    elif (
        pa.types.is_struct(left)
        and pa.types.is_struct(right)
        and [f.name for f in left] == [f.name for f in right]
    ):
        pairs = zip(left, right, strict=True)
        return pa.struct([pa.field(a.name, common_type(a.type, b.type)) for a, b in pairs])
    raise TypeClashError(
        f"{type_name(left)} and {type_name(right)} have no common type",
        hint="cast one of them: .cast(...)",
    )


def _common_integer(left: pa.DataType, right: pa.DataType) -> pa.DataType:
    signed = [pa.types.is_signed_integer(t) for t in (left, right)]
    widths = [left.bit_width, right.bit_width]
    if signed[0] == signed[1]:
        return left if widths[0] >= widths[1] else right
    signed_width, unsigned_width = widths if signed[0] else widths[::-1]
    width = max(signed_width, unsigned_width * 2)
    if width > 64:
        return pa.decimal128(20, 0)
    return {16: pa.int16(), 32: pa.int32(), 64: pa.int64()}[width]


@lru_cache(maxsize=1024)
def type_width(dtype: pa.DataType) -> float:
    """Guess the mean bytes of one value of a type, without knowing the data.

    >>> type_width(pa.int32())
    4.0
    """
    if is_string(dtype) or pa.types.is_binary(dtype):
        return 20.0
    if is_list(dtype):
        return 4.0 + 5.0 * type_width(dtype.value_type)
    if pa.types.is_struct(dtype):
        return sum(type_width(f.type) for f in dtype)
    try:
        return max(1.0, dtype.bit_width / 8)
    except ValueError:
        return 60.0  # a Python object

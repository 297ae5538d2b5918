"""Plan types and constants in Spark's terms.

Spark has no unsigned integers, durations that all its functions take, or times of day. Unsigned
integers lie in the next wider signed type; durations and times are BIGINT, in microseconds. The
plan knows what a column means, and gives results their types back (`umbel.platforms.spark.arrow`).
"""

from __future__ import annotations

import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.errors import TypeClashError
from umbel.plan.types import is_decimal, is_list, is_object, type_name
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

PRIMITIVES: dict[pa.DataType, str] = {
    pa.null(): "BOOLEAN",  # Spark writes VOID to no file, and cuts it off from most functions
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INT",
    pa.int64(): "BIGINT",
    pa.uint8(): "SMALLINT",
    pa.uint16(): "INT",
    pa.uint32(): "BIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "STRING",
    pa.binary(): "BINARY",
    pa.date32(): "DATE",
    pa.time64("us"): "BIGINT",
}

_EPOCH = datetime.timedelta(microseconds=1)


def refuse_type(dtype: pa.DataType) -> str | None:
    """Say why Spark cannot hold the values of a type; None if it can.

    >>> refuse_type(pa.uint64())
    'Spark has no type for uint64'
    """
    if is_object(dtype):
        return "Spark holds no Python objects in columns"
    if is_list(dtype):
        return refuse_type(dtype.value_type)
    if pa.types.is_struct(dtype):
        if dtype.num_fields == 0 or any(not field.name for field in dtype):
            return "Spark has no structs without fields, and no fields without names"
        return next(filter(None, (refuse_type(field.type) for field in dtype)), None)
    if pa.types.is_timestamp(dtype) or pa.types.is_duration(dtype):
        return "Spark counts times in microseconds, not ns" if dtype.unit == "ns" else None
    if dtype in PRIMITIVES or is_decimal(dtype):
        return None
    return f"Spark has no type for {type_name(dtype)}"


@lru_cache(maxsize=4096)
def type_text(dtype: pa.DataType) -> str:
    """Give the SQL text of the Spark type that holds a plan type's values.

    Raises:
        TypeClashError: Spark has no such type.

    >>> type_text(pa.list_(pa.decimal128(15, 2)))
    'ARRAY<DECIMAL(15, 2)>'
    >>> type_text(pa.duration("s"))
    'BIGINT'
    """
    if dtype in PRIMITIVES:
        return PRIMITIVES[dtype]
    if is_decimal(dtype):
        return f"DECIMAL({dtype.precision}, {dtype.scale})"
    if pa.types.is_timestamp(dtype) and dtype.unit != "ns":
        return "TIMESTAMP_LTZ" if dtype.tz else "TIMESTAMP_NTZ"
    if pa.types.is_duration(dtype) and dtype.unit != "ns":
        return "BIGINT"
    if is_list(dtype):
        return f"ARRAY<{type_text(dtype.value_type)}>"
    if pa.types.is_struct(dtype):
        fields = [f"`{f.name.replace('`', '``')}`: {type_text(f.type)}" for f in dtype]
        return f"STRUCT<{', '.join(fields)}>"
    raise TypeClashError(f"Spark has no type for {type_name(dtype)}")


@lru_cache(maxsize=4096)
def _parsed_type(text: str) -> exp.DataType:
    return exp.DataType.build(text, dialect="spark")


def convert(operand: exp.Expr, target: str, *, strict: bool = True) -> exp.Expr:
    """Write Spark's own CAST or TRY_CAST to a type given as SQL text.

    >>> convert(exp.Literal.string("1"), "BIGINT", strict=False).sql("spark")
    "TRY_CAST('1' AS BIGINT)"
    """
    wanted = _parsed_type(target).copy()
    if strict:
        return exp.Cast(this=operand, to=wanted)
    return exp.TryCast(this=operand, to=wanted, safe=True)


def literal(value: Any, dtype: pa.DataType) -> exp.Expr:
    """Write a constant of exactly this type; None is null.

    >>> literal(-1, pa.int64()).sql("spark")
    'CAST(-1 AS BIGINT)'
    """
    if value is None:
        return convert(exp.Null(), type_text(dtype))
    if pa.types.is_boolean(dtype):
        return exp.Boolean(this=value)
    if pa.types.is_string(dtype):
        return exp.Literal.string(value)
    if pa.types.is_binary(dtype):
        return function("unhex", exp.Literal.string(value.hex()))
    if pa.types.is_duration(dtype):
        return convert(exp.Literal.number(value // _EPOCH), "BIGINT")
    if pa.types.is_time(dtype):
        seconds = (value.hour * 60 + value.minute) * 60 + value.second
        micros = seconds * 1_000_000 + value.microsecond
        return convert(exp.Literal.number(micros), "BIGINT")
    if pa.types.is_integer(dtype):
        return convert(exp.Literal.number(value), type_text(dtype))
    if is_list(dtype):
        items = [literal(item, dtype.value_type) for item in value]
        return convert(function("array", *items), type_text(dtype))
    if pa.types.is_struct(dtype):
        pairs: list[exp.Expr] = []
        for field in dtype:
            pairs += [exp.Literal.string(field.name), literal(value[field.name], field.type)]
        return convert(function("named_struct", *pairs), type_text(dtype))
    return convert(exp.Literal.string(_plain(value, dtype)), type_text(dtype))


def _plain(value: Any, dtype: pa.DataType) -> str:
    """The text that Spark reads back as exactly this value."""
    if is_decimal(dtype):
        return format(value, f".{dtype.scale}f")
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.UTC).isoformat()
    return str(value.isoformat())

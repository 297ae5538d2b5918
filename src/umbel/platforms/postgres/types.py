"""Plan types and constants in PostgreSQL's terms.

Unsigned integers live in the next wider signed type, int8 in SMALLINT; casts check their ranges.
A duration is a BIGINT of microseconds inside statements, because an INTERVAL has months too.
"""

from __future__ import annotations

import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.errors import TypeClashError
from umbel.plan.types import is_decimal, is_list, is_object, type_name

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

_PRIMITIVES: dict[pa.DataType, str] = {
    pa.null(): "TEXT",
    pa.bool_(): "BOOLEAN",
    pa.int8(): "SMALLINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint8(): "SMALLINT",
    pa.uint16(): "INTEGER",
    pa.uint32(): "BIGINT",
    pa.float32(): "REAL",
    pa.float64(): "DOUBLE PRECISION",
    pa.string(): "TEXT",
    pa.binary(): "BYTEA",
    pa.date32(): "DATE",
    pa.time64("us"): "TIME",
}
_MICROSECOND = datetime.timedelta(microseconds=1)


def refuse_type(dtype: pa.DataType) -> str | None:
    """Say why PostgreSQL cannot hold values of a type; None if it can.

    >>> refuse_type(pa.uint64())
    'PostgreSQL has no unsigned integers of 64 bits'
    """
    if is_object(dtype):
        return "PostgreSQL holds no Python objects"
    if dtype == pa.uint64():
        return "PostgreSQL has no unsigned integers of 64 bits"
    if pa.types.is_struct(dtype):
        return "PostgreSQL has no structs without a name"
    if is_list(dtype):
        if is_list(dtype.value_type):
            return "PostgreSQL's arrays of arrays must all be of one length"
        if pa.types.is_duration(dtype.value_type) or pa.types.is_null(dtype.value_type):
            return f"PostgreSQL gives arrays of {type_name(dtype.value_type)} no Arrow form"
        return refuse_type(dtype.value_type)
    if getattr(dtype, "unit", "") == "ns":
        return "PostgreSQL holds times in microseconds, not ns"
    return None


@lru_cache(maxsize=4096)
def type_text(dtype: pa.DataType) -> str:
    """Give the SQL text of the PostgreSQL type that holds a plan type's values.

    Raises:
        TypeClashError: PostgreSQL has no such type.

    >>> type_text(pa.list_(pa.decimal128(15, 2)))
    'NUMERIC(15, 2)[]'
    """
    if dtype in _PRIMITIVES:
        return _PRIMITIVES[dtype]
    reason = refuse_type(dtype)
    if reason is not None:
        raise TypeClashError(reason)
    if is_decimal(dtype):
        return f"NUMERIC({dtype.precision}, {dtype.scale})"
    if pa.types.is_timestamp(dtype):
        return "TIMESTAMPTZ" if dtype.tz else "TIMESTAMP"
    if pa.types.is_duration(dtype):
        return "BIGINT"
    if is_list(dtype):
        return f"{type_text(dtype.value_type)}[]"
    raise TypeClashError(f"PostgreSQL has no type for {type_name(dtype)}")


@lru_cache(maxsize=4096)
def _parsed_type(text: str) -> exp.DataType:
    return exp.DataType.build(text, dialect="postgres")


def convert(operand: exp.Expr, target: str) -> exp.Expr:
    """Write PostgreSQL's own CAST to a type given as SQL text.

    >>> convert(exp.Literal.string("1"), "BIGINT").sql("postgres")
    "CAST('1' AS BIGINT)"
    """
    return exp.Cast(this=operand, to=_parsed_type(target).copy())


def literal(value: Any, dtype: pa.DataType) -> exp.Expr:
    r"""Write a constant of exactly this type; None is null.

    >>> literal(-1, pa.int64()).sql("postgres")
    'CAST(-1 AS BIGINT)'
    >>> literal(b"a", pa.binary()).sql("postgres")
    "CAST('\\x61' AS BYTEA)"
    """
    if pa.types.is_null(dtype):
        return exp.Null()
    if value is None:
        return convert(exp.Null(), type_text(dtype))
    if pa.types.is_boolean(dtype):
        return exp.Boolean(this=value)
    if pa.types.is_duration(dtype):
        return convert(exp.Literal.number(value // _MICROSECOND), "BIGINT")
    if pa.types.is_integer(dtype):
        return convert(exp.Literal.number(value), type_text(dtype))
    if is_list(dtype):
        items = [literal(item, dtype.value_type) for item in value]
        return convert(exp.Array(expressions=items), type_text(dtype))
    return convert(exp.Literal.string(_plain(value, dtype)), type_text(dtype))


def _plain(value: Any, dtype: pa.DataType) -> str:
    """The text that PostgreSQL reads back as exactly this value."""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return f"\\x{value.hex()}"
    if is_decimal(dtype):
        return format(value, f".{dtype.scale}f")
    if isinstance(value, float):
        return {"inf": "Infinity", "-inf": "-Infinity", "nan": "NaN"}.get(repr(value), repr(value))
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.UTC).isoformat()
    return str(value.isoformat())


__all__ = ["convert", "literal", "refuse_type", "type_text"]

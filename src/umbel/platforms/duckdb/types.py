"""Plan types and constants in DuckDB's terms."""

from __future__ import annotations

import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.errors import TypeClashError
from umbel.plan.types import is_decimal, is_list, type_name
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


_PRIMITIVES: dict[pa.DataType, str] = {
    pa.null(): "INTEGER",  # DuckDB's type of a bare NULL
    pa.bool_(): "BOOLEAN",
    pa.int8(): "TINYINT",
    pa.int16(): "SMALLINT",
    pa.int32(): "INTEGER",
    pa.int64(): "BIGINT",
    pa.uint8(): "UTINYINT",
    pa.uint16(): "USMALLINT",
    pa.uint32(): "UINTEGER",
    pa.uint64(): "UBIGINT",
    pa.float32(): "FLOAT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
    pa.binary(): "BLOB",
    pa.date32(): "DATE",
    pa.time64("us"): "TIME",
}
_TIMESTAMPS = {"s": "TIMESTAMP_S", "ms": "TIMESTAMP_MS", "us": "TIMESTAMP", "ns": "TIMESTAMP_NS"}
_EPOCH = datetime.timedelta(microseconds=1)


@lru_cache(maxsize=4096)
def type_text(dtype: pa.DataType) -> str:
    """Give the SQL text of the DuckDB type that holds a plan type's values.

    DuckDB keeps no time zone in a type: the plan knows it, and results are given theirs back.

    Raises:
        TypeClashError: DuckDB has no such type.

    >>> type_text(pa.list_(pa.decimal128(15, 2)))
    'DECIMAL(15, 2)[]'
    """
    if dtype in _PRIMITIVES:
        return _PRIMITIVES[dtype]
    if is_decimal(dtype):
        return f"DECIMAL({dtype.precision}, {dtype.scale})"
    if pa.types.is_timestamp(dtype):
        return "TIMESTAMPTZ" if dtype.tz else _TIMESTAMPS[dtype.unit]
    if pa.types.is_duration(dtype):
        return "INTERVAL"
    if is_list(dtype):
        return f"{type_text(dtype.value_type)}[]"
    if pa.types.is_struct(dtype):
        fields = [f'"{f.name.replace(chr(34), chr(34) * 2)}" {type_text(f.type)}' for f in dtype]
        return f"STRUCT({', '.join(fields)})"
    raise TypeClashError(f"DuckDB has no type for {type_name(dtype)}")


@lru_cache(maxsize=4096)
def _parsed_type(text: str) -> exp.DataType:
    return exp.DataType.build(text, dialect="duckdb")


def convert(operand: exp.Expr, target: str, *, strict: bool = True) -> exp.Expr:
    """Write DuckDB's own CAST or TRY_CAST to a type given as SQL text.

    >>> convert(exp.Literal.string("1"), "HUGEINT", strict=False).sql("duckdb")
    "TRY_CAST('1' AS INT128)"
    """
    node = exp.Cast if strict else exp.TryCast
    return node(this=operand, to=_parsed_type(target).copy())


def literal(value: Any, dtype: pa.DataType) -> exp.Expr:
    """Write a constant of exactly this type; None is null.

    >>> literal(-1, pa.int64()).sql("duckdb")
    'CAST(-1 AS BIGINT)'
    >>> literal("it's", pa.string()).sql("duckdb")
    "'it''s'"
    """
    if pa.types.is_null(dtype):
        return exp.Null()
    if value is None:
        return convert(exp.Null(), type_text(dtype))
    if pa.types.is_boolean(dtype):
        return exp.Boolean(this=value)
    if pa.types.is_string(dtype):
        return _text(value)
    if pa.types.is_binary(dtype):
        return function("from_hex", exp.Literal.string(value.hex()))
    if pa.types.is_duration(dtype):
        return function("to_microseconds", exp.Literal.number(value // _EPOCH))
    if pa.types.is_integer(dtype):
        return convert(exp.Literal.number(value), type_text(dtype))
    if is_list(dtype):
        items = [literal(item, dtype.value_type) for item in value]
        return convert(function("list_value", *items), type_text(dtype))
    if pa.types.is_struct(dtype):
        pairs = [
            exp.PropertyEQ(
                this=exp.to_identifier(f.name, quoted=True),
                expression=literal(value[f.name], f.type),
            )
            for f in dtype
        ]
        return convert(exp.Struct(expressions=pairs), type_text(dtype))
    return convert(exp.Literal.string(_plain(value, dtype)), type_text(dtype))


def _plain(value: Any, dtype: pa.DataType) -> str:
    """The text that DuckDB reads back as exactly this value."""
    if is_decimal(dtype):
        return format(value, f".{dtype.scale}f")
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        return value.astimezone(datetime.UTC).isoformat()
    return str(value.isoformat())


def _text(value: str) -> exp.Expr:
    # DuckDB's parser ends a statement at a NUL character.
    if "\0" not in value:
        return exp.Literal.string(value)
    return function("decode", function("from_hex", exp.Literal.string(value.encode().hex())))

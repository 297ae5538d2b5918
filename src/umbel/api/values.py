"""Python values and types, as the literals and Arrow types of a plan."""

from __future__ import annotations

import datetime
import re
import types
import typing
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa

from umbel.plan.errors import PlanError, TypeClashError, UnknownNameError
from umbel.plan.expressions import Literal
from umbel.plan.types import MAX_DECIMAL_PRECISION, OBJECT, canonical_type, type_from_json

#: What stands for a type wherever one is asked for.
TypeLike = Any

_PYTHON_TYPES: dict[Any, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    datetime.date: pa.date32(),
    datetime.datetime: pa.timestamp("us"),
    datetime.time: pa.time64("us"),
    datetime.timedelta: pa.duration("us"),
    # As Spark has it: half of the digits behind the point.
    Decimal: pa.decimal128(MAX_DECIMAL_PRECISION, 18),
    type(None): pa.null(),
}

_SIMPLE_NAMES = (
    "null", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
    "float32", "float64", "string", "binary", "date", "time", "timestamp", "duration",
)  # fmt: skip


def type_of(spec: TypeLike) -> pa.DataType:
    """Give the Arrow type that a type, a Python type or a type's name stands for.

    >>> type_of("decimal(15,2)"), type_of(int), type_of(list[str])
    (Decimal128Type(decimal128(15, 2)), DataType(int64), ListType(list<item: string>))
    >>> type_of("timestamp[us,UTC]"), type_of("struct<a: int64, b: list<date>>")
    (TimestampType(timestamp[us, tz=UTC]), StructType(struct<a: int64, b: list<item: date32[day]>>))
    """
    if isinstance(spec, pa.DataType):
        if spec == OBJECT:
            raise TypeClashError("a Python object has no Arrow type")
        return canonical_type(spec)
    if isinstance(spec, str):
        return _named_type(spec)
    try:
        if spec in _PYTHON_TYPES:
            return _PYTHON_TYPES[spec]
    except TypeError:
        pass  # unhashable, so not a type; refused below
    else:
        origin: Any = typing.get_origin(spec)
        arguments = typing.get_args(spec)
        if origin is list and len(arguments) == 1:
            return pa.list_(type_of(arguments[0]))
        if origin in (typing.Union, types.UnionType):
            inner = [a for a in arguments if a is not type(None)]
            if len(inner) == 1:
                return type_of(inner[0])
    raise TypeClashError(
        f"{spec!r} is not a type that a column can have",
        hint="use a pyarrow type, a Python type such as int, or a name such as 'decimal(15,2)'",
    )


def _named_type(text: str) -> pa.DataType:
    name = text.strip()
    if name in ("timestamp", "duration"):
        return pa.timestamp("us") if name == "timestamp" else pa.duration("us")
    if name in _SIMPLE_NAMES:
        return type_from_json(name)
    if match := re.fullmatch(r"decimal\((\d+) *, *(\d+)\)", name):
        return type_from_json({"decimal": [int(match[1]), int(match[2])]})
    if match := re.fullmatch(r"timestamp\[(s|ms|us|ns)(?:, *(?:tz=)?([^\]]+))?\]", name):
        return pa.timestamp(match[1], match[2])
    if match := re.fullmatch(r"duration\[(s|ms|us|ns)\]", name):
        return pa.duration(match[1])
    if name.startswith("list<") and name.endswith(">"):
        return pa.list_(_named_type(name[5:-1]))
    if name.startswith("struct<") and name.endswith(">"):
        return pa.struct([_named_field(part) for part in _split_outside(name[7:-1])])
    raise UnknownNameError("type", text, [*_SIMPLE_NAMES, "decimal(p,s)", "list<…>", "struct<…>"])


def _named_field(text: str) -> pa.Field:
    name, colon, dtype = text.partition(":")
    if not colon:
        raise PlanError(f"a field of a struct is written 'name: type', not {text.strip()!r}")
    return pa.field(name.strip(), _named_type(dtype))


def _split_outside(text: str) -> list[str]:
    """Split at the commas that stand in no bracket."""
    parts, depth, start = [], 0, 0
    for index, character in enumerate(text):
        depth += (character in "<([") - (character in ">)]")
        if character == "," and depth == 0:
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]] if text.strip() else []


def schema_of(spec: pa.Schema | Mapping[str, TypeLike] | Iterable[Any]) -> pa.Schema:
    """Give the Arrow schema that a schema, a mapping or pairs of name and type stand for.

    >>> schema_of({"a": int, "b": "list<string>"}).names
    ['a', 'b']
    """
    if isinstance(spec, pa.Schema):
        return pa.schema([pa.field(f.name, type_of(f.type), f.nullable) for f in spec])
    pairs: Iterable[Any] = spec.items() if isinstance(spec, Mapping) else spec
    fields = []
    for item in pairs:
        if isinstance(item, pa.Field):
            fields.append(pa.field(item.name, type_of(item.type), item.nullable))
            continue
        try:
            name, dtype = item
        except (TypeError, ValueError):
            raise PlanError(f"{item!r} is not a pair of a column's name and type") from None
        if not isinstance(name, str):
            raise PlanError(f"a column's name is text, not {name!r}")
        try:
            fields.append(pa.field(name, type_of(dtype)))
        except TypeClashError as error:
            raise TypeClashError(f"column {name!r}: {error.message}", hint=error.hint) from None
    return pa.schema(fields)


def literal(value: Any, dtype: TypeLike = None) -> Literal:
    """Make a constant of exactly the type that the Python value has, or of the type asked for.

    Raises:
        TypeClashError: the value has no type of a plan, or is not one of `dtype`.

    >>> literal(1), literal("a"), literal(None)
    (Literal(value=1, dtype=DataType(int64)), Literal(value='a', dtype=DataType(string)), Literal(value=None, dtype=DataType(null)))
    """
    item = getattr(value, "item", None)
    if type(value).__module__ == "numpy" and callable(item):
        value = item()  # a NumPy scalar is the Python value it holds
    if isinstance(value, pa.Scalar):
        dtype = value.type if dtype is None else dtype
        value = value.as_py()
    wanted = None if dtype is None else type_of(dtype)
    try:
        if wanted is None:
            wanted = _natural_type(value)
        return Literal(pa.scalar(value, wanted).as_py(), wanted)
    except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
        shown = repr(value) if len(repr(value)) < 80 else repr(value)[:77] + "…"
        what = f"a constant of type {dtype}" if dtype is not None else "a constant of a plan"
        raise TypeClashError(f"{shown} cannot be {what}: {error}") from None


def _natural_type(value: Any) -> pa.DataType:
    if isinstance(value, bool):
        return pa.bool_()
    if isinstance(value, int):
        if -(2**63) <= value < 2**63:
            return pa.int64()
        if 0 <= value < 2**64:
            return pa.uint64()
        return pa.decimal128(MAX_DECIMAL_PRECISION, 0)
    if isinstance(value, list | tuple):
        dtype = pa.scalar(list(value)).type if value else pa.list_(pa.null())
        return canonical_type(dtype)
    if isinstance(value, Mapping):
        return pa.struct([pa.field(str(k), _natural_type(v)) for k, v in value.items()])
    return canonical_type(pa.scalar(value).type)

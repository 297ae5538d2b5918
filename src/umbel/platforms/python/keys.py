"""Keys of groups, joins and orders: Python values that compare the way the plan's types do.

NaN equals NaN and is greater than any number, -0.0 equals 0.0, and lists and structs compare by
what they contain. Values of most types compare so by themselves and stay what they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

import pyarrow as pa

from umbel.plan.expressions import SortKey
from umbel.plan.types import is_decimal, is_float, is_integer, is_list, is_object
from umbel.plan.typing import infer_type
from umbel.platforms.python.expressions import Evaluate, compile_expression

Normalize = Callable[[Any], Any]


class _NaN:
    """What stands for NaN in a key: equal to itself, unlike NaN."""

    def __reduce__(self) -> str:
        return "NAN"  # pickled by name, so that it is this one object again


NAN = _NaN()


def _normalize_float(value: Any) -> Any:
    return value if value is None or value == value else NAN


def normalizer(dtype: pa.DataType) -> Normalize | None:
    """Give the function that makes a key of a value; None if the value is one already.

    >>> normalizer(pa.int64()) is None
    True
    >>> normalizer(pa.list_(pa.int64()))([1, None])
    (1, None)
    """
    if is_float(dtype):
        return _normalize_float
    if is_list(dtype):
        inner = normalizer(dtype.value_type)
        return _sequence(inner)
    if pa.types.is_struct(dtype):
        return _struct([(field.name, normalizer(field.type)) for field in dtype])
    return None


def _sequence(inner: Normalize | None) -> Normalize:
    def normalize(value: Any) -> Any:
        if value is None:
            return None
        return tuple(value) if inner is None else tuple(map(inner, value))

    return normalize


def _struct(fields: list[tuple[str, Normalize | None]]) -> Normalize:
    def normalize(value: Any) -> Any:
        if value is None:
            return None
        return tuple(value[name] if inner is None else inner(value[name]) for name, inner in fields)

    return normalize


def row_key(types: Sequence[pa.DataType]) -> Normalize | None:
    """Give the function that makes a key of a whole row; None if the row is one already."""
    normalizers = [normalizer(dtype) for dtype in types]
    if not any(normalizers):
        return None

    def key(row: Any) -> Any:
        return tuple(
            value if normalize is None else normalize(value)
            for normalize, value in zip(normalizers, row, strict=True)
        )

    return key


def keys_of(evaluators: Sequence[Evaluate], types: Sequence[pa.DataType]) -> Evaluate:
    """Give the function from a row to the key made of several expressions.

    A single expression's key is its bare value, several make a tuple.
    """
    parts: list[Evaluate] = []
    for evaluate, dtype in zip(evaluators, types, strict=True):
        normalize = normalizer(dtype)
        parts.append(evaluate if normalize is None else _compose(normalize, evaluate))
    if len(parts) == 1:
        return parts[0]
    if len(parts) == 2:
        first, second = parts
        return lambda row: (first(row), second(row))
    return lambda row: tuple([part(row) for part in parts])


def _compose(outer: Normalize, inner: Evaluate) -> Evaluate:
    return lambda row: outer(inner(row))


class Reversed:
    """A value that is less than another when it is greater."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Reversed) and bool(self.value == other.value)

    def __lt__(self, other: Reversed) -> bool:
        return bool(other.value < self.value)

    def __hash__(self) -> int:
        return hash(self.value)


def order_of(keys: Sequence[SortKey], schema: pa.Schema) -> Evaluate:
    """Give the function from a row to what sorts it by `keys`, always in ascending order."""
    parts = [_order_part(key, schema) for key in keys]
    if len(parts) == 1:
        return parts[0]
    return lambda row: tuple([part(row) for part in parts])


def _order_part(key: SortKey, schema: pa.Schema) -> Evaluate:
    evaluate = compile_expression(key.expression, schema)
    dtype = infer_type(key.expression, schema)
    # Pairs (rank, value): nulls have a rank before or after all else, NaN one next to the numbers.
    null = (0, 0) if key.nulls_first else (4, 0)
    nan = (1, 0) if key.descending else (3, 0)
    reverse = _reverser(dtype) if key.descending else None
    floating = is_float(dtype)

    def part(row: Any) -> tuple[int, Any]:
        value = evaluate(row)
        if value is None:
            return null
        if floating and math.isnan(value):
            return nan
        return (2, value if reverse is None else reverse(value))

    return part


def _reverser(dtype: pa.DataType) -> Callable[[Any], Any]:
    if is_integer(dtype) or is_float(dtype):
        return _negate
    # Decimal's own minus rounds to the context's precision.
    return _negate_decimal if is_decimal(dtype) else Reversed


def _negate(value: Any) -> Any:
    return -value


def _negate_decimal(value: Any) -> Any:
    return value.copy_negate()


def column_getter(indices: Sequence[int]) -> Callable[[Any], Any]:
    """Give the function that picks columns of a row, always as a tuple.

    >>> column_getter([1])(("a", "b"))
    ('b',)
    """
    if len(indices) == 1:
        (only,) = indices
        return lambda row: (row[only],)
    return itemgetter(*indices) if indices else lambda row: ()


def holds_objects(schema: pa.Schema) -> bool:
    """Whether a column holds Python objects, which may have no hash."""
    return any(is_object(field.type) for field in schema)

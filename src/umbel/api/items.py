"""Python items as a source: typed columns where that changes no value, objects otherwise.

Typed columns let functions on the items be lifted. Only items that are all exactly of one type,
and tuples of the same shape, become columns; so that what comes back is what was given.
"""

from __future__ import annotations

import datetime
import itertools
import os
from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from umbel.plan.operators import OBJECT_SCHEMA, Element
from umbel.plan.sources import MemorySource
from umbel.plan.types import MAX_DECIMAL_PRECISION

_TYPES: dict[type, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    datetime.date: pa.date32(),
    datetime.datetime: pa.timestamp("us"),
    datetime.time: pa.time64("us"),
    datetime.timedelta: pa.duration("us"),
}

_tokens = itertools.count(1)


def new_token() -> str:
    """Name some data of this process, as no other is named."""
    return f"{os.getpid()}-{next(_tokens)}"


def items_source(items: Iterable[Any]) -> MemorySource:
    """Make a source of Python values.

    >>> items_source([1, 2, 3]).schema
    value: int64 not null
    >>> items_source([("a", 1), ("b", 2)]).form
    'tuple'
    >>> items_source([1, None, "a"]).form
    'object'
    """
    values = list(items)
    table, form = _typed_table(values)
    if table is None:
        return MemorySource(OBJECT_SCHEMA, new_token(), Element.OBJECT.value, values)
    return MemorySource(table.schema, new_token(), form.value, table)


def _typed_table(values: Sequence[Any]) -> tuple[pa.Table | None, Element]:
    if not values:
        return None, Element.OBJECT
    if type(values[0]) is tuple:
        columns = _tuple_columns(values)
        form, names = Element.TUPLE, [f"item_{i}" for i in range(len(columns or ()))]
    else:
        column = _column(values)
        columns = None if column is None else [column]
        form, names = Element.VALUE, ["value"]
    if not columns:
        return None, Element.OBJECT
    fields = [pa.field(n, c.type, nullable=False) for n, c in zip(names, columns, strict=True)]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields)), form


def _tuple_columns(values: Sequence[Any]) -> list[pa.Array] | None:
    if set(map(type, values)) != {tuple} or len(set(map(len, values))) != 1 or not values[0]:
        return None
    columns = []
    for items in zip(*values, strict=True):
        column = _column(items)
        if column is None:
            return None
        columns.append(column)
    return columns


def _column(values: Sequence[Any]) -> pa.Array | None:
    """The values as an Arrow array that gives each of them back; None if there is none."""
    kinds = set(map(type, values))
    if len(kinds) != 1:
        return None
    (kind,) = kinds
    if kind is tuple:
        columns = _tuple_columns(values)
        if columns is None:
            return None
        fields = [pa.field(f"item_{i}", c.type, nullable=False) for i, c in enumerate(columns)]
        return pa.StructArray.from_arrays(columns, fields=fields)
    dtype = _decimal_type(values) if kind is Decimal else _TYPES.get(kind)
    if dtype is None:
        return None
    # A zone, and the second reading of a repeated hour, have no place in a column.
    if kind in (datetime.datetime, datetime.time) and any(v.tzinfo or v.fold for v in values):
        return None
    try:
        return pa.array(values, dtype)
    except (OverflowError, UnicodeEncodeError, pa.ArrowException):
        return None  # a huge integer or duration, or text with half a character


def _decimal_type(values: Sequence[Decimal]) -> pa.DataType | None:
    """A type that keeps all digits of decimals, trailing zeros too."""
    parts = [value.as_tuple() for value in values]
    exponents = {part.exponent for part in parts}
    if len(exponents) != 1:
        return None
    (exponent,) = exponents
    # Minus zero and the special values are no Arrow decimals.
    if (
        not isinstance(exponent, int)
        or exponent > 0
        or any(v.is_zero() and v.is_signed() for v in values)
    ):
        return None
    digits = max(-exponent, 1, *(len(part.digits) for part in parts))
    return pa.decimal128(digits, -exponent) if digits <= MAX_DECIMAL_PRECISION else None

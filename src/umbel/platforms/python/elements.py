"""Rows and elements: the two ways in which Python code sees the same data.

A row is a plain tuple of the values that the catalogue's references take (structs are
dictionaries). An element is what a user's function sees, as `umbel.plan.operators.Element` says.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any

import pyarrow as pa

from umbel.plan.operators import Element
from umbel.plan.types import is_list

#: Turns a list of rows into a list of elements, or back.
Convert = Callable[[list[Any]], list[Any]]
_ConvertValue = Callable[[Any], Any]


@lru_cache(maxsize=256)
def record_class(names: tuple[str, ...]) -> type[tuple[Any, ...]]:
    """Make the class of named tuples for columns; names that Python cannot take become `_0`, ….

    >>> record_class(("a", "class", "a b"))(1, 2, 3)
    Row(a=1, _1=2, _2=3)
    """
    base: Any = namedtuple("Row", names, rename=True)  # type: ignore[misc]
    # A class made at run time has no importable name, so say how a record is made again.
    reduce = {"__slots__": (), "__reduce__": lambda self: (_record, (names, tuple(self)))}
    return type("Row", (base,), reduce)


def _record(names: tuple[str, ...], values: tuple[Any, ...]) -> Any:
    return record_class(names)(*values)


def to_elements(schema: pa.Schema, element: Element) -> Convert | None:
    """Give the function from rows to elements; None if rows are elements already.

    >>> schema = pa.schema([("value", pa.int64())])
    >>> to_elements(schema, Element.VALUE)([(1,), (2,)])
    [1, 2]
    """
    match element:
        case Element.ROW:
            return None
        case Element.RECORD:
            make = record_class(tuple(schema.names))._make  # type: ignore[attr-defined]
            return lambda rows: list(map(make, rows))
        case Element.OBJECT:
            return _first_items
        case Element.VALUE:
            change = _tuples_of_structs(schema.field(0).type)
            if change is None:
                return _first_items
            return lambda rows: [change(value) for (value,) in rows]
        case Element.TUPLE:
            return _each([_tuples_of_structs(field.type) for field in schema])
    raise TypeError(f"not a form of element: {element!r}")


def to_rows(schema: pa.Schema, element: Element) -> Convert | None:
    """Give the function from elements to rows; None if elements are rows already.

    >>> to_rows(pa.schema([("value", pa.int64())]), Element.VALUE)([1, 2])
    [(1,), (2,)]
    """
    match element:
        case Element.ROW:
            return None
        case Element.RECORD:
            return lambda records: list(map(tuple, records))
        case Element.OBJECT:
            return _one_tuples
        case Element.VALUE:
            change = _structs_of_tuples(schema.field(0).type)
            if change is None:
                return _one_tuples
            return lambda values: [(change(value),) for value in values]
        case Element.TUPLE:
            return _each([_structs_of_tuples(field.type) for field in schema])
    raise TypeError(f"not a form of element: {element!r}")


def _first_items(rows: list[Any]) -> list[Any]:
    return list(chain.from_iterable(rows))


def _one_tuples(values: list[Any]) -> list[Any]:
    return list(zip(values, strict=True))


def _each(changes: Sequence[_ConvertValue | None]) -> Convert | None:
    """Apply a change per column."""
    if not any(changes):
        return None

    def convert(rows: list[Any]) -> list[Any]:
        return [
            tuple(
                [
                    value if change is None else change(value)
                    for change, value in zip(changes, row, strict=True)
                ]
            )
            for row in rows
        ]

    return convert


def is_tuple_struct(dtype: pa.DataType) -> bool:
    """Whether a struct stands for a tuple, by the names of its fields.

    >>> is_tuple_struct(pa.struct([("item_0", pa.int64()), ("item_1", pa.string())]))
    True
    """
    return bool(
        pa.types.is_struct(dtype)
        and dtype.num_fields
        and all(field.name == f"item_{index}" for index, field in enumerate(dtype))
    )


def _tuples_of_structs(dtype: pa.DataType) -> _ConvertValue | None:
    """Give the function that turns structs that stand for tuples into tuples, at any depth."""
    if is_list(dtype):
        item = _tuples_of_structs(dtype.value_type)
        if item is None:
            return None
        return lambda values: None if values is None else list(map(item, values))
    if not pa.types.is_struct(dtype):
        return None
    changes = [(field.name, _tuples_of_structs(field.type)) for field in dtype]
    if is_tuple_struct(dtype):
        if not any(change for _, change in changes):
            names = [name for name, _ in changes]
            pick = itemgetter(*names) if len(names) > 1 else lambda value: (value[names[0]],)
            return lambda value: None if value is None else pick(value)

        def to_tuple(value: Any) -> Any:
            if value is None:
                return None
            return tuple(
                value[name] if change is None else change(value[name]) for name, change in changes
            )

        return to_tuple
    if not any(change for _, change in changes):
        return None

    def to_dict(value: Any) -> Any:
        if value is None:
            return None
        return {
            name: value[name] if change is None else change(value[name]) for name, change in changes
        }

    return to_dict


def _structs_of_tuples(dtype: pa.DataType) -> _ConvertValue | None:
    """Give the inverse of `_tuples_of_structs`."""
    if is_list(dtype):
        item = _structs_of_tuples(dtype.value_type)
        if item is None:
            return None
        return lambda values: None if values is None else list(map(item, values))
    if not pa.types.is_struct(dtype):
        return None
    changes = [(field.name, _structs_of_tuples(field.type)) for field in dtype]
    as_tuple = is_tuple_struct(dtype)
    if not as_tuple and not any(change for _, change in changes):
        return None

    def to_dict(value: Any) -> Any:
        if value is None:
            return None
        items = value if as_tuple else [value[name] for name, _ in changes]
        return {
            name: item if change is None else change(item)
            for (name, change), item in zip(changes, items, strict=True)
        }

    return to_dict

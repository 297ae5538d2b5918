"""Symbols for the elements of an operator, and columns for what a function gives."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import pyarrow as pa

from umbel.optimizer.lifting.symbols import NotLiftable, Symbol
from umbel.plan.expressions import Call, Column, Expression, Literal
from umbel.plan.operators import Element, Operator
from umbel.plan.types import BOOL, FLOAT64, STRING, is_integer, is_object


def symbols_of(operator: Operator, nonnull: frozenset[str]) -> Any:
    """Give what stands for one element of an operator's output.

    Args:
        operator: its schema and form of element say what an element is.
        nonnull: columns known to hold no null, beyond what the schema says; of an item of a tuple
            in a column the path, as in "item_1.item_0".

    Raises:
        NotLiftable: elements are Python objects.
    """
    fields = [_symbol(Column(field.name), field, field.name, nonnull) for field in operator.schema]
    match operator.element:
        case Element.VALUE:
            return fields[0]
        case Element.TUPLE:
            return tuple(fields)
        case Element.RECORD:
            return namedtuple("Row", operator.schema.names, rename=True)(*fields)
    raise NotLiftable("elements are Python objects")


def _symbol(expression: Expression, field: pa.Field, path: str, nonnull: frozenset[str]) -> Any:
    dtype, nullable = field.type, field.nullable and path not in nonnull
    if is_object(dtype):
        raise NotLiftable("elements are Python objects")
    if is_tuple(dtype) and not nullable:
        return tuple(
            _symbol(
                Call("struct_field", (expression, Literal(item.name, STRING))),
                item,
                f"{path}.{item.name}",
                nonnull,
            )
            for item in dtype
        )
    return Symbol(expression, dtype, nullable=nullable)


def is_tuple(dtype: pa.DataType) -> bool:
    """Whether a struct type stands for a Python tuple."""
    return bool(pa.types.is_struct(dtype)) and [f.name for f in dtype] == [
        f"item_{i}" for i in range(dtype.num_fields)
    ]


def columns_of_result(
    result: Any,
) -> tuple[tuple[tuple[str, Expression], ...], Element, frozenset[str]]:
    """Turn what a function gives into columns.

    Returns:
        The columns, the form of element that they make, and which of them, and which items of
        tuples in them, are never null.
    """
    if isinstance(result, tuple):
        items = [(f"item_{i}", *_expression(item)) for i, item in enumerate(result)]
        form = Element.TUPLE
    else:
        items = [("value", *_expression(result))]
        form = Element.VALUE
    columns = tuple((name, expression) for name, expression, _ in items)
    nonnull = {name for name, _, nullable in items if not nullable}
    for (name, _), item in zip(
        columns, result if form is Element.TUPLE else (result,), strict=True
    ):
        nonnull |= paths_of(item, name)
    return columns, form, frozenset(nonnull)


def paths_of(value: Any, path: str) -> frozenset[str]:
    """Name the items of a tuple in a column, and of tuples in it; none of them is ever null.

    >>> sorted(paths_of((1, (2, 3)), "value"))
    ['value.item_0', 'value.item_1', 'value.item_1.item_0', 'value.item_1.item_1']
    """
    if not isinstance(value, tuple):
        return frozenset()
    named = [(f"{path}.item_{i}", item) for i, item in enumerate(value)]
    inner = (paths_of(item, name) for name, item in named)
    return frozenset(name for name, _ in named).union(*inner)


def _expression(value: Any) -> tuple[Expression, bool]:
    if isinstance(value, tuple):
        fields: list[Expression] = []
        for i, item in enumerate(value):
            expression, nullable = _expression(item)
            if nullable:
                raise NotLiftable("a tuple inside the result may hold None")
            fields += [Literal(f"item_{i}", STRING), expression]
        return Call("make_struct", tuple(fields)), False
    _check_faithful(value.dtype)
    return value.expression, value.nullable


def _check_faithful(dtype: pa.DataType) -> None:
    """Only types whose Arrow values come back as the very Python values that went in."""
    plain = is_integer(dtype) or dtype in (BOOL, FLOAT64, STRING) or dtype == pa.list_(STRING)
    if not plain:
        raise NotLiftable(f"values of type {dtype} are left to Python")


def is_plain_key(dtype: pa.DataType) -> bool:
    """Whether Python and a plan agree on which values of the type are equal.

    Floats are out: a NaN is equal to nothing in Python, and 1.0 == 1 == True.
    """
    if is_tuple(dtype):
        return all(is_plain_key(field.type) for field in dtype)
    return bool(is_integer(dtype) or dtype in (BOOL, STRING))

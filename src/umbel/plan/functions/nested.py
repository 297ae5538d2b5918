"""Rows of the catalogue: lists and structs. Positions count from 0, negative from the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal, localcontext
from functools import cmp_to_key
from typing import Any

import pyarrow as pa

from umbel.plan.casting import EXACT
from umbel.plan.errors import EvaluationError, PlanError, UnknownNameError
from umbel.plan.functions.row import Function, Kind, Nulls, ResultType, refuse
from umbel.plan.functions.signatures import checked, signature
from umbel.plan.types import (
    BOOL,
    FLOAT64,
    INT64,
    MAX_DECIMAL_PRECISION,
    STRING,
    common_type,
    is_decimal,
    is_float,
    is_integer,
    is_list,
    is_object,
    type_name,
)


def same_item(left: Any, right: Any) -> bool:
    """Whether two items are one value: NaN equals NaN, null equals null.

    >>> same_item([float("nan"), None], [float("nan"), None])
    True
    """
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left):
        return math.isnan(right)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_item, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same_item(left[k], right[k]) for k in left)
    return bool(left == right)


def _compare(left: Any, right: Any) -> int:
    left_nan, right_nan = left != left, right != right
    if left_nan or right_nan:
        return int(left_nan) - int(right_nan)
    return int(left > right) - int(left < right)


def _in_order(items: Sequence[Any], *, descending: bool = False) -> list[Any]:
    present = [item for item in items if item is not None]
    return sorted(present, key=cmp_to_key(_compare), reverse=descending)


def _get(items: list[Any], index: int) -> Any:
    return items[index] if -len(items) <= index < len(items) else None


def _contains(items: list[Any], value: Any) -> bool:
    return any(item is not None and same_item(item, value) for item in items)


def _sum(items: list[Any], dtype: pa.DataType) -> Any:
    present = [item for item in items if item is not None]
    if not present:
        return None
    if is_float(dtype):
        return float(sum(map(float, present)))
    if is_integer(dtype):
        total = sum(present)
        fits = -(2**63) <= total < 2**63
    else:
        with localcontext(EXACT):
            total = sum(present, Decimal(0))
            fits = abs(total.scaleb(dtype.scale)) < 10**MAX_DECIMAL_PRECISION
    if not fits:
        raise EvaluationError(f"the sum {total} of a list is beyond {type_name(dtype)}")
    return total


def _least(items: list[Any]) -> Any:
    return next(iter(_in_order(items)), None)


def _greatest(items: list[Any]) -> Any:
    ordered = _in_order(items)
    return ordered[-1] if ordered else None


def _sort(items: list[Any], descending: bool = False) -> list[Any]:
    ordered = _in_order(items, descending=descending)
    return ordered + [None] * (len(items) - len(ordered))


def _distinct(items: list[Any]) -> list[Any]:
    kept: list[Any] = []
    seen: set[Any] = set()
    for item in items:
        try:
            key = "nan" if item != item else (item, isinstance(item, str))
            if key in seen:
                continue
            seen.add(key)
        except TypeError:  # lists and structs cannot be hashed
            if any(same_item(item, other) for other in kept):
                continue
        kept.append(item)
    return kept


def _join(items: list[str | None], separator: str) -> str:
    return separator.join(item for item in items if item is not None)


def _range(start: int, stop: int, step: int = 1) -> list[int]:
    return list(range(start, stop, step))


def _make_struct(*parts: Any) -> dict[str, Any]:
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _item(types: Sequence[pa.DataType]) -> pa.DataType:
    return types[0].value_type


def _same(types: Sequence[pa.DataType]) -> pa.DataType:
    return pa.list_(types[0].value_type)


def _comparable(name: str, returns: ResultType) -> ResultType:
    def result(types: Sequence[pa.DataType]) -> pa.DataType:
        item = _item(types)
        if pa.types.is_nested(item) or pa.types.is_null(item) or is_object(item):
            raise refuse(name, types, "a list of values that have an order")
        return returns(types)

    return result


def _summed(types: Sequence[pa.DataType]) -> pa.DataType:
    item = _item(types)
    if is_integer(item):
        return INT64
    if is_decimal(item):
        return pa.decimal128(MAX_DECIMAL_PRECISION, item.scale)
    if is_float(item):
        return FLOAT64
    raise refuse("list_sum", types, "a list of numbers")


def _contains_type(types: Sequence[pa.DataType]) -> pa.DataType:
    if len(types) == 2 and is_list(types[0]):
        common_type(types[0].value_type, types[1])
        return BOOL
    raise refuse("list_contains", types, "(list, value)")


def _texts(types: Sequence[pa.DataType]) -> pa.DataType:
    if not pa.types.is_string(_item(types)):
        raise refuse("list_join", types, "a list of strings")
    return STRING


def _concatenated(types: Sequence[pa.DataType]) -> pa.DataType:
    item = pa.null()
    for dtype in types:
        item = common_type(item, dtype.value_type)
    return pa.list_(item)


def _listed(types: Sequence[pa.DataType]) -> pa.DataType:
    item = pa.null()
    for dtype in types:
        item = common_type(item, dtype)
    return pa.list_(item)


def _check_step(values: Sequence[Any]) -> None:
    if len(values) > 2 and values[2] == 0:
        raise PlanError("the step of list_range must not be 0")


def _untyped(name: str) -> ResultType:
    def result(types: Sequence[pa.DataType]) -> pa.DataType:
        raise PlanError(f"the type of {name!r} depends on the names among its arguments")

    return result


def _field_type(types: Sequence[pa.DataType], values: Sequence[Any]) -> pa.DataType:
    signature("struct_field", "struct", "string", returns=BOOL)(types)
    names = [field.name for field in types[0]]
    if names.count(values[1]) != 1:
        raise UnknownNameError("field", str(values[1]), names)
    return types[0].field(values[1]).type


def _struct_type(types: Sequence[pa.DataType], values: Sequence[Any]) -> pa.DataType:
    names = values[::2]
    if len(types) % 2 or not all(isinstance(name, str) and name for name in names):
        raise PlanError("make_struct takes constant names and values in turn")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise PlanError(f"make_struct has the field {twice!r} twice")
    return pa.struct(list(zip(names, types[1::2], strict=True)))


def _row(
    name: str,
    families: tuple[str, ...],
    returns: pa.DataType | ResultType,
    semantics: str,
    reference: Callable[..., Any],
    examples: tuple[tuple[tuple[Any, ...], Any], ...],
    *,
    least: int | None = None,
    nulls: Nulls = Nulls.STRICT,
    **more: Any,
) -> Function:
    return Function(
        name=name,
        kind=Kind.SCALAR,
        arity=(len(families) if least is None else least, len(families)),
        semantics=semantics,
        reference=reference,
        nulls=nulls,
        examples=examples,
        **{"result": signature(name, *families, returns=returns), **more},
    )


_NAN = float("nan")
_SORTED = signature("list_sort", "list", "boolean", returns=_comparable("list_sort", _same))
_RANGED = signature("list_range", "integer", "integer", "integer", returns=pa.list_(INT64))

ROWS: tuple[Function, ...] = (
    _row("list_get", ("list", "integer"), _item,
         "The item at a position; null where there is none.",
         _get, ((([1, 2], 0), 1), (([1, 2], -1), 2), (([1, 2], 2), None)), nulls=Nulls.PARTIAL),
    _row("list_length", ("list",), INT64, "The number of items, nulls too.",
         len, ((([1, None],), 2), (([],), 0))),
    _row("list_contains", ("list", "list"), BOOL,
         "Whether an item equals the value. NaN equals NaN; null items equal nothing.",
         _contains, ((([1, None], 1), True), (([1, None], 2), False), (([_NAN], _NAN), True)),
         result=_contains_type),
    _row("list_sum", ("list",), _summed,
         "The sum of the items that are not null: of integers int64 (fails beyond it), of "
         "decimals a decimal of 38 digits, of floats float64; null if there is none.",
         _sum, ((([1, None, 2],), 3), (([],), None)), nulls=Nulls.PARTIAL, typed=True),
    _row("list_min", ("list",), _comparable("list_min", _item),
         "The least item that is not null, NaN being the greatest number; null if there is none.",
         _least, ((([2, None, 1],), 1), (([_NAN, 1.0],), 1.0), (([],), None)),
         nulls=Nulls.PARTIAL),
    _row("list_max", ("list",), _comparable("list_max", _item),
         "The greatest item that is not null, NaN being the greatest number; null if none.",
         _greatest, ((([2, None, 1],), 2), (([None],), None)), nulls=Nulls.PARTIAL),
    _row("list_sort", ("list", "boolean"), BOOL,
         "The items in ascending order, or descending if a second, constant argument is true; "
         "nulls last, NaN greater than all numbers.",
         _sort, ((([2, None, 1],), [1, 2, None]), (([2, None, 1, 3], True), [3, 2, 1, None])),
         least=1, result=_SORTED, constant=(1,),
         resolve=checked("list_sort", _SORTED, lambda values: None, 1)),
    _row("list_reverse", ("list",), _same, "The items in reverse order.",
         lambda items: items[::-1], ((([1, None],), [None, 1]),)),
    Function(
        name="list_concat", kind=Kind.SCALAR, arity=(1, None),
        result=signature("list_concat", returns=_concatenated, rest="list"),
        semantics="The items of all lists one after another; null if any list is null.",
        reference=lambda *lists: [item for items in lists for item in items],
        examples=((([1], [], [None, 2]), [1, None, 2]),),
    ),
    _row("list_distinct", ("list",), _same,
         "Each item once, where it first stands; null and NaN count as values.",
         _distinct, ((([2, None, 1, 2, None],), [2, None, 1]),)),
    _row("list_join", ("list", "string"), _texts,
         "The strings of a list that are not null, with a constant separator between them.",
         _join, (((["a", None, "b"], "-"), "a-b"), (([], "-"), "")), constant=(1,),
         resolve=checked("list_join", signature("list_join", "list", "string", returns=_texts),
                         lambda values: None, 1)),
    _row("list_slice", ("list", "integer", "integer"), _same,
         "Python's items[start:stop]; to the end without stop.",
         lambda items, start, stop=None: items[start:stop],
         ((([1, 2, 3], 1, 3), [2, 3]), (([1, 2, 3], -2), [2, 3]), (([1, 2, 3], 0, -1), [1, 2])),
         least=2),
    Function(
        name="make_list", kind=Kind.SCALAR, arity=(1, None), result=_listed,
        semantics="A list of the arguments in their common type; nulls become items.",
        reference=lambda *items: list(items), nulls=Nulls.NEVER,
        examples=(((1, None), [1, None]),),
    ),
    _row("list_range", ("integer", "integer", "integer"), pa.list_(INT64),
         "The integers from start to before stop, in steps (constant, 1 by default, not 0).",
         _range, (((1, 4), [1, 2, 3]), ((5, 0, -2), [5, 3, 1]), ((3, 3), [])),
         least=2, constant=(2,),
         resolve=checked("list_range", _RANGED, _check_step, 2)),
    _row("struct_field", ("struct", "string"), BOOL,
         "The field of a constant name.",
         lambda struct, name: struct[name], ((({"a": 1}, "a"), 1), (({"a": None}, "a"), None)),
         nulls=Nulls.PARTIAL, constant=(1,), result=_untyped("struct_field"),
         resolve=_field_type),
    Function(
        name="make_struct", kind=Kind.SCALAR, arity=(2, 512), result=_untyped("make_struct"),
        semantics="A struct of fields given as constant names and values in turn; never null.",
        reference=_make_struct, nulls=Nulls.NEVER, constant=tuple(range(0, 512, 2)),
        examples=((("a", 1, "b", None), {"a": 1, "b": None}),), resolve=_struct_type,
    ),
)  # fmt: skip

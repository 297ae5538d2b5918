"""Signatures of catalogue rows: which families of types a function takes, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from umbel.plan.errors import PlanError
from umbel.plan.functions.row import ResolveType, ResultType, refuse
from umbel.plan.types import is_integer, is_list, is_numeric, is_string

_FAMILIES: dict[str, Callable[[pa.DataType], bool]] = {
    "string": is_string,
    "text": lambda dtype: is_string(dtype) or bool(pa.types.is_null(dtype)),
    "integer": lambda dtype: is_integer(dtype) and dtype != pa.uint64(),
    "number": is_numeric,
    "date": lambda dtype: bool(pa.types.is_date(dtype)),
    "timestamp": lambda dtype: bool(pa.types.is_timestamp(dtype)),
    "local timestamp": lambda dtype: bool(pa.types.is_timestamp(dtype)) and dtype.tz is None,
    "zoned timestamp": lambda dtype: bool(pa.types.is_timestamp(dtype)) and dtype.tz is not None,
    "date or timestamp": lambda dtype: bool(
        pa.types.is_date(dtype) or pa.types.is_timestamp(dtype)
    ),
    "timestamp or time": lambda dtype: bool(
        pa.types.is_timestamp(dtype) or pa.types.is_time(dtype)
    ),
    "boolean": lambda dtype: bool(pa.types.is_boolean(dtype)),
    "list": is_list,
    "struct": lambda dtype: bool(pa.types.is_struct(dtype)),
}


def signature(
    name: str,
    *families: str,
    returns: pa.DataType | ResultType,
    rest: str | None = None,
) -> ResultType:
    """Make the result type of a function from the families of its arguments.

    Args:
        name: the function, for errors.
        families: one per position; a call may leave out trailing ones that are optional.
        returns: the result's type, or a function of the arguments' types.
        rest: the family of all further arguments.

    >>> import pyarrow as pa
    >>> signature("left", "string", "integer", returns=pa.string())([pa.string(), pa.int8()])
    DataType(string)
    >>> signature("left", "string", "integer", returns=pa.string())([pa.int8(), pa.int8()])
    Traceback (most recent call last):
    umbel.plan.errors.TypeClashError: function 'left' takes (string, integer), not (int8, int8)
    """

    def result(types: Sequence[pa.DataType]) -> pa.DataType:
        for position, dtype in enumerate(types):
            family = families[position] if position < len(families) else rest
            if family is None or not _FAMILIES[family](dtype):
                shown = [*families, f"{rest} ..."] if rest else families
                raise refuse(name, types, f"({', '.join(shown)})")
        return returns if isinstance(returns, pa.DataType) else returns(types)

    return result


def checked(
    name: str, result: ResultType, check: Callable[[Sequence[Any]], None], *positions: int
) -> ResolveType:
    """Add a check of constants to a result type; a null among them is an error.

    Args:
        name: the function, for errors.
        result: gives the type from the types.
        check: raises `PlanError` for values that the function does not take.
        positions: which arguments must be constants that are not null, where they are given.
    """

    def resolve(types: Sequence[pa.DataType], values: Sequence[Any]) -> pa.DataType:
        dtype = result(types)
        for position in positions:
            if position < len(values) and values[position] is None:
                raise PlanError(f"argument {position + 1} of function {name!r} must not be null")
        check(values)
        return dtype

    return resolve

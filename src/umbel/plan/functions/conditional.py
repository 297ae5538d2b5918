"""Rows of the catalogue: nulls, special floats, and the choice of one value among several."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import pyarrow as pa

from umbel.plan.casting import cast_value
from umbel.plan.functions.comparison import compared_type, less_value, same_value
from umbel.plan.functions.row import Function, Kind, Nulls, refuse
from umbel.plan.types import BOOL, common_type, is_decimal, is_float, is_numeric


def _common(types: Sequence[pa.DataType]) -> pa.DataType:
    return reduce(common_type, types)


def _ordered(name: str) -> Callable[[Sequence[pa.DataType]], pa.DataType]:
    def result(types: Sequence[pa.DataType]) -> pa.DataType:
        for other in types[1:]:
            compared_type(name, types[0], other)
        return _common(types)

    return result


def _null_if_type(types: Sequence[pa.DataType]) -> pa.DataType:
    compared_type("null_if", types[0], types[1])
    return types[0]


def _number(name: str) -> Callable[[Sequence[pa.DataType]], pa.DataType]:
    def result(types: Sequence[pa.DataType]) -> pa.DataType:
        if not (is_numeric(types[0]) or pa.types.is_null(types[0])):
            raise refuse(name, types, "a number")
        return BOOL

    return result


def unified(value: Any, dtype: pa.DataType) -> Any:
    """Bring a value to the common type that arguments were unified to.

    >>> unified(1, pa.float64())
    1.0
    """
    if value is None or isinstance(value, str | bytes | bool):
        return value
    if is_float(dtype) and not isinstance(value, float):
        return float(value)
    if is_decimal(dtype):
        wide = pa.decimal128(38, 0) if isinstance(value, int) else _own_type(value)
        return cast_value(value, wide, dtype, strict=True)
    if pa.types.is_timestamp(dtype):
        source = pa.date32() if type(value).__name__ == "date" else _instant(value)
        return cast_value(value, source, dtype, strict=True)
    return value


def _own_type(value: Any) -> pa.DataType:
    return pa.decimal128(38, max(0, -value.as_tuple().exponent))


def _instant(value: Any) -> pa.DataType:
    return pa.timestamp("us", None if value.tzinfo is None else "UTC")


def _coalesce(*values: Any, dtype: pa.DataType) -> Any:
    return unified(next((value for value in values if value is not None), None), dtype)


def _greatest(*values: Any, dtype: pa.DataType) -> Any:
    best = None
    for value in values:
        if value is not None and (best is None or less_value(best, value)):
            best = value
    return unified(best, dtype)


def _least(*values: Any, dtype: pa.DataType) -> Any:
    best = None
    for value in values:
        if value is not None and (best is None or less_value(value, best)):
            best = value
    return unified(best, dtype)


def _null_if(value: Any, other: Any) -> Any:
    if value is None or (other is not None and same_value(value, other)):
        return None
    return value


ROWS: tuple[Function, ...] = (
    Function(
        name="is_null",
        kind=Kind.SCALAR,
        arity=(1, 1),
        result=lambda types: BOOL,
        semantics="Whether the value is null; NaN is not.",
        reference=lambda value: value is None,
        nulls=Nulls.NEVER,
        examples=(((None,), True), ((0,), False), ((math.nan,), False)),
    ),
    Function(
        name="is_not_null",
        kind=Kind.SCALAR,
        arity=(1, 1),
        result=lambda types: BOOL,
        semantics="Whether the value is not null; NaN is not null.",
        reference=lambda value: value is not None,
        nulls=Nulls.NEVER,
        examples=(((None,), False), (("",), True)),
    ),
    Function(
        name="coalesce",
        kind=Kind.SCALAR,
        arity=(1, None),
        result=_common,
        semantics="The first argument that is not null, in the common type of all; null if all are.",
        reference=_coalesce,
        nulls=Nulls.CALLED,
        examples=(((None, 1, 2), 1), ((None, None), None), ((1, 0.5), 1.0)),
        typed=True,
    ),
    Function(
        name="null_if",
        kind=Kind.SCALAR,
        arity=(2, 2),
        result=_null_if_type,
        semantics="Null if both are equal (compared in their common type), else the first.",
        reference=_null_if,
        nulls=Nulls.CALLED,
        examples=(((1, 1), None), ((1, 2), 1), ((1, None), 1), ((0, 0.0), None)),
    ),
    Function(
        name="is_nan",
        kind=Kind.SCALAR,
        arity=(1, 1),
        result=_number("is_nan"),
        semantics="Whether the number is NaN; null for null.",
        reference=lambda value: isinstance(value, float) and math.isnan(value),
        examples=(((math.nan,), True), ((1,), False), ((math.inf,), False)),
    ),
    Function(
        name="is_finite",
        kind=Kind.SCALAR,
        arity=(1, 1),
        result=_number("is_finite"),
        semantics="Whether the number is neither NaN nor infinite; null for null.",
        reference=lambda value: not isinstance(value, float) or math.isfinite(value),
        examples=(((1.5,), True), ((math.inf,), False), ((math.nan,), False)),
    ),
    Function(
        name="is_infinite",
        kind=Kind.SCALAR,
        arity=(1, 1),
        result=_number("is_infinite"),
        semantics="Whether the number is plus or minus infinity; null for null.",
        reference=lambda value: isinstance(value, float) and math.isinf(value),
        examples=(((-math.inf,), True), ((math.nan,), False), ((1,), False)),
    ),
    Function(
        name="greatest",
        kind=Kind.SCALAR,
        arity=(1, None),
        result=_ordered("greatest"),
        semantics="The greatest argument that is not null, in the common type of all; null if all "
        "are null. NaN is greater than any other number.",
        reference=_greatest,
        nulls=Nulls.CALLED,
        examples=(((1, None, 3), 3), ((1.0, math.nan), math.nan), (("a", "b"), "b")),
        typed=True,
    ),
    Function(
        name="least",
        kind=Kind.SCALAR,
        arity=(1, None),
        result=_ordered("least"),
        semantics="The least argument that is not null, in the common type of all; null if all "
        "are null. NaN is greater than any other number.",
        reference=_least,
        nulls=Nulls.CALLED,
        examples=(((1, None, 3), 1), ((1.0, math.nan), 1.0), ((2, 0.5), 0.5)),
        typed=True,
    ),
)

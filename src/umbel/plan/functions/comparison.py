"""Rows of the catalogue: comparison and boolean logic, with SQL's three values.

Two values are compared in their common type (`umbel.plan.types.common_type`): an integer and a
float as float64, exact numbers exactly, a date as the timestamp of its midnight. NaN equals NaN
and is greater than any other number; -0.0 equals 0.0; strings and bytes compare by code point and
byte; false is less than true.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from umbel.plan.errors import TypeClashError
from umbel.plan.functions.row import Function, Kind, Nulls, refuse
from umbel.plan.types import (
    BOOL,
    MAX_DECIMAL_PRECISION,
    common_type,
    decimal_of_integer,
    is_decimal,
    is_float,
    is_integer,
    is_numeric,
    is_object,
)


def compared_type(name: str, left: pa.DataType, right: pa.DataType) -> pa.DataType:
    """Give the type in which two arguments of a function are compared.

    Raises:
        TypeClashError: they cannot be compared.

    >>> compared_type("less", pa.int64(), pa.float64())
    DataType(double)
    """
    for dtype in (left, right):
        if pa.types.is_nested(dtype) or is_object(dtype):
            raise refuse(name, [left, right], "values that have an order")
    try:
        return common_type(left, right)
    except TypeClashError as error:
        raise TypeClashError(f"function {name!r}: {error.message}", hint=error.hint) from None


def exactly_common(left: pa.DataType, right: pa.DataType) -> bool:
    """Whether the common type of two types has room for both, so that nothing is rounded.

    >>> exactly_common(pa.decimal128(38, 0), pa.decimal128(10, 5))
    False
    """
    if not (is_decimal(left) or is_decimal(right)) or is_float(left) or is_float(right):
        return True
    exact = [decimal_of_integer(t) if is_integer(t) else t for t in (left, right) if is_numeric(t)]
    scale = max(t.scale for t in exact)
    return scale + max(t.precision - t.scale for t in exact) <= MAX_DECIMAL_PRECISION


def as_pair(left: Any, right: Any) -> tuple[Any, Any]:
    """Bring two values to their common type, as far as Python compares them otherwise.

    >>> as_pair(2**53 + 1, 0.5)
    (9007199254740992.0, 0.5)
    """
    if type(left) is type(right):
        if isinstance(left, datetime.datetime) and left.tzinfo is not None:
            # Python ignores which of two repeated hours is meant, or calls them unequal.
            return left.astimezone(datetime.UTC), right.astimezone(datetime.UTC)
        return left, right
    if isinstance(left, float) or isinstance(right, float):
        return float(left), float(right)
    if isinstance(left, datetime.date) and isinstance(right, datetime.date):
        return _midnight(left), _midnight(right)
    if isinstance(left, int) and isinstance(right, Decimal):
        return Decimal(left), right
    return left, right


def _midnight(value: datetime.date) -> datetime.datetime:
    if isinstance(value, datetime.datetime):
        return value
    return datetime.datetime.combine(value, datetime.time())


def same_value(left: Any, right: Any) -> bool:
    """Whether two values that are not null are equal."""
    left, right = as_pair(left, right)
    return bool(left == right) or (
        isinstance(left, float) and math.isnan(left) and math.isnan(right)
    )


def less_value(left: Any, right: Any) -> bool:
    """Whether a value comes before another; neither is null."""
    left, right = as_pair(left, right)
    if isinstance(left, float):
        if math.isnan(left):
            return False
        if math.isnan(right):
            return True
    return bool(left < right)


def _same_or_null(left: Any, right: Any) -> bool:
    return same_value(left, right) if left is not None and right is not None else left is right


def _between(value: Any, low: Any, high: Any) -> bool | None:
    above = None if value is None or low is None else not less_value(value, low)
    below = None if value is None or high is None else not less_value(high, value)
    return _and(above, below)


def _is_in(value: Any, *candidates: Any) -> bool | None:
    if value is None:
        return None
    if any(candidate is not None and same_value(value, candidate) for candidate in candidates):
        return True
    return None if None in candidates else False


def _and(*values: bool | None) -> bool | None:
    if False in values:
        return False
    return None if None in values else True


def _or(*values: bool | None) -> bool | None:
    if True in values:
        return True
    return None if None in values else False


def _comparable(name: str) -> Callable[[Sequence[pa.DataType]], pa.DataType]:
    def result(types: Sequence[pa.DataType]) -> pa.DataType:
        for other in types[1:]:
            compared_type(name, types[0], other)
        return BOOL

    return result


def _booleans(name: str) -> Callable[[Sequence[pa.DataType]], pa.DataType]:
    def result(types: Sequence[pa.DataType]) -> pa.DataType:
        if not all(pa.types.is_boolean(t) or pa.types.is_null(t) for t in types):
            raise refuse(name, types, "booleans")
        return BOOL

    return result


def _comparison(
    name: str, meaning: str, reference: Callable[[Any, Any], bool], examples: tuple[Any, ...]
) -> Function:
    return Function(
        name=name,
        kind=Kind.SCALAR,
        arity=(2, 2),
        result=_comparable(name),
        semantics=f"Whether the first {meaning} the second, compared in their common type; null "
        "if either is null. NaN equals itself and is the greatest number; -0.0 equals 0.0.",
        reference=reference,
        examples=(*examples, ((None, 1), None)),
    )


ROWS: tuple[Function, ...] = (
    _comparison("equal", "equals", same_value, (((1, 1.0), True), ((math.nan, math.nan), True))),
    _comparison(
        "not_equal",
        "differs from",
        lambda left, right: not same_value(left, right),
        ((("a", "A"), True), ((0.0, -0.0), False)),
    ),
    _comparison("less", "is less than", less_value, (((1, 2), True), ((math.inf, math.nan), True))),
    _comparison(
        "less_equal",
        "is less than or equals",
        lambda left, right: not less_value(right, left),
        (((2, 2), True), ((math.nan, 1.0), False)),
    ),
    _comparison(
        "greater",
        "is greater than",
        lambda left, right: less_value(right, left),
        ((("b", "abc"), True), (("Z", "a"), False)),
    ),
    _comparison(
        "greater_equal",
        "is greater than or equals",
        lambda left, right: not less_value(left, right),
        (((2, 3), False), ((True, False), True)),
    ),
    Function(
        name="between",
        kind=Kind.SCALAR,
        arity=(3, 3),
        result=_comparable("between"),
        semantics="Whether the first is at least the second and at most the third. A null bound "
        "gives null, unless the other bound alone makes the answer false.",
        reference=_between,
        nulls=Nulls.CALLED,
        examples=(((2, 1, 2), True), ((2, 3, None), False), ((2, 1, None), None)),
    ),
    Function(
        name="is_in",
        kind=Kind.SCALAR,
        arity=(2, None),
        result=_comparable("is_in"),
        semantics="Whether the first equals any of the others. Null if the first is null, or if "
        "none is equal and one of them is null.",
        reference=_is_in,
        nulls=Nulls.CALLED,
        examples=(
            ((1, 1, 2), True),
            ((3, 1, None), None),
            ((1, 1, None), True),
            ((3, 1, 2), False),
        ),
    ),
    Function(
        name="is_distinct_from",
        kind=Kind.SCALAR,
        arity=(2, 2),
        result=_comparable("is_distinct_from"),
        semantics="Whether two values differ, where null is a value like others: never null.",
        reference=lambda left, right: not _same_or_null(left, right),
        nulls=Nulls.NEVER,
        examples=(((None, 1), True), ((None, None), False), ((1, 2), True)),
    ),
    Function(
        name="is_not_distinct_from",
        kind=Kind.SCALAR,
        arity=(2, 2),
        result=_comparable("is_not_distinct_from"),
        semantics="Whether two values are the same, where null is a value like others: never null.",
        reference=_same_or_null,
        nulls=Nulls.NEVER,
        examples=(((None, 1), False), ((None, None), True), ((math.nan, math.nan), True)),
    ),
    Function(
        name="and",
        kind=Kind.SCALAR,
        arity=(1, None),
        result=_booleans("and"),
        semantics="False if any argument is false; else null if any is null; else true. All "
        "arguments may be evaluated, whatever the first ones are.",
        reference=_and,
        nulls=Nulls.CALLED,
        examples=(((True, True), True), ((None, False), False), ((True, None), None)),
    ),
    Function(
        name="or",
        kind=Kind.SCALAR,
        arity=(1, None),
        result=_booleans("or"),
        semantics="True if any argument is true; else null if any is null; else false. All "
        "arguments may be evaluated, whatever the first ones are.",
        reference=_or,
        nulls=Nulls.CALLED,
        examples=(((False, True), True), ((None, True), True), ((False, None), None)),
    ),
    Function(
        name="not",
        kind=Kind.SCALAR,
        arity=(1, 1),
        result=_booleans("not"),
        semantics="The opposite; null for null.",
        reference=lambda value: not value,
        examples=(((True,), False), ((None,), None)),
    ),
    Function(
        name="xor",
        kind=Kind.SCALAR,
        arity=(2, 2),
        result=_booleans("xor"),
        semantics="Whether exactly one of two is true; null if either is null.",
        reference=lambda left, right: left is not right,
        examples=(((True, False), True), ((True, True), False), ((True, None), None)),
    ),
)

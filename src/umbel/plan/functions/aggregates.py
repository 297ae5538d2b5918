"""Rows of the catalogue: aggregates.

All skip nulls unless they say otherwise, and give null where no value is left. In a group the
order of rows matters only to the functions marked `ordered`; without `order_by` these take the
rows in any order. A call's filter and distinctness apply before the function sees a row. Sums and
moments of floats depend on the order of additions: engines may differ in the last bits.

Over windows, the SQL functions FIRST_VALUE, LAST_VALUE and NTH_VALUE are `first`, `last` and
`nth` over a frame.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa

from umbel.plan.functions.accumulators import (
    Collected,
    Comoments,
    Count,
    CountRows,
    DiscreteQuantile,
    DistinctCount,
    First,
    FirstNonNull,
    Fold,
    JoinedStrings,
    Last,
    LastNonNull,
    Maximum,
    MaximumBy,
    Mean,
    Minimum,
    MinimumBy,
    Moments,
    Nth,
    Product,
    Quantile,
    sum_of,
)
from umbel.plan.functions.row import Function, Kind, Nulls, refuse
from umbel.plan.types import (
    BOOL,
    FLOAT64,
    INT64,
    MAX_DECIMAL_PRECISION,
    STRING,
    is_decimal,
    is_float,
    is_integer,
    is_numeric,
    is_object,
    is_string,
    is_temporal,
)

Types = Sequence[pa.DataType]
ResultOf = Callable[[Types], pa.DataType]


def has_order(dtype: pa.DataType) -> bool:
    """Whether values of the type have an order: numbers, text, bytes, booleans, dates and times.

    >>> has_order(pa.string()), has_order(pa.list_(pa.int64()))
    (True, False)
    """
    return bool(
        is_numeric(dtype)
        or is_string(dtype)
        or pa.types.is_binary(dtype)
        or pa.types.is_boolean(dtype)
        or is_temporal(dtype)
    )


def _sum_type(types: Types) -> pa.DataType:
    dtype = types[0]
    if is_integer(dtype) or pa.types.is_boolean(dtype):
        return INT64
    if is_decimal(dtype):
        return pa.decimal128(MAX_DECIMAL_PRECISION, dtype.scale)
    if is_float(dtype):
        return FLOAT64
    raise refuse("sum", types, "numbers or booleans")


def _floats(name: str, *, booleans: bool = False, numbers: int = 1) -> ResultOf:
    """The result is a float; the first `numbers` arguments are numbers."""

    def result(types: Types) -> pa.DataType:
        for dtype in types[:numbers]:
            if not (is_numeric(dtype) or (booleans and pa.types.is_boolean(dtype))):
                raise refuse(name, types, "numbers or booleans" if booleans else "numbers")
        if len(types) > numbers and not is_numeric(types[numbers]):
            raise refuse(name, types, "numbers and a fraction between 0 and 1")
        return FLOAT64

    return result


def _same(name: str, *, ordered: int | None = None) -> ResultOf:
    """The first argument's type; the argument at `ordered` has an order."""

    def result(types: Types) -> pa.DataType:
        if ordered is not None and not has_order(types[ordered]):
            raise refuse(name, types, "values with an order")
        return types[0]

    return result


def _discrete_quantile_type(types: Types) -> pa.DataType:
    if not (has_order(types[0]) and is_numeric(types[1])):
        raise refuse("quantile_discrete", types, "values with an order and a fraction")
    return types[0]


def _nth_type(types: Types) -> pa.DataType:
    if not is_integer(types[1]):
        raise refuse("nth", types, "values and an integer")
    return types[0]


def _booleans(name: str) -> ResultOf:
    def result(types: Types) -> pa.DataType:
        if not pa.types.is_boolean(types[0]):
            raise refuse(name, types, "booleans")
        return BOOL

    return result


def _integers(name: str) -> ResultOf:
    def result(types: Types) -> pa.DataType:
        if not is_integer(types[0]):
            raise refuse(name, types, "integers")
        return types[0]

    return result


def _distinct_count_type(types: Types) -> pa.DataType:
    if not (has_order(types[0]) or pa.types.is_null(types[0])):
        raise refuse("n_unique", types, "values that are not nested")
    return INT64


def _join_type(types: Types) -> pa.DataType:
    if not (is_string(types[0]) and is_string(types[1])):
        raise refuse("join_strings", types, "strings and a separator")
    return STRING


def _list_type(types: Types) -> pa.DataType:
    if is_object(types[0]):
        raise refuse("list", types, "values with an Arrow type")
    return pa.list_(types[0])


def _plain(accumulator: Callable[[], Any]) -> Callable[[pa.DataType], Any]:
    """A factory that has no use for the result's type."""
    return lambda dtype: accumulator()


def _aggregate(
    name: str,
    arity: int,
    result: ResultOf,
    accumulator: Callable[[], Any],
    semantics: str,
    *examples: tuple[tuple[Any, ...], Any],
    constant: tuple[int, ...] = (),
    nulls: Nulls = Nulls.CALLED,
    ordered: bool = False,
) -> Function:
    return Function(
        name=name,
        kind=Kind.AGGREGATE,
        arity=(arity, arity),
        result=result,
        semantics=semantics,
        reference=_plain(accumulator),
        nulls=nulls,
        constant=constant,
        examples=examples,
        ordered=ordered,
    )


# An example of an aggregate shows one list per argument, as the columns of a group; an argument
# that is constant is shown bare.
ROWS: tuple[Function, ...] = (
    Function(
        name="sum",
        kind=Kind.AGGREGATE,
        arity=(1, 1),
        result=_sum_type,
        semantics=(
            "The sum; null for no values. Integers and booleans give int64, decimals "
            "decimal(38, their scale), floats float64. A sum that does not fit fails the run; "
            "one of decimals may fail if the sum of some of its rows does not fit."
        ),
        reference=sum_of,
        nulls=Nulls.CALLED,
        examples=(
            (([1, None, 2],), 3),
            (([True, True, False],), 2),
            (([None, None],), None),
            (([Decimal("0.10"), Decimal("0.20")],), Decimal("0.30")),
            (([1.5, float("inf")],), float("inf")),
        ),
    ),
    _aggregate(
        "mean",
        1,
        _floats("mean", booleans=True),
        Mean,
        "The arithmetic mean as float64. Integers and decimals are added exactly, and integers "
        "cannot overflow; decimals fail as in sum.",
        (([1, 2, None],), 1.5),
        (([2**63 - 1, 2**63 - 1],), float(2**63 - 1)),
        (([None],), None),
    ),
    _aggregate(
        "product",
        1,
        _floats("product"),
        Product,
        "The product as float64.",
        (([2, None, 3],), 6.0),
        (([None],), None),
    ),
    _aggregate(
        "min",
        1,
        _same("min", ordered=0),
        Minimum,
        "The least value. NaN is greater than any number, so it is the least only of NaNs. "
        "Strings compare by code point, false is less than true.",
        (([3, None, 1],), 1),
        (([float("nan"), 1.0],), 1.0),
        ((["é", "z"],), "z"),
    ),
    _aggregate(
        "max",
        1,
        _same("max", ordered=0),
        Maximum,
        "The greatest value. NaN is greater than any number. Strings compare by code point.",
        (([3, None, 1],), 3),
        (([float("nan"), 1.0],), float("nan")),
        (([date(2024, 1, 31), date(2024, 2, 1)],), date(2024, 2, 1)),
    ),
    _aggregate(
        "min_by",
        2,
        _same("min_by", ordered=1),
        MinimumBy,
        "The first argument, null or not, in a row with the least second argument (any of them, "
        "if several). Rows whose second argument is null are left out.",
        ((["a", "b", "c"], [2, 1, None]), "b"),
        (([None, 5], [1, 2]), None),
    ),
    _aggregate(
        "max_by",
        2,
        _same("max_by", ordered=1),
        MaximumBy,
        "The first argument, null or not, in a row with the greatest second argument (any of "
        "them, if several). Rows whose second argument is null are left out.",
        ((["a", "b", "c"], [2, 1, None]), "a"),
        ((["a", "b"], [float("nan"), 1.0]), "a"),
    ),
    _aggregate(
        "count",
        1,
        lambda types: INT64,
        Count,
        "The number of values that are not null; 0 for none.",
        (([1, None, 1],), 2),
        (([None],), 0),
        nulls=Nulls.NEVER,
    ),
    _aggregate(
        "len",
        0,
        lambda types: INT64,
        CountRows,
        "The number of rows; 0 for none.",
        nulls=Nulls.NEVER,
    ),
    _aggregate(
        "n_unique",
        1,
        _distinct_count_type,
        DistinctCount,
        "The number of different values that are not null, as SQL's count(distinct x). NaN "
        "equals NaN, and -0.0 equals 0.0.",
        (([1, None, 1, 2],), 2),
        (([0.0, -0.0, float("nan"), float("nan")],), 2),
        nulls=Nulls.NEVER,
    ),
    _aggregate(
        "any_value",
        1,
        _same("any_value"),
        FirstNonNull,
        "Any of the values that are not null; engines may take different ones.",
        (([None, 7, 7],), 7),
    ),
    _aggregate(
        "first",
        1,
        _same("first"),
        First,
        "The value of the first row, null or not. Over a window: of the frame's first row.",
        (([3, None],), 3),
        (([None, 3],), None),
        ordered=True,
    ),
    _aggregate(
        "last",
        1,
        _same("last"),
        Last,
        "The value of the last row, null or not. Over a window: of the frame's last row.",
        (([3, None],), None),
        (([None, 3],), 3),
        ordered=True,
    ),
    _aggregate(
        "first_non_null",
        1,
        _same("first_non_null"),
        FirstNonNull,
        "The first value that is not null.",
        (([None, 3, 4],), 3),
        ordered=True,
    ),
    _aggregate(
        "last_non_null",
        1,
        _same("last_non_null"),
        LastNonNull,
        "The last value that is not null. Over a running frame it fills gaps forward.",
        (([3, 4, None],), 4),
        ordered=True,
    ),
    _aggregate(
        "nth",
        2,
        _nth_type,
        Nth,
        "The value of the n-th row, null or not; n is a constant counted from 1. Null if there "
        "are fewer rows.",
        (([3, None, 5], 3), 5),
        (([3], 2), None),
        constant=(1,),
        ordered=True,
    ),
    _aggregate(
        "median",
        1,
        _floats("median"),
        Quantile,
        "quantile(x, 0.5).",
        (([4, 1, None, 2],), 2.0),
        (([1, 2],), 1.5),
    ),
    _aggregate(
        "quantile",
        2,
        _floats("quantile", numbers=1),
        Quantile,
        "The value at position (n - 1) * q of the n sorted values, interpolated linearly between "
        "its neighbours; q is a constant from 0 to 1. Values are taken as float64 and NaN sorts "
        "last.",
        (([10, 20, 30], 0.25), 15.0),
        (([1.0, float("nan")], 0.0), 1.0),
        constant=(1,),
    ),
    _aggregate(
        "quantile_discrete",
        2,
        _discrete_quantile_type,
        DiscreteQuantile,
        "The least value such that at least the fraction q of the values is at or below it; q is "
        "a constant from 0 to 1.",
        (([10, 20, 30, 40], 0.5), 20),
        ((["b", "a", None], 1.0), "b"),
        constant=(1,),
    ),
    _aggregate(
        "var_sample",
        1,
        _floats("var_sample"),
        lambda: Moments(population=False, root=False),
        "The sample variance (divisor n - 1); null for fewer than two values, NaN if one of two "
        "or more is not finite.",
        (([1, 3, None],), 2.0),
        (([1],), None),
    ),
    _aggregate(
        "std_sample",
        1,
        _floats("std_sample"),
        lambda: Moments(population=False, root=True),
        "The square root of the sample variance.",
        (([1, 3, 5],), 2.0),
    ),
    _aggregate(
        "var_population",
        1,
        _floats("var_population"),
        lambda: Moments(population=True, root=False),
        "The variance with divisor n; null for no values, 0.0 for a single one, else NaN if one is "
        "not finite.",
        (([1, 3],), 1.0),
        (([1],), 0.0),
    ),
    _aggregate(
        "std_population",
        1,
        _floats("std_population"),
        lambda: Moments(population=True, root=True),
        "The square root of the variance with divisor n.",
        (([1, 5],), 2.0),
    ),
    _aggregate(
        "covariance_sample",
        2,
        _floats("covariance_sample", numbers=2),
        lambda: Comoments("sample"),
        "The sample covariance (divisor n - 1) of the pairs without nulls; null for fewer than "
        "two, NaN if a number is not finite.",
        (([1, 3, None], [2, 6, 9]), 4.0),
    ),
    _aggregate(
        "covariance_population",
        2,
        _floats("covariance_population", numbers=2),
        lambda: Comoments("population"),
        "The covariance with divisor n of the pairs without nulls.",
        (([1, 3], [2, 6]), 2.0),
    ),
    _aggregate(
        "correlation",
        2,
        _floats("correlation", numbers=2),
        lambda: Comoments("correlation"),
        "Pearson's correlation of the pairs without nulls; null for fewer than two pairs or if "
        "either side is constant, else NaN if a number is not finite.",
        (([1, 2, 3], [2, 4, 6]), 1.0),
        (([1, 2], [3, 3]), None),
    ),
    _aggregate(
        "any",
        1,
        _booleans("any"),
        lambda: Fold(operator.or_),
        "Whether any value is true, nulls left out; null if all are null.",
        (([False, None, True],), True),
        (([None],), None),
    ),
    _aggregate(
        "all",
        1,
        _booleans("all"),
        lambda: Fold(operator.and_),
        "Whether all values are true, nulls left out; null if all are null.",
        (([True, None],), True),
        (([True, False],), False),
    ),
    _aggregate(
        "bit_and",
        1,
        _integers("bit_and"),
        lambda: Fold(operator.and_),
        "The bitwise and of integers, of their type.",
        (([6, None, 3],), 2),
    ),
    _aggregate(
        "bit_or",
        1,
        _integers("bit_or"),
        lambda: Fold(operator.or_),
        "The bitwise or of integers, of their type.",
        (([6, None, 3],), 7),
    ),
    _aggregate(
        "bit_xor",
        1,
        _integers("bit_xor"),
        lambda: Fold(operator.xor),
        "The bitwise exclusive or of integers, of their type.",
        (([6, None, 3],), 5),
    ),
    _aggregate(
        "join_strings",
        2,
        _join_type,
        JoinedStrings,
        "The strings that are not null, joined by a constant separator; null if there are none.",
        ((["a", None, "b"], ", "), "a, b"),
        (([None], ","), None),
        constant=(1,),
        ordered=True,
    ),
    _aggregate(
        "list",
        1,
        _list_type,
        Collected,
        "The values as a list, nulls included; null for no rows.",
        (([1, None, 1],), [1, None, 1]),
        ordered=True,
    ),
)

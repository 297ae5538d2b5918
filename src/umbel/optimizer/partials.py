"""Aggregates in two steps: of parts of the rows first, then of what the parts gave.

What gives exactly the same in two steps is split wherever that is of use: sums of integers and
decimals, counts, extremes, conditions, and means as a sum and a count. Sums of floats depend on the
order of additions, and variances are sums of floats: they are split only where rows may not come
together, and then may differ in their last digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.plan.expressions import AggregateCall, Call, Case, Cast, Column, Expression, Literal
from umbel.plan.types import FLOAT64, INT64, is_float
from umbel.plan.typing import infer_type

#: Aggregates whose result over all rows is an aggregate of the results over parts of them.
MERGES = {
    "len": "sum",
    "count": "sum",
    "sum": "sum",
    "min": "min",
    "max": "max",
    "any": "any",
    "all": "all",
    "bit_and": "bit_and",
    "bit_or": "bit_or",
    "bit_xor": "bit_xor",
}
#: Aggregates that do not see how often a row comes.
UNCOUNTED = frozenset({"min", "max", "any", "all", "bit_and", "bit_or"})


@dataclass(frozen=True)
class Split:
    """One aggregate in two steps.

    Attributes:
        partials: of a part of the rows, by the name of the column that holds it.
        merged: of the parts' results, by the same names.
        result: the aggregate's value, over the merged columns.
    """

    partials: tuple[tuple[str, AggregateCall], ...]
    merged: tuple[tuple[str, AggregateCall], ...]
    result: Expression


def split(
    call: AggregateCall, schema: pa.Schema, fresh: Callable[[], str], *, exactly: bool = True
) -> Split | None:
    """Split an aggregate; None if that gives something else, or not for sure the same.

    Args:
        call: the aggregate. Whether sums fit is for the caller to find out.
        schema: the columns that it reads.
        fresh: gives names for columns.
        exactly: refuse what may differ in the last digits.

    >>> names = iter(["s", "n"])
    >>> integers = pa.schema([("x", pa.int32())])
    >>> found = split(AggregateCall("mean", (Column("x"),)), integers, lambda: next(names))
    >>> print(*(f"{name} = {call}" for name, call in found.partials), sep=", ")
    s = sum(x), n = count(x)
    >>> str(found.result)
    'divide(cast(s as float64), cast(coalesce(n, 0) as float64))'
    """
    if call.distinct or call.order_by:
        return None
    if call.function == "mean":
        total = split(replace(call, function="sum"), schema, fresh, exactly=exactly)
        count = split(replace(call, function="count"), schema, fresh)
        if total is None or count is None:
            return None
        parts = (Cast(total.result, FLOAT64), Cast(count.result, FLOAT64))
        return Split(
            total.partials + count.partials, total.merged + count.merged, Call("divide", parts)
        )
    if call.function in _MOMENTS and not exactly:
        return _moments(call, fresh)
    if call.function not in MERGES:
        return None
    if exactly and call.function == "sum" and is_float(infer_type(call, schema)):
        return None
    name = fresh()
    result: Expression = Column(name)
    if call.function in ("len", "count"):  # of no parts at all, too
        result = Call("coalesce", (result, Literal(0, INT64)))
    merged = AggregateCall(MERGES[call.function], (Column(name),))
    return Split(((name, call),), ((name, merged),), result)


#: Variances and their roots; by how much the number of values is greater than the divisor.
_MOMENTS = {"var_sample": 1, "std_sample": 1, "var_population": 0, "std_population": 0}


def _moments(call: AggregateCall, fresh: Callable[[], str]) -> Split:
    """Split a variance into the parts' counts, sums and variances.

    Source: Chan, Golub and LeVeque, "Algorithms for computing the sample variance", The American
    Statistician 37, 1983 (how parts' moments add up).
    """
    value = Cast(call.arguments[0], FLOAT64)
    n, s, v, between = (fresh() for _ in range(4))
    parts = (
        (n, replace(call, function="count")),
        (s, replace(call, function="sum", arguments=(value,))),
        (v, replace(call, function="var_population", arguments=(value,))),
    )
    count = Cast(Column(n), FLOAT64)
    some = Call("greater", (Column(n), Literal(0, INT64)))
    square = Case(((some, Call("divide", (_times(Column(s), Column(s)), count))),))
    merged = (
        (n, AggregateCall("sum", (Column(n),))),
        (s, AggregateCall("sum", (Column(s),))),
        (v, AggregateCall("sum", (_times(count, Column(v)),))),
        (between, AggregateCall("sum", (square,))),
    )
    whole = Call("divide", (_times(Column(s), Column(s)), count))
    found = Call("add", (Column(v), Call("subtract", (Column(between), whole))))
    zero = Literal(0.0, FLOAT64)
    squares = Case(((Call("less", (found, zero)), zero),), found)
    less = _MOMENTS[call.function]
    divisor = Call("subtract", (count, Literal(float(less), FLOAT64)))
    result: Expression = Call("divide", (squares, divisor))
    if call.function.startswith("std"):
        result = Call("sqrt", (result,))
    enough = Call("greater", (Column(n), Literal(less, INT64)))
    return Split(parts, merged, Case(((enough, result),)))


def _times(left: Expression, right: Expression) -> Call:
    return Call("multiply", (left, right))


__all__ = ["MERGES", "UNCOUNTED", "Split", "split"]

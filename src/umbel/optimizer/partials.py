"""Aggregates in two steps: of parts of the rows first, then of what the parts gave.

Only what gives exactly the same in two steps is split: sums of integers and decimals, counts,
extremes, conditions, and means as a sum and a count. Sums of floats depend on the order of
additions, and are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pyarrow as pa

from umbel.plan.expressions import AggregateCall, Call, Cast, Column, Expression, Literal
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


def split(call: AggregateCall, schema: pa.Schema, fresh: Callable[[], str]) -> Split | None:
    """Split an aggregate; None if that gives something else, or not for sure the same.

    Args:
        call: the aggregate. Whether sums fit is for the caller to find out.
        schema: the columns that it reads.
        fresh: gives names for columns.

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
        total = split(replace(call, function="sum"), schema, fresh)
        count = split(replace(call, function="count"), schema, fresh)
        if total is None or count is None:
            return None
        parts = (Cast(total.result, FLOAT64), Cast(count.result, FLOAT64))
        return Split(
            total.partials + count.partials, total.merged + count.merged, Call("divide", parts)
        )
    if call.function not in MERGES:
        return None
    if call.function == "sum" and is_float(infer_type(call, schema)):
        return None
    name = fresh()
    result: Expression = Column(name)
    if call.function in ("len", "count"):  # of no parts at all, too
        result = Call("coalesce", (result, Literal(0, INT64)))
    merged = AggregateCall(MERGES[call.function], (Column(name),))
    return Split(((name, call),), ((name, merged),), result)


__all__ = ["MERGES", "UNCOUNTED", "Split", "split"]

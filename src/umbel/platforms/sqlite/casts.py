"""Casts on SQLite: those that mean the same there; the optimizer places the others elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.casting import integer_bounds
from umbel.plan.types import is_integer, type_name

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


def refuse_cast(source: pa.DataType, target: pa.DataType) -> str | None:
    """Say why SQLite cannot make a cast as the plan means it; None if it can."""
    if source == target:
        return None
    if source == pa.bool_() and is_integer(target):
        return None
    if is_integer(source):
        if target == pa.float64() or target == pa.string():
            return None
        if is_integer(target):
            least, most = integer_bounds(source)
            low, high = integer_bounds(target)
            if low <= least and most <= high:
                return None
    return f"SQLite casts {type_name(source)} to {type_name(target)} by rules of its own"


def cast(
    operand: exp.Expr, source: pa.DataType, target: pa.DataType, *, strict: bool = True
) -> exp.Expr:
    """Build the expression that converts between types; none of those let pass can fail.

    >>> from umbel.sql.expressions import column
    >>> cast(column("a"), pa.int64(), pa.float64()).sql("sqlite")
    'CAST("a" AS REAL)'
    """
    if source != target and target == pa.float64():
        return exp.Cast(this=operand, to=exp.DataType.build("DOUBLE"))
    if source != target and target == pa.string():
        return exp.Cast(this=operand, to=exp.DataType.build("TEXT"))
    return operand

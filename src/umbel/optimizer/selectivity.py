"""Selectivity: the fraction of rows that a condition keeps, by bounds, distinct values and nulls.

Where nothing is known of the columns, textbook defaults stand (Selinger et al., "Access path
selection in a relational database management system", SIGMOD 1979).
"""

from __future__ import annotations

from umbel.optimizer.estimates import ColumnEstimate, Estimate, position
from umbel.plan.expressions import Call, Column, Expression, Literal

_EQUAL, _RANGE, _LIKE, _DEFAULT = 0.1, 1 / 3, 0.1, 0.5


def selectivity(predicate: Expression, below: Estimate) -> float:
    """The fraction of rows for which a predicate is reckoned to be true."""
    match predicate:
        case Literal(value):
            return 1.0 if value else 0.0
        case Call("and", arguments):
            share = 1.0
            for argument in arguments:
                share *= selectivity(argument, below)
            return share
        case Call("or", arguments):
            miss = 1.0
            for argument in arguments:
                miss *= 1 - selectivity(argument, below)
            return 1 - miss
        case Call("not", (argument,)):
            return 1 - selectivity(argument, below)
        case Call("equal", (Column(name), Literal()) | (Literal(), Column(name))):
            distinct = below.columns.get(name, ColumnEstimate()).distinct
            return 1 / distinct if distinct else _EQUAL
        case Call("not_equal"):
            return 0.9
        case Call("is_null", (Column(name),)):
            nulls = below.columns.get(name, ColumnEstimate()).nulls
            return nulls if nulls is not None else 0.05
        case Call("is_not_null", (Column(name),)):
            nulls = below.columns.get(name, ColumnEstimate()).nulls
            return 1 - nulls if nulls is not None else 0.95
        case Call("is_in", (Column(name), *items)):
            distinct = below.columns.get(name, ColumnEstimate()).distinct
            return min(1.0, len(items) / distinct) if distinct else min(0.5, _EQUAL * len(items))
        case Call(("less" | "less_equal" | "greater" | "greater_equal") as name, arguments):
            return _range_share(name, arguments, below)
        case Call("between", (Column() as column, Literal() as low, Literal() as high)):
            above = _range_share("greater_equal", (column, low), below)
            under = _range_share("less_equal", (column, high), below)
            return max(0.01, above + under - 1) if above + under > 1 else _RANGE / 3
        case Call("like" | "ilike" | "contains" | "starts_with" | "ends_with" | "regexp_matches"):
            return _LIKE
    return _DEFAULT


_MIRROR: dict[str, str] = {
    "less": "greater",
    "less_equal": "greater_equal",
    "greater": "less",
    "greater_equal": "less_equal",
}


def _range_share(name: str, arguments: tuple[Expression, ...], below: Estimate) -> float:
    left, right = arguments
    if isinstance(left, Literal):
        left, right, name = right, left, _MIRROR[name]
    if not (isinstance(left, Column) and isinstance(right, Literal)):
        return _RANGE
    column = below.columns.get(left.name, ColumnEstimate())
    share = position(right.value, column.low, column.high)
    if share is None:
        return _RANGE
    return min(1.0, max(0.001, share if name.startswith("less") else 1 - share))


__all__ = ["selectivity"]

"""Arithmetic on floats as IEEE 754 has it, on a server that fails where a result leaves its range.

PostgreSQL fails if a sum, product or quotient of finite numbers is infinite, if a product or
quotient of others is zero, and on a division by zero. Where the operands cannot come near (they
were integers or decimals) the operators stand alone; elsewhere a cheap test of both operands comes
first, and for the rest the answer is found by calculating with scaled numbers: scaling by a power
of two is exact, so that the scaled result tells whether the true one leaves the range.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Cast, Expression, Literal
from umbel.plan.types import is_float
from umbel.platforms.postgres.snippets import once, snippet

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

_HALF, _TOP = repr(0.5), repr(2.0**1023)
_UP, _DOWN = repr(2.0**600), repr(2.0**-600)


def _power(exponent: int) -> str:
    return repr(2.0**exponent)


def tame(node: Expression, dtype: pa.DataType) -> bool:
    """Whether a number is zero or within 1e-150 and 1e150, whatever the data.

    >>> tame(Literal(2.5, pa.float64()), pa.float64())
    True
    """
    if not is_float(dtype):
        return True
    match node:
        case Literal(value=value):
            return value is None or value == 0 or 1e-150 < abs(value) < 1e150
        case Cast(operand=Literal(value=value)):
            return isinstance(value, int) or value is None
    return dtype == pa.float32()


def add(left: exp.Expr, right: exp.Expr, *, tame: bool) -> exp.Expr:
    """The sum of two DOUBLE PRECISION."""
    if tame:
        return snippet("x + y", x=left, y=right)
    return once(
        f"""CASE WHEN x IS NULL OR y IS NULL THEN NULL WHEN abs(x) <= 8e307 AND abs(y) <= 8e307 OR (x < 0) <> (y < 0)
            OR least(abs(x), abs(y)) < 1.0 OR greatest(abs(x), abs(y)) >= 'Infinity' THEN x + y
        WHEN abs(x * {_HALF} + y * {_HALF}) < {_TOP} THEN x + y
        WHEN x > 0 THEN CAST('Infinity' AS DOUBLE PRECISION)
        WHEN x < 0 THEN CAST('-Infinity' AS DOUBLE PRECISION) END""",
        x=left,
        y=right,
    )


def multiply(left: exp.Expr, right: exp.Expr, *, tame: bool) -> exp.Expr:
    """The product of two DOUBLE PRECISION."""
    if tame:
        return snippet("x * y", x=left, y=right)
    big, small = "greatest(abs(x), abs(y))", "least(abs(x), abs(y))"
    infinite, zero = _directed("Infinity"), _directed("0")
    return once(
        f"""CASE WHEN abs(x) < 1e150 AND abs(y) < 1e150 AND (abs(x) > 1e-150 OR x = 0)
            AND (abs(y) > 1e-150 OR y = 0) THEN x * y
        WHEN x IS NULL OR y IS NULL THEN NULL
        WHEN x = 0 OR y = 0 OR {big} >= 'Infinity' THEN x * y
        WHEN {small} > {_power(512)} THEN {infinite}
        WHEN {big} < {_power(-538)} THEN {zero}
        WHEN {small} > {_power(-500)} AND {big} > {_power(500)} THEN
            CASE WHEN ({big} * {_DOWN}) * {small} >= {_power(424)} THEN {infinite} ELSE x * y END
        WHEN {small} < {_power(-400)} AND {big} < {_power(0)} THEN
            CASE WHEN ({small} * {_UP}) * {big} <= {_power(-475)} THEN {zero} ELSE x * y END
        ELSE x * y END""",
        x=left,
        y=right,
    )


def divide(left: exp.Expr, right: exp.Expr, *, tame: bool) -> exp.Expr:
    """The quotient of two DOUBLE PRECISION."""
    by_zero = """CASE WHEN x = 0 OR x = 'NaN' THEN CAST('NaN' AS DOUBLE PRECISION)
        WHEN (x < 0) = (CAST(y AS TEXT) = '-0') THEN CAST('Infinity' AS DOUBLE PRECISION)
        ELSE CAST('-Infinity' AS DOUBLE PRECISION) END"""
    if tame:
        return once(
            f"CASE WHEN x IS NULL THEN NULL WHEN y = 0 THEN {by_zero} ELSE x / y END",
            x=left,
            y=right,
        )
    infinite, zero = _directed("Infinity"), _directed("0")
    return once(
        f"""CASE WHEN abs(x) < 1e150 AND abs(y) < 1e150 AND (abs(x) > 1e-150 OR x = 0)
            AND abs(y) > 1e-150 THEN x / y
        WHEN x IS NULL OR y IS NULL THEN NULL
        WHEN y = 0 THEN {by_zero}
        WHEN x = 0 OR greatest(abs(x), abs(y)) >= 'Infinity' THEN x / y
        WHEN abs(y) < 1.0 AND abs(x) > {_power(-100)} THEN
            CASE WHEN abs(y) < {_power(-500)} AND abs(x) > {_power(525)} THEN {infinite}
            WHEN (abs(x) * {_DOWN}) / abs(y) >= {_power(424)} THEN {infinite} ELSE x / y END
        WHEN abs(y) > 1.0 AND abs(x) < 1.0 THEN
            CASE WHEN abs(y) > {_power(500)} AND abs(x) < {_power(-576)} THEN {zero}
            WHEN (abs(x) * {_UP}) / abs(y) <= {_power(-475)} THEN {zero} ELSE x / y END
        ELSE x / y END""",
        x=left,
        y=right,
    )


def _directed(value: str) -> str:
    """A number with the sign of a product or quotient of `x` and `y`."""
    return f"""CASE WHEN (x < 0) = (y < 0) THEN CAST('{value}' AS DOUBLE PRECISION)
        ELSE CAST('-{value}' AS DOUBLE PRECISION) END"""


__all__ = ["add", "divide", "multiply", "tame"]

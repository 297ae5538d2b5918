"""What DataFusion alone writes in its own way."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.types import is_float
from umbel.platforms.datafusion.types import convert, literal
from umbel.sql.expressions import function
from umbel.sql.snippets import snippet as snippet_of

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: DataFusion reads PostgreSQL's syntax.
SYNTAX = "postgres"

snippet = partial(snippet_of, SYNTAX)


def key(node: exp.Expr, dtype: pa.DataType) -> exp.Expr:
    """Give values that are equal one form.

    DataFusion takes a NaN with a sign, which processors make of 0/0, for the least number of all
    and different from other NaNs; and it sorts -0.0 before 0.0.

    >>> key(exp.column("a"), pa.int64()).sql()
    'a'
    """
    if not is_float(dtype):
        return node
    zero, nan = literal(0.0, dtype), literal(float("nan"), dtype)
    return function(
        "nanvl", exp.Paren(this=exp.Add(this=exp.Paren(this=node), expression=zero)), nan
    )


def double(value: float) -> exp.Expr:
    """A constant of type float64."""
    return literal(value, pa.float64())


def fail(message: str, dtype: pa.DataType) -> exp.Expr:
    """Fail the run when this is evaluated for a row, and not before."""
    node = function(FAILURE, exp.Literal.string(message))
    return node if dtype == pa.int64() else convert(node, dtype)


#: A function that fails; see `umbel.platforms.datafusion.udfs`.
FAILURE = "umbel_fail"

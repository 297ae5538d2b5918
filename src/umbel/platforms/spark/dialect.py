"""What Spark says of its expressions to the SQL compiler, and how statements are written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Forms, TypedCall
from umbel.platforms.spark import casts, types
from umbel.platforms.spark.functions import forms
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: Window functions for which Spark wants an order, if only a constant one.
_RANKING = (
    "row_number", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "lag", "lead",
)  # fmt: skip


class SparkDialect:
    """Implements `umbel.sql.expressions.Dialect`.

    >>> DIALECT.literal(1, pa.int64()).sql("spark")
    'CAST(1 AS BIGINT)'
    """

    @property
    def forms(self) -> Forms[exp.Expr]:
        """Spark's table of functions."""
        return forms()

    def cast(
        self, operand: exp.Expr, source: pa.DataType, target: pa.DataType, *, strict: bool
    ) -> exp.Expr:
        """Convert between types as the plan means it."""
        return casts.cast(operand, source, target, strict=strict)

    def literal(self, value: Any, dtype: pa.DataType) -> exp.Expr:
        """Write a constant of exactly this type."""
        return types.literal(value, dtype)

    def reference(self, call: TypedCall[exp.Expr]) -> exp.Expr:
        """Fail: what has no form in SQL runs in Python as a whole operator."""
        raise TypeError(f"no SQL form of {call.row.name} on Spark")


DIALECT = SparkDialect()


def statement(query: exp.Select) -> str:
    """Write a statement of the shared compiler as Spark takes it.

    >>> from sqlglot import parse_one
    >>> statement(parse_one("SELECT rank() OVER (PARTITION BY a) FROM t", dialect="spark"))
    'SELECT RANK() OVER (PARTITION BY a ORDER BY NULL) FROM t'
    """
    for part in query.find_all(exp.CTE):
        part.set("materialized", None)  # what must be computed once is cut off beforehand
    for join in query.find_all(exp.Join):
        if isinstance(join.this, exp.Unnest):
            _explode(join, join.this)
    for window in query.find_all(exp.Window):
        if window.args.get("order") is None and _name(window.this) in _RANKING:
            window.set("order", exp.Order(expressions=[exp.Null()]))
    return query.sql("spark", copy=False)


def _name(call: exp.Expr) -> str:
    if isinstance(call, exp.Anonymous) or not isinstance(call, exp.Func):
        return str(call.name).lower()
    return str(call.sql_name()).lower()


def _explode(join: exp.Join, unnest: exp.Unnest) -> None:
    """Turn a join with a column's items into a lateral call, which may stand between joins."""
    name = "explode_outer" if join.side == "LEFT" else "explode"
    lateral = exp.Lateral(
        this=function(name, *unnest.expressions), alias=unnest.args["alias"].copy()
    )
    join.set("this", lateral)
    join.set("side", None)
    join.set("on", None)
    join.set("kind", "CROSS")

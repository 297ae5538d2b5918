"""What PostgreSQL says of its expressions to the SQL compiler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Forms, TypedCall
from umbel.platforms.postgres import casts, types
from umbel.platforms.postgres.functions import forms
from umbel.platforms.postgres.functions.comparison import ordered

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


class PostgresDialect:
    """Implements `umbel.sql.expressions.Dialect` and `Collating`.

    >>> DIALECT.literal(1, pa.int64()).sql("postgres")
    'CAST(1 AS BIGINT)'
    """

    @property
    def forms(self) -> Forms[exp.Expr]:
        """PostgreSQL's table of functions."""
        return forms()

    def cast(
        self, operand: exp.Expr, source: pa.DataType, target: pa.DataType, *, strict: bool
    ) -> exp.Expr:
        """Convert between types as the plan means it."""
        return casts.cast(operand, source, target, strict=strict)

    def literal(self, value: Any, dtype: pa.DataType) -> exp.Expr:
        """Write a constant of exactly this type."""
        return types.literal(value, dtype)

    def sort_key(self, node: exp.Expr, dtype: pa.DataType) -> exp.Expr:
        """Sort texts by code points, whatever the database's collation."""
        return ordered(node, dtype)

    def reference(self, call: TypedCall[exp.Expr]) -> exp.Expr:
        """No Python runs in a server: forms refuse what they would need it for."""
        raise TypeError(f"PostgreSQL runs no Python for {call.row.name}")


DIALECT = PostgresDialect()

"""What DuckDB says of its expressions to the SQL compiler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Forms, TypedCall
from umbel.platforms.duckdb import casts, types
from umbel.platforms.duckdb.functions import forms
from umbel.sql.python_functions import reference

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


class DuckDBDialect:
    """Implements `umbel.sql.expressions.Dialect` and `Unnesting`.

    >>> DIALECT.literal(1, pa.int64()).sql("duckdb")
    'CAST(1 AS BIGINT)'
    """

    #: Of EXISTS over what two rows differ by, DuckDB 2.0 makes a join for each distinct outer row.
    joins_semi = True

    @property
    def forms(self) -> Forms[exp.Expr]:
        """DuckDB's table of functions."""
        return forms()

    def cast(
        self, operand: exp.Expr, source: pa.DataType, target: pa.DataType, *, strict: bool
    ) -> exp.Expr:
        """Convert between types as the plan means it."""
        return casts.cast(operand, source, target, strict=strict)

    def literal(self, value: Any, dtype: pa.DataType) -> exp.Expr:
        """Write a constant of exactly this type."""
        return types.literal(value, dtype)

    def items(self, node: exp.Expr, dtype: pa.DataType, *, outer: bool) -> exp.Expr:
        """Take a list apart in SELECT: as a join it costs an eighth more, for the list is kept."""
        if outer:
            nothing = types.literal([None], dtype)
            empty = exp.Length(this=node.copy()) > exp.Literal.number(0)
            node = exp.Case().when(empty, node, copy=False).else_(nothing, copy=False)
        return exp.Unnest(expressions=[node])

    def reference(self, call: TypedCall[exp.Expr]) -> exp.Expr:
        """Call the catalogue's Python reference of a function from inside DuckDB."""
        return reference(call)


DIALECT = DuckDBDialect()

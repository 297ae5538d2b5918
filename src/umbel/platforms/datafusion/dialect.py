"""What DataFusion says of its expressions to the SQL compiler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Forms, TypedCall
from umbel.platforms.datafusion import casts, operators, types
from umbel.platforms.datafusion.functions import forms
from umbel.sql.python_functions import reference

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


class DataFusionDialect:
    """Implements `Dialect`, `Collating`, `Keying` and `Unnesting`.

    >>> DIALECT.literal(1, pa.int32()).sql("postgres")
    "ARROW_CAST('1', 'Int32')"
    """

    #: It does not know a Python function in an ORDER BY again, nor that its rows are so ordered.
    sorts_columns = True

    @property
    def forms(self) -> Forms[exp.Expr]:
        """DataFusion's table of functions."""
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
        """Sort NaN last, and the zeros as equals."""
        return operators.key(node, dtype)

    def key(self, node: exp.Expr, dtype: pa.DataType) -> exp.Expr:
        """Make one of all NaNs, and of the zeros."""
        return operators.key(node, dtype)

    def items(self, node: exp.Expr, dtype: pa.DataType, *, outer: bool) -> exp.Expr:
        """Take a list apart in SELECT: one row per item."""
        if outer:
            nothing = types.convert(
                exp.Anonymous(this="make_array", expressions=[exp.null()]), dtype
            )
            empty = operators.snippet("cardinality(x) > 0", x=node.copy())
            node = exp.Case().when(empty, node, copy=False).else_(nothing, copy=False)
        return exp.Anonymous(this="unnest", expressions=[node])

    def reference(self, call: TypedCall[exp.Expr]) -> exp.Expr:
        """Call the catalogue's Python reference of a function from inside DataFusion."""
        return reference(call)


DIALECT = DataFusionDialect()

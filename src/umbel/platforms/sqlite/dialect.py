"""What SQLite says of its expressions to the SQL compiler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Forms, TypedCall
from umbel.platforms.sqlite import casts, types
from umbel.platforms.sqlite.functions import forms

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


class SQLiteDialect:
    """Implements `umbel.sql.expressions.Dialect`.

    >>> DIALECT.literal(True, pa.bool_()).sql("sqlite")
    '1'
    """

    @property
    def forms(self) -> Forms[exp.Expr]:
        """SQLite's table of functions."""
        return forms()

    def cast(
        self, operand: exp.Expr, source: pa.DataType, target: pa.DataType, *, strict: bool
    ) -> exp.Expr:
        """Convert between types as the plan means it."""
        return casts.cast(operand, source, target, strict=strict)

    def literal(self, value: Any, dtype: pa.DataType) -> exp.Expr:
        """Write a constant."""
        return types.literal(value, dtype)

    def reference(self, call: TypedCall[exp.Expr]) -> NoReturn:
        """No form calls the reference from inside SQLite."""
        raise TypeError(f"SQLite runs no Python for {call.row.name}")


DIALECT = SQLiteDialect()

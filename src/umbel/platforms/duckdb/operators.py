"""What DuckDB alone writes in its own way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.lazy import LazyModule
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


def error(message: str) -> exp.Expr:
    """Fail the run."""
    return function("error", exp.Literal.string(message))


def double(value: float) -> exp.Expr:
    """A constant of type DOUBLE."""
    text: Any = exp.Literal.string(repr(value))
    return exp.Cast(this=text, to=exp.DataType.build("DOUBLE"))

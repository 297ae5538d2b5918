"""How forms are written for PostgreSQL: text with names in it, evaluated once, and failing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.platforms.postgres.types import convert, literal, type_text
from umbel.sql import snippets

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

#: Marks the messages of failures that the plan asked for.
FAILURE = "umbel: "

_BOUND = "bound"
#: Aggregates called by name: they must stay in the query that groups.
_AGGREGATES = frozenset(
    {"sum", "avg", "min", "max", "count", "array_agg", "string_agg", "bool_or", "bool_and",
     "bit_and", "bit_or", "bit_xor", "var_samp", "var_pop", "stddev_samp", "stddev_pop",
     "covar_samp", "covar_pop", "corr"}
)  # fmt: skip


def snippet(text: str, **arguments: exp.Expr) -> exp.Expr:
    """Parse SQL and put expressions in the place of the names in it.

    >>> snippet("x || 'b'", x=exp.column("a")).sql("postgres")
    "(a || 'b')"
    """
    return snippets.snippet("postgres", text, **arguments)


def once(text: str, **arguments: exp.Expr) -> exp.Expr:
    """Do as `snippet`, but evaluate each argument once however often its name stands there.

    What is more than a column or a constant gets a name in a subquery, which `OFFSET 0` keeps from
    being dissolved. Aggregates and window functions stay where they are: they belong to the query
    outside, and PostgreSQL computes equal ones once.

    >>> once("CASE WHEN x > 0 THEN x END", x=exp.column("a")).sql("postgres")
    'CASE WHEN a > 0 THEN a END'
    """
    if all(_cheap(node) for node in arguments.values()) or any(map(_grouped, arguments.values())):
        return snippet(text, **arguments)
    bound = {n: node for n, node in arguments.items() if not isinstance(node, exp.Literal)}
    names = {name: exp.column(name, table=_BOUND) for name in bound}
    inner = exp.Select(
        expressions=[node.copy().as_(name) for name, node in bound.items()],
        offset=exp.Offset(expression=exp.Literal.number(0)),
    )
    alias = exp.TableAlias(this=exp.to_identifier(_BOUND))
    body = exp.Select(expressions=[snippet(text, **{**arguments, **names})])
    body.set("from_", exp.From(this=exp.Subquery(this=inner, alias=alias)))
    return exp.Subquery(this=body)


def _cheap(node: exp.Expr) -> bool:
    while isinstance(node, exp.Cast | exp.Paren | exp.Neg):
        node = node.this
    return isinstance(node, exp.Column | exp.Literal | exp.Null | exp.Boolean)


def _grouped(node: exp.Expr) -> bool:
    return any(
        isinstance(part, exp.AggFunc | exp.Window | exp.Filter | exp.WithinGroup)
        or (isinstance(part, exp.Anonymous) and str(part.this).lower() in _AGGREGATES)
        for part in node.walk()
    )


def error(message: str, dtype: pa.DataType, value: exp.Expr | None = None) -> exp.Expr:
    """Fail the run when this is evaluated, and not before.

    PostgreSQL has no function that fails; a cast of text that is no number does. It would cast a
    constant when it plans, even in a branch that is never taken, but not what depends on a clock.

    Args:
        message: what is wrong.
        dtype: the type that the expression would have.
        value: what is shown after the message.
    """
    text = f"{FAILURE}{message}"
    shown = snippet("m || left(CAST(clock_timestamp() AS TEXT), 0)", m=literal(text, pa.string()))
    if value is not None:
        shown = snippet("m || v", m=shown, v=convert(value, "TEXT"))
    failing = convert(shown, "BIGINT")
    if pa.types.is_integer(dtype) or pa.types.is_duration(dtype):
        return convert(failing, type_text(dtype))
    return snippet("CASE WHEN f > 0 THEN v END", f=failing, v=literal(None, dtype))


__all__ = ["FAILURE", "error", "once", "snippet"]

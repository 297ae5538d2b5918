"""SQL operators as trees that stay what they are whatever stands around them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from umbel.lazy import LazyModule

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


@cache
def _atoms() -> tuple[type[exp.Expr], ...]:
    """What binds as tightly as a name, so that it needs no parentheses as an operand."""
    return (
        exp.Anonymous,
        exp.Boolean,
        exp.Case,
        exp.Cast,
        exp.Column,
        exp.Literal,
        exp.Null,
        exp.Paren,
    )


def operand(node: exp.Expr) -> exp.Expr:
    """Put parentheses around a node unless it needs none."""
    return node if isinstance(node, _atoms()) else exp.Paren(this=node)


def binary(operator: type[exp.Binary], left: exp.Expr, right: exp.Expr) -> exp.Expr:
    """Apply an operator to two operands; the result is one operand.

    >>> from umbel.sql.expressions import column
    >>> total = binary(exp.Add, column("a"), column("b"))
    >>> binary(exp.Mod, column("c"), total).sql("duckdb")
    '("c" % ("a" + "b"))'
    """
    return exp.Paren(this=operator(this=operand(left), expression=operand(right)))


def when(condition: exp.Expr, value: exp.Expr, otherwise: exp.Expr) -> exp.Expr:
    """Choose between two values."""
    return exp.Case(ifs=[exp.If(this=condition, true=value)], default=otherwise)


def number(value: int) -> exp.Expr:
    """An integer as SQL writes it, of whatever type the engine gives it."""
    return exp.Literal.number(value) if value >= 0 else exp.Paren(this=exp.Literal.number(value))


def is_null(node: exp.Expr) -> exp.Expr:
    """Whether a value is null."""
    return exp.Paren(this=exp.Is(this=operand(node), expression=exp.Null()))

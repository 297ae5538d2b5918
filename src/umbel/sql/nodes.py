"""SQL operators as trees that stay what they are whatever stands around them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING

from umbel.lazy import LazyModule

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


_NONE: Mapping[str, exp.Expr] = MappingProxyType({})


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


def copied(node: exp.Expr, columns: Mapping[str, exp.Expr] = _NONE) -> exp.Expr:
    """Copy a tree that was built or parsed; several times as fast as sqlglot's own way.

    Types that sqlglot found for its nodes are not taken over.

    Args:
        node: the tree.
        columns: what is copied in the place of columns of these names.

    >>> from umbel.sql.expressions import column
    >>> total = binary(exp.Add, column("a"), column("b"))
    >>> copied(total) == total, copied(total) is total
    (True, False)
    >>> copied(total, {"a": number(7)}).sql()
    '(7 + "b")'
    """
    if columns and isinstance(node, exp.Column) and node.name in columns:
        return copied(columns[node.name])
    base = exp.Expr
    new = node.__class__()
    if node._meta:  # the property would make an empty one for each node
        new.meta.update(node._meta)
    for name, value in node.args.items():
        if isinstance(value, base):
            child = copied(value, columns)
            child.parent, child.arg_key = new, name
            new.args[name] = child
        elif type(value) is list:
            items = [copied(i, columns) if isinstance(i, base) else i for i in value]
            for index, item in enumerate(items):
                if isinstance(item, base):
                    item.parent, item.arg_key, item.index = new, name, index
            new.args[name] = items
        else:
            new.args[name] = value
    return new


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

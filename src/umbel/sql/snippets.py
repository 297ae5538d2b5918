"""SQL text as a way to write forms: names in it stand for the arguments."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from umbel.lazy import LazyModule
from umbel.sql.nodes import copied

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


@lru_cache(maxsize=512)
def _parsed(dialect: str, text: str) -> exp.Expr:
    return exp.maybe_parse(text, dialect=dialect)


def snippet(dialect: str, text: str, /, **arguments: exp.Expr) -> exp.Expr:
    """Parse SQL of a dialect and put expressions in the place of the names in it.

    >>> snippet("duckdb", "x || 'b'", x=exp.column("a")).sql("duckdb")
    "(a || 'b')"
    """
    given = {name: atom(argument) for name, argument in arguments.items()}
    return atom(copied(_parsed(dialect, text), given))


def atom(node: exp.Expr) -> exp.Expr:
    """Put an expression in parentheses if it would fall apart inside another one."""
    atoms = (exp.Column, exp.Literal, exp.Func, exp.Paren, exp.Null, exp.Boolean)
    is_atom = isinstance(node, atoms) and not isinstance(node, exp.Binary)
    return node if is_atom else exp.Paren(this=node)

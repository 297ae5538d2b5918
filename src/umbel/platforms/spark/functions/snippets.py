"""Forms written as Spark's SQL, with names where the arguments go."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Literal
from umbel.plan.functions.forms import Form, TypedCall
from umbel.plan.types import STRING
from umbel.platforms.spark.types import convert, literal, type_text
from umbel.sql import snippets
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

Call: TypeAlias = "TypedCall[exp.Expr]"

#: Positions and lengths beyond this are as good as infinite, and safe to add up in 64 bits.
FAR = 2**31 - 2


def snippet(text: str, /, **arguments: exp.Expr) -> exp.Expr:
    """Parse Spark's SQL and put expressions in the place of the names in it.

    >>> snippet("a || b", a=exp.column("x"), b=exp.Literal.string("y")).sql("spark")
    "(x || 'y')"
    """
    return snippets.snippet("spark", text, **arguments)


def typed(call: Call, node: exp.Expr) -> exp.Expr:
    """Give a result the type that the catalogue says; Spark counts in 32 bits."""
    return convert(node, type_text(call.dtype))


def native(template: str, *names: str) -> Form[exp.Expr]:
    """Make a form from SQL in which names stand for the arguments in turn."""
    return Form(
        lambda call: typed(call, snippet(template, **dict(zip(names, call.arguments, strict=True))))
    )


def simple(name: str) -> Form[exp.Expr]:
    """Make a form that calls a function of Spark with the same arguments."""
    return Form(lambda call: typed(call, function(name, *call.arguments)))


def text(value: str) -> exp.Expr:
    """Write a constant text."""
    return literal(value, STRING)


def whole(call: Call, position: int, *, least: int = -FAR, most: int = FAR) -> exp.Expr:
    """An integer argument as INT, as near to zero as positions in a text can need."""
    node = call.nodes[position]
    if isinstance(node, Literal):
        value = node.value
        return literal(None if value is None else max(least, min(value, most)), pa.int32())
    return convert(
        snippet(
            "CASE WHEN n < low THEN low WHEN n > high THEN high ELSE n END",
            n=convert(call.arguments[position].copy(), "BIGINT"),
            low=literal(least, pa.int64()),
            high=literal(most, pa.int64()),
        ),
        "INT",
    )


def fail(message: str) -> exp.Expr:
    """Fail the run; of a type that goes with every other."""
    return function("raise_error", exp.Literal.string(message))

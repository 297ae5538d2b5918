"""Short ways to make forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Expression, Literal
from umbel.plan.functions.forms import Form, TypedCall
from umbel.plan.types import STRING
from umbel.platforms.postgres.casts import cast
from umbel.platforms.postgres.snippets import once
from umbel.platforms.postgres.types import convert, literal
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

Call: TypeAlias = "TypedCall[exp.Expr]"
Refuse = Callable[[Sequence[Expression], Sequence[pa.DataType]], str | None]

#: Positions and lengths beyond this are as good as infinite, and safe to add up in an INTEGER.
FAR = 2**29


def text(value: str) -> exp.Expr:
    """Write a constant text."""
    return literal(value, STRING)


def native(template: str, *names: str) -> Form[exp.Expr]:
    """Make a form from SQL in which names stand for the arguments in turn."""
    return Form(lambda call: once(template, **dict(zip(names, call.arguments, strict=True))))


def simple(name: str) -> Form[exp.Expr]:
    """Make a form that calls a function of PostgreSQL with the same arguments."""
    return Form(lambda call: function(name, *call.arguments))


def cast_all(call: Call, dtype: pa.DataType) -> list[exp.Expr]:
    """Bring all arguments to one type."""
    return [cast(n, t, dtype) for n, t in zip(call.arguments, call.types, strict=True)]


def position(call: Call, index: int, *, least: int = -FAR, most: int = FAR) -> exp.Expr:
    """An integer argument as INTEGER, as near to zero as positions in a text can need."""
    node = call.nodes[index]
    if isinstance(node, Literal):
        if node.value is None:
            return literal(None, pa.int32())
        return literal(min(max(node.value, least), most), pa.int32())
    # The functions greatest and least skip nulls.
    return once(
        f"CASE WHEN NOT n IS NULL THEN CAST(least(greatest(n, {least}), {most}) AS INTEGER) END",
        n=convert(call.arguments[index], "BIGINT"),
    )


def is_constant_null(nodes: Sequence[Expression], index: int) -> bool:
    """Whether an argument is written as null."""
    node = nodes[index] if index < len(nodes) else None
    return isinstance(node, Literal) and node.value is None


__all__ = [
    "FAR", "Call", "Refuse", "cast_all", "is_constant_null", "native", "position", "simple", "text",
]  # fmt: skip

"""Short ways to make forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Expression, Literal, walk
from umbel.plan.functions.forms import Form, TypedCall
from umbel.plan.types import STRING
from umbel.platforms.datafusion.casts import cast
from umbel.platforms.datafusion.operators import snippet
from umbel.platforms.datafusion.types import convert, literal
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

Call: TypeAlias = "TypedCall[exp.Expr]"

#: Positions and lengths beyond this are as good as infinite, and safe to add up.
FAR = 2**31


def text(value: str) -> exp.Expr:
    """Write a constant text."""
    return literal(value, STRING)


def native(template: str, *names: str) -> Form[exp.Expr]:
    """Make a form from SQL in which names stand for the arguments in turn."""
    return Form(lambda call: snippet(template, **dict(zip(names, call.arguments, strict=True))))


def simple(name: str) -> Form[exp.Expr]:
    """Make a form that calls a function of DataFusion with the same arguments."""
    return Form(lambda call: function(name, *call.arguments))


def big(template: str, *names: str) -> Form[exp.Expr]:
    """Make a form whose number DataFusion gives in another type than int64."""

    def build(call: Call) -> exp.Expr:
        arguments = dict(zip(names, call.arguments, strict=True))
        return convert(snippet(template, **arguments), pa.int64())

    return Form(build)


def fallback(call: Call) -> exp.Expr:
    """The catalogue's reference, row by row."""
    return call.fallback()


def guarded(condition: str, quick: str, *names: str) -> Form[exp.Expr]:
    """Make a form that is native where a condition holds and the reference elsewhere."""

    def build(call: Call) -> exp.Expr:
        arguments = dict(zip(names, call.arguments, strict=True))
        return snippet(
            f"CASE WHEN {condition} THEN {quick} ELSE slow END", slow=call.fallback(), **arguments
        )

    return Form(build)


def cast_all(call: Call, dtype: pa.DataType) -> list[exp.Expr]:
    """Bring all arguments to one type."""
    return [cast(n, t, dtype) for n, t in zip(call.arguments, call.types, strict=True)]


def is_simple(call: Call) -> bool:
    """Whether the arguments may be written several times without the text growing much."""
    return sum(1 for node in call.nodes for _ in walk(node)) <= 8


def whole(call: Call, position: int, *, least: int = -FAR, most: int = FAR) -> exp.Expr:
    """An integer argument as int64, as near to zero as positions in a text can need."""
    node = call.nodes[position]
    if isinstance(node, Literal) and node.value is not None:
        return literal(max(least, min(node.value, most)), pa.int64())
    return snippet(
        "CASE WHEN n < least_n THEN least_n WHEN n > most_n THEN most_n ELSE n END",
        n=cast(call.arguments[position].copy(), call.types[position], pa.int64()),
        least_n=literal(least, pa.int64()),
        most_n=literal(most, pa.int64()),
    )


def refuse_types(
    refuses: Callable[[pa.DataType], bool], reason: str
) -> Callable[[Sequence[Expression], Sequence[pa.DataType]], str | None]:
    """Make what refuses arguments of some types."""
    return lambda nodes, types: reason if any(map(refuses, types)) else None


__all__ = [
    "FAR", "Call", "big", "cast_all", "fallback", "guarded", "is_simple", "native", "refuse_types",
    "simple", "text", "whole",
]  # fmt: skip

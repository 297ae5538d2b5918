"""Forms on Spark of the catalogue's window functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Expression, Literal, WindowCall
from umbel.plan.functions.forms import Absent, Form
from umbel.platforms.spark.casts import cast
from umbel.platforms.spark.functions.snippets import Call, typed
from umbel.platforms.spark.types import literal
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

_GREATEST_OFFSET = 2**31 - 2


def _simple(name: str) -> Form[exp.Expr]:
    return Form(lambda call: typed(call, call.wrap(function(name, *call.arguments))))


def _ntile(call: Call) -> exp.Expr:
    return typed(call, call.wrap(function("ntile", literal(call.constant(0), pa.int32()))))


def _refuse_buckets(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    return _refuse_number(nodes[0], 1, "there must be at least one bucket")


def _shifted(name: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        arguments = [cast(call.arguments[0], call.types[0], call.dtype)]
        offset = call.constant(1) if len(call.nodes) > 1 else 1
        arguments.append(literal(offset, pa.int32()))
        if len(call.nodes) > 2:
            arguments.append(cast(call.arguments[2], call.types[2], call.dtype))
        return call.wrap(function(name, *arguments))

    return Form(build, _refuse_offset)


def _refuse_offset(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    if len(nodes) < 2:
        return None
    return _refuse_number(nodes[1], -_GREATEST_OFFSET, "the offset is null or too far")


def _refuse_number(node: Expression, least: int, reason: str) -> str | None:
    if not isinstance(node, Literal):
        return None
    fits = node.value is not None and least <= node.value <= _GREATEST_OFFSET
    return None if fits else reason


FORMS: dict[str, Form[Any] | Absent] = {
    "row_number": _simple("row_number"),
    "rank": _simple("rank"),
    "dense_rank": _simple("dense_rank"),
    "percent_rank": _simple("percent_rank"),
    "cume_dist": _simple("cume_dist"),
    "ntile": Form(_ntile, _refuse_buckets),
    "lag": _shifted("lag"),
    "lead": _shifted("lead"),
}


#: Aggregates that Spark does not run over windows.
_NOT_OVER_WINDOWS = ("n_unique", "join_strings")


def refuse_window(call: WindowCall) -> str | None:
    """Say why Spark does not run a call over a window; None if it does."""
    if call.function in _NOT_OVER_WINDOWS:
        return f"Spark does not run {call.function!r} over windows"
    return None

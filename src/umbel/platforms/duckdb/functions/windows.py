"""Forms on DuckDB of the catalogue's window functions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Expression, Literal
from umbel.plan.functions.forms import Absent, Form, TypedCall
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


Call: TypeAlias = "TypedCall[exp.Expr]"


def _simple(name: str) -> Form[exp.Expr]:
    return Form(lambda call: call.wrap(function(name, *call.arguments)))


def _refuse_buckets(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    node = nodes[0]
    if isinstance(node, Literal) and (node.value is None or node.value < 1):
        return "there must be at least one bucket"
    return None


def _shifted(name: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        from umbel.platforms.duckdb.dialect import DIALECT
        from umbel.sql.expressions import unify

        arguments = list(call.arguments)
        if len(arguments) > 2:  # DuckDB would cast the default to the value's type
            arguments[0], arguments[2] = unify(call, DIALECT, (0, 2))
        return call.wrap(function(name, *arguments))

    return Form(build, _refuse_offset)


def _refuse_offset(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    node = nodes[1] if len(nodes) > 1 else None
    return "the offset is null" if isinstance(node, Literal) and node.value is None else None


FORMS: dict[str, Form[Any] | Absent] = {
    "row_number": _simple("row_number"),
    "rank": _simple("rank"),
    "dense_rank": _simple("dense_rank"),
    "percent_rank": _simple("percent_rank"),
    "cume_dist": _simple("cume_dist"),
    "ntile": Form(_simple("ntile").build, _refuse_buckets),
    "lag": _shifted("lag"),
    "lead": _shifted("lead"),
}

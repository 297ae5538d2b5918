"""Forms on DuckDB of the catalogue's window functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Absent, Form, TypedCall
from umbel.platforms.refusal import REFUSE_BUCKETS, REFUSE_OFFSET
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


Call: TypeAlias = "TypedCall[exp.Expr]"


def _simple(name: str) -> Form[exp.Expr]:
    return Form(lambda call: call.wrap(function(name, *call.arguments)))


def _shifted(name: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        from umbel.platforms.duckdb.dialect import DIALECT
        from umbel.sql.expressions import unify

        arguments = list(call.arguments)
        if len(arguments) > 2:  # DuckDB would cast the default to the value's type
            arguments[0], arguments[2] = unify(call, DIALECT, (0, 2))
        return call.wrap(function(name, *arguments))

    return Form(build, REFUSE_OFFSET)


FORMS: dict[str, Form[Any] | Absent] = {
    "row_number": _simple("row_number"),
    "rank": _simple("rank"),
    "dense_rank": _simple("dense_rank"),
    "percent_rank": _simple("percent_rank"),
    "cume_dist": _simple("cume_dist"),
    "ntile": Form(_simple("ntile").build, REFUSE_BUCKETS),
    "lag": _shifted("lag"),
    "lead": _shifted("lead"),
}

"""Forms on DataFusion of the catalogue's window functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.types import INT64
from umbel.platforms.datafusion.functions.calls import Call
from umbel.platforms.datafusion.types import convert
from umbel.platforms.refusal import REFUSE_BUCKETS, REFUSE_OFFSET
from umbel.sql.expressions import function, unify
from umbel.sql.nodes import is_null, number, when

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


def _counting(name: str) -> Form[exp.Expr]:
    return Form(lambda call: convert(call.wrap(function(name)), INT64))


def _ntile(call: Call) -> exp.Expr:
    return convert(call.wrap(function("ntile", number(int(call.constant(0))))), INT64)


def _shifted(name: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        from umbel.platforms.datafusion.dialect import DIALECT

        offset = number(int(call.constant(1)) if len(call.nodes) > 1 else 1)
        if len(call.nodes) < 3:
            return call.wrap(function(name, call.arguments[0], offset))
        # DataFusion takes plain constants only for what stands beside the rows.
        value, default = unify(call, DIALECT, (0, 2))
        there = call.wrap(function(name, number(1), offset.copy()))
        shifted = call.wrap(function(name, value, offset))
        return when(is_null(there), default, shifted)

    return Form(build, REFUSE_OFFSET)


FORMS: dict[str, Form[Any] | Absent] = {
    "row_number": _counting("row_number"),
    "rank": _counting("rank"),
    "dense_rank": _counting("dense_rank"),
    "percent_rank": Form(lambda call: call.wrap(function("percent_rank"))),
    "cume_dist": Form(lambda call: call.wrap(function("cume_dist"))),
    "ntile": Form(_ntile, REFUSE_BUCKETS),
    "lag": _shifted("lag"),
    "lead": _shifted("lead"),
}

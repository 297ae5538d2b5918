"""Forms on PostgreSQL of the catalogue's window functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.types import common_type
from umbel.platforms.postgres.casts import cast
from umbel.platforms.postgres.functions.calls import Call
from umbel.platforms.postgres.types import convert
from umbel.platforms.refusal import refuse_constant
from umbel.sql.expressions import function
from umbel.sql.nodes import number

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

_REFUSE_BUCKETS = refuse_constant(0, lambda n: 0 < n < 2**31, "there must be at least one bucket")
_REFUSE_OFFSET = refuse_constant(
    1, lambda n: abs(n) < 2**31, "the offset is null, or more than 2**31"
)


def _simple(name: str) -> Form[exp.Expr]:
    return Form(lambda call: call.wrap(function(name)))


def _ntile(call: Call) -> exp.Expr:
    return convert(call.wrap(function("ntile", number(int(call.constant(0))))), "BIGINT")


def _shifted(name: str) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        offset = number(int(call.constant(1)) if len(call.nodes) > 1 else 1)
        value = call.arguments[0]
        if pa.types.is_null(call.types[0]):
            value = convert(value, "TEXT")
        if len(call.nodes) < 3:
            return call.wrap(function(name, value, offset))
        target = common_type(call.types[0], call.types[2])
        given, default = (cast(call.arguments[i], call.types[i], target) for i in (0, 2))
        return call.wrap(function(name, given, offset, default))

    return Form(build, _REFUSE_OFFSET)


FORMS: dict[str, Form[Any] | Absent] = {
    "row_number": _simple("row_number"),
    "rank": _simple("rank"),
    "dense_rank": _simple("dense_rank"),
    "percent_rank": _simple("percent_rank"),
    "cume_dist": _simple("cume_dist"),
    "ntile": Form(_ntile, _REFUSE_BUCKETS),
    "lag": _shifted("lag"),
    "lead": _shifted("lead"),
}

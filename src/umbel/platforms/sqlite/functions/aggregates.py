"""Forms on SQLite of aggregates and window functions.

SQLite's sum of integers fails as soon as a partial sum overflows, which depends on the order of
rows. So the upper and the lower halves are summed apart, and put together once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Expression
from umbel.plan.functions.forms import Absent, Form, TypedCall
from umbel.plan.types import is_integer
from umbel.platforms.sqlite.functions.scalars import binary, fail
from umbel.sql.expressions import function

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

Call: TypeAlias = "TypedCall[exp.Expr]"

_LOWER = 0xFFFFFFFF


def _shift(operator: type[exp.Binary], node: exp.Expr) -> exp.Expr:
    return binary(operator, node, exp.Literal.number(32))


def _sum(call: Call) -> exp.Expr:
    value = call.arguments[0]

    def lower() -> exp.Expr:
        part = binary(exp.BitwiseAnd, value.copy(), exp.Literal.number(_LOWER))
        return call.wrap(exp.Sum(this=part))

    def upper() -> exp.Expr:
        part = call.wrap(exp.Sum(this=_shift(exp.BitwiseRightShift, value.copy())))
        return binary(exp.Add, part, _shift(exp.BitwiseRightShift, lower()))

    rest = binary(exp.BitwiseAnd, lower(), exp.Literal.number(_LOWER))
    total = binary(exp.BitwiseOr, _shift(exp.BitwiseLeftShift, upper()), rest)
    fits = exp.Between(
        this=upper(),
        low=exp.Paren(this=exp.Literal.number(-(2**31))),
        high=exp.Literal.number(2**31 - 1),
    )
    nothing = exp.Is(this=exp.Paren(this=lower()), expression=exp.Null())
    return exp.Case(
        ifs=[exp.If(this=nothing, true=exp.Null()), exp.If(this=fits, true=total)], default=fail()
    )


def _integers(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    if all(map(is_integer, types)):
        return None
    return "SQLite adds floats in an order of its own, and makes null of NaN"


def _ranked(name: str) -> Form[exp.Expr]:
    return Form(lambda call: call.wrap(function(name)))


FORMS: dict[str, Form[Any] | Absent] = {
    "len": Form(lambda call: call.wrap(exp.Count(this=exp.Star()))),
    "count": Form(lambda call: call.wrap(exp.Count(this=call.arguments[0]))),
    "sum": Form(_sum, _integers),
    "min": Form(lambda call: call.wrap(exp.Min(this=call.arguments[0]))),
    "max": Form(lambda call: call.wrap(exp.Max(this=call.arguments[0]))),
    "row_number": _ranked("row_number"),
    "rank": _ranked("rank"),
    "dense_rank": _ranked("dense_rank"),
    "mean": Absent("SQLite adds with rounding"),
}

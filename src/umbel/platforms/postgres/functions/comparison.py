"""Forms on PostgreSQL of the catalogue's comparisons and boolean logic.

PostgreSQL agrees on NaN and on -0.0. Texts are compared under the collation "C", which is the order
of code points; equality needs no collation, because equal means equal bytes in all that are
deterministic, and columns of others get "C" where they are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Expression
from umbel.plan.functions.comparison import compared_type, exactly_common
from umbel.plan.functions.forms import Absent, Form
from umbel.plan.types import is_decimal, is_integer
from umbel.platforms.postgres.casts import cast
from umbel.platforms.postgres.functions.calls import Call
from umbel.platforms.postgres.snippets import snippet
from umbel.platforms.postgres.types import literal

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


def refuse_inexact(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    """Refuse numbers that have no common type with room for both, unless both are decimals.

    PostgreSQL compares decimals of any length as they are.
    """
    for other in types[1:]:
        decimals = is_decimal(types[0]) and is_decimal(other)
        if not decimals and not exactly_common(types[0], other):
            return "the numbers have no common type with room for both"
    return None


def ordered(node: exp.Expr, dtype: pa.DataType) -> exp.Expr:
    """Give a value that is to be sorted or compared the order of the plan."""
    return snippet('x COLLATE "C"', x=node) if pa.types.is_string(dtype) else node


def comparable(left: pa.DataType, right: pa.DataType) -> bool:
    """Whether PostgreSQL compares two types as they are; a cast would keep it from an index.

    >>> comparable(pa.int32(), pa.int64()), comparable(pa.int32(), pa.float64())
    (True, False)
    """
    families = (is_integer, is_decimal, pa.types.is_timestamp, pa.types.is_date)
    for family in families:
        if family(left) and family(right):
            return True
    clocks = [t for t in (left, right) if pa.types.is_timestamp(t) and t.tz is None]
    return bool(clocks) and (pa.types.is_date(left) or pa.types.is_date(right))


def pair(call: Call, first: int, second: int, *, in_order: bool) -> tuple[exp.Expr, exp.Expr]:
    """Bring two arguments to the type in which they are compared."""
    types = call.types[first], call.types[second]
    target = compared_type(call.row.name, *types)
    if pa.types.is_null(target):
        return literal(None, pa.bool_()), literal(None, pa.bool_())
    left, right = call.arguments[first].copy(), call.arguments[second].copy()
    if not comparable(*types):
        left, right = cast(left, types[0], target), cast(right, types[1], target)
    return (ordered(left, target) if in_order else left), right


def _comparison(operator: str, *, in_order: bool = False) -> Form[exp.Expr]:
    def build(call: Call) -> exp.Expr:
        left, right = pair(call, 0, 1, in_order=in_order)
        return snippet(f"x {operator} y", x=left, y=right)

    return Form(build, refuse_inexact)


def _between(call: Call) -> exp.Expr:
    value, low = pair(call, 0, 1, in_order=True)
    other, high = pair(call, 0, 2, in_order=True)
    return snippet("x >= a AND y <= b", x=value, a=low, y=other, b=high)


def _is_in(call: Call) -> exp.Expr:
    targets = {compared_type(call.row.name, call.types[0], other) for other in call.types[1:]}
    pairs = [pair(call, 0, i, in_order=False) for i in range(1, len(call.arguments))]
    if len(targets) == 1:
        value = pairs[0][0]
        return exp.Paren(this=exp.In(this=value, expressions=[found for _, found in pairs]))
    return reduce(
        lambda left, right: snippet("x OR y", x=left, y=right),
        [snippet("x = y", x=left, y=right) for left, right in pairs],
    )


def _joined(operator: str) -> Form[exp.Expr]:
    def join(left: exp.Expr, right: exp.Expr) -> exp.Expr:
        return snippet(f"x {operator} y", x=left, y=right)

    return Form(lambda call: reduce(join, _booleans(call)))


def _booleans(call: Call) -> list[exp.Expr]:
    return [
        literal(None, pa.bool_()) if pa.types.is_null(dtype) else node
        for node, dtype in zip(call.arguments, call.types, strict=True)
    ]


def _logical(template: str) -> Callable[[Call], exp.Expr]:
    return lambda call: snippet(template, **dict(zip("xy", _booleans(call), strict=False)))


FORMS: dict[str, Form[Any] | Absent] = {
    "equal": _comparison("="),
    "not_equal": _comparison("<>"),
    "less": _comparison("<", in_order=True),
    "less_equal": _comparison("<=", in_order=True),
    "greater": _comparison(">", in_order=True),
    "greater_equal": _comparison(">=", in_order=True),
    "between": Form(_between, refuse_inexact),
    "is_in": Form(_is_in, refuse_inexact),
    "is_distinct_from": _comparison("IS DISTINCT FROM"),
    "is_not_distinct_from": _comparison("IS NOT DISTINCT FROM"),
    "and": _joined("AND"),
    "or": _joined("OR"),
    "not": Form(_logical("NOT x")),
    "xor": Form(_logical("x <> y")),
}

"""Forms on Polars of the catalogue's comparisons and boolean logic."""

from __future__ import annotations

import operator
from collections.abc import Callable
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.casting import cast_value
from umbel.plan.expressions import Literal
from umbel.plan.functions.comparison import compared_type, exactly_common
from umbel.plan.functions.forms import Absent, Form, TypedCall
from umbel.plan.types import MAX_DECIMAL_PRECISION, is_decimal
from umbel.platforms.polars.casts import cast
from umbel.platforms.polars.fallback import from_arrow
from umbel.platforms.polars.types import literal

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")


Call: TypeAlias = "TypedCall[pl.Expr]"
Compare: TypeAlias = "Callable[[pl.Expr, pl.Expr], pl.Expr]"


def _null() -> pl.Expr:
    return pl.lit(None, dtype=pl.Boolean)


def pair(call: Call, first: int, second: int) -> tuple[pl.Expr, pl.Expr]:
    """Bring two arguments to the type in which they are compared."""
    types = call.types[first], call.types[second]
    target = compared_type(call.row.name, *types)
    left, right = call.arguments[first], call.arguments[second]
    return cast(left, types[0], target), cast(right, types[1], target)


def exact(call: Call) -> bool:
    """Whether the first argument and each of the others have a type that holds both exactly."""
    return all(exactly_common(call.types[0], other) for other in call.types[1:])


def _comparison(compare: Compare) -> Form[pl.Expr]:
    def build(call: Call) -> pl.Expr:
        return compare(*pair(call, 0, 1)) if exact(call) else call.fallback()

    return Form(build)


def _order(compare: Compare) -> Form[pl.Expr]:
    """A comparison that is null for nulls."""

    def build(call: Call) -> pl.Expr:
        if exact(call):
            return compare(*pair(call, 0, 1))
        if all(map(is_decimal, call.types)):
            return _long_decimals(call, compare)
        return call.fallback()

    return Form(build)


def _long_decimals(call: Call, compare: Compare) -> pl.Expr:
    """Compare decimals of which no type holds both.

    One with fewer digits behind the point is brought to the scale of the other, as far as it fits.
    What does not is further from zero than the other one can be, so its sign decides.
    """
    scales = [dtype.scale for dtype in call.types]
    most, short = max(scales), scales.index(min(scales))
    whole = pa.decimal128(MAX_DECIMAL_PRECISION, scales[short])
    target = pa.decimal128(MAX_DECIMAL_PRECISION, most)
    coarse = cast(call.arguments[short], call.types[short], whole)
    fine = cast(call.arguments[1 - short], call.types[1 - short], target)
    fitting = cast(coarse, whole, target, strict=False)
    zero = literal(Decimal(0), whole)
    values, signs = (
        ((fitting, fine), (coarse, zero)) if short == 0 else ((fine, fitting), (zero, coarse))
    )
    fits = coarse.abs() < literal(Decimal(10) ** (MAX_DECIMAL_PRECISION - most), whole)
    decided = pl.when(fine.is_null()).then(_null()).otherwise(compare(*signs))
    return pl.when(fits).then(compare(*values)).otherwise(decided)


def _between(call: Call) -> pl.Expr:
    if not exact(call):
        return call.fallback()
    return operator.ge(*pair(call, 0, 1)) & operator.le(*pair(call, 0, 2))


def _is_in(call: Call) -> pl.Expr:
    """One look-up per type for the constants, and an `or` of comparisons for the others."""
    if not exact(call):
        return call.fallback()
    constants: dict[pa.DataType, list[Any]] = {}
    tests: list[pl.Expr] = []
    for position, node in enumerate(call.nodes[1:], start=1):
        target = compared_type("is_in", call.types[0], call.types[position])
        if not isinstance(node, Literal):
            tests.append(operator.eq(*pair(call, 0, position)))
        elif node.value is None:
            tests.append(_null())
        else:
            value = cast_value(node.value, node.dtype, target, strict=True)
            constants.setdefault(target, []).append(value)
    for target, values in constants.items():
        known = from_arrow(pa.array(values, type=target), target)
        tests.append(cast(call.arguments[0], call.types[0], target).is_in(pl.lit(known).implode()))
    return reduce(operator.or_, tests)


def _booleans(call: Call) -> list[pl.Expr]:
    return [
        literal(None, pa.bool_()) if pa.types.is_null(dtype) else expr
        for expr, dtype in zip(call.arguments, call.types, strict=True)
    ]


FORMS: dict[str, Form[Any] | Absent] = {
    "equal": _order(operator.eq),
    "not_equal": _order(operator.ne),
    "less": _order(operator.lt),
    "less_equal": _order(operator.le),
    "greater": _order(operator.gt),
    "greater_equal": _order(operator.ge),
    "between": Form(_between),
    "is_in": Form(_is_in),
    "is_distinct_from": _comparison(lambda left, right: left.ne_missing(right)),
    "is_not_distinct_from": _comparison(lambda left, right: left.eq_missing(right)),
    "and": Form(lambda call: reduce(operator.and_, _booleans(call))),
    "or": Form(lambda call: reduce(operator.or_, _booleans(call))),
    "not": Form(lambda call: ~_booleans(call)[0]),
    "xor": Form(lambda call: operator.xor(*_booleans(call))),
}

"""Forms that are the same on every SQL engine which compares values as the plan does.

Such an engine says that NaN equals NaN and is the greatest number, that -0.0 equals 0.0, and that
texts are in the order of their code points. What differs comes in its `Dialect`.
"""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.functions.comparison import compared_type, exactly_common
from umbel.plan.functions.forms import Absent, Form, TypedCall
from umbel.plan.types import MAX_DECIMAL_PRECISION, is_decimal
from umbel.sql.expressions import Dialect, function, key_of
from umbel.sql.nodes import binary, is_null, operand, when

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


Call: TypeAlias = "TypedCall[exp.Expr]"

#: Comparisons that a difference in sign decides.
_ORDERED = frozenset(["EQ", "NEQ", "LT", "LTE", "GT", "GTE"])


def comparisons(dialect: Dialect) -> dict[str, Form[Any] | Absent]:
    """The forms of comparisons and of boolean logic."""

    def pair(call: Call, first: int, second: int) -> tuple[exp.Expr, exp.Expr]:
        return compared(dialect, call, first, second)

    def comparison(operator: str) -> Form[exp.Expr]:
        def build(call: Call) -> exp.Expr:
            if exact(call):
                return binary(getattr(exp, operator), *pair(call, 0, 1))
            if operator in _ORDERED and all(map(is_decimal, call.types)):
                return _long_decimals(dialect, call, getattr(exp, operator))
            return call.fallback()

        return Form(build)

    def between(call: Call) -> exp.Expr:
        if not exact(call):
            return call.fallback()
        value, low = pair(call, 0, 1)
        other, high = pair(call, 0, 2)
        if len(_targets(call)) == 1:
            node = exp.Between(this=operand(value), low=operand(low), high=operand(high))
            return exp.Paren(this=node)
        return binary(exp.And, binary(exp.GTE, value, low), binary(exp.LTE, other, high))

    def is_in(call: Call) -> exp.Expr:
        if not exact(call):
            return call.fallback()
        pairs = [pair(call, 0, position) for position in range(1, len(call.arguments))]
        if len(_targets(call)) == 1:
            candidates = [candidate for _, candidate in pairs]
            return exp.Paren(this=exp.In(this=operand(pairs[0][0]), expressions=candidates))
        return reduce(_or, [binary(exp.EQ, *both) for both in pairs])

    def booleans(call: Call) -> list[exp.Expr]:
        return [
            dialect.literal(None, pa.bool_()) if pa.types.is_null(dtype) else node
            for node, dtype in zip(call.arguments, call.types, strict=True)
        ]

    def joined(join: Callable[[exp.Expr, exp.Expr], exp.Expr]) -> Form[exp.Expr]:
        return Form(lambda call: reduce(join, booleans(call)))

    return {
        "equal": comparison("EQ"),
        "not_equal": comparison("NEQ"),
        "less": comparison("LT"),
        "less_equal": comparison("LTE"),
        "greater": comparison("GT"),
        "greater_equal": comparison("GTE"),
        "between": Form(between),
        "is_in": Form(is_in),
        "is_distinct_from": comparison("NullSafeNEQ"),
        "is_not_distinct_from": comparison("NullSafeEQ"),
        "and": joined(_and),
        "or": joined(_or),
        "not": Form(lambda call: exp.Paren(this=exp.Not(this=operand(booleans(call)[0])))),
        "xor": Form(lambda call: binary(exp.NEQ, *booleans(call))),
    }


def choices(dialect: Dialect) -> dict[str, Form[Any] | Absent]:
    """The forms of functions that look for nulls and choose among values."""

    def chosen(name: str, *, ordered: bool) -> Form[exp.Expr]:
        """The engine's function of the same name over the common type."""

        def build(call: Call) -> exp.Expr:
            if pa.types.is_null(call.dtype):
                return dialect.literal(None, call.dtype)
            if ordered and not exact(call):
                return call.fallback()
            given = zip(call.arguments, call.types, strict=True)
            values = [dialect.cast(node, dtype, call.dtype, strict=True) for node, dtype in given]
            if ordered:
                values = [key_of(dialect, value, call.dtype) for value in values]
            return function(name, *values)

        return Form(build)

    def null_if(call: Call) -> exp.Expr:
        if not exact(call):
            return call.fallback()
        if pa.types.is_null(call.dtype):
            return dialect.literal(None, call.dtype)
        same = binary(exp.EQ, *compared(dialect, call, 0, 1))
        return when(same, dialect.literal(None, call.dtype), call.arguments[0])

    return {
        "is_null": Form(lambda call: is_null(call.arguments[0])),
        "is_not_null": Form(lambda call: exp.Paren(this=exp.Not(this=is_null(call.arguments[0])))),
        "coalesce": chosen("coalesce", ordered=False),
        "null_if": Form(null_if),
        "greatest": chosen("greatest", ordered=True),
        "least": chosen("least", ordered=True),
    }


def requirement(
    dialect: Dialect, failure: Callable[[pa.DataType], exp.Expr]
) -> dict[str, Form[Any] | Absent]:
    """The form of the guard, given what fails the run instead of a value of a type."""

    def build(call: Call) -> exp.Expr:
        value, condition = call.arguments
        if pa.types.is_null(call.types[1]):
            condition = dialect.literal(None, pa.bool_())
        return when(condition, value, failure(call.dtype))

    return {"require": Form(build)}


def float_test(
    dialect: Dialect, test: Callable[[exp.Expr], exp.Expr], *, otherwise: bool
) -> Form[exp.Expr]:
    """A test of floats; all other numbers have one answer."""

    def build(call: Call) -> exp.Expr:
        node, dtype = call.arguments[0], call.types[0]
        if pa.types.is_floating(dtype):
            return test(node)
        return when(is_null(node), dialect.literal(None, pa.bool_()), exp.Boolean(this=otherwise))

    return Form(build)


def compared(dialect: Dialect, call: Call, first: int, second: int) -> tuple[exp.Expr, exp.Expr]:
    """Bring two arguments to the type in which they are compared."""
    types = call.types[first], call.types[second]
    target = compared_type(call.row.name, *types)
    left, right = call.arguments[first], call.arguments[second]
    return (
        key_of(dialect, dialect.cast(left.copy(), types[0], target, strict=True), target),
        key_of(dialect, dialect.cast(right.copy(), types[1], target, strict=True), target),
    )


def exact(call: Call) -> bool:
    """Whether the first argument and each of the others have a type that holds both exactly."""
    return all(exactly_common(call.types[0], other) for other in call.types[1:])


def _long_decimals(dialect: Dialect, call: Call, operator: type[exp.Binary]) -> exp.Expr:
    """Compare decimals of which no type holds both.

    One with fewer digits behind the point is brought to the scale of the other, as far as it fits.
    What does not is further from zero than the other one can be, so its sign decides.
    """
    scales = [dtype.scale for dtype in call.types]
    short = scales.index(min(scales))
    coarse, fine = (call.arguments[i] for i in (short, 1 - short))
    own, target = call.types[short], pa.decimal128(MAX_DECIMAL_PRECISION, max(scales))
    fitting = {short: dialect.cast(coarse.copy(), own, target, strict=False), 1 - short: fine}
    least = Decimal(10) ** (MAX_DECIMAL_PRECISION - max(scales))
    bound = dialect.literal(least, pa.decimal128(MAX_DECIMAL_PRECISION, min(scales)))
    zero = dialect.literal(Decimal(0), own)
    signs = (coarse.copy(), zero) if short == 0 else (zero, coarse.copy())
    decided = when(is_null(fine), dialect.literal(None, pa.bool_()), binary(operator, *signs))
    fits = binary(exp.LT, function("abs", coarse.copy()), bound)
    return when(fits, binary(operator, fitting[0].copy(), fitting[1].copy()), decided)


def _targets(call: Call) -> set[pa.DataType]:
    return {compared_type(call.row.name, call.types[0], other) for other in call.types[1:]}


def _and(left: exp.Expr, right: exp.Expr) -> exp.Expr:
    return binary(exp.And, left, right)


def _or(left: exp.Expr, right: exp.Expr) -> exp.Expr:
    return binary(exp.Or, left, right)


__all__ = ["choices", "compared", "comparisons", "exact", "float_test", "requirement"]

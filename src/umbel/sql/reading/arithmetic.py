"""SQL's arithmetic, bits and concatenation."""

from __future__ import annotations

from decimal import Decimal

import pyarrow as pa
from sqlglot import expressions as exp

from umbel.plan.expressions import Literal
from umbel.plan.types import (
    FLOAT64,
    STRING,
    is_integer,
    is_list,
    is_numeric,
)
from umbel.sql.reading.binder import Binder
from umbel.sql.reading.names import Scope
from umbel.sql.reading.registry import binds
from umbel.sql.reading.syntax import Syntax
from umbel.sql.reading.values import (
    Value,
    call,
    cast,
    constant,
    integer,
    meet,
    text,
)


def _numeric(value: Value, other: Value) -> Value:
    if value.untyped:
        return meet(value, other)[0]
    return value


def _short(value: Value, other: Value) -> Value:
    """Give an integer constant that meets a decimal as few digits as it needs."""
    node = value.node
    if (
        isinstance(node, Literal)
        and is_integer(value.dtype)
        and node.value is not None
        and pa.types.is_decimal(other.dtype)
    ):
        digits = len(str(abs(node.value)))
        return constant(Decimal(node.value), pa.decimal128(digits, 0))
    return value


_ARITHMETIC: dict[type[exp.Expr], str] = {exp.Add: "add", exp.Sub: "subtract", exp.Mul: "multiply"}


@binds(*_ARITHMETIC)
def _arithmetic(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    from umbel.sql.reading.temporal import moved

    found = moved(binder, syntax, scope)
    if found is not None:
        return found
    left = binder.value(syntax["this"], scope)
    right = binder.value(syntax["expression"], scope)
    return arithmetic(_ARITHMETIC[type(syntax.node)], left, right)


def arithmetic(function: str, left: Value, right: Value) -> Value:
    """Add, subtract or multiply numbers, dates and days."""
    left, right = _numeric(left, right), _numeric(right, left)
    dates = [pa.types.is_date(value.dtype) for value in (left, right)]
    if function == "subtract" and all(dates):
        return call("date_diff", constant("day", STRING), right, left)
    if dates[0] and is_integer(right.dtype) and function != "multiply":
        days = call("negate", right) if function == "subtract" else right
        return call("date_add", constant("day", STRING), left, cast(days, pa.int64()))
    if dates[1] and is_integer(left.dtype) and function == "add":
        return call("date_add", constant("day", STRING), right, cast(left, pa.int64()))
    return call(function, _short(left, right), _short(right, left))


@binds(exp.Div)
def _divide(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    left = binder.value(syntax["this"], scope)
    right = binder.value(syntax["expression"], scope)
    typed, safe = syntax["typed"], syntax["safe"]
    left, right = _numeric(left, right), _numeric(right, left)
    if typed and is_integer(left.dtype) and is_integer(right.dtype):
        return call("truncate_divide", left, right if safe else _not_zero(right))
    if safe:
        # In these dialects, Spark's among them, nothing divides by zero: the answer is null.
        return call("divide", left, call("null_if", right, cast(integer(0), right.dtype)))
    return call("divide", left, _not_zero(right) if typed else right)


def _not_zero(value: Value) -> Value:
    """Fail the run for a divisor of zero, as PostgreSQL does."""
    if isinstance(value.node, Literal) and value.node.value not in (0, None):
        return value
    zero = constant(0, pa.int32())
    return call("require", value, call("is_distinct_from", value, cast(zero, value.dtype)))


@binds(exp.IntDiv)
def _int_div(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    left = binder.value(syntax["this"], scope)
    right = binder.value(syntax["expression"], scope)
    return call("truncate_divide", left, right)


@binds(exp.Mod)
def _mod(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    left = binder.value(syntax["this"], scope)
    right = binder.value(syntax["expression"], scope)
    return call("remainder", left, right)


@binds(exp.Neg)
def _neg(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    value = binder.value(syntax["this"], scope)
    node = value.node
    if isinstance(node, Literal) and is_numeric(value.dtype) and node.value is not None:
        if is_integer(value.dtype):
            return integer(-int(node.value))
        return constant(-node.value, value.dtype)
    if value.untyped:
        value = cast(value, FLOAT64)
    return call("negate", value)


@binds(exp.Pow)
def _power(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    return call(
        "power", binder.value(syntax["this"], scope), binder.value(syntax["expression"], scope)
    )


_BITS: dict[type[exp.Expr], str] = {
    exp.BitwiseAnd: "bitwise_and",
    exp.BitwiseOr: "bitwise_or",
    exp.BitwiseXor: "bitwise_xor",
    exp.BitwiseLeftShift: "shift_left",
    exp.BitwiseRightShift: "shift_right",
}


@binds(*_BITS)
def _bits(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    left = binder.value(syntax["this"], scope)
    right = binder.value(syntax["expression"], scope)
    return call(_BITS[type(syntax.node)], left, right)


@binds(exp.BitwiseNot)
def _bitwise_not(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    return call("bitwise_not", binder.value(syntax["this"], scope))


@binds(exp.DPipe)
def _concatenate(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    left = binder.value(syntax["this"], scope)
    right = binder.value(syntax["expression"], scope)
    _ = syntax["safe"]  # whether other types than text are taken: they are
    if is_list(left.dtype) or is_list(right.dtype):
        return call("list_concat", left, right)
    return call("concat", text(left), text(right))

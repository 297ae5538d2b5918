"""Forms on DuckDB of the catalogue's arithmetic.

DuckDB fails on overflow by itself and widens products of decimals. Its integer division and `%`
truncate; the floored ones are made of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.expressions import Expression, Literal, walk
from umbel.plan.functions.forms import Absent, Form, TypedCall
from umbel.plan.functions.numbers import exact_type, operand_types
from umbel.plan.types import FLOAT64, MAX_DECIMAL_PRECISION, is_decimal, is_float, is_integer
from umbel.platforms.duckdb.casts import cast
from umbel.platforms.duckdb.operators import error
from umbel.platforms.duckdb.short import product
from umbel.platforms.duckdb.types import convert, literal, type_text
from umbel.sql.expressions import function
from umbel.sql.nodes import binary, number, operand, when

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


Call: TypeAlias = "TypedCall[exp.Expr]"

#: The first and last moment that the plan knows, in microseconds: the years 1 to 9999.
_FIRST, _LAST = -62_135_596_800_000_000, 253_402_300_799_999_999


def _is_moment(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_date(dtype) or pa.types.is_timestamp(dtype))


def ticks(node: exp.Expr, dtype: pa.DataType) -> exp.Expr:
    """Microseconds of a duration, timestamp or date, as BIGINT."""
    if is_integer(dtype) or pa.types.is_null(dtype):
        return convert(node, "BIGINT")
    coarse = pa.types.is_timestamp(dtype) and dtype.tz is None and dtype.unit != "us"
    if pa.types.is_date(dtype) or coarse:
        node = convert(node, "TIMESTAMP")
    return function("epoch_us", node)


def _temporal(call: Call) -> exp.Expr:
    left, right = (ticks(*given) for given in zip(call.arguments, call.types, strict=True))
    total = binary(_operator(call), left, right)
    if not _is_moment(call.dtype):
        return function("to_microseconds", total)
    outside = exp.Not(this=exp.Between(this=total.copy(), low=number(_FIRST), high=number(_LAST)))
    make = "make_timestamptz" if call.dtype.tz else "make_timestamp"
    return when(outside, error("a time is outside the years 1 to 9999"), function(make, total))


def _combine(call: Call) -> exp.Expr:
    """Addition, subtraction and multiplication."""
    if pa.types.is_null(call.dtype):
        return literal(None, call.dtype)
    if any(pa.types.is_temporal(dtype) for dtype in call.types):
        return _temporal(call)
    if is_decimal(call.dtype):
        return _combine_decimals(call)
    left, right = _cast_all(call)
    if is_integer(call.dtype) and not _is_short(call):
        # By name: of `a + 1 > b` DuckDB makes `a > b - 1`, which hides that the sum overflows.
        return function(call.row.name, left, right)
    return binary(_operator(call), left, right)


def _operator(call: Call) -> type[exp.Binary]:
    return {"add": exp.Add, "subtract": exp.Sub, "multiply": exp.Mul}[call.row.name]


def _combine_decimals(call: Call) -> exp.Expr:
    operator = _operator(call)
    values = [node.value if isinstance(node, Literal) else None for node in call.nodes]
    types = [
        call.dtype if pa.types.is_null(dtype) else exact_type(dtype)
        for dtype in operand_types(call.types, values)
    ]
    if operator is not exp.Mul and call.dtype.precision == MAX_DECIMAL_PRECISION:
        types = [call.dtype, call.dtype]
    left, right = (
        cast(node, source, target)
        for node, source, target in zip(call.arguments, call.types, types, strict=True)
    )
    if operator is exp.Mul:
        return product(left, right, types, call.dtype)
    return convert(binary(operator, left, right), type_text(call.dtype))


def _cast_all(call: Call) -> tuple[exp.Expr, ...]:
    return tuple(
        cast(node, dtype, call.dtype)
        for node, dtype in zip(call.arguments, call.types, strict=True)
    )


def _divide(call: Call) -> exp.Expr:
    left, right = (
        convert(ticks(node, dtype), "DOUBLE")
        if pa.types.is_duration(dtype)
        else cast(node, dtype, FLOAT64)
        for node, dtype in zip(call.arguments, call.types, strict=True)
    )
    return binary(exp.Div, left, right)


def _constant_divisor(call: Call) -> int | None:
    """A divisor that is known and for which int64 has room for all steps; else None."""
    node = call.nodes[1]
    if isinstance(node, Literal) and node.value not in (None, 0, -1) and abs(node.value) < 2**62:
        return int(node.value)
    return None


def _not_zero(node: exp.Expr) -> exp.Expr:
    return function("nullif", node, number(0))


def _floored_rest(left: exp.Expr, right: exp.Expr) -> exp.Expr:
    """`((a % b) + b) % b`: a remainder with the divisor's sign."""
    rest = binary(exp.Mod, left, right)
    return binary(exp.Mod, binary(exp.Add, rest, right.copy()), right.copy())


def _is_short(call: Call) -> bool:
    """Whether int64 has room for all steps, whatever the values."""
    return all(is_integer(dtype) and dtype.bit_width <= 32 for dtype in call.types)


def _is_simple(call: Call) -> bool:
    """Whether the arguments may be written several times without the text growing much."""
    return sum(1 for node in call.nodes for _ in walk(node)) <= 8


def _minus_one(divisor: exp.Expr, left: exp.Expr, otherwise: exp.Expr) -> exp.Expr:
    """Zero for the divisor -1, for which DuckDB fails at the least int64."""
    is_it = binary(exp.EQ, divisor.copy(), number(-1))
    return when(is_it, binary(exp.Mul, left.copy(), number(0)), otherwise)


def _modulo(call: Call, left: exp.Expr, right: exp.Expr) -> exp.Expr:
    if call.dtype == pa.uint64():
        return binary(exp.Mod, left, _not_zero(right))
    if _constant_divisor(call) is not None:
        return _floored_rest(left, right)
    if _is_short(call):
        return _floored_rest(left, _not_zero(right))
    if not _is_simple(call):
        wide = _floored_rest(convert(left, "HUGEINT"), _not_zero(convert(right, "HUGEINT")))
        return convert(wide, "BIGINT")
    rest = binary(exp.Mod, left.copy(), _not_zero(right.copy()))
    signs = binary(exp.NEQ, _is_negative(rest), _is_negative(right))
    wrong = binary(exp.And, binary(exp.NEQ, rest.copy(), number(0)), signs)
    floored = when(wrong, binary(exp.Add, rest.copy(), right.copy()), rest.copy())
    return _minus_one(right, left, floored)


def _is_negative(node: exp.Expr) -> exp.Expr:
    return binary(exp.LT, node.copy(), number(0))


def _floor_divide(call: Call, left: exp.Expr, right: exp.Expr) -> exp.Expr:
    if call.dtype == pa.uint64():
        return binary(exp.IntDiv, left, _not_zero(right))
    if (_constant_divisor(call) or 0) > 0:
        below = binary(exp.IntDiv, binary(exp.Add, left.copy(), number(1)), right.copy())
        whole = binary(exp.IntDiv, left, right)
        return when(_is_negative(left), binary(exp.Sub, below, number(1)), whole)
    if not _is_simple(call):
        wide, divisor = convert(left, "HUGEINT"), _not_zero(convert(right, "HUGEINT"))
        whole = binary(exp.Sub, wide.copy(), _floored_rest(wide, divisor.copy()))
        return convert(binary(exp.IntDiv, whole, divisor), "BIGINT")
    divisor = _not_zero(right)
    rest = binary(exp.Mod, left.copy(), divisor.copy())
    signs = binary(exp.NEQ, _is_negative(left), _is_negative(right))
    inexact = binary(exp.And, signs, binary(exp.NEQ, rest, number(0)))
    whole = binary(exp.IntDiv, left, divisor)
    return when(inexact, binary(exp.Sub, whole.copy(), number(1)), whole)


def _truncate_divide(call: Call, left: exp.Expr, right: exp.Expr) -> exp.Expr:
    divisor = right if _constant_divisor(call) is not None else _not_zero(right)
    return binary(exp.IntDiv, left, divisor)


def _remainder(call: Call, left: exp.Expr, right: exp.Expr) -> exp.Expr:
    if _constant_divisor(call) is not None:
        return binary(exp.Mod, left, right)
    if call.dtype == pa.uint64():
        return binary(exp.Mod, left, _not_zero(right))
    rest = binary(exp.Mod, left, _not_zero(right))
    return rest if _is_short(call) else _minus_one(right, left, rest)


def _whole(
    on_integers: Callable[[Call, exp.Expr, exp.Expr], exp.Expr],
    on_floats: Callable[[Call], exp.Expr] | None = None,
) -> Form[exp.Expr]:
    """The functions of integer division; on decimals, and floored ones on floats, Python does it."""

    def build(call: Call) -> exp.Expr:
        if pa.types.is_null(call.dtype):
            return literal(None, call.dtype)
        if is_float(call.dtype) and on_floats is not None:
            return on_floats(call)
        if is_float(call.dtype) or is_decimal(call.dtype):
            return call.fallback()
        left, right = _cast_all(call)
        return on_integers(call, left, right)

    return Form(build)


def _negate(call: Call) -> exp.Expr:
    (node,), (dtype,) = call.arguments, call.types
    if pa.types.is_null(dtype):
        return node
    if is_integer(call.dtype):
        return binary(exp.Sub, convert(number(0), "BIGINT"), cast(node, dtype, call.dtype))
    if pa.types.is_duration(dtype):
        return function(
            "to_microseconds", binary(exp.Sub, convert(number(0), "BIGINT"), ticks(node, dtype))
        )
    negative = exp.Paren(this=exp.Neg(this=operand(cast(node, dtype, call.dtype))))
    return convert(negative, type_text(call.dtype)) if is_decimal(call.dtype) else negative


def _refuse_nanoseconds(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
    if any(pa.types.is_temporal(t) and getattr(t, "unit", None) == "ns" for t in types):
        return "counts times in microseconds here, not in nanoseconds"
    return None


FORMS: dict[str, Form[Any] | Absent] = {
    "add": Form(_combine, _refuse_nanoseconds),
    "subtract": Form(_combine, _refuse_nanoseconds),
    "multiply": Form(_combine, _refuse_nanoseconds),
    "divide": Form(_divide, _refuse_nanoseconds),
    "floor_divide": _whole(_floor_divide),
    "modulo": _whole(_modulo),
    "truncate_divide": _whole(_truncate_divide, lambda call: function("trunc", _divide(call))),
    "remainder": _whole(_remainder, lambda call: binary(exp.Mod, *_cast_all(call))),
    "negate": Form(_negate, _refuse_nanoseconds),
    "power": Form(
        lambda call: function(
            "pow",
            *(cast(n, t, FLOAT64) for n, t in zip(call.arguments, call.types, strict=True)),
        )
    ),
}

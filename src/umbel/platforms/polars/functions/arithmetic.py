"""Forms on Polars of the catalogue's arithmetic.

Polars wraps integers that overflow and rounds products of decimals, so both are checked or
widened here. The checks look at the least and greatest value of a batch first: as a rule no
result can overflow, and Polars' own operation runs.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.plan.casting import integer_bounds
from umbel.plan.errors import EvaluationError
from umbel.plan.expressions import Expression, Literal, columns_of
from umbel.plan.functions.forms import Absent, Form, TypedCall
from umbel.plan.functions.numbers import exact_type, operand_types
from umbel.plan.types import (
    DURATION,
    FLOAT64,
    INT64,
    MAX_DECIMAL_PRECISION,
    is_decimal,
    is_float,
    is_integer,
    type_name,
)
from umbel.platforms.polars.casts import cast
from umbel.platforms.polars.fallback import each_batch, from_arrow, map_rows
from umbel.platforms.polars.types import literal, polars_type

pc = LazyModule("pyarrow.compute")

if TYPE_CHECKING:
    import polars as pl
else:
    pl = LazyModule("polars")


Call: TypeAlias = "TypedCall[pl.Expr]"
Interval = tuple[int, int]
Operation = Callable[[Any, Any], Any]

#: The first and last moment that the plan knows, in microseconds: the years 1 to 9999.
_CALENDAR = (-62_135_596_800_000_000, 253_402_300_799_999_999)
_OPERATIONS: dict[str, Operation] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
}


def interval_of(operation: Operation, left: Interval, right: Interval) -> Interval:
    """Bound the results of an operation over two intervals.

    >>> interval_of(operator.mul, (-2, 3), (5, 7))
    (-14, 21)
    """
    corners = [operation(a, b) for a in left for b in right]
    return min(corners), max(corners)


def within(inner: Interval, outer: Interval) -> bool:
    """Whether one interval lies in another."""
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def _node_interval(node: Expression, dtype: pa.DataType) -> Interval:
    if isinstance(node, Literal) and node.value is not None:
        return node.value, node.value
    return integer_bounds(dtype) if is_integer(dtype) else (0, 0)


def series_interval(series: pl.Series) -> Interval:
    """The least and greatest integer of a Series; zeros if there is none."""
    least, most = series.min(), series.max()
    return (least, most) if isinstance(least, int) and isinstance(most, int) else (0, 0)


def checked(
    operation: Operation,
    exprs: Sequence[pl.Expr],
    dtype: pa.DataType,
    intervals: Sequence[Interval] | None = None,
) -> pl.Expr:
    """Apply an operation to two expressions of integers of one type; overflow fails the run.

    Args:
        operation: of `operator`: add, sub or mul.
        exprs: the operands, of the result's type.
        dtype: the result's type, int64 or uint64.
        intervals: what is known of the operands' values before the run.
    """
    bounds = integer_bounds(dtype)
    if intervals is not None and within(interval_of(operation, *intervals), bounds):
        built: pl.Expr = operation(*exprs)
        return built

    def run(left: pl.Series, right: pl.Series) -> pl.Series:
        possible = interval_of(operation, series_interval(left), series_interval(right))
        if within(possible, bounds):
            result: pl.Series = operation(left, right)
            return result
        if not within(possible, (-(2**127), 2**127 - 1)):
            return map_rows(partial(_exactly, operation, dtype), [left, right], dtype)
        wide = operation(left.cast(pl.Int128), right.cast(pl.Int128))
        return narrowed(wide, dtype)

    return each_batch(run, exprs, dtype)


def _exactly(operation: Operation, dtype: pa.DataType, left: int, right: int) -> int:
    return require_range(operation(left, right), dtype)


def require_range(value: int, dtype: pa.DataType) -> int:
    """Give an integer back, or fail if its type does not hold it."""
    least, most = integer_bounds(dtype)
    if not least <= value <= most:
        raise EvaluationError(f"{value} does not fit into {type_name(dtype)}")
    return value


def narrowed(wide: pl.Series, dtype: pa.DataType) -> pl.Series:
    """Bring 128-bit integers back to the plan's type; what does not fit fails the run."""
    for value in series_interval(wide):
        require_range(value, dtype)
    return wide.cast(polars_type(dtype))


def _ticks(expr: pl.Expr, dtype: pa.DataType) -> pl.Expr:
    """Microseconds of a duration, timestamp or date."""
    if pa.types.is_date(dtype):
        return cast(expr, dtype, pa.timestamp("us")).cast(pl.Int64)
    if pa.types.is_timestamp(dtype):
        return expr.cast(pl.Datetime("us", dtype.tz)).cast(pl.Int64)
    return cast(expr, dtype, DURATION).cast(pl.Int64)


def _on_calendar(ticks: pl.Series) -> pl.Series:
    if not within(series_interval(ticks), _CALENDAR):
        raise EvaluationError("a time is outside the years 1 to 9999")
    return ticks


def _is_moment(dtype: pa.DataType) -> bool:
    return bool(pa.types.is_date(dtype) or pa.types.is_timestamp(dtype))


def _temporal(call: Call) -> pl.Expr:
    operation = _OPERATIONS[call.row.name]
    wanted = polars_type(call.dtype)
    if not _is_moment(call.dtype):
        ticks = [
            expr.cast(pl.Int64) if is_integer(dtype) else _ticks(expr, dtype)
            for expr, dtype in zip(call.arguments, call.types, strict=True)
        ]
        return checked(operation, ticks, INT64).cast(wanted)
    ticks = [_ticks(*pair) for pair in zip(call.arguments, call.types, strict=True)]
    moved = each_batch(_on_calendar, [checked(operation, ticks, INT64)], INT64)
    return moved.cast(wanted)


def _combine(call: Call) -> pl.Expr:
    """Addition, subtraction and multiplication."""
    operation = _OPERATIONS[call.row.name]
    if pa.types.is_null(call.dtype):
        return literal(None, call.dtype)
    if any(pa.types.is_temporal(dtype) for dtype in call.types):
        return _temporal(call)
    if is_decimal(call.dtype):
        return _combine_decimals(call)
    operands = [
        cast(expr, dtype, call.dtype)
        for expr, dtype in zip(call.arguments, call.types, strict=True)
    ]
    if is_float(call.dtype):
        built: pl.Expr = operation(*operands)
        return built
    intervals = [_node_interval(*pair) for pair in zip(call.nodes, call.types, strict=True)]
    return checked(operation, operands, call.dtype, intervals)


def _combine_decimals(call: Call) -> pl.Expr:
    operation = _OPERATIONS[call.row.name]
    wanted = polars_type(call.dtype)
    values = [node.value if isinstance(node, Literal) else None for node in call.nodes]
    types = [
        call.dtype if pa.types.is_null(dtype) else exact_type(dtype)
        for dtype in operand_types(call.types, values)
    ]
    given = list(zip(call.arguments, call.types, strict=True))
    if operation is not operator.mul:
        left, right = (cast(expr, dtype, call.dtype) for expr, dtype in given)
        built: pl.Expr = operation(left, right)
        return built.cast(wanted)
    scale = call.dtype.scale
    if all(t.precision - t.scale + scale <= MAX_DECIMAL_PRECISION for t in types):
        # With both at the result's scale Polars' product is exact, and fails if it is too large.
        common = pa.decimal128(MAX_DECIMAL_PRECISION, scale)
        left, right = (cast(expr, dtype, common) for expr, dtype in given)
        return (left * right).cast(wanted)
    exact = [cast(expr, dtype, t) for (expr, dtype), t in zip(given, types, strict=True)]
    if sum(t.precision for t in types) >= 76:
        return call.fallback()
    return each_batch(partial(_multiply_wide, types, call.dtype), exact, call.dtype)


def _multiply_wide(
    types: Sequence[pa.DataType], dtype: pa.DataType, left: pl.Series, right: pl.Series
) -> pl.Series:
    """Multiply decimals in 256 bits, where 128 have no room for the result's scale."""
    columns = [
        pc.cast(series.to_arrow(), pa.decimal256(t.precision, t.scale))
        for series, t in zip((left, right), types, strict=True)
    ]
    factors = [column[0] if len(column) == 1 else column for column in columns]
    product = pc.multiply(*factors)
    if isinstance(product, pa.Scalar):
        product = pa.array([product.as_py()], product.type)
        if 0 in map(len, columns):
            product = product.slice(0, 0)
    try:
        return from_arrow(pc.cast(product, dtype), dtype)
    except pa.ArrowInvalid as error:
        raise EvaluationError(f"a product does not fit into {type_name(dtype)}") from error


def _divide(call: Call) -> pl.Expr:
    left, right = (
        _ticks(expr, dtype).cast(pl.Float64)
        if pa.types.is_duration(dtype)
        else cast(expr, dtype, FLOAT64)
        for expr, dtype in zip(call.arguments, call.types, strict=True)
    )
    return (
        left / right if columns_of(call.nodes[1]) else each_batch(quotient, [left, right], FLOAT64)
    )


def quotient(left: pl.Series, right: pl.Series) -> pl.Series:
    """Divide floats by one number as IEEE 754 does; Polars would multiply by its inverse."""
    if len(right) != 1 or len(left) == 1:
        return left / right
    return from_arrow(pc.divide(left.to_arrow(), right.to_arrow()[0]), FLOAT64)


def _floor_divide(left: pl.Series, right: pl.Series) -> pl.Series:
    least = integer_bounds(INT64)[0]
    if left.dtype == pl.Int64 and left.min() == least and (right == -1).any():
        narrowed(left.cast(pl.Int128) // right.cast(pl.Int128), INT64)
    return left // right


def _truncate_divide(left: pl.Series, right: pl.Series) -> pl.Series:
    quotient = _floor_divide(left, right)
    return quotient + ((quotient < 0) & (quotient * right != left)).cast(quotient.dtype)


def _modulo(left: pl.Series, right: pl.Series) -> pl.Series:
    return left % right


def _remainder(left: pl.Series, right: pl.Series) -> pl.Series:
    floored = left % right
    return floored - right * ((floored != 0) & ((floored < 0) != (left < 0))).cast(floored.dtype)


def _whole(on_integers: Callable[[pl.Series, pl.Series], pl.Series]) -> Form[pl.Expr]:
    """The functions of integer division; on decimals and mostly on floats Python does it."""

    def build(call: Call) -> pl.Expr:
        if pa.types.is_null(call.dtype):
            return literal(None, call.dtype)
        if is_float(call.dtype) and on_integers is _truncate_divide:
            return _divide(call).truncate(0)
        if is_float(call.dtype) or is_decimal(call.dtype):
            return call.fallback()
        left, right = (
            cast(expr, dtype, call.dtype)
            for expr, dtype in zip(call.arguments, call.types, strict=True)
        )
        divisor = call.nodes[1]
        if isinstance(divisor, Literal) and divisor.value not in (None, 0, -1):
            if on_integers is _modulo:
                return left % right
            if on_integers is _floor_divide:
                return left // right
        return each_batch(on_integers, [left, right], call.dtype)

    return Form(build)


def negate_integers(series: pl.Series) -> pl.Series:
    """Change the sign; the least int64 fails the run."""
    if series.min() == integer_bounds(INT64)[0]:
        return narrowed(series.cast(pl.Int128) * pl.Series([-1], dtype=pl.Int128), INT64)
    return -series


def _negate(call: Call) -> pl.Expr:
    (expr,), (dtype,) = call.arguments, call.types
    if pa.types.is_null(dtype):
        return expr
    if is_integer(call.dtype):
        wide = cast(expr, dtype, INT64)
        return -wide if dtype != INT64 else each_batch(negate_integers, [wide], INT64)
    if pa.types.is_duration(dtype):
        ticks = each_batch(negate_integers, [_ticks(expr, dtype)], INT64)
        return ticks.cast(polars_type(call.dtype))
    return -cast(expr, dtype, call.dtype)


def _power(call: Call) -> pl.Expr:
    base, exponent = (
        cast(expr, dtype, FLOAT64) for expr, dtype in zip(call.arguments, call.types, strict=True)
    )
    return base.pow(exponent)


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
    "truncate_divide": _whole(_truncate_divide),
    "remainder": _whole(_remainder),
    "negate": Form(_negate, _refuse_nanoseconds),
    "power": Form(_power),
}

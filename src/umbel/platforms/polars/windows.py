"""Window calls to Polars expressions.

Rows of a partition are put into the window's order by one integer, their position in the order of
the whole input, since Polars orders windows by several keys only in one direction. What a
function sees of the ordered partition is then a matter of positions: a frame is the positions of
its first and last row. Polars is imported when a call is compiled, so that asking what is refused
does not load it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.plan.expressions import AggregateCall, Frame, WindowCall
from umbel.plan.functions import CATALOGUE, Kind
from umbel.plan.functions.forms import Absent, TypedCall, refuse_function
from umbel.plan.types import is_decimal, is_float, is_integer, is_temporal
from umbel.plan.typing import infer_type

if TYPE_CHECKING:
    import polars as pl

#: Running aggregates that positions, or differences of exact running sums, give for any frame.
_ANY_FRAME = frozenset(
    {"count", "len", "first", "last", "nth", "first_non_null", "last_non_null", "any_value"}
)
#: Running aggregates that need a frame without a start or without an end.
_OPEN_FRAME = frozenset({"min", "max", "any", "all"})
_SUMS = frozenset({"sum", "mean"})

_WHOLE = Frame("rows", None, None)


def effective_frame(call: WindowCall) -> Frame:
    """Find the frame that an aggregate over a window has, the default made explicit.

    >>> from umbel.plan.expressions import Column, SortKey
    >>> str(effective_frame(WindowCall("sum", order_by=(SortKey(Column("a")),))))
    'range between unbounded preceding and current row'
    """
    frame = call.frame
    if frame is None:
        frame = Frame("range", None, 0) if call.order_by else _WHOLE
    # Without an order all rows are peers.
    return _WHOLE if frame.unit == "range" and not call.order_by else frame


def refuse_window(call: WindowCall, schema: pa.Schema) -> str | None:
    """Say why Polars cannot run a window call as the plan means it; None if it can."""
    from umbel.platforms.polars.functions import forms

    types = [infer_type(argument, schema) for argument in call.arguments]
    reason = refuse_function(forms(), call.function, call.arguments, types)
    if reason is not None or CATALOGUE[call.function].kind is Kind.WINDOW:
        return reason
    frame = effective_frame(call)
    if (frame.start is None and frame.end is None) or call.function in _ANY_FRAME:
        return None
    bounded = frame.start is not None and frame.end is not None
    if call.function in _SUMS:
        if bounded and is_float(types[0]):
            return f"Polars has no exact {call.function} of floats over a sliding frame"
        return None
    if call.function in _OPEN_FRAME:
        if bounded:
            return f"Polars has no {call.function} over a frame with two bounds"
        if not _can_run(types[0]):
            return f"Polars has no running {call.function} of {types[0]}"
        return None
    return f"Polars has no running {call.function}"


def _can_run(dtype: pa.DataType) -> bool:
    return bool(
        is_integer(dtype)
        or is_float(dtype)
        or is_decimal(dtype)
        or is_temporal(dtype)
        or pa.types.is_boolean(dtype)
    )


def compile_window(call: WindowCall, schema: pa.Schema) -> pl.Expr:
    """Build the Polars expression of a window call that `refuse_window` lets pass."""
    import polars as pl

    from umbel.platforms.polars.expressions import compile_expression, per_row

    row = CATALOGUE[call.function]
    partition = [per_row(key, schema) for key in call.partition_by] or [pl.lit(0)]
    keys = [per_row(key.expression, schema) for key in call.order_by]
    if row.kind is Kind.AGGREGATE:
        frame = effective_frame(call)
        if frame.start is None and frame.end is None:
            aggregate = AggregateCall(call.function, call.arguments, order_by=call.order_by)
            return compile_expression(aggregate, schema).over(partition)
        ordered = _framed(call, frame, keys, schema)
    else:
        ordered = _windowed(call, keys, schema)
    return ordered.over(partition, order_by=_position(call, keys))


def _position(call: WindowCall, keys: list[pl.Expr]) -> pl.Expr:
    """Each row's position in the order of all rows."""
    import polars as pl

    rows = pl.int_range(pl.len())
    if not keys:
        return rows
    return rows.sort_by(
        keys,
        descending=[key.descending for key in call.order_by],
        nulls_last=[not key.nulls_first for key in call.order_by],
        maintain_order=True,
    ).arg_sort()


def _windowed(call: WindowCall, keys: list[pl.Expr], schema: pa.Schema) -> pl.Expr:
    from umbel.platforms.polars.expressions import compile_expression, per_row
    from umbel.platforms.polars.functions import forms

    row, form = CATALOGUE[call.function], forms()[call.function]
    if isinstance(form, Absent):
        raise TypeError(f"Polars has no {call.function}: {form.reason}")
    types = tuple(infer_type(argument, schema) for argument in call.arguments)
    arguments = [
        compile_expression(argument, schema)
        if position in row.constant
        else per_row(argument, schema)
        for position, argument in enumerate(call.arguments)
    ]
    built: pl.Expr = form.build(
        TypedCall(
            row=row,
            arguments=(*arguments, *keys),
            nodes=call.arguments,
            types=types,
            dtype=row.result(types),
            wrap=lambda node: node,
            fallback=_no_fallback,
            window=True,
        )
    )
    return built


def _no_fallback() -> pl.Expr:
    raise TypeError("a window function has no reference per row")


@dataclass(frozen=True)
class _Bounds:
    """The positions of a frame's first and last row, which may lie outside the partition.

    Attributes:
        frame: what they bound.
        first: the first row of the frame; beyond `last` if the frame is empty.
        last: its last row.
    """

    frame: Frame
    first: pl.Expr
    last: pl.Expr

    @property
    def from_start(self) -> bool:
        """Whether the frame has no lower bound."""
        return self.frame.start is None

    def at(self, values: pl.Expr, position: pl.Expr) -> pl.Expr:
        """The value at a position; null if the position is null or outside the frame."""
        import polars as pl

        inside = (position >= self.first) & (position <= self.last)
        return values.gather(pl.when(inside).then(position))

    def at_first(self, values: pl.Expr) -> pl.Expr:
        """The value in the frame's first row; null if the frame is empty."""
        here = self.frame.unit == "rows" and self.frame.start == 0
        return values if here else self.at(values, self.first)

    def at_last(self, values: pl.Expr) -> pl.Expr:
        """The value in the frame's last row; null if the frame is empty."""
        here = self.frame.unit == "rows" and self.frame.end == 0
        return values if here else self.at(values, self.last)


def _bounds(frame: Frame, keys: list[pl.Expr]) -> _Bounds:
    import polars as pl

    from umbel.platforms.polars.functions.windows import (
        first_peer,
        last_peer,
        row_count,
        row_index,
    )

    index, final = row_index(), row_count() - 1
    if frame.start is None:
        first = index * 0
    elif frame.unit == "range":
        first = first_peer(keys)
    else:
        first = (index + frame.start).clip(lower_bound=0)
    if frame.end is None:
        last = index * 0 + final
    elif frame.unit == "range":
        last = last_peer(keys)
    else:
        last = pl.min_horizontal(index + frame.end, final)
    return _Bounds(frame, first, last)


def _framed(call: WindowCall, frame: Frame, keys: list[pl.Expr], schema: pa.Schema) -> pl.Expr:
    """An aggregate over a frame of an ordered partition."""
    import polars as pl

    from umbel.platforms.polars.expressions import per_row
    from umbel.platforms.polars.functions.windows import row_index

    bounds = _bounds(frame, keys)
    if call.function == "len":
        return (bounds.last - bounds.first + 1).clip(lower_bound=0)
    value = per_row(call.arguments[0], schema)
    dtype = infer_type(call.arguments[0], schema)
    present = pl.when(value.is_not_null()).then(row_index())
    match call.function:
        case "first":
            return bounds.at_first(value)
        case "last":
            return bounds.at_last(value)
        case "nth":
            n = call.arguments[1].value  # type: ignore[attr-defined]
            return bounds.at(value, bounds.first + (n - 1))
        case "first_non_null" | "any_value":
            return bounds.at(value, bounds.at_first(present.backward_fill()))
        case "last_non_null":
            return bounds.at(value, bounds.at_last(present.forward_fill()))
        case "count":
            return _running_count(value, bounds)
        case "sum" | "mean":
            return _running_sum(call.function, value, dtype, bounds)
        case "any" | "all":
            ranks = value.cast(pl.Int8)
            best = _running_extreme(ranks, bounds, greatest=call.function == "any")
            return best.cast(pl.Boolean)
        case _:
            return _running_min_max(value, dtype, bounds, greatest=call.function == "max")


def _difference(running: pl.Expr, bounds: _Bounds) -> pl.Expr:
    """The sum over a frame from exact running sums; null over an empty frame."""
    import polars as pl

    from umbel.platforms.polars.functions.windows import row_count, row_index

    if bounds.from_start:
        return bounds.at_last(running)
    start, end = bounds.frame.start, bounds.frame.end
    if bounds.frame.unit == "range" or start is None:
        before = running.gather(pl.when(bounds.first > 0).then(bounds.first - 1))
        upper = bounds.at_last(running)
        return pl.when(before.is_null()).then(upper).otherwise(upper - before)
    # Shifted columns are faster than gathered ones. A shift gives null beyond the partition,
    # which is right for the first row's end, but the last row's is the last of all.
    before = running.shift(1 - start)
    if end is None:
        upper = running.last()
    elif end > 0:
        within = row_index() + end < row_count()
        upper = pl.when(within).then(running.shift(-end)).otherwise(running.last())
    else:
        upper = running.shift(-end)
    if start > 0:
        return pl.when(row_index() + start < row_count()).then(upper - before)
    return pl.when(before.is_null()).then(upper).otherwise(upper - before)


def _running_count(value: pl.Expr, bounds: _Bounds) -> pl.Expr:
    import polars as pl

    return _difference(value.is_not_null().cast(pl.Int64).cum_sum(), bounds).fill_null(0)


def _running_sum(function: str, value: pl.Expr, dtype: pa.DataType, bounds: _Bounds) -> pl.Expr:
    import polars as pl

    from umbel.platforms.polars.functions.aggregates import narrowed, widened

    wide = widened(value, dtype)
    filled = wide.fill_null(pl.lit(0).cast(wide_type(dtype)))
    if is_float(dtype) and not bounds.from_start:
        # Differences of sums of floats are not exact; a sum from the end is.
        total = bounds.at_first(filled.cum_sum(reverse=True))
    else:
        total = _difference(filled.cum_sum(), bounds)
    count = _running_count(value, bounds)
    result = pl.when(count > 0).then(total)
    if function == "mean":
        return result.cast(pl.Float64) / count
    return narrowed(result, CATALOGUE[function].result([dtype]))


def _running_extreme(value: pl.Expr, bounds: _Bounds, *, greatest: bool) -> pl.Expr:
    """The least or greatest value of a frame that is open on one side; nulls are skipped."""
    if bounds.from_start:
        running = value.cum_max() if greatest else value.cum_min()
        return bounds.at_last(running.forward_fill())
    running = value.cum_max(reverse=True) if greatest else value.cum_min(reverse=True)
    return bounds.at_first(running.backward_fill())


def _running_min_max(
    value: pl.Expr, dtype: pa.DataType, bounds: _Bounds, *, greatest: bool
) -> pl.Expr:
    import polars as pl

    if pa.types.is_boolean(dtype):
        return _running_extreme(value.cast(pl.Int8), bounds, greatest=greatest).cast(pl.Boolean)
    if not is_float(dtype):
        return _running_extreme(value, bounds, greatest=greatest)
    # NaN is greater than any number: a maximum is NaN if one is there, a minimum if nothing else.
    numbers = _running_extreme(value.fill_nan(None), bounds, greatest=greatest)
    any_nan = _running_extreme(value.is_nan().cast(pl.Int8), bounds, greatest=True) == 1
    nan = pl.lit(float("nan"))
    if greatest:
        return pl.when(any_nan).then(nan).otherwise(numbers)
    return pl.when(numbers.is_null() & any_nan).then(nan).otherwise(numbers)


def wide_type(dtype: pa.DataType) -> pl.DataType:
    """The Polars type of `widened` values."""
    import polars as pl

    if is_float(dtype):
        return pl.Float64()
    return pl.Decimal(38, dtype.scale) if is_decimal(dtype) else pl.Int128()

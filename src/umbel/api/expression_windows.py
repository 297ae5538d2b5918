"""Windows: values computed from the rows around each row, and `over`, which says which those are.

As in Polars, an aggregate with `over` is that of the whole partition, whatever the order; a
running one is asked for with `rows=(None, 0)` or the `cum_` methods.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

from umbel.api.expression_base import ExprBase, nodes_of, sort_keys
from umbel.api.values import literal
from umbel.plan.errors import PlanError
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Case,
    Expression,
    Frame,
    SortKey,
    WindowCall,
    transform,
    walk,
)
from umbel.plan.functions import CATALOGUE

#: Aggregates to which a null is a value like any other, so that a null cannot stand for "no row".
_TAKES_NULLS = frozenset({"first", "last", "nth", "list"})
#: Aggregates that leave out rows whose second argument is null.
_BY_SECOND = frozenset({"min_by", "max_by"})
_WHOLE = Frame("rows", None, None)
_TO_HERE = Frame("rows", None, 0)
_FROM_HERE = Frame("rows", 0, None)


class Windows(ExprBase):
    """Methods that look at other rows."""

    def over(
        self,
        partition_by: Any = None,
        *more_exprs: Any,
        order_by: Any = None,
        descending: bool | Sequence[bool] = False,
        nulls_last: bool | Sequence[bool] = True,
        rows: tuple[int | None, int | None] | None = None,
    ) -> Self:
        """Compute the aggregates and window functions of this expression over partitions.

        Args:
            partition_by: rows with equal values share a partition; none is one partition of all.
            *more_exprs: further columns or expressions to partition by.
            order_by: the order inside a partition, for functions that depend on it.
            descending: directions of the order.
            nulls_last: where nulls go in the order.
            rows: for aggregates, the first and the last row to take, counted from the current
                one (negative before it), or None for the partition's end.

        >>> from umbel import col
        >>> col("a").sum().over("g")
        sum(a) over (partition by g)
        >>> col("a").sum().over("g", order_by="d", rows=(-2, 0))
        sum(a) over (partition by g order by d rows between 2 preceding and current row)
        """
        if self.windowed:
            raise PlanError("over() is called twice on parts of one expression")
        partition = (*nodes_of(partition_by, what="over"), *nodes_of(more_exprs, what="over"))
        order = (
            sort_keys(order_by, descending, nulls_last, what="over") if order_by is not None else ()
        )
        if not partition and not order:
            raise PlanError("over() needs columns to partition by, or an order")
        frame = None if rows is None else _frame(rows, order)

        def place(node: Expression) -> Expression:
            if isinstance(node, AggregateCall):
                return as_window(node, partition, order, frame)
            if isinstance(node, WindowCall):
                return _within(node, partition, order, frame)
            return node

        if not any(isinstance(n, AggregateCall | WindowCall) for n in walk(self.node)):
            raise PlanError(
                f"{self!r} has no aggregate or window function for over() to compute",
                hint="write over() behind one: ub.col('x').sum().over('g')",
            )
        return self._changed(node=transform(self.node, place), windowed=True)

    # --- neighbours ---------------------------------------------------------------------------

    def shift(self, n: int = 1, *, fill_value: Any = None) -> Self:
        """The value `n` rows before this one (behind it, if negative), in the order of `over`."""
        return self.lag(n, fill_value) if n >= 0 else self.lead(-n, fill_value)

    def lag(self, n: int = 1, default: Any = None) -> Self:
        """The value `n` rows before this one in the order of `over`, or `default`."""
        return self._neighbour("lag", n, default)

    def lead(self, n: int = 1, default: Any = None) -> Self:
        """The value `n` rows behind this one in the order of `over`, or `default`."""
        return self._neighbour("lead", n, default)

    def _neighbour(self, function: str, n: int, default: Any) -> Self:
        if n < 0:
            raise PlanError(f"{function} counts rows from 0 on, not {n}; use shift")
        more = () if default is None else (self._wrap(default),)
        return self._combine(lambda *nodes: WindowCall(function, nodes), self, n, *more)

    def diff(self, n: int = 1) -> Self:
        """The difference to the value `n` rows before, in the order of `over`."""
        return self._combine(lambda a, b: Call("subtract", (a, b)), self, self.shift(n))

    def forward_fill(self) -> Self:
        """The value, or where it is null the last one before it in the order of `over`."""
        return self._with(WindowCall("last_non_null", (self.node,), frame=_TO_HERE))

    def backward_fill(self) -> Self:
        """The value, or where it is null the next one in the order of `over`."""
        return self._with(WindowCall("first_non_null", (self.node,), frame=_FROM_HERE))

    # --- ranks --------------------------------------------------------------------------------

    def rank(self, method: str = "average", *, descending: bool = False) -> Self:
        """The rank of the value among all, from 1; null for null.

        Args:
            method: what equal values get: "average", "min" or "max" of their ranks; "dense"
                ranks without gaps; or "ordinal" distinct ranks.
            descending: rank the greatest first.
        """
        value = self.node
        key = (SortKey(value, descending),)
        peers = WindowCall("count", (value,), partition_by=(value,))
        rank: Expression = WindowCall("rank", (), order_by=key)
        match method:
            case "min":
                pass
            case "dense" | "ordinal":
                functions = {"dense": "dense_rank", "ordinal": "row_number"}
                rank = WindowCall(functions[method], (), order_by=key)
            case "max":
                rank = Call("subtract", (Call("add", (rank, peers)), literal(1)))
            case "average":
                extra = Call("divide", (Call("subtract", (peers, literal(1))), literal(2)))
                rank = Call("add", (rank, extra))
            case _:
                raise PlanError(f"method is average, min, max, dense or ordinal, not {method!r}")
        return self._with(Case(((Call("is_not_null", (value,)), rank),)))

    # --- running and rolling aggregates -------------------------------------------------------

    def cum_sum(self, *, reverse: bool = False) -> Self:
        """The sum up to this row in the order of `over`; null where the value is null."""
        return self._running("sum", reverse)

    def cum_min(self, *, reverse: bool = False) -> Self:
        """The least value up to this row in the order of `over`; null where the value is null."""
        return self._running("min", reverse)

    def cum_max(self, *, reverse: bool = False) -> Self:
        """The greatest value up to this row in the order of `over`; null where it is null."""
        return self._running("max", reverse)

    def cum_count(self, *, reverse: bool = False) -> Self:
        """How many values are not null up to this row in the order of `over`."""
        frame = _FROM_HERE if reverse else _TO_HERE
        return self._with(WindowCall("count", (self.node,), frame=frame))

    def _running(self, function: str, reverse: bool) -> Self:
        call = WindowCall(function, (self.node,), frame=_FROM_HERE if reverse else _TO_HERE)
        return self._with(Case(((Call("is_not_null", (self.node,)), call),)))

    def rolling_sum(self, window_size: int, *, min_samples: int | None = None) -> Self:
        """The sum of the last values in the order of `over`; null for too few of them."""
        return self._rolling("sum", window_size, min_samples)

    def rolling_mean(self, window_size: int, *, min_samples: int | None = None) -> Self:
        """The mean of the last values in the order of `over`; null for too few of them."""
        return self._rolling("mean", window_size, min_samples)

    def rolling_min(self, window_size: int, *, min_samples: int | None = None) -> Self:
        """The least of the last values in the order of `over`; null for too few of them."""
        return self._rolling("min", window_size, min_samples)

    def rolling_max(self, window_size: int, *, min_samples: int | None = None) -> Self:
        """The greatest of the last values in the order of `over`; null for too few of them."""
        return self._rolling("max", window_size, min_samples)

    def _rolling(self, function: str, size: int, least: int | None) -> Self:
        if size < 1:
            raise PlanError(f"a window has at least one row, not {size}")
        frame = Frame("rows", 1 - size, 0)
        count = WindowCall("count", (self.node,), frame=frame)
        enough = Call("greater_equal", (count, literal(size if least is None else least)))
        return self._with(Case(((enough, WindowCall(function, (self.node,), frame=frame)),)))


def _frame(rows: tuple[int | None, int | None], order: tuple[SortKey, ...]) -> Frame:
    if not order:
        raise PlanError("rows=... needs an order: over(..., order_by=..., rows=...)")
    if len(rows) != 2 or not all(side is None or isinstance(side, int) for side in rows):
        raise PlanError(f"rows is a pair of row counts or None, such as (-2, 0), not {rows!r}")
    return Frame("rows", *rows)


def _within(
    call: WindowCall,
    partition: tuple[Expression, ...],
    order: tuple[SortKey, ...],
    frame: Frame | None,
) -> WindowCall:
    """Put a window function without partition into one."""
    if call.order_by and order:
        raise PlanError(
            f"{call.function} over an order of its own takes no order_by",
            hint="use ub.rank(), ub.dense_rank() or ub.row_number() with over(order_by=...)",
        )
    if frame is not None:
        raise PlanError(f"{call.function} takes no rows=...")
    # A count of peers, which is part of a rank, needs no order.
    needed = order if not call.order_by and not call.partition_by else call.order_by
    return replace(call, partition_by=(*partition, *call.partition_by), order_by=needed)


def as_window(
    call: AggregateCall,
    partition: tuple[Expression, ...] = (),
    order: tuple[SortKey, ...] = (),
    frame: Frame | None = None,
) -> WindowCall:
    """Turn an aggregate into one over partitions.

    >>> from umbel.plan.expressions import Column
    >>> str(as_window(AggregateCall("sum", (Column("a"),)), (Column("g"),)))
    'sum(a) over (partition by g)'
    """
    if call.distinct:
        raise PlanError(
            f"{call} cannot be computed over a window, as it is distinct",
            hint="use n_unique() to count distinct values, or group_by(...).agg(...) and a join",
        )
    function, arguments = call.function, call.arguments
    if call.where is not None:
        if function in _TAKES_NULLS:
            raise PlanError(f"{call} cannot be filtered over a window, as it takes nulls too")
        if arguments:
            place = 1 if function in _BY_SECOND else 0
            only = Case(((call.where, arguments[place]),))
            arguments = (*arguments[:place], only, *arguments[place + 1 :])
        else:
            function, arguments = "count", (Case(((call.where, literal(True)),)),)
    if call.order_by and order:
        raise PlanError(f"{call.function} has an order_by twice: in over() and of its own")
    keys = order or call.order_by
    if frame is None and CATALOGUE[function].ordered and keys:
        frame = _WHOLE
    if frame is None:
        keys = ()
    return WindowCall(function, arguments, partition, keys, frame)


#: Functions that mean nothing without an order. (A list without an order is still a bag.)
_NEED_ORDER = frozenset({
    "lag", "lead", "rank", "dense_rank", "percent_rank", "cume_dist", "ntile", "row_number",
    "first", "last", "first_non_null", "last_non_null", "nth",
})  # fmt: skip


def check_ordered(call: AggregateCall | WindowCall) -> None:
    """Raise `PlanError` if a call depends on an order that it was not given."""
    frame = call.frame if isinstance(call, WindowCall) else None
    running = frame is not None and frame != _WHOLE
    if (running or call.function in _NEED_ORDER) and not call.order_by:
        where = ".over(..., order_by=...)"
        if isinstance(call, AggregateCall):
            where = f".{call.function}(order_by=...), or take .any_value()"
        raise PlanError(
            f"{call.function} depends on an order, and the rows of a frame have none",
            hint=f"say which: {where}",
        )


__all__ = ["Windows", "as_window", "check_ordered"]

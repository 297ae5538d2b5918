"""Aggregates: one value from the rows of a group, a window or a whole frame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Self

from umbel.api.expression_base import ExprBase, sort_keys
from umbel.plan.errors import PlanError
from umbel.plan.expressions import AggregateCall, Call, Expression, WindowCall, walk


class Aggregates(ExprBase):
    """Methods that aggregate the values of an expression. Nulls are skipped."""

    def filter(self, *predicates: Any) -> Self:
        """Take only rows for which all predicates are true, before or after an aggregate.

        >>> from umbel import col
        >>> col("a").filter(col("b") > 0).sum()
        sum(a) filter (greater(b, 0))
        >>> col("a").sum().filter(col("b") > 0)
        sum(a) filter (greater(b, 0))
        """
        condition = conjunction([self._wrap(p).node for p in predicates])
        match self.node:
            case AggregateCall(where=None) as call:
                return self._changed(node=replace(call, where=condition))
            case AggregateCall(where=Expression() as before) as call:
                return self._changed(node=replace(call, where=Call("and", (before, condition))))
        if any(isinstance(node, AggregateCall | WindowCall) for node in walk(self.node)):
            raise PlanError(
                "filter goes before an aggregate or directly behind it",
                hint="write ub.col('x').filter(...).sum() + 1",
            )
        if self.condition is not None:
            condition = Call("and", (self.condition, condition))
        return self._changed(condition=condition)

    def _aggregate(
        self, function: str, *others: Any, distinct: bool = False, order_by: Any = None
    ) -> Self:
        """Aggregate this expression, and others, with a function of the catalogue."""
        order = sort_keys(order_by, what=function) if order_by is not None else ()
        built = self._combine(
            lambda *nodes: AggregateCall(function, nodes, distinct, self.condition, order),
            self,
            *others,
        )
        return built._changed(condition=None)

    def sum(self, *, distinct: bool = False) -> Self:
        """The sum; null if there is no value. With `distinct`, each distinct value once."""
        return self._aggregate("sum", distinct=distinct)

    def mean(self, *, distinct: bool = False) -> Self:
        """The arithmetic mean as a float; null if there is no value."""
        return self._aggregate("mean", distinct=distinct)

    def min(self) -> Self:
        """The least value; null if there is none."""
        return self._aggregate("min")

    def max(self) -> Self:
        """The greatest value; null if there is none."""
        return self._aggregate("max")

    def count(self) -> Self:
        """How many values are not null."""
        return self._aggregate("count")

    def len(self) -> Self:
        """How many rows there are, null or not."""
        call = AggregateCall("len", (), where=self.condition)
        return self._changed(node=call, condition=None)

    def null_count(self) -> Self:
        """How many values are null."""
        missing = Call("is_null", (self.node,))
        if self.condition is not None:
            missing = Call("and", (self.condition, missing))
        return self._changed(node=AggregateCall("len", where=missing), condition=None)

    def n_unique(self) -> Self:
        """How many distinct values there are, nulls left out as in SQL."""
        return self._aggregate("n_unique")

    def product(self) -> Self:
        """The product; null if there is no value."""
        return self._aggregate("product")

    def median(self) -> Self:
        """The median as a float, halfway between the middle two values of an even number."""
        return self._aggregate("median")

    def quantile(self, quantile: float, interpolation: str = "linear") -> Self:
        """The value below which a given share of the values lies.

        Args:
            quantile: a share between 0 and 1.
            interpolation: "linear" between the two nearest values, as a float; or "lower", a
                value that occurs.
        """
        functions = {"linear": "quantile", "lower": "quantile_discrete"}
        if interpolation not in functions:
            raise PlanError(f"interpolation is linear or lower, not {interpolation!r}")
        if not 0 <= quantile <= 1:
            raise PlanError(f"a quantile lies between 0 and 1, not at {quantile}")
        return self._aggregate(functions[interpolation], float(quantile))

    def var(self, ddof: int = 1) -> Self:
        """The variance: of a sample (`ddof` 1) or of a population (`ddof` 0)."""
        return self._aggregate(by_freedom("var", ddof))

    def std(self, ddof: int = 1) -> Self:
        """The standard deviation: of a sample (`ddof` 1) or of a population (`ddof` 0)."""
        return self._aggregate(by_freedom("std", ddof))

    def any(self) -> Self:
        """Whether any value is true."""
        return self._aggregate("any")

    def all(self) -> Self:
        """Whether all values are true."""
        return self._aggregate("all")

    def first(self, order_by: Any = None, *, ignore_nulls: bool = False) -> Self:
        """The value of the first row in an order, given here or in `over`."""
        return self._aggregate("first_non_null" if ignore_nulls else "first", order_by=order_by)

    def last(self, order_by: Any = None, *, ignore_nulls: bool = False) -> Self:
        """The value of the last row in an order, given here or in `over`."""
        return self._aggregate("last_non_null" if ignore_nulls else "last", order_by=order_by)

    def nth(self, n: int, order_by: Any = None) -> Self:
        """The value of the n-th row, from 1, in an order, given here or in `over`."""
        return self._aggregate("nth", n, order_by=order_by)

    def any_value(self) -> Self:
        """Any of the values that are not null; engines may take different ones."""
        return self._aggregate("any_value")

    def min_by(self, by: Any) -> Self:
        """The value in the row with the least `by`; text names a column."""
        return self._aggregate("min_by", self._parse(by))

    def max_by(self, by: Any) -> Self:
        """The value in the row with the greatest `by`; text names a column."""
        return self._aggregate("max_by", self._parse(by))

    def bitwise_and(self) -> Self:
        """The bitwise and of all values."""
        return self._aggregate("bit_and")

    def bitwise_or(self) -> Self:
        """The bitwise or of all values."""
        return self._aggregate("bit_or")

    def bitwise_xor(self) -> Self:
        """The bitwise exclusive or of all values."""
        return self._aggregate("bit_xor")

    def implode(self, order_by: Any = None, *, distinct: bool = False) -> Self:
        """All values in a list, nulls among them, in an order if one is given."""
        return self._aggregate("list", order_by=order_by, distinct=distinct)


_BY_FREEDOM = {
    "covariance": ("covariance_population", "covariance_sample"),
    "std": ("std_population", "std_sample"),
    "var": ("var_population", "var_sample"),
}


def by_freedom(function: str, ddof: int) -> str:
    """Name the variant of a function for a divisor of n - `ddof`."""
    if ddof not in (0, 1):
        raise PlanError(f"{function} is that of a sample (ddof=1) or a population (ddof=0)")
    return _BY_FREEDOM[function][ddof]


def conjunction(nodes: list[Expression]) -> Expression:
    """The expression that is true where all are.

    >>> from umbel.plan.expressions import Column
    >>> str(conjunction([Column("a"), Column("b")]))
    'and(a, b)'
    """
    if not nodes:
        raise PlanError("filter needs at least one predicate")
    result = nodes[0]
    for node in nodes[1:]:
        result = Call("and", (result, node))
    return result

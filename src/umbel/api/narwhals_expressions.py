"""Expressions as Narwhals' evaluation of its own expressions wants them.

Narwhals calls the methods below by name, and gives column names once a frame is known. An
expression here is therefore a function of a frame that gives one `Expr` for each of its columns.
Where Polars' answer differs from that of the method of the same name (sums of nothing, nulls that
count as values), the one of Polars is made, since code for Narwhals relies on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from umbel.api import functions as F  # noqa: N812  (as PySpark names it)
from umbel.api.expressions import Expr, lit, when
from umbel.plan.errors import PlanError
from umbel.plan.expressions import Literal

Names = Callable[[Any], Sequence[str]]
Alias = Callable[[Sequence[str]], Sequence[str]]

_OPERATORS = (
    "__add__", "__sub__", "__mul__", "__truediv__", "__floordiv__", "__mod__", "__pow__",
    "__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__and__", "__or__", "__xor__",
    "__radd__", "__rsub__", "__rmul__", "__rtruediv__", "__rfloordiv__", "__rmod__", "__rpow__",
    "__rand__", "__ror__", "__rxor__",
)  # fmt: skip

#: Methods that mean the same under the same name, with the same arguments.
_SAME = frozenset({
    "abs", "ceil", "count", "cum_count", "cum_max", "cum_min", "cum_sum", "diff", "exp", "floor",
    "is_null", "len", "max", "mean", "median", "min", "null_count", "rank", "round", "shift",
    "sin", "cos", "sqrt", "std", "var", "is_nan", "is_finite",
})  # fmt: skip

_NAMESPACES = {
    "str": frozenset({
        "contains", "ends_with", "len_chars", "replace", "replace_all", "slice", "split",
        "starts_with", "strip_chars", "strip_chars_start", "strip_chars_end", "to_date",
        "to_datetime", "to_lowercase", "to_titlecase", "to_uppercase", "zfill", "pad_start",
        "pad_end",
    }),
    "dt": frozenset({
        "convert_time_zone", "date", "day", "hour", "microsecond", "millisecond", "minute",
        "month", "nanosecond", "offset_by", "ordinal_day", "replace_time_zone", "second",
        "timestamp", "to_string", "truncate", "weekday", "year", "total_seconds", "total_minutes",
        "total_milliseconds", "total_microseconds", "total_nanoseconds",
    }),
    "list": frozenset({"contains", "get", "len", "max", "min", "sort", "sum", "unique"}),
    "struct": frozenset({"field"}),
}  # fmt: skip


def unsupported(what: str) -> PlanError:
    """Make the error for a part of Narwhals that umbel frames do not have."""
    return PlanError(
        f"Narwhals' {what} is not supported on umbel frames",
        hint="take the umbel frame with .to_native(), or collect() first",
    )


def arrow_type(dtype: Any) -> pa.DataType:
    """Give the Arrow type of a Narwhals one."""
    import narwhals as nw

    return nw.Schema({"x": dtype() if isinstance(dtype, type) else dtype}).to_arrow().field(0).type


class CompliantExpr:
    """An expression as Narwhals builds it up: a function of a frame."""

    def __init__(
        self,
        call: Callable[[Any], list[Expr]],
        names: Names,
        version: Any,
        alias: Alias | None = None,
    ) -> None:
        from narwhals.utils import Implementation

        self._call = call
        self._evaluate_output_names = names
        self._alias_output_names = alias
        self._version = version
        self._implementation = Implementation.UNKNOWN
        self._opt_metadata: Any = None

    # --- what Narwhals asks of any expression -------------------------------------------------

    def __narwhals_expr__(self) -> CompliantExpr:
        return self

    def __narwhals_namespace__(self) -> Any:
        from umbel.api.narwhals_door import CompliantNamespace

        return CompliantNamespace(self._version)

    @property
    def _metadata(self) -> Any:
        return self._opt_metadata

    def __call__(self, frame: Any) -> list[Expr]:
        """Give the expressions over a frame."""
        return self._call(frame)

    def broadcast(self) -> CompliantExpr:
        """The same: umbel gives aggregates beside columns to every row anyway."""
        return self._each(lambda e: e)

    def output_names(self, frame: Any) -> list[str]:
        """Name the results over a frame."""
        names = self._evaluate_output_names(frame)
        return list(self._alias_output_names(names) if self._alias_output_names else names)

    def _with_alias_output_names(self, alias: Alias | None) -> CompliantExpr:
        return CompliantExpr(self._call, self._evaluate_output_names, self._version, alias)

    # --- building -----------------------------------------------------------------------------

    def _each(self, change: Callable[..., Expr], *others: Any, **options: Any) -> CompliantExpr:
        """Change every column; other expressions among the arguments give their first one."""

        def value(argument: Any, frame: Any) -> Any:
            return argument(frame)[0] if isinstance(argument, CompliantExpr) else argument

        def call(frame: Any) -> list[Expr]:
            positional = [value(other, frame) for other in others]
            named = {key: value(option, frame) for key, option in options.items()}
            return [change(expression, *positional, **named) for expression in self(frame)]

        return CompliantExpr(
            call, self._evaluate_output_names, self._version, self._alias_output_names
        )

    def __getattr__(self, name: str) -> Any:
        if name in _SAME:
            return lambda *args, **options: self._each(
                lambda e, *a, **o: getattr(e, name)(*a, **o), *args, **options
            )
        if name in _NAMESPACES:
            return _Accessor(self, name)
        if name.startswith("_"):
            raise AttributeError(name)
        raise unsupported(f"Expr.{name}")

    # --- names --------------------------------------------------------------------------------

    def alias(self, name: str) -> CompliantExpr:
        """Name the result."""
        return self._with_alias_output_names(lambda names: [name] * len(names))

    @property
    def name(self) -> _Naming:
        """Changes to the names of the results."""
        return _Naming(self)

    # --- methods that differ ------------------------------------------------------------------

    def __invert__(self) -> CompliantExpr:
        return self._each(lambda e: ~e)

    def __neg__(self) -> CompliantExpr:
        return self._each(lambda e: -e)

    def cast(self, dtype: Any) -> CompliantExpr:
        """Convert to a Narwhals type."""
        target = arrow_type(dtype)
        return self._each(lambda e: e.cast(target))

    def sum(self) -> CompliantExpr:
        """The sum, which is 0 for nothing."""
        return self._each(lambda e: e.sum().fill_null(0))

    def any(self) -> CompliantExpr:
        """Whether any value is true; false for nothing."""
        return self._each(lambda e: e.any().fill_null(False))

    def all(self) -> CompliantExpr:
        """Whether all values are true; true for nothing."""
        return self._each(lambda e: e.all().fill_null(True))

    def n_unique(self) -> CompliantExpr:
        """The number of distinct values, null being one."""
        return self._each(lambda e: e.n_unique() + when(e.null_count() > 0).then(1).otherwise(0))

    def quantile(self, quantile: float, interpolation: str) -> CompliantExpr:
        """A quantile between the two nearest values."""
        if interpolation != "linear":
            raise unsupported(f"quantile with interpolation {interpolation!r}")
        return self._each(lambda e: e.quantile(quantile))

    def first(self, order_by: Sequence[str] = ()) -> CompliantExpr:
        """The value of the first row in an order."""
        return self._each(lambda e: e.first(list(order_by) or None))

    def last(self, order_by: Sequence[str] = ()) -> CompliantExpr:
        """The value of the last row in an order."""
        return self._each(lambda e: e.last(list(order_by) or None))

    def any_value(self, *, ignore_nulls: bool) -> CompliantExpr:
        """Any value that is not null."""
        if not ignore_nulls:
            raise unsupported("any_value(ignore_nulls=False)")
        return self._each(lambda e: e.any_value())

    def filter(self, *predicates: Any) -> CompliantExpr:
        """Take only some rows into an aggregate."""
        return self._each(lambda e, *p: e.filter(*p), *predicates)

    def drop_nulls(self) -> CompliantExpr:
        """Take only values that are not null into an aggregate."""
        return self._each(lambda e: e.filter(e.is_not_null()))

    def over(self, partition_by: Sequence[Any], order_by: Sequence[str]) -> CompliantExpr:
        """Compute over partitions."""
        order = list(order_by) or None
        return self._each(
            lambda e, *keys: e.over(*keys, order_by=order, nulls_last=False), *partition_by
        )

    def is_in(self, other: Any) -> CompliantExpr:
        """Whether a value is one of a collection."""
        return self._each(lambda e: e.is_in(list(other)))

    def is_between(self, lower_bound: Any, upper_bound: Any, closed: str) -> CompliantExpr:
        """Whether a value lies between two bounds."""
        return self._each(
            lambda e, low, high: e.is_between(low, high, closed), lower_bound, upper_bound
        )

    def fill_null(self, value: Any, strategy: str | None, limit: int | None) -> CompliantExpr:
        """Replace nulls by a value, or by that of a neighbour."""
        if strategy is None:
            return self._each(lambda e, other: e.fill_null(other), value)
        if limit is not None:
            raise unsupported("fill_null with a limit")
        if strategy == "forward":
            return self._each(lambda e: e.forward_fill())
        return self._each(lambda e: e.backward_fill())

    def fill_nan(self, value: Any) -> CompliantExpr:
        """Replace NaN by a value."""
        return self._each(lambda e: when(e.is_nan()).then(lit(value)).otherwise(e))

    def clip(self, lower_bound: Any, upper_bound: Any) -> CompliantExpr:
        """Bring values between two bounds."""
        return self.clip_lower(lower_bound).clip_upper(upper_bound)

    def clip_lower(self, lower_bound: Any) -> CompliantExpr:
        """Bring values to at least a bound."""
        return self._each(lambda e, low: when(e < low).then(low).otherwise(e), lower_bound)

    def clip_upper(self, upper_bound: Any) -> CompliantExpr:
        """Bring values to at most a bound."""
        return self._each(lambda e, high: when(e > high).then(high).otherwise(e), upper_bound)

    def log(self, base: float) -> CompliantExpr:
        """The logarithm."""
        return self._each(lambda e: e.log() if base == math.e else e.log(base))

    def rolling_sum(self, window_size: int, *, min_samples: int, center: bool) -> CompliantExpr:
        """The sum of the last values."""
        _no_center(center)
        return self._each(lambda e: e.rolling_sum(window_size, min_samples=min_samples))

    def rolling_mean(self, window_size: int, *, min_samples: int, center: bool) -> CompliantExpr:
        """The mean of the last values."""
        _no_center(center)
        return self._each(lambda e: e.rolling_mean(window_size, min_samples=min_samples))

    def is_unique(self) -> CompliantExpr:
        """Whether no other row has the value."""
        return self._each(lambda e: F.count_rows().over(e) == 1)

    def is_duplicated(self) -> CompliantExpr:
        """Whether another row has the value."""
        return self._each(lambda e: F.count_rows().over(e) > 1)


def _no_center(center: bool) -> None:
    if center:
        raise unsupported("a centred rolling window")


def _operator(name: str) -> Callable[[CompliantExpr, Any], CompliantExpr]:
    reflected = name.startswith("__r")

    def method(self: CompliantExpr, other: Any) -> CompliantExpr:
        built = self._each(lambda e, o: getattr(e, name)(o), other)
        return built.alias("literal") if reflected else built

    return method


for _name in _OPERATORS:
    setattr(CompliantExpr, _name, _operator(_name))


class _Naming:
    """The namespace `.name`."""

    def __init__(self, expression: CompliantExpr) -> None:
        self._expression = expression

    def keep(self) -> CompliantExpr:
        return self._expression._with_alias_output_names(None)

    def map(self, function: Callable[[str], str]) -> CompliantExpr:
        return self._expression._with_alias_output_names(lambda ns: [function(n) for n in ns])

    def prefix(self, prefix: str) -> CompliantExpr:
        return self.map(lambda name: prefix + name)

    def suffix(self, suffix: str) -> CompliantExpr:
        return self.map(lambda name: name + suffix)

    def to_lowercase(self) -> CompliantExpr:
        return self.map(str.lower)

    def to_uppercase(self) -> CompliantExpr:
        return self.map(str.upper)


class _Accessor:
    """The namespaces of text, dates, lists and structs."""

    def __init__(self, expression: CompliantExpr, space: str) -> None:
        self._expression = expression
        self._space = space

    def __getattr__(self, method: str) -> Any:
        if method not in _NAMESPACES[self._space]:
            raise unsupported(f"Expr.{self._space}.{method}")
        special = _SPECIAL.get((self._space, method))

        def apply(expression: Expr, *args: Any, **options: Any) -> Expr:
            if special is not None:
                return special(expression, *args, **options)
            result: Expr = getattr(getattr(expression, self._space), method)(*args, **options)
            return result

        def call(*args: Any, **options: Any) -> CompliantExpr:
            built = self._expression._each(apply, *args, **options)
            return built.alias(options["name"]) if method == "field" else built

        return call


def _text(value: Any) -> str:
    """The text of a constant expression."""
    if isinstance(value, Expr) and isinstance(value.node, Literal):
        value = value.node.value
    if not isinstance(value, str):
        raise unsupported("replacement by an expression")
    return value


def _replace(e: Expr, value: Any, *, pattern: str, literal: bool, n: int) -> Expr:
    if n not in (1, -1):
        raise unsupported(f"str.replace with n={n}")
    method = e.str.replace if n == 1 else e.str.replace_all
    return method(pattern, value if literal else _text(value), literal=literal)


def _replace_all(e: Expr, value: Any, *, pattern: str, literal: bool) -> Expr:
    return e.str.replace_all(pattern, value if literal else _text(value), literal=literal)


def _sort(e: Expr, *, descending: bool, nulls_last: bool) -> Expr:
    if not nulls_last:
        raise unsupported("list.sort with nulls first")
    return e.list.sort(descending=descending)


_SPECIAL: dict[tuple[str, str], Callable[..., Expr]] = {
    ("str", "replace"): _replace,
    ("str", "replace_all"): _replace_all,
    ("str", "zfill"): lambda e, width: e.str.zfill(width),
    ("dt", "nanosecond"): lambda e: e.dt.microsecond() * 1000,
    ("dt", "total_nanoseconds"): lambda e: e.dt.total_microseconds() * 1000,
    ("list", "sort"): _sort,
    ("list", "unique"): lambda e, **_: e.list.unique(),
}

__all__ = ["CompliantExpr", "arrow_type", "unsupported"]

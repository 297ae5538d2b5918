"""Functions that need no column to begin with: `ub.len()`, `ub.coalesce(...)`, `ub.rank()`, ….

Where text is given, it names a column, as in Polars. `umbel` offers some of them under names that
Python's built-in functions have: `ub.len`, `ub.sum`, `ub.min`, `ub.max`, `ub.all`, `ub.list`.
"""

from __future__ import annotations

from typing import Any

from umbel.api.expression_aggregates import by_freedom
from umbel.api.expression_base import EACH, Naming, Selection
from umbel.api.expressions import Expr, all_columns, into_expr
from umbel.api.located import located
from umbel.api.values import literal
from umbel.plan.errors import PlanError, UnknownNameError
from umbel.plan.expressions import AggregateCall, Call, WindowCall

# --- aggregates -----------------------------------------------------------------------------------


@located
def count_rows() -> Expr:
    """The number of rows; `ub.len()`.

    >>> import umbel as ub
    >>> ub.len()
    len() as len
    """
    return Expr(AggregateCall("len"), Naming("len"))


@located
def count(*columns: Any) -> Expr:
    """How many values of columns are not null; without columns, the number of rows."""
    if not columns:
        return Expr(AggregateCall("len"), Naming("count"))
    return _columns(columns).count()


@located
def sum_of(*columns: Any) -> Expr:
    """The sum of each column; `ub.sum(...)`.

    >>> import umbel as ub
    >>> ub.sum("a")
    sum(a)
    """
    return _columns(columns).sum()


@located
def mean(*columns: Any) -> Expr:
    """The mean of each column."""
    return _columns(columns).mean()


@located
def median(*columns: Any) -> Expr:
    """The median of each column."""
    return _columns(columns).median()


@located
def min_of(*columns: Any) -> Expr:
    """The least value of each column; `ub.min(...)`."""
    return _columns(columns).min()


@located
def max_of(*columns: Any) -> Expr:
    """The greatest value of each column; `ub.max(...)`."""
    return _columns(columns).max()


@located
def n_unique(*columns: Any) -> Expr:
    """How many distinct values each column has."""
    return _columns(columns).n_unique()


@located
def first(column: Any, order_by: Any = None) -> Expr:
    """The value of a column in the first row of an order."""
    return into_expr(column).first(order_by)


@located
def last(column: Any, order_by: Any = None) -> Expr:
    """The value of a column in the last row of an order."""
    return into_expr(column).last(order_by)


@located
def quantile(column: Any, quantile: float, interpolation: str = "linear") -> Expr:
    """The value of a column below which a share of its values lies."""
    return into_expr(column).quantile(quantile, interpolation)


@located
def std(column: Any, ddof: int = 1) -> Expr:
    """The standard deviation of a column."""
    return into_expr(column).std(ddof)


@located
def var(column: Any, ddof: int = 1) -> Expr:
    """The variance of a column."""
    return into_expr(column).var(ddof)


@located
def all_of(*columns: Any) -> Expr:
    """Without columns: each column of the frame. With columns: whether all values are true.

    `ub.all(...)`.

    >>> import umbel as ub
    >>> ub.all().max(), ub.all("flag")
    (max([*]), all(flag))
    """
    return _columns(columns).all() if columns else all_columns()


@located
def any_of(*columns: Any) -> Expr:
    """Whether any value of each column is true; `ub.any(...)`."""
    return _columns(columns).any()


def _columns(columns: tuple[Any, ...]) -> Expr:
    if not columns:
        raise PlanError("name at least one column")
    if len(columns) == 1:
        return into_expr(columns[0])
    if all(isinstance(name, str) for name in columns):
        return Expr(EACH, Naming(None), Selection(tuple(columns)))
    raise PlanError("several columns are given by name; aggregate expressions one by one")


@located
def corr(a: Any, b: Any) -> Expr:
    """Pearson's correlation of two columns, over the rows where neither is null."""
    return into_expr(a)._aggregate("correlation", into_expr(b))


@located
def cov(a: Any, b: Any, ddof: int = 1) -> Expr:
    """The covariance of two columns: of a sample (`ddof` 1) or a population (`ddof` 0)."""
    return into_expr(a)._aggregate(by_freedom("covariance", ddof), into_expr(b))


# --- windows --------------------------------------------------------------------------------------


def _window(function: str, *constants: int) -> Expr:
    arguments = tuple(literal(value) for value in constants)
    return Expr(WindowCall(function, arguments), Naming(function))


@located
def row_number() -> Expr:
    """The number of each row in the order of `over`, from 1.

    >>> row_number().over("g", order_by="d")
    row_number() over (partition by g order by d) as row_number
    """
    return _window("row_number")


@located
def rank() -> Expr:
    """The rank of each row in the order of `over`; equal rows share the least, with gaps."""
    return _window("rank")


@located
def dense_rank() -> Expr:
    """The rank of each row in the order of `over`, without gaps."""
    return _window("dense_rank")


@located
def percent_rank() -> Expr:
    """(rank - 1) / (rows - 1) of each row in the order of `over`."""
    return _window("percent_rank")


@located
def cume_dist() -> Expr:
    """The share of rows that are not behind each row in the order of `over`."""
    return _window("cume_dist")


@located
def ntile(n: int) -> Expr:
    """The number of each row's part when the order of `over` is cut into `n` parts, from 1."""
    return _window("ntile", n)


# --- rows -----------------------------------------------------------------------------------------


def _over_columns(function: str, exprs: tuple[Any, ...]) -> Expr:
    if not exprs:
        raise PlanError(f"{function} needs at least one column")
    first, *others = (into_expr(e) for e in exprs)
    return first._call(function, *others)


@located
def coalesce(*exprs: Any) -> Expr:
    """The first of several expressions that is not null.

    >>> coalesce("a", "b", 0)
    coalesce(a, b, 0)
    """
    return _over_columns("coalesce", exprs)


@located
def greatest(*exprs: Any) -> Expr:
    """The greatest of several expressions in each row; nulls are skipped."""
    return _over_columns("greatest", exprs)


@located
def least(*exprs: Any) -> Expr:
    """The least of several expressions in each row; nulls are skipped."""
    return _over_columns("least", exprs)


@located
def all_horizontal(*exprs: Any) -> Expr:
    """Whether all of several expressions are true in each row."""
    return _over_columns_pairwise("and", exprs)


@located
def any_horizontal(*exprs: Any) -> Expr:
    """Whether any of several expressions is true in each row."""
    return _over_columns_pairwise("or", exprs)


def _over_columns_pairwise(function: str, exprs: tuple[Any, ...]) -> Expr:
    if not exprs:
        raise PlanError(f"{function} needs at least one column")
    result, *others = (into_expr(e) for e in exprs)
    for other in others:
        result = result._call(function, other)
    return result


@located
def concat_str(*exprs: Any, separator: str = "", ignore_nulls: bool = False) -> Expr:
    """Several expressions as one text.

    Args:
        *exprs: columns or expressions, which are turned into text.
        separator: what stands between them.
        ignore_nulls: leave nulls out; otherwise one null makes the result null.
    """
    texts = [into_expr(e).cast("string") for e in exprs]
    if not texts:
        raise PlanError("concat_str needs at least one column")
    if ignore_nulls:
        joined = texts[0]._wrap(separator)._call("concat_ws", *texts)
        return joined._as(texts[0])
    parts = [texts[0]]
    for text in texts[1:]:
        parts.extend([text] if not separator else [texts[0]._wrap(separator), text])
    return parts[0] if len(parts) == 1 else parts[0]._call("concat", *parts[1:])


@located
def struct(*exprs: Any, **named_exprs: Any) -> Expr:
    """A struct with a field for each expression, named as they are.

    >>> struct("a", b=1)
    make_struct('a', a, 'b', 1)
    """
    fields = [into_expr(e) for e in exprs]
    fields.extend(into_expr(e).alias(name) for name, e in named_exprs.items())
    if not fields:
        raise PlanError("struct needs at least one field")
    parts: list[Any] = []
    for field in fields:
        if field.selection is not None:
            raise PlanError(f"name the fields of a struct one by one, not {field!r}")
        parts.extend([field._wrap(field.naming.of("literal")), field])
    built = fields[0]._combine(lambda *nodes: Call("make_struct", nodes), *parts)
    return built._changed(naming=Naming(fields[0].naming.of("literal")))


@located
def list_of(*exprs: Any) -> Expr:
    """A list of the values of several expressions in each row; `ub.list(...)`.

    >>> import umbel as ub
    >>> ub.list("a", "b")
    make_list(a, b)
    """
    return _over_columns("make_list", exprs)


@located
def arctan2(y: Any, x: Any) -> Expr:
    """The angle in radians of the point (x, y)."""
    return into_expr(y)._call("atan2", into_expr(x))


@located
def pi() -> Expr:
    """The ratio of a circle's circumference to its diameter."""
    return Expr(Call("pi"), Naming("pi"))


@located
def e() -> Expr:
    """Euler's number."""
    return Expr(Call("e"), Naming("e"))


@located
def int_ranges(start: Any, end: Any, step: int = 1) -> Expr:
    """The list of integers from `start` to before `end` in each row."""
    return into_expr(start)._call("list_range", into_expr(end), step)


@located
def date(year: Any, month: Any, day: Any) -> Expr:
    """The date of a year, a month and a day; fails where there is none.

    >>> date("y", 1, 1)
    make_date(y, 1, 1) as date
    """
    return into_expr(year)._call("make_date", *map(into_expr, (month, day))).alias("date")


@located
def datetime(
    year: Any,
    month: Any,
    day: Any,
    hour: Any = 0,
    minute: Any = 0,
    second: Any = 0,
    microsecond: Any = 0,
) -> Expr:
    """The timestamp of its parts; fails where there is none."""
    parts = map(into_expr, (month, day, hour, minute, second, microsecond))
    return into_expr(year)._call("make_timestamp", *parts).alias("datetime")


@located
def from_epoch(column: Any, time_unit: str = "s") -> Expr:
    """The timestamp a number of seconds ("s"), "ms" or "us" after 1970-01-01 00:00."""
    expression = into_expr(column)
    match time_unit:
        case "s":
            return expression._call("from_epoch")
        case "ms":
            return (expression * 1000)._call("from_epoch_us")
        case "us":
            return expression._call("from_epoch_us")
    raise UnknownNameError("time unit", time_unit, ["s", "ms", "us"])


__all__ = [
    "all_horizontal",
    "all_of",
    "any_horizontal",
    "any_of",
    "arctan2",
    "coalesce",
    "concat_str",
    "corr",
    "count",
    "count_rows",
    "cov",
    "cume_dist",
    "date",
    "datetime",
    "dense_rank",
    "e",
    "first",
    "from_epoch",
    "greatest",
    "int_ranges",
    "last",
    "least",
    "list_of",
    "max_of",
    "mean",
    "median",
    "min_of",
    "n_unique",
    "ntile",
    "percent_rank",
    "pi",
    "quantile",
    "rank",
    "row_number",
    "std",
    "struct",
    "sum_of",
    "var",
]

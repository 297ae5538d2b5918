"""Aggregates and window functions of SQL."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pyarrow as pa
from sqlglot import expressions as exp

from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Case,
    Expression,
    Frame,
    Literal,
    SortKey,
    WindowCall,
    walk,
)
from umbel.plan.functions import CATALOGUE, Kind, Nulls
from umbel.plan.types import BOOL, INT64, STRING, is_string
from umbel.sql.reading.binder import Binder
from umbel.sql.reading.names import Scope, matching, name_of
from umbel.sql.reading.registry import binds
from umbel.sql.reading.syntax import Syntax, reading
from umbel.sql.reading.values import Value, aggregate_type, boolean, call, cast, constant, text

#: sqlglot's nodes for aggregates of one argument, and the catalogue's names.
_PLAIN: dict[type[exp.Expr], str] = {
    exp.Sum: "sum",
    exp.Avg: "mean",
    exp.Min: "min",
    exp.Max: "max",
    exp.First: "first",
    exp.Last: "last",
    exp.FirstValue: "first",
    exp.LastValue: "last",
    exp.AnyValue: "any_value",
    exp.Median: "median",
    exp.Stddev: "std_sample",
    exp.StddevSamp: "std_sample",
    exp.StddevPop: "std_population",
    exp.Variance: "var_sample",
    exp.VariancePop: "var_population",
    exp.LogicalAnd: "all",
    exp.LogicalOr: "any",
    exp.BitwiseAndAgg: "bit_and",
    exp.BitwiseOrAgg: "bit_or",
    exp.BitwiseXorAgg: "bit_xor",
    exp.ArrayAgg: "list",
    exp.ApproxDistinct: "n_unique",
}
_PAIRS: dict[type[exp.Expr], str] = {
    exp.ArgMax: "max_by",
    exp.ArgMin: "min_by",
    exp.Corr: "correlation",
    exp.CovarPop: "covariance_population",
    exp.CovarSamp: "covariance_sample",
    exp.Quantile: "quantile",
    exp.NthValue: "nth",
}
#: Aggregates that sqlglot has no node for.
ANONYMOUS = {
    "bool_and": "all",
    "bool_or": "any",
    "every": "all",
    "product": "product",
    "list": "list",
    "quantile_cont": "quantile",
    "quantile_disc": "quantile_discrete",
    "first": "first",
    "last": "last",
    "arbitrary": "first",
}
_RANKS: dict[type[exp.Expr], str] = {
    exp.RowNumber: "row_number",
    exp.Rank: "rank",
    exp.DenseRank: "dense_rank",
    exp.PercentRank: "percent_rank",
    exp.CumeDist: "cume_dist",
}


@dataclass(frozen=True, slots=True)
class _Argument:
    """The first argument of an aggregate, with what SQL writes around it."""

    values: tuple[Value, ...]
    distinct: bool
    order: tuple[SortKey, ...]


def _argument(binder: Binder, node: exp.Expr, scope: Scope) -> _Argument:
    order: tuple[SortKey, ...] = ()
    distinct = False
    if isinstance(node, exp.Order):
        with reading(node) as syntax:
            order = sort_keys(binder, syntax.many("expressions"), scope)
            node = syntax["this"]
    if isinstance(node, exp.Distinct):
        with reading(node) as syntax:
            distinct = True
            nodes = syntax.many("expressions")
    else:
        nodes = [node]
    return _Argument(tuple(_plain(binder.value(n, scope)) for n in nodes), distinct, order)


def _plain(value: Value) -> Value:
    return replace(value, untyped=False)


def sort_keys(binder: Binder, nodes: list[exp.Expr], scope: Scope) -> tuple[SortKey, ...]:
    """Read the terms of an ORDER BY inside an aggregate or window."""
    return tuple(sort_key(binder, node, scope) for node in nodes)


def sort_key(binder: Binder, node: exp.Expr, scope: Scope) -> SortKey:
    """Read one term of an ORDER BY."""
    if not isinstance(node, exp.Ordered):
        return SortKey(binder.value(node, scope).node)
    with reading(node) as syntax:
        value = binder.value(syntax["this"], scope)
        return SortKey(value.node, bool(syntax["desc"]), bool(syntax["nulls_first"]))


def aggregate(name: str, argument: _Argument, *more: Value) -> Value:
    """Make an aggregate; its type follows from its arguments."""
    values = [*argument.values, *more]
    row = CATALOGUE[name]
    distinct = argument.distinct and name not in ("min", "max", "any_value")
    node = AggregateCall(
        name, tuple(v.node for v in values), distinct, None, argument.order if row.ordered else ()
    )
    dtype, nullable = aggregate_type(node, [value.dtype for value in values])
    return Value(node, dtype, nullable)


@binds(*_PLAIN)
def _plain_aggregate(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    for key in ("accuracy", "nulls_excluded"):
        if key in syntax.node.args and syntax[key]:
            raise PlanError(f"{key.replace('_', ' ')} is not supported here")
    argument = _argument(binder, syntax["this"], scope)
    extra = syntax.node.args.get("expression") and syntax["expression"]
    if extra is not None:
        raise PlanError("this aggregate takes one argument")
    name = _PLAIN[type(syntax.node)]
    (value,) = argument.values
    if name in ("sum", "mean", "median") and is_string(value.dtype):
        raise PlanError(f"{name} takes numbers, not text", hint="cast it first")
    if name == "sum" and pa.types.is_boolean(value.dtype):
        argument = replace(argument, values=(cast(value, INT64),))
    return aggregate(name, argument)


@binds(*_PAIRS)
def _pair_aggregate(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    keys: dict[type[exp.Expr], str] = {exp.Quantile: "quantile", exp.NthValue: "offset"}
    second_key = keys.get(type(syntax.node), "expression")
    argument = _argument(binder, syntax["this"], scope)
    count = syntax.node.args.get("count") and syntax["count"]
    if count is not None:
        raise PlanError("arg_max and arg_min take two arguments")
    second = binder.value(syntax[second_key], scope)
    name = _PAIRS[type(syntax.node)]
    if name == "quantile":
        second = cast(second, pa.float64())
    if name == "nth":
        second = cast(second, INT64)
    return aggregate(name, argument, second)


@binds(exp.Count)
def _count(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    _ = syntax["big_int"]  # how one dialect types it; it is int64 here
    inner, more = syntax["this"], syntax.many("expressions")
    if inner is None or isinstance(inner, exp.Star):
        return Value(AggregateCall("len"), INT64, nullable=False)
    if more:
        raise PlanError("count takes one argument", hint="count((a, b)) has no meaning here")
    argument = _argument(binder, inner, scope)
    if len(argument.values) > 1:
        # count(distinct a, b): rows where none is null, each pair once.
        known = [call("is_not_null", value) for value in argument.values]
        names = [constant(f"f{i}", STRING) for i in range(len(known))]
        pairs = [v for pair in zip(names, argument.values, strict=True) for v in pair]
        struct = call("make_struct", *pairs)
        node = Case(((call("and", *known).node, struct.node),))
        argument = replace(argument, values=(Value(node, struct.dtype),))
    if argument.distinct:
        return aggregate("n_unique", replace(argument, distinct=False))
    return aggregate("count", argument)


@binds(exp.CountIf)
def _count_if(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    argument = _argument(binder, syntax["this"], scope)
    condition = boolean(argument.values[0], "the argument of count_if")
    return Value(AggregateCall("len", where=condition.node), INT64, nullable=False)


@binds(exp.GroupConcat)
def _string_agg(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    argument = _argument(binder, syntax["this"], scope)
    argument = replace(argument, values=tuple(text(value) for value in argument.values))
    separator = syntax["separator"]
    mark = constant(",", STRING) if separator is None else text(binder.value(separator, scope))
    if argument.distinct:
        argument = replace(
            argument,
            order=tuple(
                replace(key, expression=argument.values[0].node)
                if key.expression == argument.values[0].node
                else key
                for key in argument.order
            ),
        )
    return aggregate("join_strings", argument, mark)


@binds(exp.WithinGroup)
def _within_group(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    inner, order = syntax["this"], syntax["expression"]
    keys = sort_keys(binder, order.expressions, scope)
    with reading(inner) as call_syntax:
        if isinstance(inner, exp.PercentileCont | exp.PercentileDisc):
            if len(keys) != 1:
                raise PlanError("a percentile orders by one expression")
            fraction = cast(binder.value(call_syntax["this"], scope), pa.float64())
            ordered = order.expressions[0]
            value = binder.value(ordered.this, scope)
            if keys[0].descending:
                if isinstance(inner, exp.PercentileDisc):
                    raise PlanError("percentile_disc takes ascending order here")
                if isinstance(fraction.node, Literal):
                    fraction = constant(1.0 - fraction.node.value, pa.float64())
            name = "quantile" if isinstance(inner, exp.PercentileCont) else "quantile_discrete"
            return aggregate(name, _Argument((value,), distinct=False, order=()), fraction)
        if isinstance(inner, exp.GroupConcat):
            argument = _argument(binder, call_syntax["this"], scope)
            mark = text(binder.value(call_syntax["separator"], scope))
            values = tuple(text(value) for value in argument.values)
            return aggregate("join_strings", replace(argument, values=values, order=keys), mark)
    raise PlanError("WITHIN GROUP stands after percentile_cont, percentile_disc and listagg only")


@binds(exp.Filter)
def _filter(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    value = binder.value(syntax["this"], scope)
    with reading(syntax["expression"]) as where:
        condition = boolean(binder.value(where["this"], scope), "the condition of FILTER")
    node = value.node
    if not isinstance(node, AggregateCall):
        raise PlanError("FILTER stands after an aggregate only")
    both = condition.node if node.where is None else Call("and", (node.where, condition.node))
    return replace(value, node=replace(node, where=both))


def anonymous(binder: Binder, name: str, nodes: list[exp.Expr], scope: Scope) -> Value:
    """Bind an aggregate that sqlglot knows by its name only."""
    argument = _argument(binder, nodes[0], scope)
    more = [_plain(binder.value(node, scope)) for node in nodes[1:]]
    if ANONYMOUS[name] in ("quantile", "quantile_discrete"):
        more = [cast(value, pa.float64()) for value in more]
    return aggregate(ANONYMOUS[name], argument, *more)


def of_catalogue(binder: Binder, name: str, nodes: list[exp.Expr], scope: Scope) -> Value:
    """Bind an aggregate by its name in the catalogue; an order stands behind the last argument."""
    order: tuple[SortKey, ...] = ()
    nodes = list(nodes)
    if nodes and isinstance(nodes[-1], exp.Order):
        with reading(nodes[-1]) as syntax:
            order = sort_keys(binder, syntax.many("expressions"), scope)
            nodes[-1] = syntax["this"]
    argument = _Argument((), distinct=False, order=order)
    if nodes:
        argument = replace(_argument(binder, nodes[0], scope), order=order)
    return aggregate(name, argument, *(_plain(binder.value(node, scope)) for node in nodes[1:]))


@binds(exp.PercentileCont, exp.PercentileDisc)
def _percentile(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    fraction = syntax["expression"]
    if fraction is None:
        raise PlanError("percentile_cont and percentile_disc need WITHIN GROUP (ORDER BY ...)")
    argument = _argument(binder, syntax["this"], scope)
    name = "quantile" if isinstance(syntax.node, exp.PercentileCont) else "quantile_discrete"
    return aggregate(name, argument, cast(binder.value(fraction, scope), pa.float64()))


# Windows


@binds(*_RANKS)
def _rank(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    if syntax.many("expressions") if "expressions" in syntax.node.args else False:
        raise PlanError(f"{_RANKS[type(syntax.node)]} takes no arguments")
    return _bare(_RANKS[type(syntax.node)])


@binds(exp.Ntile)
def _ntile(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    return _bare("ntile", cast(binder.value(syntax["this"], scope), INT64))


@binds(exp.Lag, exp.Lead)
def _lag(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    name = "lag" if isinstance(syntax.node, exp.Lag) else "lead"
    value = _plain(binder.value(syntax["this"], scope))
    offset, default = syntax["offset"], syntax["default"]
    arguments = [value]
    if offset is not None or default is not None:
        step = constant(1, INT64) if offset is None else binder.value(offset, scope)
        arguments.append(cast(step, INT64))
    if default is not None:
        arguments.append(cast(binder.value(default, scope), value.dtype))
    return _bare(name, *arguments)


def _bare(name: str, *values: Value) -> Value:
    """A window function that still waits for its OVER."""
    row = CATALOGUE[name]
    row.check_arity(len(values))
    nodes = tuple(value.node for value in values)
    dtype = row.result_type([value.dtype for value in values], nodes)
    return Value(WindowCall(name, nodes), dtype, row.nulls is not Nulls.NEVER)


_IGNORING = {"first": "first_non_null", "last": "last_non_null", "any_value": "any_value"}


@binds(exp.IgnoreNulls, exp.RespectNulls)
def _ignore_nulls(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    value = binder.value(syntax["this"], scope)
    if isinstance(syntax.node, exp.RespectNulls):
        return value
    node = value.node
    if isinstance(node, AggregateCall) and node.function in _IGNORING:
        return replace(value, node=replace(node, function=_IGNORING[node.function]), nullable=True)
    raise PlanError("IGNORE NULLS is supported for first_value and last_value only")


@binds(exp.Window)
def _window(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    value = binder.value(syntax["this"], scope)
    _ = syntax["over"]
    if syntax["first"] is not None:
        raise PlanError("KEEP is not supported")
    partition = [_plain(binder.value(n, scope)).node for n in syntax.many("partition_by")]
    order, spec, base = syntax["order"], syntax["spec"], syntax["alias"]
    keys = _order_of(binder, order, scope)
    if base is not None:
        partition, keys, spec = _named(binder, base, partition, keys, spec, scope)
    return over(value, tuple(partition), keys, _frame(spec))


def _order_of(binder: Binder, order: exp.Expr | None, scope: Scope) -> tuple[SortKey, ...]:
    if order is None:
        return ()
    with reading(order) as syntax:
        return sort_keys(binder, syntax.many("expressions"), scope)


def _named(
    binder: Binder,
    base: exp.Expr,
    partition: list[Expression],
    keys: tuple[SortKey, ...],
    spec: exp.Expr | None,
    scope: Scope,
) -> tuple[list[Expression], tuple[SortKey, ...], exp.Expr | None]:
    """Complete a window by the named one that it builds on."""
    found = matching(name_of(base), list(scope.windows.items()))
    if not found:
        known = ", ".join(scope.windows) or "none"
        raise PlanError(f"unknown window {base.name!r}", hint=f"WINDOW defines: {known}")
    with reading(found[0]) as syntax:
        _ = syntax["this"]
        inner = [_plain(binder.value(n, scope)).node for n in syntax.many("partition_by")]
        inner_keys = _order_of(binder, syntax["order"], scope)
        inner_spec, inner_base = syntax["spec"], syntax["alias"]
    if inner_base is not None:
        inner, inner_keys, inner_spec = _named(
            binder, inner_base, inner, inner_keys, inner_spec, scope
        )
    if partition or (keys and inner_keys):
        raise PlanError(f"window {base.name!r} has its partition and order already")
    return inner, inner_keys or keys, spec if spec is not None else inner_spec


def over(
    value: Value, partition: tuple[Expression, ...], keys: tuple[SortKey, ...], frame: Frame | None
) -> Value:
    """Put an aggregate or window function over a window."""
    node = value.node
    if isinstance(node, WindowCall) and not node.partition_by and not node.order_by:
        made = replace(node, partition_by=partition, order_by=keys)
        return replace(value, node=made)
    if not isinstance(node, AggregateCall):
        raise PlanError("OVER stands after an aggregate or a window function only")
    if node.distinct or node.function == "n_unique":
        raise PlanError("DISTINCT has no meaning over a window here", hint="use a subquery")
    if node.order_by:
        raise PlanError("ORDER BY stands in the window, not in the aggregate's parentheses")
    arguments = node.arguments
    if node.where is not None:
        # Rows that the filter leaves out count as null, which aggregates skip.
        if node.function == "len":
            picked: Expression = Case(((node.where, Literal(1, pa.int32())),))
            made = WindowCall("count", (picked,), partition, keys, frame)
            return replace(value, node=made)
        if CATALOGUE[node.function].ordered:
            raise PlanError(f"FILTER is not supported for {node.function} over a window")
        arguments = (Case(((node.where, arguments[0]),)), *arguments[1:])
    return replace(value, node=WindowCall(node.function, arguments, partition, keys, frame))


def _frame(spec: exp.Expr | None) -> Frame | None:
    if spec is None:
        return None
    with reading(spec) as syntax:
        unit = str(syntax["kind"] or "").lower()
        start = _bound(syntax["start"], syntax["start_side"])
        end = _bound(syntax["end"], syntax["end_side"]) if syntax["end"] is not None else 0
        if unit == "rows":
            return Frame("rows", start, end)
        if unit == "range":
            if {start, end} - {None, 0}:
                raise PlanError(
                    "RANGE with a distance is not supported",
                    hint="use ROWS, or UNBOUNDED and CURRENT ROW",
                )
            return Frame("range", start, end)
    raise PlanError(f"a frame of {unit.upper()} is not supported", hint="use ROWS or RANGE")


def _bound(side: object, direction: object) -> int | None:
    if isinstance(side, str):
        word = side.upper()
        if word == "CURRENT ROW":
            return 0
        if word == "UNBOUNDED":
            return None
    if isinstance(side, exp.Literal) and not side.is_string and side.name.isdigit():
        distance = int(side.name)
        return -distance if str(direction).upper() == "PRECEDING" else distance
    raise PlanError("a frame's distance must be a whole number")


def has_aggregate(node: Expression) -> bool:
    """Whether an aggregate stands in an expression."""
    return any(isinstance(inner, AggregateCall) for inner in walk(node))


__all__ = [
    "ANONYMOUS",
    "BOOL",
    "Callable",
    "Kind",
    "aggregate",
    "anonymous",
    "has_aggregate",
    "over",
    "sort_key",
    "sort_keys",
]

"""From what a DataFrame's method is given to plan expressions over one input.

Aggregates and windows stand anywhere in FedPy's expressions, but in operators of their own in a
plan: here they are taken out, and columns stand where they stood.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from umbel.api.expression_base import ExprBase
from umbel.api.expression_windows import as_window, check_ordered
from umbel.api.expressions import Expr, into_expr
from umbel.plan.errors import PlanError, UnknownNameError
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Column,
    Expression,
    WindowCall,
    columns_of,
    transform,
    walk,
)
from umbel.plan.operators import Aggregate, Operator, Project, Window
from umbel.plan.origin import Origin
from umbel.plan.types import is_integer, is_string
from umbel.plan.typing import infer_type

Named = tuple[str, Expression]


def flatten(values: Iterable[Any]) -> Iterator[Any]:
    """Yield arguments; a list or other iterable among them counts for its items.

    >>> list(flatten(["a", ["b", 1]]))
    ['a', 'b', 1]
    """
    for value in values:
        if isinstance(value, Iterable) and not isinstance(value, str | bytes | ExprBase | Mapping):
            yield from value
        else:
            yield value


def bind(exprs: Iterable[Any], named: Mapping[str, Any], schema: pa.Schema) -> list[Named]:
    """Expand expressions over a frame's columns into named plan expressions."""
    bound: list[Named] = []
    for value in flatten(exprs):
        bound.extend(_expanded(into_expr(value), schema))
    for name, value in named.items():
        expression = into_expr(value)
        if expression.selection is not None:
            raise PlanError(f"{name}=... takes one column, not {expression!r}")
        bound.extend(_expanded(expression.alias(name), schema))
    return bound


def _expanded(expression: Expr, schema: pa.Schema) -> list[Named]:
    pairs = expression.expand(schema.names)
    for _, node in pairs:
        check_columns(node, schema)
    return [(name, settle(node, schema)) for name, node in pairs]


def bind_one(value: Any, schema: pa.Schema, *, what: str) -> Named:
    """Bind an expression that must give one column."""
    pairs = bind([value], {}, schema)
    if len(pairs) != 1:
        raise PlanError(f"{what} takes one column, not {len(pairs)}")
    return pairs[0]


def check_columns(node: Expression, schema: pa.Schema) -> None:
    """Raise `UnknownNameError` for a column that does not exist, before anything else does."""
    for name in sorted(columns_of(node)):
        if name not in schema.names:
            raise UnknownNameError("column", name, schema.names)


#: Python's operators that are other functions of other types.
_OF_INTEGERS = {
    "and": "bitwise_and",
    "or": "bitwise_or",
    "xor": "bitwise_xor",
    "not": "bitwise_not",
}
_OF_TEXT = {"add": "concat"}
#: Functions whose results are neither text nor integers that `&` could be about.
_SETTLED = frozenset({*_OF_INTEGERS, *_OF_TEXT, "subtract", "multiply", "divide"})


def settle(node: Expression, schema: pa.Schema) -> Expression:
    """Choose the function that an operator means for its arguments' types.

    >>> from umbel.plan.expressions import Call
    >>> both = pa.schema([("a", pa.string()), ("b", pa.int64())])
    >>> str(settle(Call("add", (Column("a"), Column("a"))), both))
    'concat(a, a)'
    >>> str(settle(Call("and", (Column("b"), Column("b"))), both))
    'bitwise_and(b, b)'
    """
    return transform(node, lambda inner: _settle_call(inner, schema))


def _settle_call(node: Expression, schema: pa.Schema) -> Expression:
    if not isinstance(node, Call):
        return node
    others = _OF_TEXT if node.function in _OF_TEXT else _OF_INTEGERS
    if node.function not in others:
        return node
    for argument in node.arguments:
        if isinstance(argument, Call) and argument.function in _SETTLED:
            continue
        dtype = infer_type(argument, schema)
        if is_string(dtype) if others is _OF_TEXT else is_integer(dtype):
            return Call(others[node.function], node.arguments)
    return node


def fresh_names(taken: Iterable[str], stem: str) -> Iterator[str]:
    """Yield names that start with `stem` and are not taken.

    >>> names = fresh_names(["_w1"], "_w")
    >>> next(names), next(names)
    ('_w0', '_w2')
    """
    used = set(taken)
    number = 0
    while True:
        name = f"{stem}{number}"
        number += 1
        if name not in used:
            yield name


def has(node: Expression, kind: type[Expression] | tuple[type[Expression], ...]) -> bool:
    """Whether a node of some kind stands in an expression."""
    return any(isinstance(inner, kind) for inner in walk(node))


def is_reduced(node: Expression) -> bool:
    """Whether an expression gives one value for a whole frame: every column is in an aggregate."""
    if isinstance(node, AggregateCall):
        return True
    if isinstance(node, Column | WindowCall):
        return False
    return all(is_reduced(child) for child in node.children)


def is_constant(node: Expression) -> bool:
    """Whether an expression reads no rows at all."""
    return not has(node, (Column, AggregateCall, WindowCall))


def windows_for_aggregates(pairs: Sequence[Named]) -> list[Named]:
    """Let aggregates beside columns give their value to every row, as in Polars."""

    def spread(node: Expression) -> Expression:
        return as_window(node) if isinstance(node, AggregateCall) else node

    return [(name, transform(node, spread)) for name, node in pairs]


def extract_windows(
    pairs: Sequence[Named], below: Operator, origin: Origin | None
) -> tuple[list[Named], Operator]:
    """Compute the windows of expressions by `Window` operators over `below`.

    Returns:
        The expressions with columns for windows, and the operator that they read.
    """
    pairs = list(pairs)
    while any(has(node, WindowCall) for _, node in pairs):
        inner = {
            node: ""
            for _, root in pairs
            for node in walk(root)
            if isinstance(node, WindowCall)
            and not any(has(child, WindowCall) for child in node.children)
        }
        taken = {*below.schema.names, *(name for name, _ in pairs)}
        names = fresh_names(taken, "_window_")
        for call in inner:
            check_ordered(call)
            # A window that is a new column as it is gets that column's name right away.
            own = [n for n, node in pairs if node == call and n not in below.schema.names]
            free = own and sum(n == own[0] for n, _ in pairs) == 1
            inner[call] = own[0] if free else next(names)
        columns = tuple((name, call) for call, name in inner.items())
        below = Window(input=below, columns=columns, origin=origin)

        def column(node: Expression, found: dict[WindowCall, str] = inner) -> Expression:
            known = isinstance(node, WindowCall) and node in found
            return Column(found[node]) if known else node  # type: ignore[index]

        pairs = [(name, transform(node, column)) for name, node in pairs]
    return pairs, below


def extract_aggregates(
    keys: Sequence[Named], pairs: Sequence[Named], below: Operator, origin: Origin | None
) -> tuple[list[Named], Operator]:
    """Compute the aggregates of expressions by an `Aggregate` over `below`.

    Returns:
        The keys and expressions over the aggregate's columns, and the operator that they read.
    """
    key_names = {node: name for name, node in reversed(keys)}
    calls: dict[AggregateCall, str] = {}
    taken = {*(name for name, _ in keys), *(name for name, _ in pairs)}
    fresh = fresh_names({*taken, *below.schema.names}, "_aggregate_")

    def column(node: Expression, own_name: str) -> Expression:
        if node in key_names:
            return Column(key_names[node])
        if isinstance(node, AggregateCall):
            if node not in calls:
                check_ordered(node)
                calls[node] = own_name or next(fresh)
            return Column(calls[node])
        if isinstance(node, WindowCall):
            raise PlanError(
                f"{node} cannot stand among aggregates",
                hint="aggregate first, and use the window in with_columns(...) afterwards",
            )
        if isinstance(node, Column):
            raise PlanError(
                f"column {node.name!r} is neither a key of the group nor inside an aggregate",
                hint="aggregate it (.sum(), .first(order_by=...), .implode(), …) or group by it",
            )
        children = tuple(column(child, "") for child in node.children)
        return node.with_children(children) if children else node

    duplicates = {name for name, _ in keys}
    rebuilt = []
    for name, node in pairs:
        if name in duplicates:
            raise PlanError(
                f"column {name!r} is defined twice", hint="give one of them another .alias(...)"
            )
        duplicates.add(name)
        rebuilt.append((name, column(node, name)))
    aggregate = Aggregate(
        input=below,
        keys=tuple(keys),
        aggregates=tuple((name, call) for call, name in calls.items()),
        origin=origin,
    )
    return [*((name, Column(name)) for name, _ in keys), *rebuilt], aggregate


def project(pairs: Sequence[Named], below: Operator, origin: Origin | None) -> Operator:
    """Give the named expressions, without an operator where they are the input's columns."""
    if [*pairs] == [(name, Column(name)) for name in below.schema.names]:
        return below
    return Project(input=below, columns=tuple(pairs), origin=origin)


__all__ = [
    "Named",
    "bind",
    "bind_one",
    "extract_aggregates",
    "extract_windows",
    "flatten",
    "fresh_names",
    "has",
    "is_constant",
    "is_reduced",
    "project",
    "windows_for_aggregates",
]

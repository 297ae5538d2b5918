"""Recognises functions of two values that are an aggregate: `a + b` is a sum, and so on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from umbel.optimizer.lifting.elements import is_plain_key
from umbel.optimizer.lifting.symbols import NotLiftable, Symbol
from umbel.optimizer.lifting.trace import trace
from umbel.plan.expressions import AggregateCall, Call, Case, Column, Expression, transform

_LEFT, _RIGHT = "left of the pair: ", "right of the pair: "

_AGGREGATES = {"add": "sum", "least": "min", "greatest": "max", "and": "all", "or": "any"}
_COMPARED = {"less": "min", "less_equal": "min", "greater": "max", "greater_equal": "max"}


def aggregates_of(
    function: Callable[..., Any], element: Any, constant_items: frozenset[Expression] = frozenset()
) -> Any:
    """Give the aggregate that folding with `function` equals, in the shape of the element.

    Args:
        function: combines two values into one.
        element: the symbol of a value, or nested tuples of symbols.
        constant_items: expressions that are equal for all rows of a group.

    Returns:
        An `AggregateCall`, or tuples of such.

    Raises:
        NotLiftable: it is no aggregate whose result is exactly that of folding. Sums of floats
            are not: their last digits depend on the order.

    >>> from umbel.plan.types import INT64
    >>> str(aggregates_of(lambda a, b: a + b, Symbol(Column("x"), INT64)))
    'sum(x)'
    """
    _check_nonnull(element)
    left, right = _renamed(element, _LEFT), _renamed(element, _RIGHT)
    return _match(trace(function, left, right).result, element, constant_items)


def _check_nonnull(element: Any) -> None:
    for item in element if isinstance(element, tuple) else (element,):
        if isinstance(item, tuple):
            _check_nonnull(item)
        elif item.nullable:
            raise NotLiftable("values may be None")


def _renamed(element: Any, prefix: str) -> Any:
    if isinstance(element, tuple):
        return tuple(_renamed(item, prefix) for item in element)

    def change(node: Expression) -> Expression:
        return Column(prefix + node.name) if isinstance(node, Column) else node

    return Symbol(transform(element.expression, change), element.dtype)


def _match(result: Any, element: Any, constant_items: frozenset[Expression]) -> Any:
    if isinstance(element, tuple):
        if not isinstance(result, tuple) or len(result) != len(element):
            raise NotLiftable("it gives a value of another shape than it takes")
        pairs = zip(result, element, strict=True)
        return tuple(_match(part, item, constant_items) for part, item in pairs)
    if isinstance(result, tuple):
        raise NotLiftable("it gives a value of another shape than it takes")
    own = element.expression
    left = _renamed(element, _LEFT).expression
    right = _renamed(element, _RIGHT).expression
    if result.expression in (left, right) and own in constant_items:
        return AggregateCall("any_value", (own,))
    function = _function(result.expression, {left, right})
    if function is None or not is_plain_key(element.dtype):
        raise NotLiftable(f"folding with {result.expression} is no known aggregate")
    return AggregateCall(function, (own,))


def _function(expression: Expression, sides: set[Expression]) -> str | None:
    match expression:
        case Call(name, (a, b)) if {a, b} == sides:
            return _AGGREGATES.get(name)
        case Case(((Call(name, (a, b)), c),), d) if {a, b} == sides == {c, d}:
            # a if a < b else b, in any of its spellings
            function = _COMPARED.get(name)
            if function is None:
                return None
            opposite = {"min": "max", "max": "min"}[function]
            return function if c == a else opposite
    return None

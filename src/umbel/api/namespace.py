"""What the namespaces `.str`, `.dt`, `.list` and `.struct` share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.api.expression_base import ExprBase

if TYPE_CHECKING:
    from umbel.api.expressions import Expr


class Namespace:
    """Functions of one kind of values, called on an expression of it."""

    def __init__(self, expression: Expr) -> None:
        self._expression = expression

    def _call(self, function: str, *arguments: Any) -> Expr:
        """Apply a function; plain values are constants, text too. Trailing None is left out."""
        given = list(arguments)
        while given and given[-1] is None:
            given.pop()
        return self._expression._call(function, *given)

    def _arguments_first(self, function: str, before: tuple[Any, ...], *after: Any) -> Expr:
        """Apply a function whose constants stand before the expression."""
        expression = self._expression
        constants = [expression._wrap(value) for value in before]
        built = constants[0]._call(function, *constants[1:], expression, *after)
        return built._as(expression)

    def _column(self, value: Any) -> ExprBase:
        """Read an argument for which text names a column."""
        return self._expression._parse(value)

"""The namespace `.name`: changes to the names of an expression's results."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from umbel.api.expression_base import Naming

if TYPE_CHECKING:
    from umbel.api.expressions import Expr


class NameMethods:
    """Names, derived from those that the results have."""

    def __init__(self, expression: Expr) -> None:
        self._expression = expression

    def prefix(self, prefix: str) -> Expr:
        """Put text before each name.

        >>> from umbel import col
        >>> col("a").max().name.prefix("max_")
        max(a) as max_a
        """
        naming = self._expression.naming
        return self._named(replace(naming, prefix=prefix + naming.prefix))

    def suffix(self, suffix: str) -> Expr:
        """Put text behind each name."""
        naming = self._expression.naming
        return self._named(replace(naming, suffix=naming.suffix + suffix))

    def _named(self, naming: Naming) -> Expr:
        return self._expression._changed(naming=naming)

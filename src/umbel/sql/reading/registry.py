"""The table from sqlglot's node classes to the functions that bind them."""

from __future__ import annotations

from collections.abc import Callable

from sqlglot import expressions as exp

from umbel.sql.reading.binder import Binder
from umbel.sql.reading.names import Scope
from umbel.sql.reading.syntax import Syntax
from umbel.sql.reading.values import Value

Handler = Callable[[Binder, Syntax, Scope], Value]

#: Filled by the modules of this package when they are imported.
HANDLERS: dict[type[exp.Expr], Handler] = {}


def binds(*classes: type[exp.Expr]) -> Callable[[Handler], Handler]:
    """Say that a function binds nodes of some classes."""

    def register(handler: Handler) -> Handler:
        for cls in classes:
            HANDLERS[cls] = handler
        return handler

    return register

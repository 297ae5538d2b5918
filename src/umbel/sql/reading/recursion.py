"""WITH RECURSIVE."""

from __future__ import annotations

from sqlglot import expressions as exp

from umbel.plan.errors import PlanError
from umbel.sql.reading.binder import Binder, Query
from umbel.sql.reading.names import Scope


def bind_recursive(
    binder: Binder, body: exp.Expr, name: str, renamed: list[str], parent: Scope | None
) -> Query:
    """Bind a common table expression that reads itself."""
    raise PlanError(f"WITH RECURSIVE {name} is not supported yet")

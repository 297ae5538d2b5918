"""Parameters of a statement: `?` in the order of the text, or `$1`, `$2`.

Their values never become text: a parameter is bound to a constant of the value's own type. A text
takes the type of what it meets, as a text in quotes does.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlglot import expressions as exp

from umbel.plan.errors import PlanError
from umbel.plan.expressions import Literal
from umbel.plan.types import is_string
from umbel.sql.reading.binder import Binder
from umbel.sql.reading.names import Scope
from umbel.sql.reading.registry import binds
from umbel.sql.reading.syntax import Syntax, parse
from umbel.sql.reading.values import Value

#: A statement takes no more parameters than this.
MOST = 10_000


def count_parameters(text: str, dialect: str) -> int:
    """Count the parameters that a statement takes.

    Raises:
        SqlError: the text is not one statement.

    >>> count_parameters("select ? + a from t where b = ?", "duckdb")
    2
    >>> count_parameters("select $2, $1, $2", "postgres")
    2
    """
    marks = parse(text, dialect).find_all(exp.Placeholder, exp.Parameter)
    return max((position_of(mark) for mark in marks), default=0)


def position_of(node: exp.Expr) -> int:
    """Give the number of a parameter, from 1.

    Raises:
        PlanError: it has a name instead, or an impossible number.
    """
    written = node.this.name if isinstance(node.this, exp.Expr) else str(node.this or "")
    if not written.isdecimal():
        raise PlanError(
            f"the parameter {written!r} has a name", hint="parameters are ?, or $1, $2, ..."
        )
    if not 1 <= len(written) <= len(str(MOST)) or not 1 <= int(written) <= MOST:
        raise PlanError(f"there is no parameter ${written[:20]}: they are $1 to ${MOST}")
    return int(written)


def check_parameters(values: Sequence[Literal], tree: exp.Expr) -> None:
    """Raise `PlanError` unless a statement takes just so many values."""
    marks = [position_of(mark) for mark in tree.find_all(exp.Placeholder, exp.Parameter)]
    wanted = max(marks, default=0)
    if len(values) != wanted:
        raise PlanError(
            f"the statement has {wanted} parameters, but {len(values)} values are given",
            hint="" if values else "session.sql(text, parameters=[...]) gives them",
        )


def check_all_bound(binder: Binder, tree: exp.Expr) -> None:
    """Raise `SqlError` if a parameter stands where no value is read, such as for a table's name."""
    for mark in tree.find_all(exp.Placeholder, exp.Parameter):
        if position_of(mark) not in binder.bound:
            raise binder.error(
                mark,
                f"the parameter ${position_of(mark)} cannot stand there",
                hint="a parameter is a value: no name, no type, no unit",
            )


@binds(exp.Placeholder, exp.Parameter)
def _parameter(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    for key in ("this", "jdbc", "expression"):
        _ = syntax[key]
    position = position_of(syntax.node)
    binder.bound.add(position)
    constant = binder.parameters[position - 1]
    text = is_string(constant.dtype) and constant.value is not None
    return Value(constant, constant.dtype, constant.value is None, untyped=text)


__all__ = ["check_all_bound", "check_parameters", "count_parameters", "position_of"]

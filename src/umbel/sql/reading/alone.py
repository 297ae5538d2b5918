"""Reads an SQL expression that stands alone, such as a filter in a file of settings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from umbel.dataclass import dataclass
from umbel.lazy import LazyModule
from umbel.plan import operators as ops
from umbel.plan.errors import PlanError
from umbel.plan.expressions import Column, Expression, transform
from umbel.plan.sinks import Sink
from umbel.sql.reading.names import Name
from umbel.sql.reading.statements import read_sql
from umbel.sql.reading.syntax import DEFAULT_DIALECT, parse

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")

_ROWS = "rows_of_it"


@dataclass(frozen=True)
class _OnlyTable:
    """Tables of which there is one."""

    rows: ops.Operator

    def table(self, parts: Sequence[Name]) -> ops.Operator:
        """Give its rows."""
        if [part.text for part in parts] != [_ROWS]:
            raise PlanError("other tables cannot be read here")
        return self.rows

    def function(self, name: str, paths: list[str], options: dict[str, Any]) -> ops.Operator:
        """There are no files either."""
        raise PlanError("files cannot be read here")

    def check_file(self, path: str) -> None:
        """None can be written."""
        raise PlanError("files cannot be written here")

    def sink(self, parts: Sequence[Name], *, create: bool, replace: bool) -> Sink:
        """Nothing can be written."""
        raise PlanError("tables cannot be written here")


def read_expression(text: str, rows: ops.Operator, *, dialect: str = DEFAULT_DIALECT) -> Expression:
    """Read an expression over the columns of some rows.

    Args:
        text: SQL; not a statement, and without subqueries.
        rows: what has the columns.
        dialect: a dialect of sqlglot.

    Raises:
        PlanError: it has no meaning, or is more than an expression of one row.

    >>> import pyarrow as pa
    >>> rows = ops.Values(table=pa.table({"zip": ["12345"], "age": [61]}))
    >>> str(read_expression("age >= 18 and zip <> ''", rows))
    "and(greater_equal(age, 18), not_equal(zip, ''))"
    """
    node = parse(text, dialect)
    statement = exp.select(exp.alias_(node, "it", copy=False)).from_(_ROWS)
    plain = ops.Placeholder(label="rows", columns=rows.schema)
    plan = read_sql(statement.sql(dialect), _OnlyTable(plain), dialect=dialect)
    found: Expression = Column("it")
    while isinstance(plan, ops.Project):
        found = transform(found, partial(_put_in, dict(plan.columns)))
        plan = plan.input
    if plan == plain:
        return found
    raise PlanError(
        f"{text!r} is no expression of one row", hint="neither aggregates, windows nor subqueries"
    )


def _put_in(made: dict[str, Expression], node: Expression) -> Expression:
    return made[node.name] if isinstance(node, Column) else node


__all__ = ["read_expression"]

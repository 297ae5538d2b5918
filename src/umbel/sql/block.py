"""One SELECT in the making: the clauses gathered so far, and whether one more may join them.

`umbel.sql.compiler` pours operators into a block as long as SQL's order of evaluation
(FROM, WHERE, GROUP BY, HAVING, windows, SELECT, DISTINCT, ORDER BY, LIMIT) keeps their meaning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import field
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.lazy import LazyModule
from umbel.plan.expressions import Column, Expression, walk
from umbel.sql.expressions import Scope, column
from umbel.sql.nodes import copied

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


#: The column that a SELECT without columns has, because SQL needs one.
NOTHING = "umbel_nothing"


@dataclass
class Block:
    """A SELECT over one FROM item and its joins.

    Attributes:
        source: the FROM item, with an alias.
        schema: the output columns.
        columns: what each output column is, over the FROM item and the joins.
        joins: the joins of the FROM item.
        where: the conditions of WHERE, all of which hold.
        keys: the expressions of GROUP BY; None if rows are not grouped.
        having: the conditions on groups.
        windowed: some column is a window function.
        distinct: each distinct row once.
        order: the terms of ORDER BY.
        count, offset: LIMIT and OFFSET.
    """

    source: exp.Expr
    schema: pa.Schema
    columns: dict[str, exp.Expr]
    joins: list[exp.Join] = field(default_factory=list)
    where: list[exp.Expr] = field(default_factory=list)
    keys: list[exp.Expr] | None = None
    having: list[exp.Expr] = field(default_factory=list)
    windowed: bool = False
    distinct: bool = False
    order: list[exp.Ordered] = field(default_factory=list)
    count: int | None = None
    offset: int = 0

    @property
    def scope(self) -> Scope:
        """The block's columns, for expressions that are poured into it."""
        return Scope(self.schema, self.columns)

    @property
    def limited(self) -> bool:
        """Whether the block takes only some of its rows by number."""
        return self.count is not None or self.offset > 0

    @property
    def per_row(self) -> bool:
        """Whether each output row is still a row of FROM and WHERE, whatever its order."""
        return self.keys is None and not (self.windowed or self.distinct or self.limited)

    @property
    def bare(self) -> bool:
        """Whether the block only names columns of its FROM item and joins."""
        return self.per_row and not self.where and self.names_only

    @property
    def names_only(self) -> bool:
        """Whether every output column is a column of FROM as it stands."""
        return all(isinstance(node, exp.Column) for node in self.columns.values())

    def inlines(self, *expressions: Expression) -> bool:
        """Whether expressions can be written over the FROM item without doing work twice.

        A column that is computed may be used once; one that is only named, or constant, may be
        used any number of times.
        """
        uses = Counter(
            node.name for root in expressions for node in walk(root) if isinstance(node, Column)
        )
        return all(count == 1 or _cheap(self.columns[name]) for name, count in uses.items())

    def select(self) -> exp.Select:
        """Write the block as a SELECT; the block must not be used afterwards."""
        columns = [
            exp.alias_(node, name, quoted=True, copy=False) for name, node in self.columns.items()
        ]
        query = exp.Select(expressions=columns or [exp.Null().as_(NOTHING, quoted=True)])
        query.set("from_", exp.From(this=self.source))
        if self.joins:
            query.set("joins", self.joins)
        if self.where:
            query.set("where", exp.Where(this=conjunction(self.where)))
        if self.keys:
            query.set("group", exp.Group(expressions=list(map(copied, self.keys))))
        if self.having:
            query.set("having", exp.Having(this=conjunction(self.having)))
        if self.distinct:
            query.set("distinct", exp.Distinct())
        if self.order:
            query.set("order", exp.Order(expressions=self.order))
        if self.count is not None:
            query.set("limit", exp.Limit(expression=exp.Literal.number(self.count)))
        if self.offset:
            query.set("offset", exp.Offset(expression=exp.Literal.number(self.offset)))
        return query


def named_columns(names: Iterable[str], alias: str) -> dict[str, exp.Expr]:
    """Name the columns of a FROM item.

    >>> named_columns(["a"], "t0")["a"].sql()
    '"t0"."a"'
    """
    return {name: column(name, alias) for name in names}


def conjunction(conditions: Sequence[exp.Expr]) -> exp.Expr:
    """Join conditions by AND.

    >>> conjunction([column("a"), column("b")]).sql()
    '"a" AND "b"'
    """
    return exp.and_(*conditions, copy=False)


def _cheap(node: exp.Expr) -> bool:
    if isinstance(node, exp.Cast):
        node = node.this
    return isinstance(node, exp.Column | exp.Literal | exp.Null | exp.Boolean)

"""Items of FROM as relations with names: what is scanned, read again, or given an alias."""

from __future__ import annotations

from sqlglot import expressions as exp

from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError
from umbel.plan.expressions import Column
from umbel.plan.operators import Operator
from umbel.sql.reading import tree
from umbel.sql.reading.binder import Binder, Query
from umbel.sql.reading.names import Item
from umbel.sql.reading.syntax import reading


@dataclass
class Source:
    """One item of FROM: its rows, and its names."""

    relation: tree.Relation
    items: list[Item]


def scanned(
    binder: Binder, operator: Operator, alias: exp.Expr | None, path: tuple[str, ...]
) -> Source:
    """Name the columns of an operator's rows anew, so that no two items share a name."""
    schema = operator.schema
    unique = tuple(binder.columns.new(f.name, f.type, f.nullable) for f in schema)
    leaf = tree.Leaf(operator, unique)
    columns = tuple(zip(schema.names, unique, strict=True))
    return named_source(binder, leaf, columns, alias, path)


def again(binder: Binder, query: Query, alias: exp.Expr | None, path: tuple[str, ...]) -> Source:
    """Read a shared query once more: the same rows, under new unique names."""
    fresh: dict[str, str] = {}
    columns = []
    for name, unique in query.columns:
        if unique not in fresh:
            fresh[unique] = binder.columns.copy_of(unique)
        columns.append((name, fresh[unique]))
    items = tuple((new, Column(old)) for old, new in fresh.items())
    kept = tree.Keep(tree.Extend(query.relation, items), tuple(fresh.values()))
    return named_source(binder, kept, tuple(columns), alias, path)


def named_source(
    binder: Binder,
    relation: tree.Relation,
    columns: tuple[tuple[str, str], ...],
    alias: exp.Expr | None,
    path: tuple[str, ...],
) -> Source:
    """Give an item the names that its alias says."""
    named = list(columns)
    if alias is not None:
        with reading(alias) as syntax:
            name, renamed = syntax["this"], syntax.many("columns")
        if name is not None:
            path = (name.name,)
        if len(renamed) > len(named):
            raise PlanError(f"the alias names {len(renamed)} columns, but there are {len(named)}")
        for index, item in enumerate(renamed):
            named[index] = item.name, named[index][1]
    return Source(relation, [Item(path, named)])

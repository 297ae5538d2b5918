"""UNNEST: a row for each item of a list, or of several lists side by side.

In FROM it is an item like others, which may read what stands before it. In the SELECT list it makes
several rows of one, after all clauses but DISTINCT, ORDER BY and LIMIT.
"""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from sqlglot import expressions as exp

from umbel.plan.errors import PlanError
from umbel.plan.types import INT64, is_list
from umbel.sql.reading import tree
from umbel.sql.reading.binder import Binder
from umbel.sql.reading.lower import one_row
from umbel.sql.reading.names import Item, Scope
from umbel.sql.reading.registry import binds
from umbel.sql.reading.sources import Source, named_source
from umbel.sql.reading.syntax import Syntax, reading
from umbel.sql.reading.values import Columns, Value, call, constant


def bind_unnest(binder: Binder, syntax: Syntax, alias: exp.Expr | None, scope: Scope) -> Source:
    """Bind UNNEST in FROM."""
    lists = [list_value(binder, node, scope) for node in syntax.many("expressions")]
    if not lists:
        raise PlanError("UNNEST takes a list")
    offset = syntax["offset"]
    nothing = binder.columns.new("nothing", pa.int8(), False)
    leaf = tree.Leaf(one_row(), (nothing,))
    items = [new_item(binder.columns, value) for value in lists]
    number = binder.columns.new("ordinality", INT64, False) if offset else ""
    rows = unfold(binder.columns, leaf, lists, items, number)
    relation = tree.Keep(rows, (*items, *([number] if number else [])))
    named = [("unnest" if len(items) == 1 else f"unnest{n or ''}", i) for n, i in enumerate(items)]
    if number:
        named.append((offset.name if isinstance(offset, exp.Identifier) else "ordinality", number))
    if alias is None or alias.args.get("this") is None or alias.args.get("columns"):
        return named_source(binder, relation, tuple(named), alias, ("unnest",))
    # In PostgreSQL and DuckDB, the alias of unnest names its only column too.
    with reading(alias) as alias_syntax:
        name = alias_syntax["this"].name
        _ = alias_syntax["columns"]
    return Source(relation, [Item((name,), named)])


@binds(exp.Explode, exp.Unnest)
def _inside(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    raise PlanError(
        "UNNEST makes rows, so it stands in FROM, or alone in the SELECT list",
        hint="FROM t, unnest(t.items) AS u(item)",
    )


def list_value(binder: Binder, node: exp.Expr, scope: Scope) -> Value:
    """Bind an argument of UNNEST.

    Raises:
        PlanError: it is no list.
    """
    value = binder.value(node, scope)
    if not is_list(value.dtype):
        raise PlanError("UNNEST takes a list")
    return value


def new_item(columns: Columns, value: Value) -> str:
    """Make the column for the items of a list."""
    return columns.new("unnest", value.dtype.value_type)


def unfold(
    columns: Columns,
    relation: tree.Relation,
    lists: Sequence[Value],
    items: Sequence[str],
    number: str = "",
) -> tree.Relation:
    """Give a row for each item; of several lists as many as the longest has, with nulls behind.

    Args:
        columns: makes columns.
        relation: the rows that the lists are in.
        lists: one or more of them, as values over the relation.
        items: the column for the items of each list.
        number: the column that counts a row's items from 1; "" for none.
    """
    if len(lists) == 1 and not number:
        return tree.Unfold(tree.Extend(relation, ((items[0], lists[0].node),)), items[0])
    zero = constant(0, INT64)
    lengths = [call("coalesce", call("list_length", value), zero) for value in lists]
    longest = lengths[0] if len(lengths) == 1 else call("greatest", *lengths)
    position = columns.new("position", INT64)
    positions = call("list_range", zero, longest)
    unfolded = tree.Unfold(tree.Extend(relation, ((position, positions.node),)), position)
    at = columns.value(position)
    made = [(i, call("list_get", v, at).node) for i, v in zip(items, lists, strict=True)]
    if number:
        made.append((number, call("add", at, constant(1, INT64)).node))
    return tree.Extend(unfolded, tuple(made))


__all__ = ["bind_unnest", "list_value", "new_item", "unfold"]

"""UNNEST in FROM: a row for each item of a list."""

from __future__ import annotations

import pyarrow as pa
from sqlglot import expressions as exp

from umbel.plan.errors import PlanError
from umbel.plan.types import is_list
from umbel.sql.reading import tree
from umbel.sql.reading.binder import Binder
from umbel.sql.reading.lower import one_row
from umbel.sql.reading.names import Item, Scope
from umbel.sql.reading.sources import Source, named_source
from umbel.sql.reading.syntax import Syntax, reading


def bind_unnest(binder: Binder, syntax: Syntax, alias: exp.Expr | None, scope: Scope) -> Source:
    """Bind UNNEST."""
    nodes = syntax.many("expressions")
    if syntax["offset"]:
        raise PlanError("UNNEST WITH ORDINALITY is not supported")
    if len(nodes) != 1:
        raise PlanError("UNNEST takes one list")
    value = binder.value(nodes[0], scope)
    if not is_list(value.dtype):
        raise PlanError("UNNEST takes a list")
    nothing = binder.columns.new("nothing", pa.int8(), False)
    item = binder.columns.new("unnest", value.dtype.value_type)
    rows = tree.Extend(tree.Leaf(one_row(), (nothing,)), ((item, value.node),))
    relation = tree.Keep(tree.Unfold(rows, item), (item,))
    if alias is not None and alias.args.get("this") is not None and not alias.args.get("columns"):
        # In PostgreSQL and DuckDB, the alias of unnest names its only column too.
        with reading(alias) as alias_syntax:
            name = alias_syntax["this"].name
            _ = alias_syntax["columns"]
        return Source(relation, [Item((name,), [("unnest", item)])])
    return named_source(binder, relation, (("unnest", item),), alias, ("unnest",))

"""VALUES: rows that are written out."""

from __future__ import annotations

import pyarrow as pa
from sqlglot import expressions as exp

from umbel.plan.errors import PlanError
from umbel.plan.expressions import Literal
from umbel.plan.operators import Values
from umbel.plan.types import common_type
from umbel.sql.reading import tree
from umbel.sql.reading.binder import Binder, Query
from umbel.sql.reading.lower import one_row
from umbel.sql.reading.names import Scope
from umbel.sql.reading.operators import unified
from umbel.sql.reading.syntax import Syntax
from umbel.sql.reading.values import Value, cast


def values_query(binder: Binder, syntax: Syntax, scope: Scope) -> Query:
    """Bind VALUES: a constant table where all is constant, else a union of rows."""
    rows: list[list[Value]] = []
    for node in syntax.many("expressions"):
        nodes = node.expressions if isinstance(node, exp.Tuple) else [node]
        rows.append([binder.value(n, scope) for n in nodes])
    width = len(rows[0]) if rows else 0
    if any(len(row) != width for row in rows):
        raise PlanError("the rows of VALUES have different numbers of values")
    by_column = [unified(list(column)) for column in zip(*rows, strict=True)]
    types = []
    for column in by_column:
        dtype = pa.null()
        for value in column:
            dtype = common_type(dtype, value.dtype)
        types.append(dtype)
    unique = tuple(
        binder.columns.new(f"col{i}", dtype, any(v.nullable for v in column))
        for i, (dtype, column) in enumerate(zip(types, by_column, strict=True))
    )
    names = tuple((f"col{i}", u) for i, u in enumerate(unique))
    if all(isinstance(v.node, Literal) for column in by_column for v in column):
        arrays = [
            pa.array([cast(v, dtype).node.value for v in column], dtype)  # type: ignore[attr-defined]
            for dtype, column in zip(types, by_column, strict=True)
        ]
        table = pa.Table.from_arrays(arrays, names=list(unique))
        return Query(tree.Leaf(Values(table=table), unique), names)
    members, taken = [], []
    for row in zip(*by_column, strict=True):
        nothing = binder.columns.new("nothing", pa.int8(), False)
        here = tuple(binder.columns.copy_of(u) for u in unique)
        items = tuple((n, v.node) for n, v in zip(here, row, strict=True))
        base = tree.Leaf(one_row(), (nothing,))
        members.append(tree.Extend(base, items))
        taken.append(here)
    merged = tree.Merge("union", tuple(members), tuple(taken), unique, distinct=False)
    return Query(merged, names)

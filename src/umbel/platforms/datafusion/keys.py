"""Plans in which rows are sorted and partitioned by columns only.

DataFusion loses track of an order whose terms call Python functions: it refuses its own plan, since
it does not see that the rows are in that order already.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from umbel.plan.expressions import Column, Expression, SortKey, WindowCall
from umbel.plan.operators import Operator, Project, Sort, Window, rebuild


def name_keys(root: Operator) -> Operator:
    """Give each key of a sort or window that is no column a column of its own."""
    return rebuild(root, _named)


def _named(operator: Operator) -> Operator:
    match operator:
        case Sort(keys=keys):
            names = _names(key.expression for key in keys)
            if names:
                below = _with(operator.input, names)
                return _without(operator, Sort(input=below, keys=_renamed(keys, names)))
        case Window(columns=columns):
            names = _names(
                node
                for _, call in columns
                for node in (*call.partition_by, *(key.expression for key in call.order_by))
            )
            if names:
                calls = tuple((name, _over_columns(call, names)) for name, call in columns)
                below = _with(operator.input, names)
                return _without(operator, Window(input=below, columns=calls))
    return operator


def _names(keys: Iterable[Expression]) -> dict[Expression, Column]:
    """Name the keys that are no columns."""
    found = dict.fromkeys(key for key in keys if not isinstance(key, Column))
    return {key: Column(f"umbel_sorted_{number}") for number, key in enumerate(found)}


def _with(operator: Operator, names: dict[Expression, Column]) -> Project:
    own = tuple((name, Column(name)) for name in operator.schema.names)
    return Project(input=operator, columns=(*own, *((c.name, key) for key, c in names.items())))


def _without(before: Operator, after: Operator) -> Project:
    """Drop the columns of the keys again."""
    return Project(input=after, columns=tuple((name, Column(name)) for name in before.schema.names))


def _renamed(keys: tuple[SortKey, ...], names: dict[Expression, Column]) -> tuple[SortKey, ...]:
    return tuple(replace(k, expression=names.get(k.expression, k.expression)) for k in keys)


def _over_columns(call: WindowCall, names: dict[Expression, Column]) -> WindowCall:
    return replace(
        call,
        partition_by=tuple(names.get(node, node) for node in call.partition_by),
        order_by=_renamed(call.order_by, names),
    )


__all__ = ["name_keys"]

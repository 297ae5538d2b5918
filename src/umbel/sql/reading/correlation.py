"""Pieces of unnesting: reading conditions as equalities, renaming, working per key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pyarrow as pa

from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Column,
    Expression,
    Literal,
    SortKey,
    WindowCall,
    columns_of,
    substitute,
)
from umbel.plan.types import INT64
from umbel.sql.reading import tree
from umbel.sql.reading.values import Columns

#: Aggregates that have a value for no rows.
_OF_NOTHING = {"len": 0, "count": 0, "n_unique": 0}


def conjuncts(condition: Expression) -> list[Expression]:
    """Split a condition at its ANDs."""
    if isinstance(condition, Call) and condition.function == "and":
        return [part for argument in condition.arguments for part in conjuncts(argument)]
    return [condition]


def equalities(
    conditions: list[Expression], inside: tree.Relation, outer: frozenset[str]
) -> list[tuple[Expression, Expression]] | None:
    """Read conditions as (inner, outer) pairs that must be equal; None if one is something else."""
    pairs, given = [], set(inside.columns)
    for condition in conditions:
        if not isinstance(condition, Call) or condition.function != "equal":
            return None
        a, b = condition.arguments
        if columns_of(b) <= given and columns_of(b) and not columns_of(a) & given:
            a, b = b, a
        if not (columns_of(a) and columns_of(a) <= given) or columns_of(b) & given:
            return None
        pairs.append((a, b))
    return pairs


def equal_to_keys(
    pairs: Sequence[tuple[Expression, Expression]], keys: Sequence[str]
) -> tuple[Expression, ...]:
    """Compare the outer sides of equalities with the columns that their inner sides have become."""
    return tuple(
        Call("equal", (theirs, Column(key))) for (_, theirs), key in zip(pairs, keys, strict=True)
    )


def null_safe(left: list[str], right: list[str]) -> tuple[Expression, ...]:
    """Compare columns pair by pair, where null equals null."""
    return tuple(
        Call("is_not_distinct_from", (Column(a), Column(b)))
        for a, b in zip(left, right, strict=True)
    )


def rename(expression: Expression, here: dict[str, str]) -> Expression:
    """Give columns of an expression other names."""
    return substitute(expression, {old: Column(new) for old, new in here.items()})


def renamed(conditions: tuple[Expression, ...], here: dict[str, str]) -> tuple[Expression, ...]:
    """Give columns of conditions other names."""
    return tuple(rename(condition, here) for condition in conditions)


def with_keys(relation: tree.Relation, by: tuple[tree.Named, ...]) -> tree.Relation:
    """Compute keys beside what a relation has."""
    return tree.Extend(relation, by) if by else relation


def per_key(
    items: tuple[tuple[str, WindowCall], ...], by: tuple[tree.Named, ...]
) -> tuple[tuple[str, WindowCall], ...]:
    """Let window functions work per value of the keys."""
    keys = tuple(Column(name) for name, _ in by)
    return tuple(
        (name, replace(window, partition_by=(*window.partition_by, *keys)))
        for name, window in items
    )


def steps_above_group(
    relation: tree.Relation,
) -> tuple[list[tree.Relation], tree.Group | None]:
    """Look through projections for an aggregate without keys, which gives exactly one row."""
    steps: list[tree.Relation] = []
    while isinstance(relation, tree.Extend | tree.Keep | tree.Order):
        steps.insert(0, relation)
        relation = relation.input
    if isinstance(relation, tree.Group) and not relation.keys:
        return steps, relation
    return steps, None


def is_limited_to_one(relation: tree.Relation) -> bool:
    """Whether a relation is cut to one row."""
    while isinstance(relation, tree.Keep | tree.Extend):
        relation = relation.input
    return isinstance(relation, tree.Slice) and relation.count is not None and relation.count <= 1


def without_null_counts(
    columns: Columns, group: tree.Group
) -> tuple[tuple[tuple[str, AggregateCall], ...], tuple[tree.Named, ...]]:
    """Rename counts, and give under their names 0 where an outer join makes them null."""
    grouped, zeros = [], []
    for name, aggregate in group.aggregates:
        if aggregate.function in _OF_NOTHING:
            inner = columns.copy_of(name)
            grouped.append((inner, aggregate))
            zero = Literal(_OF_NOTHING[aggregate.function], INT64)
            zeros.append((name, Call("coalesce", (Column(inner), zero))))
        else:
            grouped.append((name, aggregate))
    return tuple(grouped), tuple(zeros)


def sliced(
    columns: Columns, slice_: tree.Slice, relation: tree.Relation, keys: list[str]
) -> tree.Relation:
    """Take the first rows for each value of the keys."""
    order: tuple[SortKey, ...] = ()
    inner: tree.Relation = slice_.input
    while isinstance(inner, tree.Keep):
        inner = inner.input
    if isinstance(inner, tree.Order):
        order = inner.keys
    missing = columns_of(*(key.expression for key in order)) - set(relation.columns)
    if missing:
        raise TypeError(f"the order of a subquery has lost {missing}")
    number = columns.new("row", INT64, False)
    window = WindowCall("row_number", (), tuple(Column(key) for key in keys), order)
    numbered = tree.Windows(relation, ((number, window),))
    bounds: list[Expression] = []
    if slice_.offset:
        bounds.append(Call("greater", (Column(number), Literal(slice_.offset, INT64))))
    if slice_.count is not None:
        last = Literal(slice_.offset + slice_.count, INT64)
        bounds.append(Call("less_equal", (Column(number), last)))
    kept = tree.Filter(numbered, tuple(bounds)) if bounds else numbered
    return tree.Keep(kept, relation.columns)


def keyed(
    columns: Columns, relation: tree.Relation, expressions: list[Expression]
) -> tuple[tree.Relation, tuple[str, ...]]:
    """Make expressions columns."""
    names, more = [], []
    for expression in expressions:
        if isinstance(expression, Column):
            names.append(expression.name)
            continue
        name = columns.new("key", pa.null())
        names.append(name)
        more.append((name, expression))
    return (tree.Extend(relation, tuple(more)) if more else relation), tuple(names)

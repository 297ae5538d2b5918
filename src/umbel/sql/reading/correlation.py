"""Pieces of unnesting: reading conditions as equalities, renaming, and looking at relations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from umbel.plan.expressions import Call, Column, Expression, WindowCall, columns_of, substitute
from umbel.sql.reading import tree


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

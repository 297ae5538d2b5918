"""Take the conditions that read outer columns out of a subquery, where that is all they do.

They then join the subquery to the query around it, and no domain is needed: the common case of
`umbel.sql.reading.unnest`.
"""

from __future__ import annotations

from collections.abc import Callable

from umbel.plan.expressions import Call, Column, Expression, columns_of
from umbel.sql.reading import tree
from umbel.sql.reading.correlation import (
    conjuncts,
    equalities,
    keyed,
    per_key,
    sliced,
    with_keys,
)
from umbel.sql.reading.values import Columns


def pull(
    columns: Columns, relation: tree.Relation, outer: frozenset[str]
) -> tuple[tree.Relation, list[Expression]] | None:
    """Take the conditions that read outer columns out of a relation, if that is all they do.

    Returns:
        The relation without them, with the columns that they read, and the conditions;
        None if outer columns are read in another way.
    """
    if not relation.free & outer:
        return relation, []
    match relation:
        case tree.Filter(below, conditions):
            found = pull(columns, below, outer)
            if found is None:
                return None
            here = [c for part in conditions for c in conjuncts(part)]
            moved = [c for c in here if columns_of(c) & outer]
            stay = tuple(c for c in here if not columns_of(c) & outer)
            inner = tree.Filter(found[0], stay) if stay else found[0]
            return inner, [*found[1], *moved]
        case tree.Extend(below, items):
            if columns_of(*relation.own) & outer:
                return None
            found = pull(columns, below, outer)
            return None if found is None else (tree.Extend(found[0], items), found[1])
        case tree.Order(below):
            return pull(columns, below, outer)
        case tree.Keep(below, names):
            found = pull(columns, below, outer)
            if found is None:
                return None
            reads = columns_of(*found[1]) & set(found[0].columns)
            more = tuple(sorted(reads - set(names)))
            return tree.Keep(found[0], (*names, *more)), found[1]
        case tree.Join():
            return _pull_join(columns, relation, outer)
        case tree.Group(below, keys, aggregates):
            if not keys or columns_of(*relation.own) & outer:
                return None
            return _pull_keyed(
                columns, below, outer, lambda r, by: tree.Group(r, (*keys, *by), aggregates)
            )
        case tree.Windows(below, items):
            if columns_of(*relation.own) & outer:
                return None
            return _pull_keyed(
                columns,
                below,
                outer,
                lambda r, by: tree.Windows(with_keys(r, by), per_key(items, by)),
            )
        case tree.Unique(below):
            return _pull_keyed(
                columns,
                below,
                outer,
                lambda r, by: tree.Unique(
                    tree.Keep(with_keys(r, by), (*below.columns, *(n for n, _ in by)))
                ),
            )
        case tree.Slice():
            return _pull_keyed(
                columns,
                relation.input,
                outer,
                lambda r, by: sliced(columns, relation, with_keys(r, by), [n for n, _ in by]),
            )
    return None


def _pull_join(
    columns: Columns, join: tree.Join, outer: frozenset[str]
) -> tuple[tree.Relation, list[Expression]] | None:
    inner = join.how == "inner"
    if not inner and (
        join.how not in ("left", "semi", "anti")
        or join.right.free & outer
        or columns_of(*join.conditions) & outer
    ):
        return None
    left, right = pull(columns, join.left, outer), pull(columns, join.right, outer)
    if left is None or right is None:
        return None
    moved = [c for c in join.conditions if columns_of(c) & outer]
    stay = tuple(c for c in join.conditions if not columns_of(c) & outer)
    made = tree.Join(join.how, left[0], right[0], stay)
    return made, [*left[1], *right[1], *moved]


def _pull_keyed(
    columns: Columns,
    below: tree.Relation,
    outer: frozenset[str],
    make: Callable[[tree.Relation, tuple[tree.Named, ...]], tree.Relation],
) -> tuple[tree.Relation, list[Expression]] | None:
    """Pull equalities through an operator that must then work per value of their inner sides."""
    found = pull(columns, below, outer)
    if found is None:
        return None
    pairs = equalities(found[1], found[0], outer)
    if pairs is None:
        return None
    relation, keys = keyed(columns, found[0], [inner for inner, _ in pairs])
    fresh = [columns.copy_of(key) for key in keys]
    by = tuple((new, Column(key)) for new, key in zip(fresh, keys, strict=True))
    conditions: list[Expression] = [
        Call("equal", (Column(key), theirs)) for key, (_, theirs) in zip(fresh, pairs, strict=True)
    ]
    return make(relation, by), conditions


__all__ = ["pull"]

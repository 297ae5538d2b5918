"""Give a subquery for every row of a domain: the distinct outer columns that it reads.

The domain moves down to where they are read, as `umbel.sql.reading.unnest` says.
"""

from __future__ import annotations

from dataclasses import replace

from umbel.dataclass import dataclass
from umbel.plan.expressions import Call, Column, Expression, columns_of
from umbel.sql.reading import tree
from umbel.sql.reading.correlation import (
    null_safe,
    per_key,
    rename,
    renamed,
    sliced,
    without_null_counts,
)
from umbel.sql.reading.values import Columns


@dataclass(frozen=True)
class _Domain:
    """The distinct values of the outer columns that a subquery reads."""

    values: tree.Relation
    names: tuple[str, ...]


def with_domain(
    columns: Columns, left: tree.Relation, right: tree.Relation, outer: frozenset[str]
) -> tuple[tree.Relation, tuple[Expression, ...]]:
    """Give the right side for every distinct value of the outer columns, and what joins it."""
    names = sorted(outer)
    values = tree.Unique(tree.Keep(left, tuple(names)))
    pushed, here = _push(columns, right, _Domain(values, tuple(names)))
    return pushed, null_safe(names, [here[name] for name in names])


def _push(
    columns: Columns, relation: tree.Relation, domain: _Domain
) -> tuple[tree.Relation, dict[str, str]]:
    """Give the relation's rows for each row of the domain.

    Returns:
        The relation, and under which names it has the domain's columns.
    """
    outer = set(domain.names)
    if not relation.free & outer:
        values, here = _copy(columns, domain)
        return tree.Join("inner", values, relation), here
    match relation:
        case tree.Filter(below, conditions):
            pushed, here = _push(columns, below, domain)
            return tree.Filter(pushed, renamed(conditions, here)), here
        case tree.Extend(below, items):
            pushed, here = _push(columns, below, domain)
            made = tuple((n, rename(e, here)) for n, e in items)
            return tree.Extend(pushed, made), here
        case tree.Keep(below, names):
            pushed, here = _push(columns, below, domain)
            return tree.Keep(pushed, (*names, *here.values())), here
        case tree.Order(below, keys):
            pushed, here = _push(columns, below, domain)
            moved = tuple(replace(k, expression=rename(k.expression, here)) for k in keys)
            return tree.Order(pushed, moved), here
        case tree.Unique(below):
            pushed, here = _push(columns, below, domain)
            kept = tree.Keep(pushed, (*below.columns, *here.values()))
            return tree.Unique(kept), here
        case tree.Unfold(below, column, outer_):
            pushed, here = _push(columns, below, domain)
            return tree.Unfold(pushed, column, outer_), here
        case tree.Windows(below, items):
            pushed, here = _push(columns, below, domain)
            by = tuple((n, Column(n)) for n in here.values())
            made = tuple((n, rename(e, here)) for n, e in items)
            return tree.Windows(pushed, per_key(made, by)), here  # type: ignore[arg-type]
        case tree.Slice(below):
            pushed, here = _push(columns, below, domain)
            inner = replace(relation, input=pushed)
            return sliced(columns, inner, pushed, list(here.values())), here
        case tree.Group():
            return _push_group(columns, relation, domain)
        case tree.Join():
            return _push_join(columns, relation, domain)
        case tree.Merge():
            return _push_merge(columns, relation, domain)
    raise TypeError(type(relation).__name__)


def _push_group(
    columns: Columns, group: tree.Group, domain: _Domain
) -> tuple[tree.Relation, dict[str, str]]:
    pushed, here = _push(columns, group.input, domain)
    keys = tuple((n, rename(e, here)) for n, e in group.keys)
    calls = tuple((n, rename(e, here)) for n, e in group.aggregates)
    by = tuple((n, Column(n)) for n in here.values())
    if group.keys:
        return tree.Group(pushed, (*keys, *by), calls), here  # type: ignore[arg-type]
    # Without keys there is a row for every row of the domain, also where nothing is grouped.
    grouped, zeros = without_null_counts(columns, replace(group, aggregates=calls))  # type: ignore[arg-type]
    made = tree.Group(pushed, by, grouped)
    values, outside = _copy(columns, domain)
    names = list(domain.names)
    equal = null_safe([outside[n] for n in names], [here[n] for n in names])
    joined: tree.Relation = tree.Join("left", values, made, equal)
    columns.loosen(made.columns)
    joined = tree.Extend(joined, zeros) if zeros else joined
    return tree.Keep(joined, (*group.columns, *outside.values())), outside


def _push_join(
    columns: Columns, join: tree.Join, domain: _Domain
) -> tuple[tree.Relation, dict[str, str]]:
    outer = set(domain.names)
    in_right = bool(join.right.free & outer)
    in_left = bool(join.left.free & outer) or bool(columns_of(*join.conditions) & outer)
    keeps_right = join.how in ("right", "full")
    if join.how == "inner" and in_right and not in_left:
        right, here = _push(columns, join.right, domain)
        return tree.Join("inner", join.left, right, join.conditions), here
    left, here = _push(columns, join.left, domain)
    conditions = renamed(join.conditions, here)
    if not in_right and not keeps_right:
        return tree.Join(join.how, left, join.right, conditions, join.mark), here
    right, there = _push(columns, join.right, domain)
    names = list(domain.names)
    equal = null_safe([here[n] for n in names], [there[n] for n in names])
    made: tree.Relation = tree.Join(join.how, left, right, (*conditions, *equal), join.mark)
    if keeps_right:
        both = []
        for name in names:
            one = columns.copy_of(name)
            pair = (Column(here[name]), Column(there[name]))
            both.append((one, Call("coalesce", pair)))
        made = tree.Extend(made, tuple(both))
        here = dict(zip(names, (n for n, _ in both), strict=True))
    return made, here


def _push_merge(
    columns: Columns, merge: tree.Merge, domain: _Domain
) -> tuple[tree.Relation, dict[str, str]]:
    members, taken = [], []
    for member, given in zip(merge.members, merge.taken, strict=True):
        pushed, here = _push(columns, member, domain)
        members.append(pushed)
        taken.append((*given, *(here[name] for name in domain.names)))
    result = {name: columns.copy_of(name) for name in domain.names}
    names = (*merge.names, *(result[name] for name in domain.names))
    return replace(merge, members=tuple(members), taken=tuple(taken), names=names), result


def _copy(columns: Columns, domain: _Domain) -> tuple[tree.Relation, dict[str, str]]:
    """The domain under new names, as it may stand in several places."""
    here = {name: columns.copy_of(name) for name in domain.names}
    items = tuple((new, Column(old)) for old, new in here.items())
    return tree.Keep(tree.Extend(domain.values, items), tuple(here.values())), here


__all__ = ["with_domain"]

"""Rewrite relations until no join's right side reads columns of its left side.

The method is that of Neumann and Kemper, "Unnesting Arbitrary Queries" (BTW 2015): a dependent
join becomes an ordinary one with the *domain*, the distinct values of the columns that the right
side reads; the domain then moves down to where they are read. Where the right side only compares
its own columns with them by conditions that can move up, the conditions move up instead and no
domain is needed; that is the common case.

`umbel.sql.reading.pulling` moves conditions up, `umbel.sql.reading.domain` a domain down.
"""

from __future__ import annotations

from dataclasses import replace

from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Column,
    Expression,
    Literal,
    columns_of,
)
from umbel.plan.operators import Values
from umbel.plan.types import BOOL, INT64
from umbel.sql.reading import tree
from umbel.sql.reading.correlation import (
    equal_to_keys,
    equalities,
    is_limited_to_one,
    keyed,
    null_safe,
    steps_above_group,
    without_null_counts,
)
from umbel.sql.reading.domain import with_domain
from umbel.sql.reading.pulling import pull
from umbel.sql.reading.values import Columns


class Unnesting:
    """Unnests the relations of one statement; what is shared stays shared."""

    def __init__(self, columns: Columns) -> None:
        self.columns = columns
        self._done: dict[int, tree.Relation] = {}
        self._kept: list[tree.Relation] = []

    def unnest(self, relation: tree.Relation) -> tree.Relation:
        """Give an equal relation without dependent joins."""
        known = self._done.get(id(relation))
        if known is not None:
            return known
        found = self._unnest(relation)
        self._done[id(relation)] = found
        self._kept.append(relation)
        return found

    def _unnest(self, relation: tree.Relation) -> tree.Relation:
        match relation:
            case tree.Leaf():
                return relation
            case tree.Unary():
                below = self.unnest(relation.input)
                return relation if below is relation.input else replace(relation, input=below)
            case tree.Merge():
                return replace(relation, members=tuple(map(self.unnest, relation.members)))
            case tree.Join():
                left, right = self.unnest(relation.left), self.unnest(relation.right)
                return self._join(replace(relation, left=left, right=right))
        raise TypeError(type(relation).__name__)

    def _join(self, join: tree.Join) -> tree.Relation:
        outer = join.right.free & set(join.left.columns)
        if join.how == "single":
            return self._single(join, outer)
        if join.how == "mark":
            return self._mark(join, outer)
        if not outer:
            return join
        unfolded = _unfolded(join)
        if unfolded is not None:
            return unfolded
        pulled = pull(self.columns, join.right, outer)
        if pulled is not None:
            right, conditions = pulled
            return replace(join, right=right, conditions=(*join.conditions, *conditions))
        right, equal = with_domain(self.columns, join.left, join.right, outer)
        return replace(join, right=right, conditions=(*join.conditions, *equal))

    # Subqueries that give a value

    def _single(self, join: tree.Join, outer: frozenset[str]) -> tree.Relation:
        left, right = join.left, join.right
        steps, group = steps_above_group(right)
        if not outer:
            if group is not None:
                return tree.Join("inner", left, right)
            return tree.Join("inner", left, self._at_most_one(right, ()))
        if group is not None and not (columns_of(*group.own) & outer):
            pulled = pull(self.columns, group.input, outer)
            pairs = None if pulled is None else equalities(pulled[1], pulled[0], outer)
            if pulled is not None and pairs is not None:
                return self._grouped(left, pulled[0], pairs, group, steps, right)
        if group is None:
            pulled = pull(self.columns, right, outer)
            pairs = None if pulled is None else equalities(pulled[1], pulled[0], outer)
            if pulled is not None and pairs is not None:
                below, keys = keyed(self.columns, pulled[0], [inner for inner, _ in pairs])
                one = self._at_most_one(below, keys, right.columns)
                return self._renamed_join("left", left, one, keys, equal_to_keys(pairs, keys))
        widened, equal = with_domain(self.columns, left, right, outer)
        if group is None:
            keys = tuple(name for name in widened.columns if name not in right.columns)
            widened = self._at_most_one(widened, keys, right.columns)
        return tree.Join("left", left, widened, equal)

    def _grouped(
        self,
        left: tree.Relation,
        below: tree.Relation,
        pairs: list[tuple[Expression, Expression]],
        group: tree.Group,
        steps: list[tree.Relation],
        right: tree.Relation,
    ) -> tree.Relation:
        """Group by what the subquery is compared by; a row without a group counts as an empty one."""
        below, keys = keyed(self.columns, below, [inner for inner, _ in pairs])
        fresh = [self.columns.copy_of(key) for key in keys]
        by = tuple((new, Column(key)) for new, key in zip(fresh, keys, strict=True))
        grouped, zeros = without_null_counts(self.columns, group)
        made = tree.Group(below, by, grouped)
        equal = equal_to_keys(pairs, fresh)
        result: tree.Relation = tree.Join("left", left, made, equal)
        self.columns.loosen(made.columns)
        if zeros:
            result = tree.Extend(result, zeros)
        for step in steps:
            if isinstance(step, tree.Extend):
                result = tree.Extend(result, step.items)
        return tree.Keep(result, (*left.columns, *right.columns))

    def _at_most_one(
        self, relation: tree.Relation, keys: tuple[str, ...], values: tuple[str, ...] | None = None
    ) -> tree.Relation:
        """Fail the run where a scalar subquery gives more than one row (for one set of keys)."""
        count = self.columns.new("rows", INT64, False)
        aggregates: list[tuple[str, AggregateCall]] = [(count, AggregateCall("len"))]
        checked: list[tree.Named] = []
        few = Call("less_equal", (Column(count), Literal(1, INT64)))
        for name in relation.columns if values is None else values:
            first = self.columns.copy_of(name)
            aggregates.append((first, AggregateCall("first", (Column(name),))))
            checked.append((name, Call("require", (Column(first), few))))
        at_once = is_limited_to_one(relation)
        if at_once and not keys:
            checked = [(n, e.arguments[0]) for n, e in checked if isinstance(e, Call)]
        by = tuple((key, Column(key)) for key in keys)
        grouped = tree.Group(relation, by, tuple(aggregates))
        for name, _ in checked:
            self.columns.loosen((name,))
        return tree.Keep(tree.Extend(grouped, tuple(checked)), (*keys, *(n for n, _ in checked)))

    # Subqueries that give a truth value

    def _mark(self, join: tree.Join, outer: frozenset[str]) -> tree.Relation:
        left, right = join.left, join.right
        inside = set(right.columns)
        pulled = pull(self.columns, right, outer) if outer else (right, [])
        if pulled is not None:
            conditions = [*join.conditions, *pulled[1]]
            reads = frozenset(columns_of(*conditions)) - inside - set(pulled[0].columns)
            pairs = equalities(conditions, pulled[0], reads)
            if pairs is not None and pairs:
                below, keys = keyed(self.columns, pulled[0], [inner for inner, _ in pairs])
                fresh = [self.columns.copy_of(key) for key in keys]
                copies = tuple((n, Column(key)) for n, key in zip(fresh, keys, strict=True))
                unique = tree.Unique(tree.Keep(tree.Extend(below, copies), tuple(fresh)))
                return self._flagged(join, unique, equal_to_keys(pairs, fresh))
        # The distinct left values for which there is a pair, joined back to the left.
        reads = outer | (frozenset(columns_of(*join.conditions)) & set(left.columns))
        names = sorted(reads)
        found = self._join(tree.Join("semi", left, right, join.conditions))
        fresh = [self.columns.copy_of(name) for name in names]
        copies = tuple((new, Column(old)) for new, old in zip(fresh, names, strict=True))
        domain = tree.Unique(tree.Keep(tree.Extend(found, copies), tuple(fresh)))
        return self._flagged(join, domain, null_safe(names, fresh))

    def _flagged(
        self, join: tree.Join, right: tree.Relation, equal: tuple[Expression, ...]
    ) -> tree.Relation:
        flag = self.columns.new("flag", BOOL)
        flagged = tree.Extend(right, ((flag, Literal(value=True, dtype=BOOL)),))
        joined = tree.Join("left", join.left, flagged, equal)
        found = Call("coalesce", (Column(flag), Literal(value=False, dtype=BOOL)))
        extended = tree.Extend(joined, ((join.mark, found),))
        return tree.Keep(extended, (*join.left.columns, join.mark))

    def _renamed_join(
        self,
        how: tree.How,
        left: tree.Relation,
        right: tree.Relation,
        keys: tuple[str, ...],
        equal: tuple[Expression, ...],
    ) -> tree.Relation:
        joined = tree.Join(how, left, right, equal)
        kept = (*left.columns, *(n for n in right.columns if n not in keys))
        return tree.Keep(joined, tuple(dict.fromkeys(kept)))


def _unfolded(join: tree.Join) -> tree.Relation | None:
    """Unfold lists of the left side's rows in place, which UNNEST(column) beside it means."""
    if join.how != "inner" and (join.how != "left" or join.conditions):
        return None
    match join.right:
        case tree.Keep(tree.Unfold() as unfold, names):
            made: tuple[tree.Named, ...] = ()
        case tree.Keep(tree.Extend(tree.Unfold() as unfold, made), names):
            pass
        case _:
            return None
    match unfold.input:
        case tree.Extend(tree.Leaf(Values() as one), items) if one.table.num_rows == 1:
            below = tree.Extend(join.left, items)
        case _:
            return None
    rows: tree.Relation = tree.Unfold(below, unfold.column, outer=join.how == "left")
    rows = tree.Extend(rows, made) if made else rows
    kept = tree.Keep(rows, (*join.left.columns, *names))
    return tree.Filter(kept, join.conditions) if join.conditions else kept

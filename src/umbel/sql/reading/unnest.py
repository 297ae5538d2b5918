"""Rewrite relations until no join's right side reads columns of its left side.

The method is that of Neumann and Kemper, "Unnesting Arbitrary Queries" (BTW 2015): a dependent
join becomes an ordinary one with the *domain*, the distinct values of the columns that the right
side reads; the domain then moves down to where they are read. Where the right side only compares
its own columns with them by conditions that can move up, the conditions move up instead and no
domain is needed; that is the common case.
"""

from __future__ import annotations

from collections.abc import Callable
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
)
from umbel.plan.operators import Values
from umbel.plan.types import BOOL, INT64
from umbel.sql.reading import tree
from umbel.sql.reading.correlation import (
    conjuncts,
    equal_to_keys,
    equalities,
    is_limited_to_one,
    null_safe,
    per_key,
    rename,
    renamed,
    steps_above_group,
    with_keys,
)
from umbel.sql.reading.values import Columns

#: Aggregates that have a value for no rows.
_OF_NOTHING = {"len": 0, "count": 0, "n_unique": 0}


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
        pulled = self._pull(join.right, outer)
        if pulled is not None:
            right, conditions = pulled
            return replace(join, right=right, conditions=(*join.conditions, *conditions))
        right, equal = self._with_domain(join.left, join.right, outer)
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
            pulled = self._pull(group.input, outer)
            pairs = None if pulled is None else equalities(pulled[1], pulled[0], outer)
            if pulled is not None and pairs is not None:
                return self._grouped(left, pulled[0], pairs, group, steps, right)
        if group is None:
            pulled = self._pull(right, outer)
            pairs = None if pulled is None else equalities(pulled[1], pulled[0], outer)
            if pulled is not None and pairs is not None:
                below, keys = self._keyed(pulled[0], [inner for inner, _ in pairs])
                one = self._at_most_one(below, keys, right.columns)
                return self._renamed_join("left", left, one, keys, equal_to_keys(pairs, keys))
        with_domain, equal = self._with_domain(left, right, outer)
        if group is None:
            keys = tuple(name for name in with_domain.columns if name not in right.columns)
            with_domain = self._at_most_one(with_domain, keys, right.columns)
        return tree.Join("left", left, with_domain, equal)

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
        below, keys = self._keyed(below, [inner for inner, _ in pairs])
        fresh = [self.columns.copy_of(key) for key in keys]
        by = tuple((new, Column(key)) for new, key in zip(fresh, keys, strict=True))
        grouped, filled = self._filled(group)
        made = tree.Group(below, by, grouped)
        equal = equal_to_keys(pairs, fresh)
        result: tree.Relation = tree.Join("left", left, made, equal)
        self.columns.loosen(made.columns)
        if filled:
            result = tree.Extend(result, filled)
        for step in steps:
            if isinstance(step, tree.Extend):
                result = tree.Extend(result, step.items)
        return tree.Keep(result, (*left.columns, *right.columns))

    def _filled(
        self, group: tree.Group
    ) -> tuple[tuple[tuple[str, AggregateCall], ...], tuple[tree.Named, ...]]:
        """Rename counts, and give under their names 0 where an outer join makes them null."""
        grouped, filled = [], []
        for name, aggregate in group.aggregates:
            if aggregate.function in _OF_NOTHING:
                inner = self.columns.copy_of(name)
                grouped.append((inner, aggregate))
                zero = Literal(_OF_NOTHING[aggregate.function], INT64)
                filled.append((name, Call("coalesce", (Column(inner), zero))))
            else:
                grouped.append((name, aggregate))
        return tuple(grouped), tuple(filled)

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
        pulled = self._pull(right, outer) if outer else (right, [])
        if pulled is not None:
            conditions = [*join.conditions, *pulled[1]]
            reads = frozenset(columns_of(*conditions)) - inside - set(pulled[0].columns)
            pairs = equalities(conditions, pulled[0], reads)
            if pairs is not None and pairs:
                below, keys = self._keyed(pulled[0], [inner for inner, _ in pairs])
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

    # Moving conditions up

    def _pull(
        self, relation: tree.Relation, outer: frozenset[str]
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
                found = self._pull(below, outer)
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
                found = self._pull(below, outer)
                return None if found is None else (tree.Extend(found[0], items), found[1])
            case tree.Order(below):
                return self._pull(below, outer)
            case tree.Keep(below, names):
                found = self._pull(below, outer)
                if found is None:
                    return None
                reads = columns_of(*found[1]) & set(found[0].columns)
                more = tuple(sorted(reads - set(names)))
                return tree.Keep(found[0], (*names, *more)), found[1]
            case tree.Join():
                return self._pull_join(relation, outer)
            case tree.Group(below, keys, aggregates):
                if not keys or columns_of(*relation.own) & outer:
                    return None
                return self._pull_keyed(
                    below, outer, lambda r, by: tree.Group(r, (*keys, *by), aggregates)
                )
            case tree.Windows(below, items):
                if columns_of(*relation.own) & outer:
                    return None
                return self._pull_keyed(
                    below, outer, lambda r, by: tree.Windows(with_keys(r, by), per_key(items, by))
                )
            case tree.Unique(below):
                return self._pull_keyed(
                    below,
                    outer,
                    lambda r, by: tree.Unique(
                        tree.Keep(with_keys(r, by), (*below.columns, *(n for n, _ in by)))
                    ),
                )
            case tree.Slice():
                return self._pull_keyed(
                    relation.input,
                    outer,
                    lambda r, by: self._sliced(relation, with_keys(r, by), [n for n, _ in by]),
                )
        return None

    def _pull_join(
        self, join: tree.Join, outer: frozenset[str]
    ) -> tuple[tree.Relation, list[Expression]] | None:
        inner = join.how == "inner"
        if not inner and (
            join.how not in ("left", "semi", "anti")
            or join.right.free & outer
            or columns_of(*join.conditions) & outer
        ):
            return None
        left, right = self._pull(join.left, outer), self._pull(join.right, outer)
        if left is None or right is None:
            return None
        moved = [c for c in join.conditions if columns_of(c) & outer]
        stay = tuple(c for c in join.conditions if not columns_of(c) & outer)
        made = tree.Join(join.how, left[0], right[0], stay)
        return made, [*left[1], *right[1], *moved]

    def _pull_keyed(
        self,
        below: tree.Relation,
        outer: frozenset[str],
        make: Callable[[tree.Relation, tuple[tree.Named, ...]], tree.Relation],
    ) -> tuple[tree.Relation, list[Expression]] | None:
        """Pull equalities through an operator that must then work per value of their inner sides."""
        found = self._pull(below, outer)
        if found is None:
            return None
        pairs = equalities(found[1], found[0], outer)
        if pairs is None:
            return None
        relation, keys = self._keyed(found[0], [inner for inner, _ in pairs])
        fresh = [self.columns.copy_of(key) for key in keys]
        by = tuple((new, Column(key)) for new, key in zip(fresh, keys, strict=True))
        conditions: list[Expression] = [
            Call("equal", (Column(key), theirs))
            for key, (_, theirs) in zip(fresh, pairs, strict=True)
        ]
        return make(relation, by), conditions

    def _sliced(
        self, slice_: tree.Slice, relation: tree.Relation, keys: list[str]
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
        number = self.columns.new("row", INT64, False)
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

    def _keyed(
        self, relation: tree.Relation, expressions: list[Expression]
    ) -> tuple[tree.Relation, tuple[str, ...]]:
        """Make expressions columns."""
        names, more = [], []
        for expression in expressions:
            if isinstance(expression, Column):
                names.append(expression.name)
                continue
            name = self.columns.new("key", pa.null())
            names.append(name)
            more.append((name, expression))
        return (tree.Extend(relation, tuple(more)) if more else relation), tuple(names)

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

    # Moving the domain down

    def _with_domain(
        self, left: tree.Relation, right: tree.Relation, outer: frozenset[str]
    ) -> tuple[tree.Relation, tuple[Expression, ...]]:
        """Give the right side for every distinct value of the outer columns, and what joins it."""
        names = sorted(outer)
        values = tree.Unique(tree.Keep(left, tuple(names)))
        pushed, here = self._push(right, _Domain(values, tuple(names)))
        return pushed, null_safe(names, [here[name] for name in names])

    def _push(
        self, relation: tree.Relation, domain: _Domain
    ) -> tuple[tree.Relation, dict[str, str]]:
        """Give the relation's rows for each row of the domain.

        Returns:
            The relation, and under which names it has the domain's columns.
        """
        outer = set(domain.names)
        if not relation.free & outer:
            values, here = self._copy(domain)
            return tree.Join("inner", values, relation), here
        match relation:
            case tree.Filter(below, conditions):
                pushed, here = self._push(below, domain)
                return tree.Filter(pushed, renamed(conditions, here)), here
            case tree.Extend(below, items):
                pushed, here = self._push(below, domain)
                made = tuple((n, rename(e, here)) for n, e in items)
                return tree.Extend(pushed, made), here
            case tree.Keep(below, names):
                pushed, here = self._push(below, domain)
                return tree.Keep(pushed, (*names, *here.values())), here
            case tree.Order(below, keys):
                pushed, here = self._push(below, domain)
                moved = tuple(replace(k, expression=rename(k.expression, here)) for k in keys)
                return tree.Order(pushed, moved), here
            case tree.Unique(below):
                pushed, here = self._push(below, domain)
                kept = tree.Keep(pushed, (*below.columns, *here.values()))
                return tree.Unique(kept), here
            case tree.Unfold(below, column, outer_):
                pushed, here = self._push(below, domain)
                return tree.Unfold(pushed, column, outer_), here
            case tree.Windows(below, items):
                pushed, here = self._push(below, domain)
                by = tuple((n, Column(n)) for n in here.values())
                made = tuple((n, rename(e, here)) for n, e in items)
                return tree.Windows(pushed, per_key(made, by)), here  # type: ignore[arg-type]
            case tree.Slice(below):
                pushed, here = self._push(below, domain)
                inner = replace(relation, input=pushed)
                return self._sliced(inner, pushed, list(here.values())), here
            case tree.Group():
                return self._push_group(relation, domain)
            case tree.Join():
                return self._push_join(relation, domain)
            case tree.Merge():
                return self._push_merge(relation, domain)
        raise TypeError(type(relation).__name__)

    def _push_group(
        self, group: tree.Group, domain: _Domain
    ) -> tuple[tree.Relation, dict[str, str]]:
        pushed, here = self._push(group.input, domain)
        keys = tuple((n, rename(e, here)) for n, e in group.keys)
        calls = tuple((n, rename(e, here)) for n, e in group.aggregates)
        by = tuple((n, Column(n)) for n in here.values())
        if group.keys:
            return tree.Group(pushed, (*keys, *by), calls), here  # type: ignore[arg-type]
        # Without keys there is a row for every row of the domain, also where nothing is grouped.
        grouped, filled = self._filled(replace(group, aggregates=calls))  # type: ignore[arg-type]
        made = tree.Group(pushed, by, grouped)
        values, outside = self._copy(domain)
        names = list(domain.names)
        equal = null_safe([outside[n] for n in names], [here[n] for n in names])
        joined: tree.Relation = tree.Join("left", values, made, equal)
        self.columns.loosen(made.columns)
        joined = tree.Extend(joined, filled) if filled else joined
        return tree.Keep(joined, (*group.columns, *outside.values())), outside

    def _push_join(self, join: tree.Join, domain: _Domain) -> tuple[tree.Relation, dict[str, str]]:
        outer = set(domain.names)
        in_right = bool(join.right.free & outer)
        in_left = bool(join.left.free & outer) or bool(columns_of(*join.conditions) & outer)
        keeps_right = join.how in ("right", "full")
        if join.how == "inner" and in_right and not in_left:
            right, here = self._push(join.right, domain)
            return tree.Join("inner", join.left, right, join.conditions), here
        left, here = self._push(join.left, domain)
        conditions = renamed(join.conditions, here)
        if not in_right and not keeps_right:
            return tree.Join(join.how, left, join.right, conditions, join.mark), here
        right, there = self._push(join.right, domain)
        names = list(domain.names)
        equal = null_safe([here[n] for n in names], [there[n] for n in names])
        made: tree.Relation = tree.Join(join.how, left, right, (*conditions, *equal), join.mark)
        if keeps_right:
            both = []
            for name in names:
                one = self.columns.copy_of(name)
                pair = (Column(here[name]), Column(there[name]))
                both.append((one, Call("coalesce", pair)))
            made = tree.Extend(made, tuple(both))
            here = dict(zip(names, (n for n, _ in both), strict=True))
        return made, here

    def _push_merge(
        self, merge: tree.Merge, domain: _Domain
    ) -> tuple[tree.Relation, dict[str, str]]:
        members, taken = [], []
        for member, columns in zip(merge.members, merge.taken, strict=True):
            pushed, here = self._push(member, domain)
            members.append(pushed)
            taken.append((*columns, *(here[name] for name in domain.names)))
        result = {name: self.columns.copy_of(name) for name in domain.names}
        names = (*merge.names, *(result[name] for name in domain.names))
        return replace(merge, members=tuple(members), taken=tuple(taken), names=names), result

    def _copy(self, domain: _Domain) -> tuple[tree.Relation, dict[str, str]]:
        """The domain under new names, as it may stand in several places."""
        here = {name: self.columns.copy_of(name) for name in domain.names}
        items = tuple((new, Column(old)) for old, new in here.items())
        return tree.Keep(tree.Extend(domain.values, items), tuple(here.values())), here


def _unfolded(join: tree.Join) -> tree.Relation | None:
    """Unfold a list of the left side's rows in place, which UNNEST(column) beside it means."""
    match join.right:
        case tree.Keep(
            tree.Unfold(tree.Extend(tree.Leaf(Values() as one), items), column, _), names
        ) if one.table.num_rows == 1:
            if join.how != "inner" and (join.how != "left" or join.conditions):
                return None
            extended = tree.Extend(join.left, items)
            made = tree.Unfold(extended, column, outer=join.how == "left")
            kept = tree.Keep(made, (*join.left.columns, *names))
            return tree.Filter(kept, join.conditions) if join.conditions else kept
    return None


class _Domain:
    """The distinct values of the outer columns that a subquery reads."""

    def __init__(self, values: tree.Relation, names: tuple[str, ...]) -> None:
        self.values = values
        self.names = names

"""Partial aggregation: sum up rows where they lie, before they move to where groups are completed.

Below an aggregate over a join of a database's table with rows from elsewhere, the table's rows are
first grouped by all that is still read of them: grouping keys, join keys, what filters read. Rows
of one such group have the same fate in what comes between, so it makes no difference to go on with
one row for all of them. Members of a union that lie in several places are grouped each for itself.
Where values are counted that are different, each place gives the different ones once.

Source: Yan and Larson, "Eager aggregation and lazy aggregation", VLDB 1995 (eager group-by).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from umbel.dataclass import dataclass
from umbel.optimizer.estimates import Estimate
from umbel.optimizer.facts import Facts
from umbel.optimizer.homes import homes_of
from umbel.optimizer.partials import UNCOUNTED, Split, split
from umbel.plan import operators as ops
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Column,
    Expression,
    Literal,
    columns_of,
    depth,
    substitute,
)
from umbel.plan.limits import MAX_EXPRESSION_DEPTH
from umbel.plan.types import INT64, is_decimal, is_float
from umbel.plan.typing import infer_type

#: Bytes that the rows must have, and the part of them that there may be groups, for it to be worth
#: while to plan again.
_LEAST_BYTES, _MOST_LEFT = 100_000, 0.5
#: Partial aggregates that are tried at most in one plan, those that save most first.
MOST_TRIED = 3
#: A plan must be reckoned to cost no more than this part of the one without: the number of groups
#: is known less well than that of rows.
GAIN = 0.9

#: The sides of each kind of join whose rows all have a place in the result, or drop out, together
#: with those that have the same keys.
_GROUPED = {
    "inner": ("left", "right"),
    "left": ("left",),
    "right": ("right",),
    "semi": ("left",),
    "anti": ("left",),
}

#: Builds what stands above a place, given what stands there now and how each aggregate is split.
_Above = Callable[[ops.Operator, Mapping[str, Split]], ops.Operator]


@dataclass(frozen=True)
class PartialAggregate:
    """A place in a plan where rows may be grouped before they move.

    Attributes:
        what: describes it; the same place in another version of the plan has the same.
        saved: bytes that need not move.
        apply: gives the plan with it.
    """

    what: str
    saved: float
    apply: Callable[[], ops.Operator]


@dataclass(frozen=True)
class Custody:
    """What is known of rows that lie at sites. With it, it does not matter what is saved.

    Attributes:
        stays: whether an operator's rows must not come together with others; then they are grouped.
        leaves: whether an operator's rows may come here from a site; then those below aggregates
            that count different values are grouped by these.
        apart: whether no two parts of a union share a value of a column.
    """

    stays: Callable[[ops.Operator], bool] = lambda operator: False
    leaves: Callable[[ops.Operator], bool] = lambda operator: False
    apart: Callable[[ops.Operator, str], bool] = lambda operator, column: False


def counts_values(call: AggregateCall) -> bool:
    """Whether an aggregate counts the different values of a column."""
    return call.function == "n_unique" or (call.function == "count" and call.distinct)


def partial_aggregates(
    root: ops.Operator, facts: Facts, custody: Custody | None = None, *, values: bool = False
) -> list[PartialAggregate]:
    """Find where it may be worth while to group rows early; the most saving first.

    Args:
        root: the plan.
        facts: what is known of its rows.
        custody: what is known of rows at sites; only places are found of rows that stay there.
        values: find those instead of which different values are counted, and which may come here.
    """
    order = ops.topological(root)
    grouping = [op for op in order if isinstance(op, ops.Aggregate)]
    homes = homes_of(order) if grouping else {}
    if len(set(homes.values())) < 2:
        return []
    readers = ops.consumers(root)
    shared = {identity for identity, above in readers.items() if len(above) > 1}
    found = [
        place
        for aggregate in grouping
        for place in _Search(root, aggregate, facts, homes, shared, custody, values).places()
    ]
    found.sort(key=lambda place: (-place.saved, place.what))
    return found


class _Search:
    """Looks for places below one aggregate."""

    def __init__(
        self,
        root: ops.Operator,
        aggregate: ops.Aggregate,
        facts: Facts,
        homes: Mapping[int, str | None],
        shared: set[int],
        custody: Custody | None = None,
        values: bool = False,
    ) -> None:
        self._root = root
        self._aggregate = aggregate
        self._facts = facts
        self._homes = homes
        self._shared = shared
        self._custody = custody
        self._values = values
        #: Sums of floats are split, and what might fail is tried: else there would be no answer.
        self._must = custody is not None and not values

    def places(self) -> Iterator[PartialAggregate]:
        """Every place below the aggregate at which rows of one home come to a part of several."""
        aggregate = self._aggregate
        needed = columns_of(*(key for _, key in aggregate.keys))
        calls = dict(aggregate.aggregates)
        if self._values:
            # Of these it makes no difference how often a value comes: they stay above, as they are.
            counting = {name: call for name, call in calls.items() if counts_values(call)}
            if not counting:
                return
            needed |= columns_of(*counting.values())
            calls = {name: call for name, call in calls.items() if name not in counting}
        yield from self._below(aggregate, aggregate.input, needed, calls, self._complete)

    def _below(
        self,
        reader: ops.Operator,
        operator: ops.Operator,
        needed: frozenset[str],
        calls: Mapping[str, AggregateCall],
        above: _Above,
    ) -> Iterator[PartialAggregate]:
        """Look at an operator and below it.

        Args:
            reader: what reads the operator.
            operator: where to look.
            needed: its columns that are read above, but for the aggregates.
            calls: the aggregates to be split, over its columns.
            above: builds the rest of the plan.
        """
        if id(operator) in self._shared or operator.element is not ops.Element.ROW:
            return
        home = self._homes[id(operator)]
        if home is not None:
            if home != self._homes[id(reader)]:
                yield from self._place(operator, needed, calls, above)
            return
        match operator:
            case ops.Project(columns=columns):
                yield from self._below_project(operator, dict(columns), needed, calls, above)
            case ops.Filter(predicate=predicate):
                yield from self._below(
                    operator,
                    operator.input,
                    needed | columns_of(predicate),
                    calls,
                    lambda new, splits: above(replace(operator, input=new), splits),
                )
            case ops.Join(how=how):
                for side in _GROUPED.get(how, ()):
                    yield from self._below_join(operator, side, needed, calls, above)
            case ops.Union(distinct=False, members=members):
                if all(m.schema.types == operator.schema.types for m in members):
                    yield from self._place(operator, needed, calls, above)

    def _below_project(
        self,
        project: ops.Project,
        definitions: dict[str, Expression],
        needed: frozenset[str],
        calls: Mapping[str, AggregateCall],
        above: _Above,
    ) -> Iterator[PartialAggregate]:
        moved = {
            name: moved
            for name, call in calls.items()
            if isinstance(moved := substitute(call, definitions), AggregateCall)
        }
        if any(depth(call) > MAX_EXPRESSION_DEPTH for call in moved.values()):
            return

        def rebuilt(new: ops.Operator, splits: Mapping[str, Split]) -> ops.Operator:
            whole = [call for name, call in calls.items() if name not in splits]
            names = needed | columns_of(*whole)
            kept = tuple((n, e) for n, e in project.columns if n in names)
            parts = tuple((n, Column(n)) for n in _carried(splits))
            return above(replace(project, input=new, columns=kept + parts), splits)

        read = columns_of(*(definitions[name] for name in needed))
        yield from self._below(project, project.input, read, moved, rebuilt)

    def _below_join(
        self,
        join: ops.Join,
        side: str,
        needed: frozenset[str],
        calls: Mapping[str, AggregateCall],
        above: _Above,
    ) -> Iterator[PartialAggregate]:
        """Look at one side of a join; aggregates of the other's columns stay above."""
        below: ops.Operator = getattr(join, side)
        own = frozenset(below.schema.names)
        inside = {name: call for name, call in calls.items() if columns_of(call) <= own}
        outside = [call for name, call in calls.items() if name not in inside]
        # Others would have to know for how many rows each one stands.
        if not all(call.function in UNCOUNTED for call in outside):
            return
        read = set(needed) | columns_of(*outside) | {name for pair in join.on for name in pair}
        if join.residual is not None:
            read |= columns_of(join.residual)
        if not read & own:
            return  # one row for none at all would find others to join

        def rebuilt(new: ops.Operator, splits: Mapping[str, Split]) -> ops.Operator:
            joined = replace(join, left=new) if side == "left" else replace(join, right=new)
            return above(joined, splits)

        yield from self._below(join, below, frozenset(read & own), inside, rebuilt)

    def _place(
        self,
        operator: ops.Operator,
        needed: frozenset[str],
        calls: Mapping[str, AggregateCall],
        above: _Above,
    ) -> Iterator[PartialAggregate]:
        """Offer to group what an operator gives, if that is exact and saves much."""
        keys = [name for name in operator.schema.names if name in needed]
        # Without keys there is a row for no rows, too: that may only end in another one.
        if not keys and self._aggregate.keys:
            return
        share = self._left_of(operator, keys)
        if share is None:
            return
        splits = self._splits(operator, calls)
        if splits is None:
            return
        home = self._homes[id(operator)]
        by = f"by {', '.join(keys)} " if keys else ""
        where = "in each part" if home is None else f"in {home or 'files'}"
        yield PartialAggregate(
            f"partial aggregate {by}{where}",
            self._facts.estimate(operator).size * (1 - share),
            lambda: self._root_with(above(self._grouped(operator, keys, splits), splits)),
        )

    def _left_of(self, operator: ops.Operator, keys: list[str]) -> float | None:
        """The part of the rows that is left when they are grouped; None if it is not worth while."""
        if self._custody is not None and self._values:
            nested = any(operator.schema.field(name).type.num_fields for name in keys)
            fit = self._custody.leaves(operator) and not nested and not _is_grouped(operator, keys)
            return 0.0 if fit else None
        if self._custody is not None:
            return 0.0 if self._custody.stays(operator) else None
        if any(_is_inexact(operator, name) for name in keys):
            return None
        estimate = self._facts.estimate(operator)
        if estimate.size < _LEAST_BYTES:
            return None
        groups = _different(estimate, keys)
        if groups is None:
            # A site does not tell how many different values there are. To group in vain costs some
            # time there; to send rows that could have been grouped costs the line.
            if not self._facts.far(operator.places):
                return None
            groups = self._facts.estimate(self._grouped_alone(operator, keys)).expected
        share = groups / max(1.0, estimate.expected)
        return None if share > _MOST_LEFT else share

    @staticmethod
    def _grouped_alone(operator: ops.Operator, keys: list[str]) -> ops.Operator:
        """The groups of an operator's rows, of which something is to be reckoned."""
        return ops.Aggregate(
            input=operator, keys=tuple((n, Column(n)) for n in keys), aggregates=()
        )

    def _splits(
        self, operator: ops.Operator, calls: Mapping[str, AggregateCall]
    ) -> dict[str, Split] | None:
        """Split all aggregates; None if one cannot be, or might fail for rows that drop out."""
        taken = {name for op in ops.topological(self._aggregate) for name in op.schema.names}
        number = 0

        def fresh() -> str:
            nonlocal number
            while (name := f"partial {number}") in taken:
                number += 1
            taken.add(name)
            return name

        found = {}
        for name, call in calls.items():
            one = self._added_up(operator, call, fresh)
            one = one or split(call, operator.schema, fresh, exactly=not self._must)
            if one is None:
                return None
            if not self._must and not all(self._is_safe(p, operator) for _, p in one.partials):
                return None
            found[name] = one
        return found

    def _is_safe(self, call: AggregateCall, operator: ops.Operator) -> bool:
        """Whether a partial aggregate fails only where the whole would.

        Where all rows come to the aggregate, what fails for one of them fails there too. A sum of
        decimals then needs more than 38 digits in a part alone only if it would in some order of
        the rows, and no engine promises one. Integers are added in wider ones, whose parts may
        not fit where their sum does: so it must be known that they do.
        """
        if self._facts.bounds.cannot_fail(call, operator):
            return True
        below = self._aggregate.input
        while isinstance(below, ops.Project):
            below = below.input
        return below is operator and is_decimal(infer_type(call, operator.schema))

    def _added_up(
        self, operator: ops.Operator, call: AggregateCall, fresh: Callable[[], str]
    ) -> Split | None:
        """Count different values in each part, where no two parts share one.

        Only if nothing but parts come together above: of a value that comes in two groups of one
        part there would be two.
        """
        match call.arguments:
            case (Column(name=column),) if counts_values(call):
                bare = all(isinstance(key, Column) for _, key in self._aggregate.keys)
                if self._custody is None or not bare or operator is not self._aggregate.input:
                    return None
                if self._custody.apart(operator, column):
                    name = fresh()
                    whole = Call("coalesce", (Column(name), Literal(0, INT64)))
                    merged = AggregateCall("sum", (Column(name),))
                    return Split(((name, call),), ((name, merged),), whole)
        return None

    def _grouped(
        self, operator: ops.Operator, keys: list[str], splits: Mapping[str, Split]
    ) -> ops.Operator:
        partials = tuple(part for one in splits.values() for part in one.partials)

        def of(rows: ops.Operator) -> ops.Operator:
            return ops.Aggregate(
                input=rows,
                keys=tuple((name, Column(name)) for name in keys),
                aggregates=partials,
                origin=self._aggregate.origin,
            )

        if isinstance(operator, ops.Union) and self._homes[id(operator)] is None:
            return replace(operator, members=tuple(map(of, operator.members)))
        return of(operator)

    def _complete(self, below: ops.Operator, splits: Mapping[str, Split]) -> ops.Operator:
        """The aggregate over groups that were begun below."""
        aggregate = self._aggregate
        calls: list[tuple[str, AggregateCall]] = []
        results: list[tuple[str, Expression]] = [(n, Column(n)) for n, _ in aggregate.keys]
        for name, call in aggregate.aggregates:
            if name not in splits:
                calls.append((name, call))
                results.append((name, Column(name)))
                continue
            calls.extend(splits[name].merged)
            results.append((name, splits[name].result))
        merged = replace(aggregate, input=below, aggregates=tuple(calls), form=ops.Element.ROW)
        return ops.Project(
            input=merged, columns=tuple(results), form=aggregate.form, origin=aggregate.origin
        )

    def _root_with(self, new: ops.Operator) -> ops.Operator:
        """The plan with another operator for the aggregate."""
        made: dict[int, ops.Operator] = {id(self._aggregate): new}
        for operator in ops.topological(self._root):
            if id(operator) not in made:
                inputs = tuple(made[id(child)] for child in operator.inputs)
                made[id(operator)] = operator.with_inputs(inputs)
        return made[id(self._root)]


def _carried(splits: Mapping[str, Split]) -> list[str]:
    return [name for one in splits.values() for name, _ in one.partials]


def _is_grouped(operator: ops.Operator, keys: list[str]) -> bool:
    """Whether all parts of some rows are grouped by these columns already."""
    members = operator.inputs if isinstance(operator, ops.Union) else (operator,)
    return all(
        isinstance(member, ops.Aggregate) and [name for name, _ in member.keys] == keys
        for member in members
    )


def _is_inexact(operator: ops.Operator, name: str) -> bool:
    """Whether equal values of a column may differ in what is computed of them."""
    dtype = operator.schema.field(name).type
    return is_float(dtype) or dtype.num_fields > 0


def _different(estimate: Estimate, keys: list[str]) -> float | None:
    """How many different combinations of values there are; None if that is not known."""
    different = 1.0
    for name in keys:
        column = estimate.columns.get(name)
        if column is None or column.distinct is None:
            return None
        different *= max(1.0, column.distinct)
    return min(different, estimate.expected)


__all__ = [
    "GAIN",
    "MOST_TRIED",
    "Custody",
    "PartialAggregate",
    "counts_values",
    "partial_aggregates",
]

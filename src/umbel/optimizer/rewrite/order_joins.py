"""Put inner joins into the order that is reckoned to cost least.

SQL engines order joins themselves, but only those that they run. Polars and Python take them as
they come. And no engine knows what it costs that relations lie in different databases.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

from umbel.optimizer.cardinality import Estimator
from umbel.optimizer.estimates import Estimate
from umbel.optimizer.facts import Facts
from umbel.optimizer.joins import (
    Condition,
    Equality,
    JoinGraph,
    Order,
    Relation,
    best_order,
    cost_of,
)
from umbel.optimizer.joins.graph import members, union
from umbel.optimizer.rewrite.simplify import conjunction, conjuncts
from umbel.optimizer.selectivity import selectivity
from umbel.plan import operators as ops
from umbel.plan.expressions import Call, Column, Expression, columns_of, substitute
from umbel.plan.origin import Origin
from umbel.plan.safety import cannot_fail
from umbel.plan.sources import AttachedSource

#: A new order must be reckoned to cost no more than this part of the one that was written:
#: estimates are not so good that a smaller gain would be one.
GAIN = 0.9
#: Seconds: an order that costs less than this is left alone, for looking for another costs more.
WORTH = 0.001
#: Trees of joins are followed down so far; what lies deeper is a relation of its own.
_DEEPEST = 200


def order_joins(
    root: ops.Operator,
    facts: Facts | None = None,
    gain: float = GAIN,
    worth: float = WORTH,
) -> ops.Operator:
    """Reorder each tree of inner joins of three relations or more.

    Filters and projections that only name columns may stand between the joins. Other joins, and
    all that could fail for some row, keep their place: they are relations of the tree, or end it.
    Trees that lie whole in one database are left to it.

    Args:
        root: the plan.
        facts: gives estimates.
        gain: the part of the written order's cost that a new one may cost at most.
        worth: what the written order must cost at least, in seconds.
    """
    trees = _trees(root)
    if not trees:
        return root
    facts = Facts() if facts is None else facts
    estimator = facts.estimate
    facts.probes.about((leaf for tree in trees.values() for leaf in tree.leaves), estimator)
    new: dict[int, ops.Operator] = {}
    for operator in ops.topological(root):
        ordered = None
        if id(operator) in trees:
            ordered = trees[id(operator)].ordered(estimator, new, gain, worth)
        if ordered is None:
            ordered = operator.with_inputs(tuple(new[id(child)] for child in operator.inputs))
        new[id(operator)] = ordered
    return new[id(root)]


def _trees(root: ops.Operator) -> dict[int, _Tree]:
    """Find the topmost operator of each tree that is worth ordering."""
    readers = ops.consumers(root)
    shared = {identity for identity, above in readers.items() if len(above) > 1}
    found: dict[int, _Tree] = {}
    inside: set[int] = set()
    for operator in reversed(ops.topological(root)):
        if id(operator) in inside or not _is_join(_join_under(operator, operator.pin, shared)):
            continue
        tree = _Tree(operator, shared)
        inside |= tree.inside
        if len(tree.leaves) > 2 and not tree.in_one_database:
            found[id(operator)] = tree
    return found


def _join_under(operator: ops.Operator, pin: str, shared: set[int]) -> ops.Operator:
    """Look through filters and projections that may change places with joins."""
    top = operator
    while operator.pin == pin and (operator is top or id(operator) not in shared):
        match operator:
            case ops.Filter(predicate=predicate, input=below) if cannot_fail(
                predicate, below.schema
            ):
                operator = below
            case ops.Project(columns=columns, form=ops.Element.ROW, input=below) if all(
                isinstance(expression, Column) for _, expression in columns
            ):
                operator = below
            case _:
                break
    mine = operator.pin == pin and (operator is top or id(operator) not in shared)
    return operator if mine else top


def _is_join(operator: ops.Operator) -> bool:
    return (
        isinstance(operator, ops.Join)
        and operator.how in ("inner", "cross")
        and (operator.residual is None or cannot_fail(operator.residual, operator.pair_schema))
    )


class _Tree:
    """A tree of inner joins, taken apart.

    Attributes:
        leaves: its relations, from left to right.
        inside: the identities of the operators that are part of it.
    """

    def __init__(self, root: ops.Operator, shared: set[int]) -> None:
        self.root = root
        self.leaves: list[ops.Operator] = []
        self.inside: set[int] = set()
        self._shared = shared
        self._renamed: list[dict[str, str]] = []  # for each leaf: its names to those in the tree
        self._home: dict[str, int] = {}  # the leaf of each name in the tree
        self._equal: list[tuple[str, str, Origin | None]] = []
        self._conditions: list[tuple[Expression, Origin | None]] = []
        self._output, self._written = self._take(root, 0)

    @property
    def in_one_database(self) -> bool:
        """Whether all relations lie in one platform that holds tables: it knows best."""
        homes = {_home(leaf) for leaf in self.leaves}
        return len(homes) == 1 and homes != {""} and not self.root.pin

    # Taking apart

    def _take(self, operator: ops.Operator, depth: int) -> tuple[dict[str, str], Order]:
        """Take in an operator; gives its columns' names in the tree, and how it was joined."""
        is_part = operator is self.root or id(operator) not in self._shared
        if (
            depth > _DEEPEST
            or not is_part
            or not _is_join(_join_under(operator, self.root.pin, self._shared))
            or operator.pin != self.root.pin
        ):
            return self._leaf(operator)
        self.inside.add(id(operator))
        if isinstance(operator, ops.Join):
            left, left_order = self._take(operator.left, depth + 1)
            right, right_order = self._take(operator.right, depth + 1)
            names = {**left, **right}
            for left_key, right_key in operator.on:
                self._equal.append((names[left_key], names[right_key], operator.origin))
            if operator.residual is not None:
                self._restrict(operator.residual, names, operator.origin)
            both = left_order.relations | right_order.relations
            return names, Order(both, left_order, right_order)
        (below,) = operator.inputs
        names, order = self._take(below, depth + 1)
        if isinstance(operator, ops.Filter):
            self._restrict(operator.predicate, names, operator.origin)
        elif isinstance(operator, ops.Project):
            names = {
                name: names[expression.name]
                for name, expression in operator.columns
                if isinstance(expression, Column)
            }
        return names, order

    def _leaf(self, operator: ops.Operator) -> tuple[dict[str, str], Order]:
        number = len(self.leaves)
        names = {}
        for name in operator.schema.names:
            fresh = name if name not in self._home else f"{name} of {number}"
            while fresh in self._home:
                fresh += "'"
            names[name] = fresh
            self._home[fresh] = number
        self.leaves.append(operator)
        self._renamed.append(names)
        return names, Order(1 << number)

    def _restrict(
        self, predicate: Expression, names: Mapping[str, str], origin: Origin | None
    ) -> None:
        inner: dict[str, Expression] = {name: Column(unique) for name, unique in names.items()}
        for part in conjuncts(substitute(predicate, inner)):
            match part:
                case Call("equal", (Column(left), Column(right))) if self._comparable(left, right):
                    self._equal.append((left, right, origin))
                case _:
                    self._conditions.append((part, origin))

    def _comparable(self, left: str, right: str) -> bool:
        return self._home[left] != self._home[right] and self._type(left) == self._type(right)

    def _type(self, name: str) -> object:
        leaf = self._home[name]
        own = next(old for old, new in self._renamed[leaf].items() if new == name)
        return self.leaves[leaf].schema.field(own).type

    # Ordering

    def ordered(
        self, estimator: Estimator, new: Mapping[int, ops.Operator], gain: float, worth: float
    ) -> ops.Operator | None:
        """Build the tree in its best order over the new leaves; None if it is as good as it is."""
        estimates = [
            _renamed(estimator(leaf), names)
            for leaf, names in zip(self.leaves, self._renamed, strict=True)
        ]
        conditions = list(self._joint_conditions(estimates))
        graph = JoinGraph(
            [
                Relation(leaf, estimate, _home(leaf))
                for leaf, estimate in zip(self.leaves, estimates, strict=True)
            ],
            self._equalities(),
            conditions,
        )
        written = cost_of(graph, self._written)
        if written < worth:
            return None
        order, cost = best_order(graph)
        if cost > gain * written:
            return None
        return _Builder(graph, self, order, new).result

    def _equalities(self) -> list[Equality]:
        """Unite equalities that follow from one another, where types are the same."""
        groups: list[tuple[set[str], Origin | None]] = []
        for left, right, origin in self._equal:
            if self._type(left) != self._type(right):
                continue
            own: set[str] = {left, right}
            first = origin
            for group in [g for g in groups if g[0] & own]:
                groups.remove(group)
                own |= group[0]
                first = group[1] or first
            groups.append((own, first))
        united: set[str] = set()
        found = []
        for names, origin in groups:
            if len({self._home[name] for name in names}) == len(names) > 2:
                united |= names
                found.append(self._equality(names, origin))
        for left, right, origin in self._equal:
            if left not in united or right not in united or self._type(left) != self._type(right):
                equality = self._equality({left, right}, origin)
                if equality not in found:
                    found.append(equality)
        return found

    def _equality(self, names: set[str], origin: Origin | None) -> Equality:
        return Equality(tuple(sorted((self._home[name], name) for name in names)), origin)

    def _joint_conditions(self, estimates: list[Estimate]) -> Iterator[Condition]:
        columns = {name: c for estimate in estimates for name, c in estimate.columns.items()}
        for predicate, origin in self._conditions:
            relations = union(1 << self._home[name] for name in columns_of(predicate))
            share = selectivity(predicate, replace(estimates[0], columns=columns))
            yield Condition(predicate, relations, share, origin)

    def leaf(self, number: int, new: Mapping[int, ops.Operator]) -> ops.Operator:
        """Give a relation under the names that it has in the tree."""
        names = self._renamed[number]
        leaf = new[id(self.leaves[number])]
        if all(old == unique for old, unique in names.items()):
            return leaf
        columns = tuple((unique, Column(old)) for old, unique in names.items())
        return ops.Project(input=leaf, columns=columns, origin=leaf.origin, pin=self.root.pin)

    @property
    def output(self) -> Mapping[str, str]:
        """The names of the columns that the tree gives, each with its name inside."""
        return self._output


class _Builder:
    """Builds the joins of an order; conditions are tried as soon as their columns are there."""

    def __init__(
        self, graph: JoinGraph, tree: _Tree, order: Order, new: Mapping[int, ops.Operator]
    ) -> None:
        self._graph, self._tree, self._new = graph, tree, new
        self._pin, self._origin = tree.root.pin, tree.root.origin
        built = self._build(order)
        constant = [c for c in graph.conditions if not c.relations]
        built = self._filtered(built, constant)
        columns = tuple((name, Column(inner)) for name, inner in tree.output.items())
        same = columns == tuple((name, Column(name)) for name in built.schema.names)
        self.result = (
            built
            if same
            else ops.Project(input=built, columns=columns, origin=self._origin, pin=self._pin)
        )

    def _build(self, order: Order) -> ops.Operator:
        if order.left is None or order.right is None:
            built = self._tree.leaf(members(order.relations)[0], self._new)
            return self._narrowed(
                self._filtered(built, self._first_at(order.relations)), order.relations
            )
        left, right = self._build(order.left), self._build(order.right)
        lefts, rights = order.left.relations, order.right.relations
        joined: ops.Operator = self._join(left, right, lefts, rights)
        if isinstance(joined, ops.Join) and joined.on:
            joined = self._filtered(joined, self._first_at(order.relations, lefts, rights))
        return self._narrowed(joined, order.relations)

    def _join(self, left: ops.Operator, right: ops.Operator, lefts: int, rights: int) -> ops.Join:
        """Join two parts by what must be equal, or else by the first condition that reads both."""
        both = lefts | rights
        crossing = [
            e for e in self._graph.equalities if e.relations & lefts and e.relations & rights
        ]
        on = tuple((e.first(lefts), e.first(rights)) for e in crossing)
        conditions = self._first_at(both, lefts, rights)
        lines = [*(e.origin for e in crossing), *(c.origin for c in conditions), self._origin]
        join = partial(
            ops.Join,
            left=left,
            right=right,
            origin=next((line for line in lines if line is not None), None),
            pin=self._pin,
        )
        if on:
            return join(on=on)
        if conditions:
            return join(residual=conjunction([c.predicate for c in conditions]))
        return join(how="cross")

    def _first_at(self, both: int, *parts: int) -> list[Condition]:
        """The conditions that can be tried where parts have met, but in none of the parts."""
        return [
            c
            for c in self._graph.conditions
            if c.relations
            and c.relations & both == c.relations
            and not any(c.relations & part == c.relations for part in parts)
        ]

    def _filtered(self, operator: ops.Operator, conditions: list[Condition]) -> ops.Operator:
        if not conditions:
            return operator
        predicate = conjunction([c.predicate for c in conditions])
        origin = conditions[0].origin
        return ops.Filter(input=operator, predicate=predicate, origin=origin, pin=self._pin)

    def _narrowed(self, operator: ops.Operator, relations: int) -> ops.Operator:
        """Drop columns that neither the result nor a later join reads."""
        if relations == self._graph.all or not isinstance(operator, ops.Join | ops.Filter):
            return operator
        needed = set(self._tree.output.values())
        for equality in self._graph.equalities:
            if equality.relations & relations and equality.relations & ~relations:
                needed.add(equality.first(relations))
        for condition in self._graph.conditions:
            if condition.relations & ~relations:
                needed |= columns_of(condition.predicate)
        names = operator.schema.names
        kept = [name for name in names if name in needed] or names[:1]
        if len(kept) == len(names):
            return operator
        columns = tuple((name, Column(name)) for name in kept)
        return ops.Project(input=operator, columns=columns, origin=self._origin, pin=self._pin)


def _home(operator: ops.Operator) -> str:
    """The platform that holds all that an operator reads, or that it is pinned to; else empty."""
    if operator.pin:
        return operator.pin
    homes = {
        leaf.source.platform
        if isinstance(leaf, ops.Scan) and isinstance(leaf.source, AttachedSource)
        else leaf.pin
        for leaf in ops.topological(operator)
        if not leaf.inputs
    }
    return homes.pop() if len(homes) == 1 else ""


def _renamed(estimate: Estimate, names: Mapping[str, str]) -> Estimate:
    columns = {names[name]: c for name, c in estimate.columns.items() if name in names}
    return replace(estimate, columns=columns)

"""The search for the order of joins that costs least: exact for few relations, greedy for many.

An order is a tree of joins. It costs what its joins read and give, and what moves between the
databases that the relations lie in.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

from umbel.dataclass import dataclass
from umbel.optimizer.joins.graph import JoinGraph, members

#: Up to so many relations all orders are looked at that have no cross product.
EXACT = 10
#: And only if there are no more than so many joins to look at; a dense graph has many more.
PAIRS = 2_500

#: Seconds per row: of the smaller input, of the larger one, and of the output of a join. Only how
#: they relate matters here; the platforms' own costs are for placing.
_BUILD, _PROBE, _GIVE = 4e-8, 1.5e-8, 1e-8
#: Seconds to move data into or out of a database, once, per row and per byte.
_MOVE, _MOVE_ROW, _MOVE_BYTE = 0.005, 1e-7, 5e-9


@dataclass(frozen=True)
class Order:
    """A tree of joins.

    Attributes:
        relations: all that it joins.
        left, right: what the topmost join joins; None for a single relation.
    """

    relations: int
    left: Order | None = None
    right: Order | None = None


#: For each place in which some relations' join may lie: what it costs to have it there, and how.
_Plans = dict[str, tuple[float, Order]]


def best_order(graph: JoinGraph) -> tuple[Order, float]:
    """Find a tree of joins that costs little, and its cost; deterministic.

    Relations that hang together are joined along their conditions, exactly up to `EXACT`
    relations. What does not hang together is joined last, the smallest first.

    Source: Moerkotte and Neumann, "Analysis of two existing and one new dynamic programming
    algorithm for the generation of optimal bushy join trees without cross products", VLDB 2006
    (`DPccp`); Fegaras, "A new heuristic for optimizing large queries", DEXA 1998 (the greedy one).
    """
    parts = [(component, _component(graph, component)) for component in graph.components()]
    parts.sort(key=lambda part: (graph.rows(part[0]), part[0]))
    relations, plans = parts[0]
    for other, others in parts[1:]:
        plans = _joined(graph, relations, plans, other, others)
        relations |= other
    cost, order = min(plans.values(), key=lambda plan: plan[0])
    return order, cost


def cost_of(graph: JoinGraph, order: Order) -> float:
    """What a given tree of joins costs, at its best place."""
    return min(cost for cost, _ in _as_given(graph, order).values())


def _as_given(graph: JoinGraph, order: Order) -> _Plans:
    if order.left is None or order.right is None:
        return _single(graph, order.relations)
    left, right = _as_given(graph, order.left), _as_given(graph, order.right)
    return _joined(graph, order.left.relations, left, order.right.relations, right)


def _component(graph: JoinGraph, component: int) -> _Plans:
    if component.bit_count() <= EXACT:
        pairs = _limited(_pairs(graph, component))
        if pairs is not None:
            return _exact(graph, component, pairs)
    return _greedy(graph, component)


def _limited(pairs: Iterator[tuple[int, int]]) -> list[tuple[int, int]] | None:
    found = []
    for pair in pairs:
        found.append(pair)
        if len(found) > PAIRS:
            return None
    return found


def _exact(graph: JoinGraph, component: int, pairs: list[tuple[int, int]]) -> _Plans:
    best: dict[int, _Plans] = {1 << i: _single(graph, 1 << i) for i in members(component)}
    # Smaller joins first: they are parts of the larger ones.
    for left, right in sorted(pairs, key=lambda pair: (pair[0] | pair[1]).bit_count()):
        both = left | right
        found = _joined(graph, left, best[left], right, best[right])
        known = best.get(both)
        if known is None:
            best[both] = found
            continue
        for place, plan in found.items():
            if place not in known or plan[0] < known[place][0]:
                known[place] = plan
    return best[component]


def _greedy(graph: JoinGraph, component: int) -> _Plans:
    """Join the two parts whose join is the smallest, again and again.

    Parts that lie in one place go before others that would have to move.
    """
    parts = {1 << i: _single(graph, 1 << i) for i in members(component)}

    def rank(left: int, right: int) -> tuple[float, int, int]:
        plans = _joined(graph, left, parts[left], right, parts[right])
        before = _least(parts[left]) + _least(parts[right])
        return _least(plans) - before + graph.rows(left | right) * _GIVE, left, right

    ranks = {(a, b): rank(a, b) for a, b in combinations(sorted(parts), 2) if graph.around(a) & b}
    while len(parts) > 1:
        left, right = min(ranks, key=ranks.__getitem__)
        both = left | right
        plans = _joined(graph, left, parts.pop(left), right, parts.pop(right))
        ranks = {pair: found for pair, found in ranks.items() if not both & (pair[0] | pair[1])}
        near = graph.around(both)
        parts[both] = plans
        for other in sorted(parts):
            if near & other:
                pair = (min(both, other), max(both, other))
                ranks[pair] = rank(*pair)
    return parts[component]


def _least(plans: _Plans) -> float:
    return min(cost for cost, _ in plans.values())


def _single(graph: JoinGraph, relation: int) -> _Plans:
    home = graph.relations[relation.bit_length() - 1].home
    return _movable(graph, relation, {home: (0.0, Order(relation))})


def _joined(graph: JoinGraph, left: int, lefts: _Plans, right: int, rights: _Plans) -> _Plans:
    """Join two parts in each place that both can be in."""
    few, many = graph.rows(left), graph.rows(right)
    if few > many:
        few, many = many, few
    both = left | right
    own = few * _BUILD + many * _PROBE + graph.rows(both) * _GIVE
    # The larger part stands left: engines that do not choose for themselves build on the right.
    swapped = graph.rows(left) < graph.rows(right)
    found: _Plans = {}
    for place in {**lefts, **rights}:
        left_cost, left_order = _there(graph, left, lefts, place)
        right_cost, right_order = _there(graph, right, rights, place)
        first, second = (right_order, left_order) if swapped else (left_order, right_order)
        found[place] = (left_cost + right_cost + own, Order(both, first, second))
    return _movable(graph, both, found)


def _there(graph: JoinGraph, relations: int, plans: _Plans, place: str) -> tuple[float, Order]:
    """Have some relations' join in a place, if need be by moving it there."""
    if place in plans:
        return plans[place]
    cost, order = min(plans.values(), key=lambda plan: plan[0])
    return cost + _moving(graph, relations), order


def _movable(graph: JoinGraph, relations: int, plans: _Plans) -> _Plans:
    """Add the place outside of all databases, and take a cheaper way to each place by moving."""
    if set(plans) == {""}:
        return plans
    cheapest, order = min(plans.values(), key=lambda plan: plan[0])
    moved = cheapest + _moving(graph, relations)
    for place in {"": None, **plans}:
        if place not in plans or moved < plans[place][0]:
            plans[place] = (moved, order)
    return plans


def _moving(graph: JoinGraph, relations: int) -> float:
    return _MOVE + graph.rows(relations) * _MOVE_ROW + graph.size(relations) * _MOVE_BYTE


def _pairs(graph: JoinGraph, component: int) -> Iterator[tuple[int, int]]:
    """Each two sets of relations that hang together, and that a condition links, once."""
    for start in range(component.bit_length() - 1, -1, -1):
        if component >> start & 1:
            smaller = (1 << start + 1) - 1  # a set is grown from its relation of lowest number
            for left in _grown(graph, 1 << start, smaller):
                yield from ((left, right) for right in _complements(graph, left))


def _grown(graph: JoinGraph, relations: int, without: int) -> Iterator[int]:
    """The set itself, and all larger ones that hang together and avoid some relations."""
    yield relations
    near = graph.around(relations) & ~without
    for more in _subsets(near):
        yield from _grown(graph, relations | more, without | near)


def _complements(graph: JoinGraph, left: int) -> Iterator[int]:
    lowest = left & -left
    without = (lowest << 1) - 1 | left
    near = graph.around(left) & ~without
    for start in range(near.bit_length() - 1, -1, -1):
        if near >> start & 1:
            smaller = ((1 << start + 1) - 1) & near
            yield from _grown(graph, 1 << start, without | smaller)


def _subsets(relations: int) -> Iterator[int]:
    """All subsets but the empty one, smaller numbers first."""
    subset = -relations & relations
    while subset:
        yield subset
        subset = (subset - relations) & relations

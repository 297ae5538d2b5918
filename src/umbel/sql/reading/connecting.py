"""Joins of what stands between commas in FROM, by the conditions that connect it."""

from __future__ import annotations

from umbel.plan.expressions import Call, Expression, columns_of
from umbel.sql.reading import tree
from umbel.sql.reading.binder import Binder
from umbel.sql.reading.correlation import conjuncts
from umbel.sql.reading.subqueries import has_subquery, restricted


def connected(
    binder: Binder, relations: list[tree.Relation], conditions: list[Expression]
) -> tree.Relation:
    """Join relations, each to what is joined already, by the conditions that connect them.

    The order is the order of FROM as far as some equality connects the next one; what nothing
    connects is joined as a cross product, last.
    """
    plain = [c for c in conditions if not has_subquery(c)]
    nested = [c for c in conditions if has_subquery(c)]
    remaining = list(relations)
    joined = remaining.pop(0)
    everything = {name for relation in relations for name in relation.columns}
    while remaining:
        have = set(joined.columns)
        ready = [r for r in remaining if not (r.free & everything) - have]
        if not ready:
            ready = remaining[:1]
        chosen = next((r for r in ready if _connects(plain, have, set(r.columns))), ready[0])
        remaining = [r for r in remaining if r is not chosen]
        both = have | set(chosen.columns)
        here = [
            c
            for c in plain
            if (reads := columns_of(c) & everything) <= both
            and reads & have
            and reads & set(chosen.columns)
            and not columns_of(c) - everything
        ]
        plain = [c for c in plain if c not in here]
        joined = tree.Join("inner", joined, chosen, tuple(here))
    return restricted(binder.columns, joined, [*plain, *nested])


def _connects(conditions: list[Expression], have: set[str], other: set[str]) -> bool:

    for condition in conditions:
        if isinstance(condition, Call) and condition.function == "equal":
            a, b = (columns_of(argument) for argument in condition.arguments)
            if a and b and ((a <= have and b <= other) or (b <= have and a <= other)):
                return True
    return False


def factored(condition: Expression) -> list[Expression]:
    """Take out of an OR what all its sides demand, so that it can connect relations.

    >>> from umbel.plan.expressions import Call, Column
    >>> a, b, c = map(Column, "abc")
    >>> [str(part) for part in factored(Call("or", (Call("and", (a, b)), Call("and", (a, c)))))]
    ['a', 'or(b, c)']
    """
    if not isinstance(condition, Call) or condition.function != "or":
        return [condition]
    sides = [conjuncts(side) for argument in condition.arguments for side in _sides(argument)]
    common = [part for part in sides[0] if all(part in side for side in sides[1:])]
    if not common:
        return [condition]
    rests = [[part for part in side if part not in common] for side in sides]
    if any(not rest for rest in rests):
        return common
    either = tuple(rest[0] if len(rest) == 1 else Call("and", tuple(rest)) for rest in rests)
    return [*common, Call("or", either)]


def _sides(node: Expression) -> list[Expression]:

    if isinstance(node, Call) and node.function == "or":
        return [side for argument in node.arguments for side in _sides(argument)]
    return [node]

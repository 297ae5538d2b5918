"""Move filters towards the sources, through every operator that lets them pass."""

from __future__ import annotations

from dataclasses import replace

from umbel.optimizer.rewrite.safety import cannot_fail
from umbel.optimizer.rewrite.simplify import conjunction, conjuncts
from umbel.plan import operators as ops
from umbel.plan.expressions import Column, Expression, columns_of, substitute
from umbel.plan.types import is_object


def push_filters(root: ops.Operator) -> ops.Operator:
    """Push each condition of a filter as far down as it keeps its meaning.

    A condition that could fail for some row stays where it is: further down it might meet rows
    that the operators in between take away.
    """
    readers = ops.consumers(root)
    shared = {id(op) for op in ops.topological(root) if len(readers[id(op)]) > 1}
    # Rebuilding gives new objects, so "shared" is carried over to what replaces an operator.
    new: dict[int, ops.Operator] = {}
    still_shared: set[int] = set()
    for operator in ops.topological(root):
        inputs = tuple(new[id(child)] for child in operator.inputs)
        moved = operator.with_inputs(inputs)
        if isinstance(moved, ops.Filter) and not moved.pin:
            moved = _push(moved, still_shared)
        new[id(operator)] = moved
        if id(operator) in shared:
            still_shared.add(id(moved))
    return new[id(root)]


def _push(operator: ops.Filter, shared: set[int]) -> ops.Operator:
    below = operator.input
    free = [part for part in conjuncts(operator.predicate) if cannot_fail(part, below.schema)]
    stuck = [part for part in conjuncts(operator.predicate) if part not in free]
    if not free or id(below) in shared or below.pin:
        return operator
    pushed, left = _into(below, free, shared)
    if pushed is below:
        return operator
    rest = [*left, *stuck]
    return pushed if not rest else replace(operator, input=pushed, predicate=conjunction(rest))


def _filtered(operator: ops.Operator, parts: list[Expression], shared: set[int]) -> ops.Operator:
    """Put conditions above an operator, and push them on."""
    if not parts:
        return operator
    above = ops.Filter(input=operator, predicate=conjunction(parts), origin=operator.origin)
    return _push(above, shared)


def _into(
    below: ops.Operator, parts: list[Expression], shared: set[int]
) -> tuple[ops.Operator, list[Expression]]:
    """Push conditions into an operator; gives the new operator and what stays above it."""
    match below:
        case ops.Scan():
            return _into_scan(below, parts)
        case ops.Filter():
            merged = [*conjuncts(below.predicate), *parts]
            return _filtered(below.input, merged, shared), []
        case ops.Project():
            inner = dict(below.columns)
            through = [p for p in parts if _copies(p, inner)]
            moved = [substitute(p, inner) for p in through]
            return _over_input(below, moved, shared), _without(parts, through)
        case ops.Sort() | ops.Distinct():
            return _over_input(below, parts, shared), []
        case ops.Explode():
            through = [p for p in parts if below.column not in columns_of(p)]
            return _over_input(below, through, shared), _without(parts, through)
        case ops.Aggregate():
            keys = dict(below.keys)
            through = [p for p in parts if columns_of(p) and columns_of(p) <= keys.keys()]
            through = [p for p in through if _copies(p, keys)]
            moved = [substitute(p, keys) for p in through]
            return _over_input(below, moved, shared), _without(parts, through)
        case ops.Window():
            partitions = [set(_plain(call.partition_by)) for _, call in below.columns]
            common = set.intersection(*partitions) if partitions else set()
            through = [p for p in parts if columns_of(p) and columns_of(p) <= common]
            return _over_input(below, through, shared), _without(parts, through)
        case ops.Union():
            if any(member.schema != below.schema for member in below.members):
                return below, parts  # casts to the unified type stand in between
            members = tuple(_filtered(member, parts, shared) for member in below.members)
            return replace(below, members=members), []
        case ops.Join():
            return _into_join(below, parts, shared)
    return below, parts


def _over_input(operator: ops.Operator, parts: list[Expression], shared: set[int]) -> ops.Operator:
    if not parts:
        return operator
    (below,) = operator.inputs
    if id(below) in shared:
        above = ops.Filter(input=below, predicate=conjunction(parts), origin=operator.origin)
        return operator.with_inputs((above,))
    return operator.with_inputs((_filtered(below, parts, shared),))


def _copies(part: Expression, definitions: dict[str, Expression]) -> bool:
    """Whether a condition reads only columns that are copies of input columns.

    Moving it through a computed column would compute that column twice.
    """
    return all(isinstance(definitions[name], Column) for name in columns_of(part))


def _plain(expressions: tuple[Expression, ...]) -> list[str]:
    return [e.name for e in expressions if isinstance(e, Column)]


def _without(parts: list[Expression], taken: list[Expression]) -> list[Expression]:
    return [part for part in parts if part not in taken]


def _into_scan(scan: ops.Scan, parts: list[Expression]) -> tuple[ops.Operator, list[Expression]]:
    if any(is_object(field.type) for field in scan.source.schema):
        return scan, parts
    have = [] if scan.predicate is None else list(conjuncts(scan.predicate))
    return replace(scan, predicate=conjunction([*have, *parts])), []


def _into_join(
    join: ops.Join, parts: list[Expression], shared: set[int]
) -> tuple[ops.Operator, list[Expression]]:
    left_names, right_names = set(join.left.schema.names), set(join.right.schema.names)
    to_left = join.how in ("inner", "left", "semi", "anti", "cross")
    to_right = join.how in ("inner", "right", "cross")
    left = [p for p in parts if to_left and columns_of(p) <= left_names]
    right = [p for p in parts if to_right and p not in left and columns_of(p) <= right_names]
    if not left and not right:
        return join, parts
    moved = replace(
        join,
        left=_beside(join.left, left, shared),
        right=_beside(join.right, right, shared),
    )
    return moved, _without(parts, [*left, *right])


def _beside(operator: ops.Operator, parts: list[Expression], shared: set[int]) -> ops.Operator:
    if parts and id(operator) in shared:
        return ops.Filter(input=operator, predicate=conjunction(parts), origin=operator.origin)
    return _filtered(operator, parts, shared)

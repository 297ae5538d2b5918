"""Move filters towards the sources, through every operator that lets them pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from umbel.optimizer.facts import Facts
from umbel.optimizer.rewrite.simplify import conjunction, conjuncts
from umbel.plan import operators as ops
from umbel.plan.expressions import Column, Expression, columns_of, substitute
from umbel.plan.safety import cannot_fail
from umbel.plan.types import is_object


def push_filters(root: ops.Operator, facts: Facts | None = None) -> ops.Operator:
    """Push each condition of a filter as far down as it keeps its meaning.

    A filter that may fail for some row stays where it is, whole: further down it might meet rows
    that the operators in between take away, and without some of its conditions other rows. And no
    filter passes what may fail for rows that the filter takes away. A pinned filter moves among
    operators of the same pin.
    """
    order = ops.topological(root)
    if not any(isinstance(op, ops.Filter) for op in order):
        return root
    readers = ops.consumers(root)
    pushing = _Pushing(facts or Facts())
    shared = {id(op) for op in order if len(readers[id(op)]) > 1}
    # Rebuilding gives new objects, so "shared" is carried over to what replaces an operator.
    new: dict[int, ops.Operator] = {}
    for operator in order:
        inputs = tuple(new[id(child)] for child in operator.inputs)
        moved = operator.with_inputs(inputs)
        if isinstance(moved, ops.Filter):
            moved = pushing.push(moved)
        new[id(operator)] = moved
        if id(operator) in shared:
            pushing.shared.add(id(moved))
    return new[id(root)]


class _Pushing:
    """One run of the rule: which operators several others read, and what cannot fail."""

    def __init__(self, facts: Facts) -> None:
        self.shared: set[int] = set()
        self._facts = facts

    def _safe(self, expressions: Iterable[Expression], *inputs: ops.Operator) -> bool:
        return all(self._facts.bounds.cannot_fail(e, *inputs) for e in expressions)

    def push(self, operator: ops.Filter) -> ops.Operator:
        """Push a filter's conditions into what it reads, as far as they may go."""
        below = operator.input
        parts = list(conjuncts(operator.predicate))
        if id(below) in self.shared or below.pin != operator.pin:
            return operator
        if not self._safe(parts, below):
            return operator
        pushed, left = self._into(below, parts)
        if pushed is below:
            return operator
        return pushed if not left else replace(operator, input=pushed, predicate=conjunction(left))

    def _filtered(self, operator: ops.Operator, parts: list[Expression], pin: str) -> ops.Operator:
        """Put conditions above an operator, and push them on."""
        if not parts:
            return operator
        above = ops.Filter(
            input=operator, predicate=conjunction(parts), origin=operator.origin, pin=pin
        )
        return above if id(operator) in self.shared else self.push(above)

    def _into(
        self, below: ops.Operator, parts: list[Expression]
    ) -> tuple[ops.Operator, list[Expression]]:
        """Push conditions into an operator; gives the new operator and what stays above it."""
        match below:
            case ops.Scan():
                return self._into_scan(below, parts)
            case ops.Filter() if self._safe([below.predicate], below.input):
                merged = [*conjuncts(below.predicate), *parts]
                return self._filtered(below.input, merged, below.pin), []
            case ops.Project() if self._safe(_computed(below.columns), below.input):
                inner = dict(below.columns)
                through = [p for p in parts if _copies(p, inner)]
                moved = [substitute(p, inner) for p in through]
                return self._over_input(below, moved), _without(parts, through)
            case ops.Sort() if self._safe((k.expression for k in below.keys), below.input):
                return self._over_input(below, parts), []
            case ops.Distinct():
                return self._over_input(below, parts), []
            case ops.Explode():
                through = [p for p in parts if below.column not in columns_of(p)]
                return self._over_input(below, through), _without(parts, through)
            case ops.Aggregate() if self._safe(
                _computed((*below.keys, *below.aggregates)), below.input
            ):
                keys = dict(below.keys)
                through = [p for p in parts if columns_of(p) and columns_of(p) <= keys.keys()]
                through = [p for p in through if _copies(p, keys)]
                moved = [substitute(p, keys) for p in through]
                return self._over_input(below, moved), _without(parts, through)
            case ops.Window() if self._safe(_computed(below.columns), below.input):
                partitions = [set(_plain(call.partition_by)) for _, call in below.columns]
                common = set.intersection(*partitions) if partitions else set()
                through = [p for p in parts if columns_of(p) and columns_of(p) <= common]
                return self._over_input(below, through), _without(parts, through)
            case ops.Union():
                if any(member.schema != below.schema for member in below.members):
                    return below, parts  # casts to the unified type stand in between
                members = tuple(self._filtered(m, parts, below.pin) for m in below.members)
                return replace(below, members=members), []
            case ops.Join() if below.residual is None or self._safe(
                [below.residual], *below.inputs
            ):
                return self._into_join(below, parts)
        return below, parts

    def _over_input(self, operator: ops.Operator, parts: list[Expression]) -> ops.Operator:
        if not parts:
            return operator
        (below,) = operator.inputs
        return operator.with_inputs((self._filtered(below, parts, operator.pin),))

    def _into_join(
        self, join: ops.Join, parts: list[Expression]
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
            left=self._filtered(join.left, left, join.pin),
            right=self._filtered(join.right, right, join.pin),
        )
        return moved, _without(parts, [*left, *right])

    def _into_scan(
        self, scan: ops.Scan, parts: list[Expression]
    ) -> tuple[ops.Operator, list[Expression]]:
        if any(is_object(field.type) for field in scan.source.schema):
            return scan, parts
        if scan.predicate is not None and not cannot_fail(scan.predicate, scan.source.schema):
            return scan, parts
        # What a database cannot look for is looked for in what it gives.
        left = [p for p in parts if self._facts.refused(replace(scan, predicate=p))]
        have = [] if scan.predicate is None else list(conjuncts(scan.predicate))
        into = [*have, *_without(parts, left)]
        if len(left) == len(parts):
            return scan, parts
        return replace(scan, predicate=conjunction(into)), left


def _computed(columns: Iterable[tuple[str, Expression]]) -> list[Expression]:
    return [expression for _, expression in columns if not isinstance(expression, Column)]


def _copies(part: Expression, definitions: dict[str, Expression]) -> bool:
    """Whether a condition reads only columns that are copies of input columns.

    Moving it through a computed column would compute that column twice.
    """
    return all(isinstance(definitions[name], Column) for name in columns_of(part))


def _plain(expressions: tuple[Expression, ...]) -> list[str]:
    return [e.name for e in expressions if isinstance(e, Column)]


def _without(parts: list[Expression], taken: list[Expression]) -> list[Expression]:
    return [part for part in parts if part not in taken]

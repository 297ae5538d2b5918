"""Group only the rows of groups that a join then asks for.

A subquery that is correlated (`where quantity < (select avg(quantity) ... where key = outer.key)`)
becomes a join with groups of all keys. If few keys are asked for, a semi join with them below the
groups leaves the rows of all others out.

Source: Seshadri et al., "Cost-based optimization for magic: algebra and implementation", SIGMOD
1996 (the filter set of a block).
"""

from __future__ import annotations

from collections.abc import Mapping

from umbel.optimizer.facts import Facts
from umbel.plan import operators as ops
from umbel.plan.expressions import Column
from umbel.plan.sources import FileSource, MemorySource

#: Rows below the groups from which on it is worth while, and the most keys asked for, as a part of
#: the groups.
_LEAST_ROWS, _MOST_KEYS = 50_000, 0.2


def restrict_groups(root: ops.Operator, facts: Facts) -> ops.Operator:
    """Put semi joins below aggregates of which a join above reads few groups."""
    readers = ops.consumers(root)

    def change(operator: ops.Operator) -> ops.Operator:
        if not isinstance(operator, ops.Join) or operator.how not in ("inner", "left"):
            return operator
        for asked, key in operator.on:
            groups = _Groups(operator.right, readers, facts)
            if groups.follow(key):
                provider = _provider(operator.left, asked)
                if provider is not None and groups.worth(provider[0]):
                    return operator.with_inputs((operator.left, groups.restricted(*provider)))
        return operator

    return ops.rebuild(root, change)


def _provider(operator: ops.Operator, name: str) -> tuple[ops.Operator, str] | None:
    """What the values of a column come from: all of them, and maybe more; as few as can be had."""
    while True:
        match operator:
            case ops.Project(columns=columns, form=ops.Element.ROW):
                expression = dict(columns)[name]
                if not isinstance(expression, Column):
                    return None
                operator, name = operator.input, expression.name
            case ops.Join(how="inner"):
                left = name in operator.left.schema.names
                operator = operator.left if left else operator.right
            case ops.Join(how="left" | "anti") if name in operator.left.schema.names:
                operator = operator.left
            case _:
                return (operator, name) if _is_at_hand(operator) else None


def _is_at_hand(operator: ops.Operator) -> bool:
    """Whether all rows come from files and from memory, where any engine reads them."""
    return all(
        isinstance(op, ops.Filter | ops.Project | ops.Join)
        or (isinstance(op, ops.Scan) and isinstance(op.source, FileSource | MemorySource))
        for op in ops.topological(operator)
    ) and not any(op.pin for op in ops.topological(operator))


class _Groups:
    """The way from a join down to the rows whose groups it reads."""

    def __init__(
        self, top: ops.Operator, readers: Mapping[int, list[ops.Operator]], facts: Facts
    ) -> None:
        self._top = top
        self._readers = readers
        self._facts = facts
        self._path: list[tuple[ops.Operator, int]] = []  # each with the input that it goes on with
        self._bottom = top
        self._name = ""
        self._groups = 0.0

    def follow(self, name: str) -> bool:
        """Go down along a column, through an aggregate by it; whether that could be done."""
        operator = self._top
        aggregate = None
        while not isinstance(operator, ops.Scan):
            if len(self._readers.get(id(operator), ())) > 1 or operator.pin:
                return False
            at = 0
            match operator:
                case ops.Project(columns=columns, form=ops.Element.ROW):
                    expressions = [e for _, e in columns]
                    computed = dict(columns)[name]
                case ops.Aggregate(keys=keys, form=ops.Element.ROW) if (
                    aggregate is None and name in dict(keys)
                ):
                    aggregate = operator
                    expressions = [e for _, e in (*keys, *operator.aggregates)]
                    computed = dict(keys)[name]
                case ops.Filter(predicate=predicate) if aggregate is not None:
                    expressions, computed = [predicate], Column(name)
                case ops.Join(how="inner", residual=None) if aggregate is not None:
                    expressions, computed = [], Column(name)
                    at = 0 if name in operator.left.schema.names else 1
                case _:
                    return False
            safe = self._facts.bounds.cannot_fail
            if not isinstance(computed, Column) or not all(
                safe(e, *operator.inputs) for e in expressions
            ):
                return False
            self._path.append((operator, at))
            operator, name = operator.inputs[at], computed.name
        self._bottom, self._name = operator, name
        if aggregate is None or not _is_at_hand(operator):
            return False
        self._groups = self._facts.estimate(aggregate).expected
        return True

    def worth(self, provider: ops.Operator) -> bool:
        """Whether there are many rows, and few keys of theirs are asked for."""
        estimate = self._facts.estimate
        return (
            estimate(self._bottom).expected >= _LEAST_ROWS
            and estimate(provider).expected <= _MOST_KEYS * self._groups
        )

    def restricted(self, provider: ops.Operator, key: str) -> ops.Operator:
        """The groups, of the keys only that are asked for."""
        origin = self._path[0][0].origin
        keys = ops.Project(input=provider, columns=((key, Column(key)),), origin=origin)
        made: ops.Operator = ops.Join(
            left=self._bottom, right=keys, how="semi", on=((self._name, key),), origin=origin
        )
        for operator, at in reversed(self._path):
            inputs = list(operator.inputs)
            inputs[at] = made
            made = operator.with_inputs(tuple(inputs))
        return made


__all__ = ["restrict_groups"]

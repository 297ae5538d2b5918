"""GROUP BY: keys, grouping sets, and what may stand above them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import TYPE_CHECKING

import pyarrow as pa
from sqlglot import expressions as exp

from umbel.plan.errors import PlanError
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Column,
    Expression,
    Literal,
    columns_of,
    walk,
)
from umbel.plan.types import INT64
from umbel.sql.reading import tree
from umbel.sql.reading.binder import Binder
from umbel.sql.reading.names import Scope
from umbel.sql.reading.registry import binds
from umbel.sql.reading.subqueries import Sub, attach
from umbel.sql.reading.syntax import Syntax, reading
from umbel.sql.reading.typed import type_of
from umbel.sql.reading.values import Value

if TYPE_CHECKING:
    from umbel.sql.reading.select import Select

Sets = list[list[Expression]]

#: More grouping sets than this are refused; CUBE doubles them with every key.
MOST_SETS = 512

#: Stands for GROUPING(...) until the sets are known; its arguments are keys.
GROUPING = "grouping"


def grouping_sets(select: Select, node: exp.Expr | None) -> Sets | None:
    """Read GROUP BY as a list of sets of keys; None if there is none."""
    if node is None:
        return None
    parts: list[Sets] = []
    with reading(node) as syntax:
        if syntax["all"]:
            keys = [
                output.value.node
                for output in select.outputs
                if not any(isinstance(n, AggregateCall) for n in walk(output.value.node))
            ]
            return [list(dict.fromkeys(keys))]
        for key in ("expressions", "grouping_sets", "rollup", "cube"):
            parts += [_sets_of(select, item) for item in syntax.many(key)]
    sets = [
        list(dict.fromkeys(key for keys in chosen for key in keys)) for chosen in product(*parts)
    ]
    if len(sets) > MOST_SETS:
        raise select.binder.error(node, f"{len(sets)} grouping sets; the most is {MOST_SETS}")
    return sets


def _sets_of(select: Select, node: exp.Expr) -> Sets:
    if isinstance(node, exp.Rollup | exp.Cube | exp.GroupingSets):
        with reading(node) as syntax:
            inner = syntax.many("expressions")
        if isinstance(node, exp.GroupingSets):
            return [keys for item in inner for keys in _sets_of(select, item)]
        groups = [_keys(select, item) for item in inner]
        if isinstance(node, exp.Rollup):
            return [
                [key for group in groups[:count] for key in group]
                for count in range(len(groups), -1, -1)
            ]
        choices = product((True, False), repeat=len(groups))
        return [
            [key for taken, group in zip(choice, groups, strict=True) if taken for key in group]
            for choice in choices
        ]
    return [_keys(select, node)]


def _keys(select: Select, node: exp.Expr) -> list[Expression]:
    if isinstance(node, exp.Tuple):
        return [key for item in node.expressions for key in _keys(select, item)]
    if isinstance(node, exp.Paren):
        return _keys(select, node.this)
    if isinstance(node, exp.Literal) and not node.is_string:
        index = int(node.name) if node.name.isdigit() else 0
        if not 1 <= index <= len(select.outputs):
            raise select.binder.error(
                node, f"there is no output column {node.name}: there are {len(select.outputs)}"
            )
        return [_no_aggregate(select, select.outputs[index - 1].value.node, node)]
    return [_no_aggregate(select, select.binder.value(node, select.scope).node, node)]


def _no_aggregate(select: Select, key: Expression, node: exp.Expr) -> Expression:
    if any(isinstance(inner, AggregateCall) for inner in walk(key)):
        raise select.binder.error(node, "an aggregate cannot be a key of GROUP BY")
    return key


@binds(exp.Grouping)
def _grouping(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    keys = [binder.value(node, scope).node for node in syntax.many("expressions")]
    return Value(Call(GROUPING, tuple(keys)), INT64, nullable=False)


class Grouping:
    """The grouping of one SELECT, and how expressions read it."""

    def __init__(self, binder: Binder, scope: Scope, sets: Sets | None) -> None:
        self.binder = binder
        self.scope = scope
        self.sets: Sets = [[]] if sets is None else sets
        self.keys: dict[Expression, str] = {}
        self.calls: dict[AggregateCall, str] = {}
        self.ids: dict[tuple[Expression, ...], str] = {}

    def relation(self, below: tree.Relation, roots: Sequence[Expression]) -> tree.Relation:
        """Group a relation, computing the aggregates that expressions hold."""
        columns = self.binder.columns
        before: list[tree.Named] = []
        for key in dict.fromkeys(key for keys in self.sets for key in keys):
            below, attached = attach(columns, below, key)
            if isinstance(attached, Column):
                self.keys[key] = attached.name
            else:
                dtype, nullable = type_of(attached, columns)
                name = columns.new("key", dtype, nullable)
                self.keys[key] = name
                before.append((name, attached))
        calls: list[tuple[str, AggregateCall]] = []
        for root in roots:
            for node in walk(root):
                if isinstance(node, AggregateCall) and node not in self.calls:
                    below, made = self._aggregate(below, node)
                    dtype, nullable = type_of(made, columns)
                    name = columns.new(made.function, dtype, nullable)
                    self.calls[node] = name
                    calls.append((name, made))
                elif isinstance(node, Call) and node.function == GROUPING:
                    self.ids.setdefault(node.arguments, columns.new("grouping", INT64, False))
        if before:
            below = tree.Extend(below, tuple(before))
        if len(self.sets) == 1:
            return self._one(below, calls)
        return self._several(below, calls)

    def _aggregate(
        self, below: tree.Relation, node: AggregateCall
    ) -> tuple[tree.Relation, AggregateCall]:
        children = []
        for child in node.children:
            if any(isinstance(inner, AggregateCall) for inner in walk(child)):
                raise PlanError("an aggregate cannot stand inside an aggregate")
            below, attached = attach(self.binder.columns, below, child)
            children.append(attached)
        return below, node.with_children(tuple(children))

    def _one(self, below: tree.Relation, calls: list[tuple[str, AggregateCall]]) -> tree.Relation:
        names = [self.keys[key] for key in self.sets[0]]
        keys = tuple((name, Column(name)) for name in dict.fromkeys(names))
        if not keys and not calls:
            calls = [(self.binder.columns.new("rows", INT64, False), AggregateCall("len"))]
        grouped: tree.Relation = tree.Group(below, keys, tuple(calls))
        if self.ids:
            zeros = tuple((name, Literal(0, INT64)) for name in self.ids.values())
            grouped = tree.Extend(grouped, zeros)
        return grouped

    def _several(
        self, below: tree.Relation, calls: list[tuple[str, AggregateCall]]
    ) -> tree.Relation:
        """Group once for each set, and put the results one after another."""
        columns = self.binder.columns
        all_keys = list(dict.fromkeys(self.keys.values()))
        results = [*all_keys, *(name for name, _ in calls), *self.ids.values()]
        fresh = {name: columns.copy_of(name) for name in results}
        columns.loosen(tuple(fresh[name] for name in all_keys))
        members, taken = [], []
        for keys in self.sets:
            used = {self.keys[key] for key in keys}
            aggregates = list(calls)
            by = tuple((name, Column(name)) for name in all_keys if name in used)
            if not by and not aggregates:
                aggregates = [(columns.new("rows", INT64, False), AggregateCall("len"))]
            grouped = tree.Group(below, by, tuple(aggregates))
            items: list[tree.Named] = []
            here = []
            for name in all_keys:
                if name in used:
                    here.append(name)
                    continue
                dtype = columns.field(name).type
                nothing = columns.new(name.split("~", 1)[0], dtype, True)
                items.append((nothing, Literal(None, dtype)))
                here.append(nothing)
            here += [name for name, _ in calls]
            for arguments in self.ids:
                bits = 0
                for argument in arguments:
                    if argument not in self.keys:
                        raise PlanError("GROUPING takes expressions of GROUP BY")
                    bits = bits * 2 + (self.keys[argument] not in used)
                number = columns.new("grouping", INT64, False)
                items.append((number, Literal(bits, INT64)))
                here.append(number)
            members.append(tree.Extend(grouped, tuple(items)) if items else grouped)
            taken.append(tuple(here))
        names = tuple(fresh[name] for name in results)
        self.keys = {key: fresh[name] for key, name in self.keys.items()}
        self.calls = {call: fresh[name] for call, name in self.calls.items()}
        self.ids = {arguments: fresh[name] for arguments, name in self.ids.items()}
        return tree.Merge("union", tuple(members), tuple(taken), names, distinct=False)

    def above(self, node: Expression, at: exp.Expr | None) -> Expression:
        """Rewrite an expression over rows to one over groups.

        Raises:
            SqlError: it reads a column that is neither a key nor inside an aggregate.
        """
        if node in self.keys:
            return Column(self.keys[node])
        if isinstance(node, AggregateCall):
            return Column(self.calls[node])
        if isinstance(node, Call) and node.function == GROUPING:
            return Column(self.ids[node.arguments])
        if isinstance(node, Column):
            if node.name in self.scope.own():
                raise self.binder.error(
                    at,
                    f"column {node.name.split('~', 1)[0]!r} is neither a key of GROUP BY nor "
                    "inside an aggregate",
                    hint="group by it, or aggregate it: any_value(...), min(...), ...",
                )
            return node
        if isinstance(node, Sub):
            lost = (node.relation.free & self.scope.own()) - set(self.keys.values())
            renamed = {k.name: n for k, n in self.keys.items() if isinstance(k, Column)}
            moved = {n for n in node.relation.free if renamed.get(n, n) != n}
            if lost - moved or moved:
                shown = sorted(name.split("~", 1)[0] for name in (lost | moved))
                raise self.binder.error(
                    at,
                    f"the subquery reads {', '.join(shown)}, which is not a key of this group",
                    hint="compute the groups in a derived table first",
                )
        children = tuple(self.above(child, at) for child in node.children)
        return node.with_children(children) if children else node


__all__ = ["GROUPING", "Grouping", "Value", "columns_of", "grouping_sets", "pa"]

"""One SELECT: its clauses in SQL's order of meaning."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field, replace

from sqlglot import expressions as exp

from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError
from umbel.plan.expressions import (
    AggregateCall,
    Column,
    Expression,
    Literal,
    SortKey,
    WindowCall,
    columns_of,
    transform,
    walk,
)
from umbel.plan.types import INT64
from umbel.sql.reading import tree
from umbel.sql.reading.binder import Binder, Query
from umbel.sql.reading.connecting import connected, factored
from umbel.sql.reading.correlation import conjuncts
from umbel.sql.reading.errors import SqlError
from umbel.sql.reading.from_items import bind_from
from umbel.sql.reading.grouping import Grouping, grouping_sets
from umbel.sql.reading.lower import one_row
from umbel.sql.reading.names import Item, Scope, matching, name_of
from umbel.sql.reading.subqueries import Sub, attach, has_subquery, restricted
from umbel.sql.reading.syntax import Syntax, reading
from umbel.sql.reading.typed import type_of
from umbel.sql.reading.unfolding import list_value, new_item, unfold
from umbel.sql.reading.values import Value, boolean


@dataclass
class Output:
    """One column of the SELECT list."""

    name: str
    value: Value
    node: exp.Expr


@dataclass
class Select:
    """The binding of one SELECT."""

    binder: Binder
    syntax: Syntax
    scope: Scope
    outputs: list[Output] = field(default_factory=list)
    lists: list[Value] = field(default_factory=list)
    items: list[str] = field(default_factory=list)

    def bind(self) -> Query:
        """Bind the SELECT.

        Raises:
            SqlError: some part of it has no meaning.
        """
        syntax, binder = self.syntax, self.binder
        sources = bind_from(binder, syntax["from_"], syntax.many("joins"), self.scope)
        if syntax.many("laterals"):
            raise PlanError("LATERAL VIEW is not supported", hint="use CROSS JOIN UNNEST(...)")
        self._name_windows()
        items = syntax.many("expressions")
        for item in items:
            if isinstance(item, exp.Alias):
                self.scope.aliases.setdefault(item.alias, item.this)
        if not sources.relations:
            nothing = binder.columns.new("nothing", INT64, False)
            sources.relations.append(tree.Leaf(one_row(), (nothing,)))
        relation = connected(
            binder, sources.relations, [*sources.conditions, *self._where(syntax["where"])]
        )
        for item in items:
            self._output(item)
        having = self._condition(syntax["having"], "HAVING")
        qualify = self._condition(syntax["qualify"], "QUALIFY")
        distinct, on = self._distinct(syntax["distinct"])
        order = self._order(syntax["order"])
        relation = self._grouped(relation, syntax["group"], having, qualify, order, on)
        having, qualify = self.having, self.qualify
        if having is not None:
            relation = restricted(binder.columns, relation, conjuncts(having))
        relation = self._windows(relation)
        if self.qualify is not None:
            relation = restricted(binder.columns, relation, conjuncts(self.qualify))
        if self.lists:
            relation = unfold(binder.columns, relation, self.lists, self.items)
        return self._result(relation, distinct=distinct)

    # Reading the clauses

    def _name_windows(self) -> None:
        for window in self.syntax.many("windows"):
            self.scope.windows[window.name] = window

    def _where(self, node: exp.Expr | None) -> list[Expression]:
        condition = self._condition(node, "WHERE")
        if condition is None:
            return []
        for inner in walk(condition):
            if isinstance(inner, AggregateCall | WindowCall):
                what = "an aggregate" if isinstance(inner, AggregateCall) else "a window function"
                hint = "HAVING" if isinstance(inner, AggregateCall) else "QUALIFY"
                raise self.binder.error(
                    node, f"{what} cannot stand in WHERE", hint=f"use {hint}, or a subquery"
                )
        return [part for c in conjuncts(condition) for part in factored(c)]

    def _condition(self, node: exp.Expr | None, what: str) -> Expression | None:
        if node is None:
            return None
        with reading(node) as syntax:
            inner = syntax["this"]
            value = self.binder.value(inner, self.scope)
            try:
                return boolean(value, what).node
            except PlanError as error:
                raise self.binder.error(inner, error.message, hint=error.hint) from None

    def _output(self, node: exp.Expr) -> None:
        binder, scope = self.binder, self.scope
        if isinstance(node, exp.Star) or (
            isinstance(node, exp.Column) and isinstance(node.this, exp.Star)
        ):
            self._star(node)
            return
        name = ""
        inner = node
        if isinstance(node, exp.Alias):
            with reading(node) as syntax:
                inner, name = syntax["this"], syntax["alias"].name
        if isinstance(node, exp.Aliases):
            raise binder.error(node, "one column cannot have several aliases")
        if isinstance(inner, exp.Explode | exp.Unnest):
            value = self._items(inner)
            self.outputs.append(Output(name or "unnest", value, inner))
            return
        scope.resolving.add(name)
        try:
            value = binder.value(inner, scope)
        finally:
            scope.resolving.discard(name)
        self.outputs.append(Output(name or self._own_name(inner, value), value, inner))

    def _items(self, node: exp.Expr) -> Value:
        """Bind UNNEST(list) in the SELECT list, whose rows are made when all else is done."""
        with reading(node) as syntax:
            nodes = (
                [syntax["this"]] if isinstance(node, exp.Explode) else syntax.many("expressions")
            )
            if len(nodes) != 1 or syntax.many("expressions")[1:]:
                raise self.binder.error(
                    node,
                    "UNNEST takes one list in the SELECT list",
                    hint="FROM unnest(a, b) takes several side by side",
                )
        try:
            value = list_value(self.binder, nodes[0], self.scope)
        except SqlError:
            raise
        except PlanError as error:
            raise self.binder.error(node, error.message, hint=error.hint) from None
        if any(isinstance(i, AggregateCall | WindowCall | Sub) for i in walk(value.node)):
            raise self.binder.error(
                node,
                "UNNEST in the SELECT list takes no aggregate, window function or subquery",
                hint="compute the list in a derived table: FROM (SELECT ...) t, unnest(t.items)",
            )
        item = new_item(self.binder.columns, value)
        self.lists.append(value)
        self.items.append(item)
        return self.binder.columns.value(item)

    def _own_name(self, node: exp.Expr, value: Value) -> str:
        """Name a column that has no alias: as its table spells it, else by its text."""
        if isinstance(node, exp.Column) and isinstance(value.node, Column):
            for item in self.scope.items:
                for spelled, unique in item.columns:
                    if unique == value.node.name:
                        return spelled
        return _own_name(node)

    def _star(self, node: exp.Expr) -> None:
        star = node if isinstance(node, exp.Star) else node.this
        with reading(star) as syntax:
            left_out = [name_of(n.this) for n in syntax.many("except_")]
            replaced = {n.alias.casefold(): n.this for n in syntax.many("replace")}
            renamed = {n.this.name.casefold(): n.alias for n in syntax.many("rename")}
        pairs = list(self.scope.visible())
        joined = dict(self.scope.joined)
        if isinstance(node, exp.Column):
            qualifier = [name_of(n) for k in ("catalog", "db", "table") if (n := node.args.get(k))]
            item = self.scope.item(qualifier)
            if item is None:
                shown = ".".join(map(str, qualifier))
                known = ", ".join(".".join(i.path) for i in self.scope.items if i.path)
                raise self.binder.error(
                    node, f"unknown table {shown!r} in FROM", hint=f"there are: {known or 'none'}"
                )
            pairs, joined = list(item.columns), {}
        if not pairs:
            raise self.binder.error(node, "* needs a FROM")
        for out in left_out:
            if not matching(out, pairs):
                raise self.binder.error(star, f"* has no column {out.text!r} to leave out")
        gone = {unique for out in left_out for unique in matching(out, pairs)}
        for name, unique in pairs:
            if unique in gone:
                continue
            if name.casefold() in replaced:
                value = self.binder.value(replaced[name.casefold()], self.scope)
            elif name in joined:
                value = joined[name]
            else:
                value = self.binder.columns.value(unique)
            self.outputs.append(Output(renamed.get(name.casefold(), name), value, node))

    def _distinct(self, node: exp.Expr | None) -> tuple[bool, list[Expression]]:
        if node is None:
            return False, []
        with reading(node) as syntax:
            on = syntax["on"]
            if on is None:
                return True, []
            nodes = on.expressions if isinstance(on, exp.Tuple) else [on]
            return False, [self._output_or_value(n)[0] for n in nodes]

    def _output_or_value(self, node: exp.Expr) -> tuple[Expression, int | None]:
        """Bind a term of ORDER BY or DISTINCT ON: a number, an alias, or an expression."""
        if isinstance(node, exp.Literal) and not node.is_string:
            if not node.name.isdigit() or not 1 <= int(node.name) <= len(self.outputs):
                raise self.binder.error(
                    node, f"there is no output column {node.name}: there are {len(self.outputs)}"
                )
            return self.outputs[int(node.name) - 1].value.node, int(node.name) - 1
        if isinstance(node, exp.Column) and not node.args.get("table"):
            names = [(output.name, i) for i, output in enumerate(self.outputs)]
            found = matching(name_of(node.this), names)
            if found and len({self.outputs[i].value.node for i in found}) == 1:
                return self.outputs[found[0]].value.node, found[0]
            if found and not self.scope.find([], name_of(node.this)):
                raise self.binder.error(
                    node, f"{node.name!r} is the name of several output columns"
                )
        return self.binder.value(node, self.scope).node, None

    def _order(self, node: exp.Expr | None) -> list[SortKey]:
        if node is None:
            return []
        keys = []
        with reading(node) as syntax:
            for term in syntax.many("expressions"):
                with reading(term) as ordered:
                    inner = ordered["this"]
                    flags = bool(ordered["desc"]), bool(ordered["nulls_first"])
                    if (
                        isinstance(inner, exp.Column)
                        and inner.name.upper() == "ALL"
                        and not inner.this.quoted
                    ):
                        keys += [SortKey(o.value.node, *flags) for o in self.outputs]
                        continue
                    keys.append(SortKey(self._output_or_value(inner)[0], *flags))
        return keys

    # Grouping and windows

    def _grouped(
        self,
        relation: tree.Relation,
        group: exp.Expr | None,
        having: Expression | None,
        qualify: Expression | None,
        order: list[SortKey],
        on: list[Expression],
    ) -> tree.Relation:
        self.having, self.qualify, self.order, self.on = having, qualify, order, on
        expressions = [o.value.node for o in self.outputs]
        extra = [e for e in (having, qualify) if e is not None]
        everything = [*expressions, *extra, *(key.expression for key in order), *on]
        sets = grouping_sets(self, group)
        if sets is None and having is None and not any(map(_aggregates, everything)):
            return relation
        if self.lists:
            raise PlanError(
                "UNNEST in the SELECT list and grouping do not go together",
                hint="group in a derived table, and unnest its lists",
            )
        grouping = Grouping(self.binder, self.scope, sets)
        relation = grouping.relation(relation, everything)

        def above(node: Expression, at: exp.Expr | None) -> Expression:
            return grouping.above(node, at)

        self.outputs = [
            replace(o, value=replace(o.value, node=above(o.value.node, o.node)))
            for o in self.outputs
        ]
        at = self.syntax.node.args
        if having is not None:
            self.having = above(having, at.get("having"))
        if qualify is not None:
            self.qualify = above(qualify, at.get("qualify"))
        self.order = [
            replace(key, expression=above(key.expression, at.get("order"))) for key in order
        ]
        self.on = [above(node, at.get("distinct")) for node in on]
        return relation

    def _windows(self, relation: tree.Relation) -> tree.Relation:
        """Compute the window functions that the expressions hold, innermost first."""
        while True:
            everything = [
                *(o.value.node for o in self.outputs),
                *([] if self.qualify is None else [self.qualify]),
                *(key.expression for key in self.order),
                *self.on,
            ]
            calls: dict[WindowCall, str] = {}
            for root in everything:
                for node in walk(root):
                    if isinstance(node, WindowCall) and not _inner_window(node):
                        calls.setdefault(node, "")
            if not calls:
                return relation
            items = []
            for node in calls:
                _check_window(node)
                children = []
                for child in node.children:
                    relation, attached = attach(self.binder.columns, relation, child)
                    children.append(attached)
                made = node.with_children(tuple(children))
                name = self.binder.columns.new("window", *type_of(made, self.binder.columns))
                calls[node] = name
                items.append((name, made))
            relation = tree.Windows(relation, tuple(items))

            def column(node: Expression, found: dict[WindowCall, str] = calls) -> Expression:
                known = isinstance(node, WindowCall) and node in found
                return Column(found[node]) if known else node  # type: ignore[index]

            self._replace(column)

    def _replace(self, change: Callable[[Expression], Expression]) -> None:
        self.outputs = [
            replace(o, value=replace(o.value, node=transform(o.value.node, change)))
            for o in self.outputs
        ]
        if self.qualify is not None:
            self.qualify = transform(self.qualify, change)
        self.order = [
            replace(key, expression=transform(key.expression, change)) for key in self.order
        ]
        self.on = [transform(node, change) for node in self.on]

    # The result

    def _result(self, relation: tree.Relation, *, distinct: bool) -> Query:
        columns = self.binder.columns
        items: list[tree.Named] = []
        named: list[tuple[str, str]] = []
        made: dict[Expression, str] = {}
        have = set(relation.columns)
        for output in self.outputs:
            relation, node = attach(columns, relation, output.value.node)
            if isinstance(node, Column) and node.name in (have | set(relation.columns)):
                unique = node.name
            else:
                unique = columns.new(output.name, output.value.dtype, output.value.nullable)
                items.append((unique, node))
            made.setdefault(output.value.node, unique)
            named.append((output.name, unique))
        keys = []
        for key in self.order:
            if key.expression in made:
                keys.append(replace(key, expression=Column(made[key.expression])))
                continue
            relation, node = attach(columns, relation, key.expression)
            keys.append(replace(key, expression=node))
        if self.on:
            relation = self._first_of_each(relation, keys)
        if items:
            relation = tree.Extend(relation, tuple(items))
        if distinct:
            relation = self._unique(relation, named, keys)
        # A constant orders nothing.
        keys = [key for key in keys if not isinstance(key.expression, Literal)]
        if keys:
            relation = tree.Order(relation, tuple(keys))
        from umbel.sql.reading.queries import cut

        relation = cut(self.binder, relation, self.syntax["limit"], self.syntax["offset"])
        return Query(relation, tuple(_distinct_names(named)))

    def _unique(
        self, relation: tree.Relation, named: list[tuple[str, str]], keys: list[SortKey]
    ) -> tree.Relation:
        kept = tuple(dict.fromkeys(unique for _, unique in named))
        if columns_of(*(key.expression for key in keys)) - set(kept):
            raise self.binder.error(
                self.syntax.node.args.get("order"),
                "with DISTINCT, ORDER BY takes what stands in the SELECT list",
                hint="select it too, or use GROUP BY",
            )
        return tree.Unique(tree.Keep(relation, kept))

    def _first_of_each(self, relation: tree.Relation, keys: list[SortKey]) -> tree.Relation:
        from umbel.plan.expressions import Call

        number = self.binder.columns.new("row", INT64, False)
        partition = []
        for node in self.on:
            relation, attached = attach(self.binder.columns, relation, node)
            partition.append(attached)
        # ORDER BY may name output columns, which are not computed yet.
        order = tuple(
            replace(key, expression=original.expression)
            for key, original in zip(keys, self.order, strict=True)
        )
        window = WindowCall("row_number", (), tuple(partition), order)
        numbered = tree.Windows(relation, ((number, window),))
        return tree.Filter(numbered, (Call("equal", (Column(number), Literal(1, INT64))),))


def _aggregates(node: Expression) -> bool:
    return any(isinstance(inner, AggregateCall) for inner in walk(node))


def _inner_window(node: WindowCall) -> bool:
    return any(isinstance(inner, WindowCall) for child in node.children for inner in walk(child))


def _check_window(node: WindowCall) -> None:
    for child in node.children:
        if any(isinstance(inner, Sub) and inner.relation.free for inner in walk(child)):
            raise PlanError(
                "a correlated subquery cannot stand in a window function",
                hint="compute it in a derived table first",
            )


def _own_name(node: exp.Expr) -> str:
    """Name a column that has no alias: by its column, or by its text."""
    if isinstance(node, exp.Column):
        return node.name
    if isinstance(node, exp.Dot):
        return str(node.expression.name)
    if isinstance(node, exp.Cast) and isinstance(node.this, exp.Column):
        return node.this.name
    return node.sql("duckdb", normalize_functions="lower")


def _distinct_names(named: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Give equal names numbers, because a relation's columns have different ones."""
    taken: set[str] = set()
    result = []
    for name, unique in named:
        made, number = name, 0
        while made.casefold() in taken:
            number += 1
            made = f"{name}_{number}"
        taken.add(made.casefold())
        result.append((made, unique))
    return result


__all__ = ["Item", "Output", "Select", "has_subquery"]

"""Subqueries inside expressions: how they are bound, and how they are attached to a relation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal as OneOf

import pyarrow as pa
from sqlglot import expressions as exp

from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Case,
    Expression,
    Literal,
    columns_of,
    walk,
)
from umbel.plan.types import BOOL, INT64
from umbel.sql.reading import tree
from umbel.sql.reading.binder import Binder, Query
from umbel.sql.reading.names import Scope
from umbel.sql.reading.operators import conjoin
from umbel.sql.reading.registry import binds
from umbel.sql.reading.syntax import Syntax, reading
from umbel.sql.reading.values import FALSE, Columns, Value, call, meet


@dataclass(frozen=True, slots=True, eq=False)
class Sub(Expression):
    """A subquery in an expression; it is replaced before the expression enters a plan.

    Attributes:
        kind: scalar gives its only value, exists whether it has rows, any whether `tests` is true
            for some row (null as SQL has it).
        relation: the subquery's rows, which may be correlated.
        operands: for any: the left sides.
        targets: for scalar and any: expressions over `relation`.
        function: for any: the comparison.
        nullable: for any: some side may be null.
    """

    kind: OneOf["scalar", "exists", "any"]
    relation: tree.Relation
    operands: tuple[Expression, ...] = ()
    targets: tuple[Expression, ...] = ()
    function: str = "equal"
    nullable: bool = True

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    @property
    def children(self) -> tuple[Expression, ...]:
        return self.operands

    def with_children(self, children: tuple[Expression, ...]) -> Sub:
        return Sub(self.kind, self.relation, children, self.targets, self.function, self.nullable)

    @property
    def test(self) -> Expression:
        """What must hold for a row, over operands and columns of the relation."""
        tests = tuple(
            Call(self.function, pair) for pair in zip(self.operands, self.targets, strict=True)
        )
        return tests[0] if len(tests) == 1 else Call("and", tests)

    def __str__(self) -> str:
        return f"{self.kind} subquery"


def has_subquery(node: Expression) -> bool:
    """Whether a subquery stands in an expression."""
    return any(isinstance(inner, Sub) for inner in walk(node))


# Binding


def _query(binder: Binder, node: exp.Expr, scope: Scope) -> Query:
    from umbel.sql.reading.queries import bind_query

    return bind_query(binder, node, scope)


@binds(exp.Subquery, exp.Select, exp.Union, exp.Intersect, exp.Except)
def _scalar(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    node = syntax.node
    for key in node.args:
        _ = syntax[key]  # all of it is read by the query that it is
    query = _query(binder, node, scope)
    if len(query.columns) != 1:
        raise PlanError(
            f"a subquery in an expression must give one column, not {len(query.columns)}"
        )
    value = binder.columns.value(query.columns[0][1])
    kept = tree.Keep(query.relation, (query.columns[0][1],))
    return Value(Sub("scalar", kept, (), (value.node,)), value.dtype)


@binds(exp.Exists)
def _exists(binder: Binder, syntax: Syntax, scope: Scope) -> Value:
    query = _query(binder, syntax["this"], scope)
    if syntax.node.args.get("expression") is not None:
        raise PlanError("EXISTS takes a subquery")
    return Value(Sub("exists", query.relation), BOOL, nullable=False)


def member(binder: Binder, operand: exp.Expr, query: exp.Expr, scope: Scope) -> Value:
    """Bind `operand IN (query)`."""
    return _any(binder, operand, "equal", query, scope)


#: What must hold for all rows, as what must hold for none.
_OPPOSITE = {
    "equal": "not_equal",
    "not_equal": "equal",
    "less": "greater_equal",
    "less_equal": "greater",
    "greater": "less_equal",
    "greater_equal": "less",
}


def quantified(
    binder: Binder, operand: exp.Expr, function: str, node: exp.Expr, scope: Scope
) -> Value:
    """Bind `operand = ANY (query)` and `operand = ALL (query)`."""
    with reading(node) as syntax:
        inner = syntax["this"]
    plain = inner.this if isinstance(inner, exp.Paren) else inner
    if not isinstance(plain, exp.Query):
        return _any_of_list(binder, operand, function, plain, scope, isinstance(node, exp.All))
    if function not in _OPPOSITE:
        raise PlanError("ANY and ALL stand after =, <>, <, <=, > and >=")
    if isinstance(node, exp.All):
        return call("not", _any(binder, operand, _OPPOSITE[function], plain, scope))
    return _any(binder, operand, function, plain, scope)


def _any_of_list(
    binder: Binder, operand: exp.Expr, function: str, node: exp.Expr, scope: Scope, every: bool
) -> Value:
    from umbel.sql.reading.operators import compare

    value = binder.value(operand, scope)
    if isinstance(node, exp.Array):
        tests = [compare(function, value, binder.value(n, scope)) for n in node.expressions]
        if tests:
            return tests[0] if len(tests) == 1 else call("and" if every else "or", *tests)
    if function == "equal" and not every:
        return call("list_contains", binder.value(node, scope), value)
    raise PlanError("ANY and ALL take a subquery or ARRAY[...]")


def _any(binder: Binder, operand: exp.Expr, function: str, query: exp.Expr, scope: Scope) -> Value:
    nodes = operand.expressions if isinstance(operand, exp.Tuple) else [operand]
    values = [binder.value(node, scope) for node in nodes]
    bound = _query(binder, query, scope)
    if len(bound.columns) != len(values):
        raise PlanError(
            f"the subquery gives {len(bound.columns)} columns where {len(values)} are compared"
        )
    if len(values) > 1 and function != "equal":
        raise PlanError("rows are compared with a subquery by = only")
    pairs = []
    for value, (_, unique) in zip(values, bound.columns, strict=True):
        pair = meet(value, binder.columns.value(unique))
        call(function, *pair)
        pairs.append(pair)
    kept = tree.Keep(bound.relation, tuple(dict.fromkeys(u for _, u in bound.columns)))
    nullable = any(side.nullable for pair in pairs for side in pair)
    sub = Sub(
        "any",
        kept,
        tuple(left.node for left, _ in pairs),
        tuple(right.node for _, right in pairs),
        function,
        nullable,
    )
    return Value(sub, BOOL, nullable)


# Attaching


def restricted(
    columns: Columns, relation: tree.Relation, conditions: Sequence[Expression]
) -> tree.Relation:
    """Keep the rows for which conditions hold, some of which may be subqueries."""
    plain = tuple(c for c in conditions if not has_subquery(c))
    if plain:
        relation = tree.Filter(relation, plain)
    for condition in conditions:
        if not has_subquery(condition):
            continue
        inner, negative = condition, False
        while isinstance(inner, Call) and inner.function == "not":
            inner, negative = inner.arguments[0], not negative
        if isinstance(inner, Sub) and inner.kind in ("exists", "any"):
            relation = _joined(columns, relation, inner, negative)
        else:
            relation, rest = attach(columns, relation, condition)
            relation = tree.Filter(relation, (rest,))
    return relation


def _joined(columns: Columns, relation: tree.Relation, sub: Sub, negative: bool) -> tree.Relation:
    if sub.kind == "exists":
        return tree.Join("anti" if negative else "semi", relation, sub.relation)
    operands = []
    for operand in sub.operands:
        relation, attached = attach(columns, relation, operand)
        operands.append(attached)
    test = sub.with_children(tuple(operands)).test
    if not negative:
        return tree.Join("semi", relation, sub.relation, _conjuncts(test))
    if not sub.nullable:
        return tree.Join("anti", relation, sub.relation, _conjuncts(test))
    simple = sub.function == "equal" and len(sub.operands) == 1
    if sub.relation.free or not simple:
        unknown = Call("or", (test, Call("is_null", (test,))))
        return tree.Join("anti", relation, sub.relation, (unknown,))
    relation, total, known = _statistics(columns, relation, sub)
    relation = tree.Join("anti", relation, sub.relation, (test,))
    empty = Call("equal", (total, Literal(0, INT64)))
    sound = Call("and", (Call("is_not_null", (operands[0],)), Call("equal", (total, known))))
    return tree.Filter(relation, (Call("or", (empty, sound)),))


def _statistics(
    columns: Columns, relation: tree.Relation, sub: Sub
) -> tuple[tree.Relation, Expression, Expression]:
    """Add how many rows an uncorrelated subquery has, and in how many its value is not null."""
    total, known = columns.new("rows", INT64, False), columns.new("known", INT64, False)
    counts = tree.Group(
        sub.relation,
        (),
        ((total, AggregateCall("len")), (known, AggregateCall("count", sub.targets))),
    )
    joined = tree.Join("inner", relation, counts)
    return joined, columns.value(total).node, columns.value(known).node


def attach(
    columns: Columns, relation: tree.Relation, node: Expression
) -> tuple[tree.Relation, Expression]:
    """Join the subqueries of an expression to the relation that it stands over.

    Returns:
        The relation with more columns, and the expression with columns for subqueries.
    """
    if not has_subquery(node):
        return relation, node
    children = []
    for child in node.children:
        relation, attached = attach(columns, relation, child)
        children.append(attached)
    if not isinstance(node, Sub):
        return relation, node.with_children(tuple(children))
    sub = node.with_children(tuple(children))
    match sub.kind:
        case "scalar":
            joined = tree.Join("single", relation, sub.relation)
            return joined, sub.targets[0]
        case "exists":
            return _marked(columns, relation, sub.relation, ())
    return _any_value(columns, relation, sub)


def _any_value(
    columns: Columns, relation: tree.Relation, sub: Sub
) -> tuple[tree.Relation, Expression]:
    test = sub.test
    if not sub.nullable:
        return _marked(columns, relation, sub.relation, _conjuncts(test))
    false, true, null = (Literal(v, BOOL) for v in (False, True, None))
    if sub.function == "equal" and len(sub.operands) == 1 and not sub.relation.free:
        relation, total, known = _statistics(columns, relation, sub)
        relation, found = _marked(columns, relation, sub.relation, (test,))
        empty = Call("equal", (total, Literal(0, INT64)))
        unknown = Call("or", (Call("is_null", (sub.operands[0],)), Call("less", (known, total))))
        return relation, Case(((empty, false), (found, true), (unknown, null)), false)
    relation, found = _marked(columns, relation, sub.relation, _conjuncts(test))
    relation, unknown_found = _marked(columns, relation, sub.relation, (Call("is_null", (test,)),))
    return relation, Case(((found, true), (unknown_found, null)), false)


def _marked(
    columns: Columns,
    relation: tree.Relation,
    right: tree.Relation,
    conditions: tuple[Expression, ...],
) -> tuple[tree.Relation, Expression]:
    """Add a boolean column: whether the right side has a row for which the conditions hold."""
    reads = set(right.free) | set(columns_of(*conditions))
    if not reads & set(relation.columns) and not conditions:
        count = columns.new("rows", INT64, False)
        counts = tree.Group(tree.Slice(right, 1), (), ((count, AggregateCall("len")),))
        joined = tree.Join("inner", relation, counts)
        some = Call("greater", (columns.value(count).node, Literal(0, INT64)))
        return joined, some
    mark = columns.new("found", pa.bool_(), False)
    return tree.Join("mark", relation, right, conditions, mark), columns.value(mark).node


def _conjuncts(test: Expression) -> tuple[Expression, ...]:
    return test.arguments if isinstance(test, Call) and test.function == "and" else (test,)


__all__ = [
    "FALSE",
    "Sub",
    "attach",
    "conjoin",
    "has_subquery",
    "member",
    "quantified",
    "restricted",
]

"""Expressions: what a plan computes inside an operator, as small frozen nodes.

Seven node classes are all there is; every function is a row of the catalogue in
`umbel.plan.functions`, named by `Call`, `AggregateCall` or `WindowCall`. Nodes know nothing of
columns' types: `umbel.plan.typing.infer` checks an expression against a schema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from typing import Literal as OneOf

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError
from umbel.plan.limits import MAX_EXPRESSION_DEPTH
from umbel.plan.types import type_name


class _Inferred:
    """Room for what `umbel.plan.typing` found last: the schema, the type, and whether nullable.

    Rules and engines ask for the type of every part of an expression, again and again.
    """

    __slots__ = ("inferred",)
    inferred: tuple[pa.Schema, pa.DataType, bool]


@dataclass(frozen=True, slots=True)
class Expression(_Inferred):
    """A node of an expression. Subclasses are a closed family."""

    @property
    def children(self) -> tuple[Expression, ...]:
        """The expressions directly below this one, in a fixed order."""
        return ()

    def with_children(self, children: tuple[Expression, ...]) -> Expression:
        """Rebuild the node over other children (as many as `children` has)."""
        return self


@dataclass(frozen=True, slots=True)
class Column(Expression):
    """A column of the operator's input, by name. In a join's residual, of either input."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, eq=False)
class Literal(Expression):
    """A constant. `value` is the Python value (None for null) that Arrow gives for `dtype`."""

    value: Any
    dtype: pa.DataType

    def _identity(self) -> tuple[str, str]:
        return (type_name(self.dtype), repr(self.value))

    def __eq__(self, other: object) -> bool:
        # By representation: NaN is the literal NaN, 0.0 is not -0.0, and True is not 1.
        return isinstance(other, Literal) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def __str__(self) -> str:
        return "null" if self.value is None else repr(self.value)


@dataclass(frozen=True, slots=True)
class Call(Expression):
    """A scalar function of the catalogue, applied to arguments."""

    function: str
    arguments: tuple[Expression, ...] = ()

    @property
    def children(self) -> tuple[Expression, ...]:
        return self.arguments

    def with_children(self, children: tuple[Expression, ...]) -> Call:
        return Call(self.function, children)

    def __str__(self) -> str:
        return f"{self.function}({', '.join(map(str, self.arguments))})"


@dataclass(frozen=True, slots=True)
class Cast(Expression):
    """A conversion to another type. `strict` fails on a value that has none; otherwise null."""

    operand: Expression
    dtype: pa.DataType
    strict: bool = True

    @property
    def children(self) -> tuple[Expression, ...]:
        return (self.operand,)

    def with_children(self, children: tuple[Expression, ...]) -> Cast:
        return replace(self, operand=children[0])

    def __str__(self) -> str:
        return f"{'cast' if self.strict else 'try_cast'}({self.operand} as {type_name(self.dtype)})"


@dataclass(frozen=True, slots=True)
class Case(Expression):
    """The value of the first branch whose condition is true; `otherwise`, or null, if none is.

    A later branch is not evaluated for a row that an earlier one took, as far as errors go.
    """

    branches: tuple[tuple[Expression, Expression], ...]
    otherwise: Expression | None = None

    @property
    def children(self) -> tuple[Expression, ...]:
        flat = tuple(expr for branch in self.branches for expr in branch)
        return flat if self.otherwise is None else (*flat, self.otherwise)

    def with_children(self, children: tuple[Expression, ...]) -> Case:
        count = 2 * len(self.branches)
        branches = tuple((children[i], children[i + 1]) for i in range(0, count, 2))
        return Case(branches, children[count] if len(children) > count else None)

    def __str__(self) -> str:
        whens = " ".join(f"when {condition} then {value}" for condition, value in self.branches)
        return f"case {whens}{'' if self.otherwise is None else f' else {self.otherwise}'} end"


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key of an order. Nulls go last unless asked for; NaN is greater than any number."""

    expression: Expression
    descending: bool = False
    nulls_first: bool = False

    def __str__(self) -> str:
        return (
            f"{self.expression}{' desc' if self.descending else ''}"
            f"{' nulls first' if self.nulls_first else ''}"
        )


@dataclass(frozen=True, slots=True)
class AggregateCall(Expression):
    """An aggregate function over the rows of a group.

    Attributes:
        function: name in the catalogue.
        arguments: evaluated per row.
        distinct: aggregate each distinct tuple of arguments once.
        where: only rows for which this is true take part.
        order_by: the order in which rows are fed to functions that depend on it.
    """

    function: str
    arguments: tuple[Expression, ...] = ()
    distinct: bool = False
    where: Expression | None = None
    order_by: tuple[SortKey, ...] = ()

    @property
    def children(self) -> tuple[Expression, ...]:
        where = () if self.where is None else (self.where,)
        return (*self.arguments, *where, *(key.expression for key in self.order_by))

    def with_children(self, children: tuple[Expression, ...]) -> AggregateCall:
        rest = iter(children)
        arguments = tuple(next(rest) for _ in self.arguments)
        where = None if self.where is None else next(rest)
        order_by = tuple(replace(key, expression=next(rest)) for key in self.order_by)
        return replace(self, arguments=arguments, where=where, order_by=order_by)

    def __str__(self) -> str:
        inner = ("distinct " if self.distinct else "") + ", ".join(map(str, self.arguments))
        order = f" order by {', '.join(map(str, self.order_by))}" if self.order_by else ""
        where = f" filter ({self.where})" if self.where is not None else ""
        return f"{self.function}({inner}{order}){where}"


@dataclass(frozen=True, slots=True)
class Frame:
    """The rows of a partition that a running aggregate sees.

    `start` and `end` are offsets from the current row (negative before it), or None for
    unbounded. `unit` is "rows", or "range" where only None and 0 are allowed and 0 takes all
    peers of the current row.
    """

    unit: OneOf["rows", "range"] = "rows"
    start: int | None = None
    end: int | None = 0

    def __str__(self) -> str:
        def side(offset: int | None, unbounded: str) -> str:
            if offset is None:
                return f"unbounded {unbounded}"
            if offset == 0:
                return "current row"
            return f"{abs(offset)} {'preceding' if offset < 0 else 'following'}"

        start, end = side(self.start, "preceding"), side(self.end, "following")
        return f"{self.unit} between {start} and {end}"


@dataclass(frozen=True, slots=True)
class WindowCall(Expression):
    """A window function, or an aggregate, over the partition of each row.

    Attributes:
        function: name of a window or aggregate function of the catalogue.
        arguments: evaluated per row.
        partition_by: rows with equal values share a partition; empty means one partition.
        order_by: the order inside a partition.
        frame: for aggregates. None means the whole partition without `order_by`, and
            "range between unbounded preceding and current row" with it, as in SQL.
    """

    function: str
    arguments: tuple[Expression, ...] = ()
    partition_by: tuple[Expression, ...] = ()
    order_by: tuple[SortKey, ...] = ()
    frame: Frame | None = None

    @property
    def children(self) -> tuple[Expression, ...]:
        keys = tuple(key.expression for key in self.order_by)
        return (*self.arguments, *self.partition_by, *keys)

    def with_children(self, children: tuple[Expression, ...]) -> WindowCall:
        rest = iter(children)
        arguments = tuple(next(rest) for _ in self.arguments)
        partition_by = tuple(next(rest) for _ in self.partition_by)
        order_by = tuple(replace(key, expression=next(rest)) for key in self.order_by)
        return replace(self, arguments=arguments, partition_by=partition_by, order_by=order_by)

    def __str__(self) -> str:
        parts = []
        if self.partition_by:
            parts.append(f"partition by {', '.join(map(str, self.partition_by))}")
        if self.order_by:
            parts.append(f"order by {', '.join(map(str, self.order_by))}")
        if self.frame is not None:
            parts.append(str(self.frame))
        return f"{self.function}({', '.join(map(str, self.arguments))}) over ({' '.join(parts)})"


def walk(expression: Expression) -> Iterator[Expression]:
    """Yield the expression and everything below it, parents first.

    >>> [str(e) for e in walk(Call("add", (Column("a"), Column("b"))))]
    ['add(a, b)', 'a', 'b']
    """
    stack = [expression]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children))


#: Nodes of a level beyond which those that stand in it several times are looked for.
_WIDE = 32


def depth(expression: Expression) -> int:
    """Count the expressions on the longest path inside an expression, itself included.

    >>> depth(Call("add", (Column("a"), Call("abs", (Column("b"),)))))
    3
    """
    deepest, level = 0, [expression]
    while level:
        deepest += 1
        level = [child for node in level for child in node.children]
        if len(level) > _WIDE:  # a node that stands in several places of a level counts once
            level = list({id(child): child for child in level}.values())
    return deepest


def check_depth(expression: Expression) -> None:
    """Raise `PlanError` if an expression is nested too deep to be worked on or written down."""
    found = depth(expression)
    if found > MAX_EXPRESSION_DEPTH:
        raise PlanError(
            f"an expression is nested {found:,} deep, and at most {MAX_EXPRESSION_DEPTH} is allowed",
            hint="compute it in several steps, as with several .with_columns(...)",
        )


def transform(expression: Expression, change: Callable[[Expression], Expression]) -> Expression:
    """Rebuild an expression bottom-up, passing every node through `change`.

    Raises:
        PlanError: the expression is nested too deep.

    >>> rename = lambda e: Column("x") if e == Column("a") else e
    >>> str(transform(Call("add", (Column("a"), Column("b"))), rename))
    'add(x, b)'
    """
    check_depth(expression)
    return _transform(expression, change)


def _transform(expression: Expression, change: Callable[[Expression], Expression]) -> Expression:
    old = expression.children
    new = tuple(_transform(child, change) for child in old)
    if any(a is not b for a, b in zip(old, new, strict=True)):
        expression = expression.with_children(new)
    return change(expression)


def columns_of(*expressions: Expression) -> frozenset[str]:
    """Name the columns that expressions read.

    >>> sorted(columns_of(Call("add", (Column("a"), Column("b")))))
    ['a', 'b']
    """
    names: set[str] = set()
    stack: list[Expression] = list(expressions)
    while stack:
        node = stack.pop()
        if isinstance(node, Column):
            names.add(node.name)
        else:
            stack.extend(node.children)
    return frozenset(names)


def substitute(expression: Expression, definitions: dict[str, Expression]) -> Expression:
    """Replace columns by the expressions that define them.

    >>> str(substitute(Column("a"), {"a": Call("abs", (Column("b"),))}))
    'abs(b)'
    """

    def change(node: Expression) -> Expression:
        return definitions.get(node.name, node) if isinstance(node, Column) else node

    return transform(expression, change)

"""Relations of a statement while it is bound: like a plan's operators, but they may be correlated.

A column has a name that is unique in the whole statement, so that a subquery can name a column of
the query around it: such columns are *free* in the subquery. `umbel.sql.reading.unnest` rewrites
relations until none is free, and `umbel.sql.reading.lower` makes operators of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Literal as OneOf

from umbel.dataclass import dataclass
from umbel.plan.expressions import (
    AggregateCall,
    Expression,
    SortKey,
    WindowCall,
    columns_of,
)
from umbel.plan.operators import Operator

How = OneOf["inner", "left", "right", "full", "semi", "anti", "single", "mark"]
Named = tuple[str, Expression]


@dataclass(frozen=True, eq=False)
class Relation(ABC):
    """A bag of rows. `columns` are the names it gives, `free` those that it takes from outside."""

    @property
    def inputs(self) -> tuple[Relation, ...]:
        """The relations that feed this one."""
        return ()

    @property
    def own(self) -> tuple[Expression, ...]:
        """The expressions of this node, over its inputs' columns."""
        return ()

    @property
    @abstractmethod
    def columns(self) -> tuple[str, ...]:
        """The names of the columns."""

    @cached_property
    def free(self) -> frozenset[str]:
        """Columns that are read here and given by no input."""
        given: set[str] = set()
        needed: set[str] = set(columns_of(*self.own))
        for item in self.inputs:
            given.update(item.columns)
            needed.update(item.free)
        return frozenset(needed - given)


@dataclass(frozen=True, eq=False)
class Leaf(Relation):
    """A finished operator, whose columns are renamed by position."""

    operator: Operator
    names: tuple[str, ...]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return self.names

    @cached_property
    def free(self) -> frozenset[str]:
        return frozenset()


@dataclass(frozen=True, eq=False)
class Unary(Relation):
    """A relation over one other."""

    input: Relation

    @property
    def inputs(self) -> tuple[Relation, ...]:
        return (self.input,)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return self.input.columns


@dataclass(frozen=True, eq=False)
class Filter(Unary):
    """The rows for which all conditions are true."""

    conditions: tuple[Expression, ...]

    @property
    def own(self) -> tuple[Expression, ...]:
        return self.conditions


@dataclass(frozen=True, eq=False)
class Extend(Unary):
    """The input's columns and more."""

    items: tuple[Named, ...]

    @property
    def own(self) -> tuple[Expression, ...]:
        return tuple(expression for _, expression in self.items)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return (*self.input.columns, *(name for name, _ in self.items))


@dataclass(frozen=True, eq=False)
class Keep(Unary):
    """Only some of the input's columns."""

    names: tuple[str, ...]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return self.names


@dataclass(frozen=True, eq=False)
class Group(Unary):
    """One row per group; exactly one if there are no keys."""

    keys: tuple[Named, ...]
    aggregates: tuple[tuple[str, AggregateCall], ...]

    @property
    def own(self) -> tuple[Expression, ...]:
        return tuple(expression for _, expression in (*self.keys, *self.aggregates))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name, _ in (*self.keys, *self.aggregates))


@dataclass(frozen=True, eq=False)
class Windows(Unary):
    """The input's columns and window functions."""

    items: tuple[tuple[str, WindowCall], ...]

    @property
    def own(self) -> tuple[Expression, ...]:
        return tuple(expression for _, expression in self.items)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return (*self.input.columns, *(name for name, _ in self.items))


@dataclass(frozen=True, eq=False)
class Order(Unary):
    """The input in order."""

    keys: tuple[SortKey, ...]

    @property
    def own(self) -> tuple[Expression, ...]:
        return tuple(key.expression for key in self.keys)


@dataclass(frozen=True, eq=False)
class Slice(Unary):
    """At most `count` rows after `offset`."""

    count: int | None
    offset: int = 0


@dataclass(frozen=True, eq=False)
class Unique(Unary):
    """Each distinct row once."""


@dataclass(frozen=True, eq=False)
class Unfold(Unary):
    """One row per item of a list column; the column becomes the item."""

    column: str
    outer: bool = False


@dataclass(frozen=True, eq=False)
class Join(Relation):
    """Pairs of rows for which all conditions are true.

    The right side may read columns of the left one (a dependent join). `single` is a left join
    whose right side has at most one row for each row of the left: a scalar subquery. `mark` gives
    the left rows with a boolean, in column `mark`: whether a pair exists.
    """

    how: How
    left: Relation
    right: Relation
    conditions: tuple[Expression, ...] = ()
    mark: str = ""

    @property
    def inputs(self) -> tuple[Relation, ...]:
        return (self.left, self.right)

    @property
    def own(self) -> tuple[Expression, ...]:
        return self.conditions

    @cached_property
    def columns(self) -> tuple[str, ...]:
        if self.how in ("semi", "anti"):
            return self.left.columns
        if self.how == "mark":
            return (*self.left.columns, self.mark)
        return (*self.left.columns, *self.right.columns)


@dataclass(frozen=True, eq=False)
class Merge(Relation):
    """A set operation; columns go by position.

    Attributes:
        kind: union, intersect or except.
        members: the inputs.
        taken: for each input its columns, in the order of `names`.
        names: the names of the result.
        distinct: each row once; only `union` can do without.
    """

    kind: OneOf["union", "intersect", "except"]
    members: tuple[Relation, ...]
    taken: tuple[tuple[str, ...], ...]
    names: tuple[str, ...]
    distinct: bool

    @property
    def inputs(self) -> tuple[Relation, ...]:
        return self.members

    @cached_property
    def columns(self) -> tuple[str, ...]:
        return self.names

    @cached_property
    def free(self) -> frozenset[str]:
        return frozenset().union(*(member.free for member in self.members))

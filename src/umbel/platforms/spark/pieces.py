"""A stage cut into pieces: SQL statements, and parts that run in Spark's Python workers.

Cutting needs no Spark, so that a plan can be explained without starting one. Pieces run lazily:
Spark optimizes all of a stage's pieces as one job, except where something must be computed once
because several read it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import field
from typing import Any

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.plan.errors import PlanError
from umbel.plan.operators import (
    Broadcast,
    Cartesian,
    CoGroup,
    Count,
    Distinct,
    Except,
    Explode,
    Filter,
    FilterRows,
    FlatMap,
    GroupBy,
    GroupByKey,
    Intersect,
    JoinByKey,
    Limit,
    Map,
    MapPartitions,
    Operator,
    Placeholder,
    Project,
    Reduce,
    ReduceBy,
    ReduceByKey,
    Rows,
    Scan,
    SortBy,
    ToFrame,
    Union,
    Values,
    ZipWithId,
    consumers,
    topological,
)
from umbel.plan.sources import MemorySource, TextSource
from umbel.plan.types import is_object
from umbel.platforms.spark.workers import KeyOf, first_of, itself

#: Work that a worker does on each batch by itself.
NARROW = (Map, FlatMap, FilterRows, MapPartitions, ToFrame, Rows, Project, Filter, Explode)
#: Work on all elements with equal keys.
BY_KEY = (
    ReduceByKey, ReduceBy, GroupByKey, GroupBy, JoinByKey, CoGroup, Distinct, Intersect, Except,
)  # fmt: skip
#: Work on all elements in one place.
IN_ONE = (Reduce, SortBy, Limit)
PYTHON_WORK = (*NARROW, *BY_KEY, *IN_ONE, Broadcast, Cartesian, Count, Union, ZipWithId)


def is_pickled(operator: Operator) -> bool:
    """Whether an operator's elements travel pickled, because no column can hold them."""
    return any(is_object(column.type) for column in operator.schema)


def _nothing() -> Operator:
    return Placeholder(label="", columns=pa.schema([]))


@dataclass(eq=False)
class Piece:
    """A part of a stage.

    Attributes:
        root: the operator whose output the piece gives.
        inputs: the pieces that it reads.
        keep: the output is computed once and kept, because several read it.
    """

    root: Operator
    inputs: list[Piece] = field(default_factory=list)
    keep: bool = False

    @property
    def schema(self) -> pa.Schema | None:
        """The plan's columns of the output; None where elements are pickled."""
        return None if is_pickled(self.root) else self.root.schema

    def describe(self) -> str:
        """Say in a line what the piece does."""
        return f"{self.root.name}: {self.root.describe()}"


@dataclass(eq=False)
class Leaf(Piece):
    """A scan, constant rows or an input of the stage."""


@dataclass(eq=False)
class Query(Piece):
    """An SQL statement.

    Attributes:
        plan: the operators, with placeholders for the pieces that it reads.
        labels: the placeholders' names, in the order of `inputs`.
    """

    plan: Operator = field(default_factory=_nothing)
    labels: list[str] = field(default_factory=list)

    def describe(self) -> str:
        """The statement, with made-up names for what it reads."""
        return self.statement(dict(zip(self.labels, self.labels, strict=True)))

    def statement(self, views: dict[str, str]) -> str:
        """Write the statement over views, given by label."""
        from umbel.platforms.spark.dialect import DIALECT, statement
        from umbel.platforms.spark.scans import Views
        from umbel.sql.compiler import compile_plan

        scans = {
            id(piece.root): views[label]
            for label, piece in zip(self.labels, self.inputs, strict=True)
        }
        return statement(compile_plan(self.plan, DIALECT, Views(views, scans)))


@dataclass(eq=False)
class Work(Piece):
    """Operators that run in Python workers.

    Attributes:
        plan: the operators, with placeholders for what they read.
        labels: the placeholders' names, in the order of `inputs`.
        sides: side inputs by label, which every worker gets whole.
        keys: for each input by what its elements are brought together; empty if they are not.
        before: the plan that each worker runs before elements move to where their key is.
        in_one: all elements are brought to one worker.
        numbered: elements leave with a number.
    """

    plan: Operator = field(default_factory=_nothing)
    labels: list[str] = field(default_factory=list)
    sides: dict[str, Piece] = field(default_factory=dict)
    keys: list[KeyOf] = field(default_factory=list)
    before: Operator | None = None
    in_one: bool = False
    numbered: bool = False

    def describe(self) -> str:
        """The operators, in the order in which elements pass them."""
        names = [
            f"{operator.name}({operator.describe()})"
            for operator in topological(self.plan)
            if not isinstance(operator, Placeholder)
        ]
        how = "shuffle, then " if self.keys else "in one worker: " if self.in_one else ""
        return f"Python workers: {how}{' > '.join(names)}"


@dataclass(eq=False)
class Pairs(Piece):
    """Every element of the left piece with every element of the right one."""


@dataclass(eq=False)
class Total(Piece):
    """The number of pickled elements."""


@dataclass(eq=False)
class Together(Piece):
    """The pickled elements of all pieces read."""


class Cutter:
    """Cuts a stage into pieces.

    Args:
        root: the stage's root.
        in_sql: whether an operator has a form in SQL.
    """

    def __init__(self, root: Operator, in_sql: Callable[[Operator], bool]) -> None:
        self._in_sql = in_sql
        self._shared = {id(op) for op, readers in _read_often(root)}
        self._pieces: dict[int, Piece] = {}
        self._labels = 0

    def cut(self, operator: Operator) -> Piece:
        """Give the piece whose output is an operator's."""
        if id(operator) not in self._pieces:
            piece = self._make(operator)
            piece.keep = id(operator) in self._shared and not isinstance(piece, Leaf)
            self._pieces[id(operator)] = piece
        return self._pieces[id(operator)]

    def _make(self, operator: Operator) -> Piece:
        if isinstance(operator, Scan | Values | Placeholder) and (
            is_pickled(operator) or not isinstance(operator, Scan)
        ):
            return Leaf(operator)
        if isinstance(operator, Scan) and _gives_all(operator):
            return Leaf(operator)
        pickled = is_pickled(operator) or any(map(is_pickled, operator.inputs))
        if not pickled and self._in_sql(operator):
            return self._query(operator)
        match operator:
            case Count():
                return Total(operator, [self.cut(operator.input)])
            case Union():
                return self._union(operator)
            case Cartesian():
                return self._cartesian(operator)
            case Broadcast():
                return self.cut(operator.input)
        return self._work(operator)

    # Pieces of SQL

    def _query(self, root: Operator) -> Query:
        leaves: dict[int, tuple[str, Piece]] = {}

        def belongs(operator: Operator) -> bool:
            if isinstance(operator, Placeholder | Values | Scan):
                return False
            if is_pickled(operator) or any(map(is_pickled, operator.inputs)):
                return False
            return self._in_sql(operator) and not self._cut_off(operator)

        plan = self._replaced(root, belongs, leaves)
        labels = [label for label, _ in leaves.values()]
        return Query(root, [piece for _, piece in leaves.values()], plan=plan, labels=labels)

    def _cut_off(self, operator: Operator) -> bool:
        """Whether an operator's rows must be the same for all readers, so that it is computed once."""
        return id(operator) in self._shared and any(
            isinstance(below, Limit) or not self._in_sql(below) for below in topological(operator)
        )

    def _replaced(
        self,
        root: Operator,
        belongs: Callable[[Operator], bool],
        leaves: dict[int, tuple[str, Piece]],
    ) -> Operator:
        """Put placeholders in the place of what does not belong to a piece."""
        made: dict[int, Operator] = {}

        def build(operator: Operator) -> Operator:
            if id(operator) in made:
                return made[id(operator)]
            if isinstance(operator, Scan) or not (operator is root or belongs(operator)):
                built = self._leaf(operator, leaves)
            else:
                built = operator.with_inputs(tuple(map(build, operator.inputs)))
            made[id(operator)] = built
            return built

        return build(root)

    def _leaf(self, operator: Operator, leaves: dict[int, tuple[str, Piece]]) -> Operator:
        if isinstance(operator, Scan) and not is_pickled(operator):
            if id(operator) not in leaves:
                leaves[id(operator)] = (self._label(), Leaf(operator))
            return operator
        if id(operator) not in leaves:
            leaves[id(operator)] = (self._label(), self.cut(operator))
        return Placeholder(
            label=leaves[id(operator)][0], columns=operator.schema, form=operator.element
        )

    def _label(self) -> str:
        self._labels += 1
        return f"input_{self._labels - 1}"

    # Pieces of Python

    def _work(self, root: Operator) -> Work:
        if not isinstance(root, PYTHON_WORK):
            raise PlanError(f"Spark does not run {root.name}")
        if isinstance(root, NARROW):
            return self._narrow(root)
        sides: dict[str, Piece] = {}
        labels, inputs, placed = [], [], []
        for child in root.inputs:
            if isinstance(child, Broadcast):
                placed.append(self._side(child, sides))
                continue
            label = self._label()
            labels.append(label)
            inputs.append(self.cut(child))
            placed.append(Placeholder(label=label, columns=child.schema, form=child.element))
        plan = root.with_inputs(tuple(placed))
        work = Work(root, inputs, plan=plan, labels=labels, sides=sides)
        match root:
            case ReduceByKey():
                work.keys, work.before = [first_of], plan
            case GroupByKey():
                work.keys = [first_of]
            case JoinByKey() | CoGroup():
                work.keys = [first_of, first_of]
            case ReduceBy() | GroupBy() if not root.key.broadcast:
                work.keys = [_Keys(root.key.callable())]
            case Distinct():
                work.keys, work.before = [itself], plan
            case Intersect() | Except():
                work.keys = [itself, itself]
            case ZipWithId():
                work.numbered = True
                work.plan = placed[0]
            case Reduce():
                work.before, work.in_one = plan, True
            case _:
                work.in_one = True
        return work

    def _narrow(self, root: Operator) -> Work:
        leaves: dict[int, tuple[str, Piece]] = {}
        sides: dict[str, Piece] = {}

        def build(operator: Operator) -> Operator:
            follows = operator is root or (
                isinstance(operator, NARROW)
                and id(operator) not in self._shared
                and (
                    is_pickled(operator)
                    or is_pickled(operator.inputs[0])
                    or not self._in_sql(operator)
                )
            )
            if not follows:
                if id(operator) not in leaves:
                    leaves[id(operator)] = (self._label(), self.cut(operator))
                label = leaves[id(operator)][0]
                return Placeholder(label=label, columns=operator.schema, form=operator.element)
            first, *others = operator.inputs
            placed = [self._side(o, sides) for o in others if isinstance(o, Broadcast)]
            return operator.with_inputs((build(first), *placed))

        plan = build(root)
        ((label, piece),) = leaves.values()
        return Work(root, [piece], plan=plan, labels=[label], sides=sides)

    def _side(self, broadcast: Broadcast, sides: dict[str, Piece]) -> Operator:
        """Let a side input be bound whole, in every worker."""
        label = self._label()
        source = broadcast.input
        sides[label] = self.cut(source)
        stand_in = Placeholder(label=label, columns=source.schema, form=source.element)
        return broadcast.with_inputs((stand_in,))

    def _union(self, union: Union) -> Piece:
        together = Together(union, [self.cut(member) for member in union.members])
        if not union.distinct:
            return together
        label = self._label()
        plan = Distinct(
            input=Placeholder(label=label, columns=union.schema, form=union.element),
            origin=union.origin,
        )
        return Work(union, [together], plan=plan, labels=[label], keys=[itself], before=plan)

    def _cartesian(self, operator: Cartesian) -> Piece:
        return Pairs(operator, [self.cut(operator.left), self.cut(operator.right)])


def _gives_all(scan: Scan) -> bool:
    """Whether a scan gives what its source's DataFrame holds, as it is."""
    plain = isinstance(scan.source, MemorySource | TextSource)
    return plain and scan.predicate is None and scan.schema == scan.source.schema


@dataclass(frozen=True)
class _Keys:
    """A user's key function as the key of buckets; it fails where the error is made, not here."""

    function: Callable[..., Any]

    def __call__(self, element: Any) -> Any:
        try:
            return self.function(element)
        except Exception:  # noqa: BLE001 (it fails again in the operator, which says for what)
            return None


def _read_often(root: Operator) -> Iterator[tuple[Operator, int]]:
    readers = consumers(root)
    for operator in topological(root):
        count = len(readers[id(operator)])
        if count > 1 and operator.inputs:
            yield operator, count


def all_pieces(root: Piece) -> Sequence[Piece]:
    """List the pieces of a stage, each before those that read it."""
    found: dict[int, Piece] = {}

    def visit(piece: Piece) -> None:
        if id(piece) in found:
            return
        below = [*piece.inputs, *(piece.sides.values() if isinstance(piece, Work) else ())]
        for child in below:
            visit(child)
        found[id(piece)] = piece

    visit(root)
    return list(found.values())

"""What every operator of a plan has: inputs, a schema, a form of element, and an identity.

Operators are immutable. Two operators are equal when their digests are, that is when they are
of the same class, with the same arguments, over equal inputs; the line that wrote them and the
code of Python functions do not count. A plan is a DAG: one operator may feed many.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import field, fields, replace
from functools import cached_property
from typing import Any, Self

import pyarrow as pa

from umbel.plan.errors import PlanError
from umbel.plan.expressions import Call, Column
from umbel.plan.origin import Origin
from umbel.plan.records import KeywordRecord
from umbel.plan.types import OBJECT


class Element(enum.Enum):
    """How a row of an operator's output looks to a Python function, and to `collect()`.

    ROW: a row of a DataFrame; collected as an Arrow table.
    RECORD: a named tuple, one field per column.
    VALUE: the bare value of the only column, `value`.
    TUPLE: a tuple, one item per column; columns are `item_0`, `item_1`, …. A column of struct
        type whose fields are `item_0`, `item_1`, … holds tuples.
    OBJECT: any Python value, in the only column `value` of type `object`.
    """

    ROW = "row"
    RECORD = "record"
    VALUE = "value"
    TUPLE = "tuple"
    OBJECT = "object"


#: The schema of a collection of Python objects.
OBJECT_SCHEMA = pa.schema([pa.field("value", OBJECT)])


class Operator(KeywordRecord):
    """A node of a plan. Subclasses hold their arguments as fields.

    Attributes:
        origin: the line of the user's script that wrote it.
        pin: name of the platform that must run it; empty leaves the choice to the optimizer.
    """

    origin: Origin | None = field(default=None, repr=False)
    pin: str = ""

    @property
    def name(self) -> str:
        """The operator's name, as in plans and messages."""
        return type(self).__name__

    @property
    def inputs(self) -> tuple[Operator, ...]:
        """The operators that feed this one, in a fixed order."""
        return ()

    def with_inputs(self, inputs: tuple[Operator, ...]) -> Self:
        """Rebuild the operator over other inputs; checks run again."""
        if inputs:
            raise PlanError(f"{self.name} takes no inputs")
        return self

    def _over(self, **inputs: Any) -> Self:
        """Rebuild over other inputs; what is checked and inferred depends on their form only."""
        if all(same_form(getattr(self, name), new) for name, new in inputs.items()):
            return self._copied(inputs, {"schema": self.schema})
        over = self._copied(inputs, {})
        over.__post_init__()
        return over

    @cached_property
    def schema(self) -> pa.Schema:
        """The columns of the output."""
        raise PlanError(f"{self.name} has no schema")

    @property
    def element(self) -> Element:
        """The form of the output's elements."""
        return Element.ROW

    def arguments(self) -> Iterator[tuple[str, Any]]:
        """Yield the fields that define the operator, without inputs and bookkeeping."""
        for item in fields(self):
            if item.name == "origin" or item.metadata.get("input") or not item.compare:
                continue
            if item.name == "pin" and not self.pin:
                continue
            yield item.name, getattr(self, item.name)

    @cached_property
    def below(self) -> tuple[Operator, ...]:
        """Every operator below this one once, inputs before consumers; see `topological`.

        Without the operator itself: a plan that refers to itself would be kept, with all its data,
        until Python looks for cycles.
        """
        return tuple(_ordered(self.inputs))

    @cached_property
    def places(self) -> frozenset[str]:
        """The platforms in which the tables lie that the operator's rows come from."""
        if any("places" not in child.__dict__ for child in self.inputs):
            for operator in self.below:  # inputs first, so that none asks deeper than its inputs
                _ = operator.places
        return frozenset().union(*(child.places for child in self.inputs))

    @cached_property
    def digest(self) -> str:
        """Identifies what the operator computes: 32 hexadecimal digits."""
        content = hashlib.sha256(self.name.encode())
        for key, value in self.arguments():
            content.update(f"|{key}={_canonical(value)}".encode())
        for operator in self.inputs:
            content.update(operator.digest.encode())
        return content.hexdigest()[:32]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Operator) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def pinned(self, platform: str) -> Self:
        """The same operator, to be run on the named platform."""
        return replace(self, pin=platform)

    def describe(self) -> str:
        """Give the operator's arguments in a line, for people."""
        return ""


def _canonical(value: Any) -> str:
    """A text that is equal for equal argument values, whatever process makes it."""
    if isinstance(value, Operator):
        return value.digest
    if isinstance(value, pa.Schema):
        return ";".join(f"{f.name}:{f.type}:{f.nullable}" for f in value)
    if isinstance(value, pa.Table):
        return table_digest(value)
    if isinstance(value, tuple):
        return "(" + ",".join(map(_canonical, value)) + ")"
    # Most nodes of expressions are these two; a dataclass's own repr is slow.
    if isinstance(value, Column):
        return f"column {value.name!r}"
    if isinstance(value, Call):
        return f"{value.function}({','.join(map(_canonical, value.arguments))})"
    return repr(value)


def table_digest(table: pa.Table) -> str:
    """Identify the content of a table, however it is cut into pieces: 64 hexadecimal digits."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return hashlib.sha256(sink.getvalue()).hexdigest()


class Unary(Operator):
    """An operator with one input."""

    input: Operator = field(metadata={"input": True}, repr=False)

    @property
    def inputs(self) -> tuple[Operator, ...]:
        return (self.input,)

    def with_inputs(self, inputs: tuple[Operator, ...]) -> Self:
        (only,) = inputs
        return self if only is self.input else self._over(input=only)


class Binary(Operator):
    """An operator with a left and a right input."""

    left: Operator = field(metadata={"input": True}, repr=False)
    right: Operator = field(metadata={"input": True}, repr=False)

    @property
    def inputs(self) -> tuple[Operator, ...]:
        return (self.left, self.right)

    def with_inputs(self, inputs: tuple[Operator, ...]) -> Self:
        left, right = inputs
        if left is self.left and right is self.right:
            return self
        return self._over(left=left, right=right)


def topological(*roots: Operator) -> list[Operator]:
    """List every operator below `roots` once, inputs before consumers.

    Operators are told apart by identity, so equal ones written twice appear twice.
    """
    if len(roots) == 1:
        return [*roots[0].below, roots[0]]
    return _ordered(roots)


def _ordered(roots: Sequence[Operator]) -> list[Operator]:
    order: list[Operator] = []
    done: set[int] = set()
    stack = list(reversed(roots))
    while stack:
        operator = stack[-1]
        if id(operator) in done:
            stack.pop()
            continue
        ahead = [child for child in operator.inputs if id(child) not in done]
        if ahead:
            stack.extend(reversed(ahead))
        else:
            done.add(id(operator))
            order.append(operator)
            stack.pop()
    return order


def rebuild(root: Operator, change: Callable[[Operator], Operator]) -> Operator:
    """Rebuild a plan bottom-up; each operator, over its new inputs, passes through `change` once.

    Shared operators stay shared.
    """
    new: dict[int, Operator] = {}
    for operator in topological(root):
        inputs = tuple(new[id(child)] for child in operator.inputs)
        new[id(operator)] = change(operator.with_inputs(inputs))
    return new[id(root)]


def consumers(*roots: Operator) -> dict[int, list[Operator]]:
    """Map the identity of each operator to the operators that read it (once per reading)."""
    found: dict[int, list[Operator]] = {}
    for operator in topological(*roots):
        found.setdefault(id(operator), [])
        for child in operator.inputs:
            found[id(child)].append(operator)
    return found


def same_form(one: Operator, other: Operator) -> bool:
    """Whether what reads one operator can read the other: equal columns, in the same form."""
    return one.element is other.element and one.schema.equals(other.schema)


def same_schema(schemas: Sequence[pa.Schema]) -> bool:
    """Whether schemas have the same names and types in the same order."""
    first = schemas[0]
    return all(s.names == first.names and s.types == first.types for s in schemas[1:])

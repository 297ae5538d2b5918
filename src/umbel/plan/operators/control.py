"""Operators that steer: loops over a body plan, the placeholders inside it, and sinks."""

from __future__ import annotations

from dataclasses import field, replace
from functools import cached_property
from typing import Self

import pyarrow as pa

from umbel.plan.errors import PlanError
from umbel.plan.operators.base import Element, Operator, Unary, topological
from umbel.plan.operators.relational import check_names
from umbel.plan.sinks import Sink


class Placeholder(Operator):
    """An input that is bound later: of a loop's body, or of a stage."""

    label: str
    columns: pa.Schema
    form: Element = Element.ROW

    @cached_property
    def schema(self) -> pa.Schema:
        return self.columns

    @property
    def element(self) -> Element:
        return self.form

    def describe(self) -> str:
        return self.label


class Loop(Operator):
    """An operator that applies a body plan again and again.

    Attributes:
        initial: what the first round reads.
        invariants: what every round reads unchanged; computed once.
        body: a plan over placeholders: `labels[0]` is the round's input, the others stand for
            the invariants, in order.
        labels: the placeholders' names.
    """

    initial: Operator = field(metadata={"input": True}, repr=False)
    invariants: tuple[Operator, ...] = field(default=(), metadata={"input": True}, repr=False)
    body: Operator = field(repr=False)
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        check_names(list(self.labels))
        if len(self.labels) != 1 + len(self.invariants):
            raise PlanError(f"{self.name} has {len(self.invariants)} invariants, {self.labels}")
        self._check_body(self.body)
        if self.body.schema.names != self.initial.schema.names:
            raise PlanError(
                f"the body of {self.name} must give what it takes: "
                f"{', '.join(self.initial.schema.names)}, not {', '.join(self.body.schema.names)}"
            )

    def _check_body(self, body: Operator) -> None:
        for operator in topological(body):
            if isinstance(operator, Placeholder) and operator.label not in self.labels:
                raise PlanError(f"{self.name} does not bind placeholder {operator.label!r}")

    @property
    def inputs(self) -> tuple[Operator, ...]:
        return (self.initial, *self.invariants)

    def with_inputs(self, inputs: tuple[Operator, ...]) -> Self:
        if all(a is b for a, b in zip(inputs, self.inputs, strict=True)):
            return self
        return replace(self, initial=inputs[0], invariants=inputs[1:])

    @cached_property
    def schema(self) -> pa.Schema:
        return self.body.schema

    @property
    def element(self) -> Element:
        return self.body.element

    @property
    def expected_rounds(self) -> int:
        """How many rounds the optimizer reckons with."""
        raise PlanError(f"{self.name} has no number of rounds")


class Repeat(Loop):
    """The body, applied `times` times."""

    times: int

    def __post_init__(self) -> None:
        if self.times < 0:
            raise PlanError(f"a loop cannot run {self.times} times")
        super().__post_init__()

    @property
    def expected_rounds(self) -> int:
        return self.times

    def describe(self) -> str:
        return f"{self.times} times"


class DoWhile(Loop):
    """The body, applied until `condition` over its result is false; at least once.

    Attributes:
        condition: a plan over the placeholder `labels[0]` (the round's result) that gives one
            boolean.
        expected: rounds to reckon with when planning.
        limit: rounds after which the run fails, so that no loop is endless.
    """

    condition: Operator = field(repr=False)
    expected: int = 10
    limit: int = 10_000

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_body(self.condition)
        if self.limit < 1 or self.expected < 1:
            raise PlanError("a loop's limit and expected rounds must be at least 1")

    @property
    def expected_rounds(self) -> int:
        return min(self.expected, self.limit)

    def describe(self) -> str:
        return f"about {self.expected} times, at most {self.limit}"


class Write(Unary):
    """A sink: writes its input; gives one row with its path, or table, and the rows written."""

    sink: Sink

    def __post_init__(self) -> None:
        self.sink.check(self.input.schema, self.input.element.value)

    @cached_property
    def schema(self) -> pa.Schema:
        return pa.schema(
            [
                pa.field("path", pa.string(), nullable=False),
                pa.field("rows", pa.int64(), nullable=False),
            ]
        )

    def describe(self) -> str:
        return self.sink.describe()

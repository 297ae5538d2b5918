"""Operators on sets of rows: distinct rows, unions, intersections and differences.

The inputs of one operator have the same columns. Nulls equal nulls here, and NaN equals NaN.
"""

from __future__ import annotations

from dataclasses import field, replace
from functools import cached_property
from typing import Self

import pyarrow as pa

from umbel.plan.errors import PlanError, TypeClashError
from umbel.plan.operators.base import Binary, Element, Operator, Unary
from umbel.plan.types import common_type


class Distinct(Unary):
    """Each distinct row once; nulls equal nulls here, and NaN equals NaN."""

    @cached_property
    def schema(self) -> pa.Schema:
        return self.input.schema

    @property
    def element(self) -> Element:
        return self.input.element


class Union(Operator):
    """The rows of all inputs; `distinct` keeps each distinct row once."""

    members: tuple[Operator, ...] = field(metadata={"input": True}, repr=False)
    distinct: bool = False

    def __post_init__(self) -> None:
        check_set_operation("union", self.members)

    @property
    def inputs(self) -> tuple[Operator, ...]:
        return self.members

    def with_inputs(self, inputs: tuple[Operator, ...]) -> Self:
        if all(a is b for a, b in zip(inputs, self.members, strict=True)):
            return self
        return replace(self, members=inputs)

    @cached_property
    def schema(self) -> pa.Schema:
        return set_operation_schema(self.members)

    @property
    def element(self) -> Element:
        return self.members[0].element

    def describe(self) -> str:
        return "distinct" if self.distinct else "all"


class Intersect(Binary):
    """The distinct rows that are in both inputs."""

    def __post_init__(self) -> None:
        check_set_operation("intersect", self.inputs)

    @cached_property
    def schema(self) -> pa.Schema:
        return set_operation_schema(self.inputs)

    @property
    def element(self) -> Element:
        return self.left.element


class Except(Binary):
    """The distinct rows of the left input that are not in the right one."""

    def __post_init__(self) -> None:
        check_set_operation("except", self.inputs)

    @cached_property
    def schema(self) -> pa.Schema:
        return set_operation_schema(self.inputs)

    @property
    def element(self) -> Element:
        return self.left.element


def check_set_operation(what: str, inputs: tuple[Operator, ...]) -> None:
    """Raise unless all inputs have the same columns, up to types that unify."""
    if len(inputs) < 2 and what != "union":
        raise PlanError(f"{what} needs two inputs")
    first = inputs[0].schema
    for operator in inputs[1:]:
        if operator.schema.names != first.names:
            raise PlanError(
                f"the inputs of {what} have different columns: "
                f"{', '.join(first.names)} and {', '.join(operator.schema.names)}",
                hint="select the same columns in the same order on both sides",
            )
        for left, right in zip(first, operator.schema, strict=True):
            try:
                common_type(left.type, right.type)
            except TypeClashError as error:
                raise TypeClashError(
                    f"column {left.name!r} of {what}: {error.message}", hint=error.hint
                ) from None


def set_operation_schema(inputs: tuple[Operator, ...]) -> pa.Schema:
    """Unify the inputs' columns; a column is nullable if it is in any input."""
    fields = list(inputs[0].schema)
    for operator in inputs[1:]:
        fields = [
            pa.field(a.name, common_type(a.type, b.type), a.nullable or b.nullable)
            for a, b in zip(fields, operator.schema, strict=True)
        ]
    return pa.schema(fields)


__all__ = [
    "Distinct",
    "Except",
    "Intersect",
    "Union",
    "check_set_operation",
    "set_operation_schema",
]

"""Operators on collections of Python values, each run by a Python function of the user's.

Results of Python functions are Python objects, of no known type; the optimizer's rule `lift`
replaces these operators by relational ones where it can prove the two equal. Keys are compared
as Python compares them (`1 == 1.0 == True`), and must be hashable.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field, replace
from functools import cached_property
from typing import Any, Self, TypeGuard

import pyarrow as pa

from umbel.plan.errors import PlanError
from umbel.plan.function_ref import PythonFunction
from umbel.plan.operators.base import OBJECT_SCHEMA, Binary, Element, Operator, Unary
from umbel.plan.operators.relational import check_names
from umbel.plan.types import INT64, is_object


class Broadcast(Unary):
    """A side input: collected into a list and handed to a function under the keyword `keyword`."""

    keyword: str

    @cached_property
    def schema(self) -> pa.Schema:
        return self.input.schema

    @property
    def element(self) -> Element:
        return self.input.element

    def describe(self) -> str:
        return self.keyword


class Functional(Operator):
    """An operator that applies Python functions to the elements of `input`."""

    input: Operator = field(metadata={"input": True}, repr=False)
    broadcasts: tuple[Operator, ...] = field(default=(), metadata={"input": True}, repr=False)

    def __post_init__(self) -> None:
        names = [b.keyword for b in self.broadcasts if isinstance(b, Broadcast)]
        if len(names) != len(self.broadcasts):
            raise PlanError(f"the side inputs of {self.name} must be broadcasts")
        check_names(names)

    @property
    def inputs(self) -> tuple[Operator, ...]:
        return (self.input, *self.broadcasts)

    def with_inputs(self, inputs: tuple[Operator, ...]) -> Self:
        if all(a is b for a, b in zip(inputs, self.inputs, strict=True)):
            return self
        return replace(self, input=inputs[0], broadcasts=inputs[1:])

    @cached_property
    def schema(self) -> pa.Schema:
        return OBJECT_SCHEMA

    @property
    def element(self) -> Element:
        return Element.OBJECT

    @property
    def functions(self) -> tuple[PythonFunction, ...]:
        """The Python functions that the operator runs."""
        return tuple(value for _, value in self.arguments() if isinstance(value, PythonFunction))

    def describe(self) -> str:
        return ", ".join(str(f) for f in self.functions)


class Map(Functional):
    """`function(x)` for every element x."""

    function: PythonFunction


class FlatMap(Functional):
    """Every item of the iterable `function(x)`, for every element x."""

    function: PythonFunction


class FilterRows(Functional):
    """The elements x for which `function(x)` is true in Python's sense."""

    function: PythonFunction

    @cached_property
    def schema(self) -> pa.Schema:
        return self.input.schema

    @property
    def element(self) -> Element:
        return self.input.element


class MapPartitions(Functional):
    """Every item of the iterable `function(iterator over a part of the elements)`.

    How elements are divided into parts is not defined; every element is in exactly one.
    """

    function: PythonFunction


#: Operators whose result over several parts is that over the whole, part by part.
PIECEWISE = (Map, FlatMap, FilterRows, MapPartitions)


def is_signed(operator: Operator) -> TypeGuard[Map | FlatMap | FilterRows | MapPartitions]:
    """Whether an operator is made of code that its author has signed, so that sites may run it."""
    return (
        isinstance(operator, PIECEWISE)
        and operator.function.signed is not None
        and not operator.broadcasts
    )


class ReduceByKey(Functional):
    """(key, reduced value) for every key of (key, value) pairs.

    `function` combines two values into one and must be associative and commutative: the order in
    which values are combined is not defined.
    """

    function: PythonFunction


class ReduceBy(Functional):
    """One element for every value of `key(x)`: its elements, combined two by two."""

    key: PythonFunction
    function: PythonFunction


class GroupByKey(Functional):
    """(key, list of its values) for every key of (key, value) pairs."""


class GroupBy(Functional):
    """(key, list of its elements) for every value of `key(x)`."""

    key: PythonFunction


class Reduce(Functional):
    """All elements combined two by two into one; no element gives no element."""

    function: PythonFunction


class SortBy(Functional):
    """The elements in order of `key(x)`, or of themselves. Equal keys keep no order."""

    key: PythonFunction | None = None
    descending: bool = False

    @cached_property
    def schema(self) -> pa.Schema:
        return self.input.schema

    @property
    def element(self) -> Element:
        return self.input.element


class ZipWithId(Unary):
    """(id, element) for every element, with distinct integers of at least 0 as ids."""

    @cached_property
    def schema(self) -> pa.Schema:
        return OBJECT_SCHEMA

    @property
    def element(self) -> Element:
        return Element.OBJECT


class Count(Unary):
    """The number of elements, as the only element."""

    @cached_property
    def schema(self) -> pa.Schema:
        return pa.schema([pa.field("value", INT64, nullable=False)])

    @property
    def element(self) -> Element:
        return Element.VALUE


class PairOperator(Binary):
    """An operator on two collections whose result is Python objects."""

    @cached_property
    def schema(self) -> pa.Schema:
        return OBJECT_SCHEMA

    @property
    def element(self) -> Element:
        return Element.OBJECT


class JoinByKey(PairOperator):
    """(key, (left value, right value)) for every two pairs with equal keys."""


class CoGroup(PairOperator):
    """(key, (left values, right values)) for every key of either collection of pairs."""


class Cartesian(PairOperator):
    """(left element, right element) for every two elements."""


class Rows(Unary):
    """The rows of a relation as named tuples."""

    @cached_property
    def schema(self) -> pa.Schema:
        return self.input.schema

    @property
    def element(self) -> Element:
        return Element.RECORD


class ToFrame(Unary):
    """A relation of the given columns, made from elements.

    Elements may be tuples with an item per column, mappings or named tuples by name, or, for a
    single column, bare values. A value that its column cannot hold fails the run.
    """

    columns: pa.Schema

    def __post_init__(self) -> None:
        check_names(list(self.columns.names))
        for item in self.columns:
            if is_object(item.type):
                raise PlanError(f"column {item.name!r} of a frame needs an Arrow type")

    @cached_property
    def schema(self) -> pa.Schema:
        return self.columns

    def describe(self) -> str:
        return ", ".join(self.columns.names)


def broadcast_keywords(operator: Operator) -> Iterator[tuple[str, Any]]:
    """Yield (keyword, side input) for every broadcast of an operator."""
    for child in operator.inputs:
        if isinstance(child, Broadcast):
            yield child.keyword, child.input

"""How an engine says what a catalogue function looks like on it.

Each engine has a table from function names to a `Form`, or to `Absent` with the reason. A
completeness test holds every table against the catalogue, so that nothing is missing by accident.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.plan.expressions import Expression, Literal
from umbel.plan.functions.row import Function

E = TypeVar("E")


@dataclass(frozen=True)
class TypedCall(Generic[E]):
    """A call of a catalogue function, ready for an engine to build.

    Attributes:
        row: the function's row in the catalogue.
        arguments: the engine's expressions for the arguments.
        nodes: the plan's expressions for the arguments.
        types: the arguments' types.
        dtype: the result's type.
        wrap: for aggregates, puts DISTINCT, ORDER BY, FILTER and OVER on the engine's aggregate
            node; to be called once on each bare aggregate that the form is made of. Engines that
            apply these to the arguments pass the identity.
        fallback: builds the engine's expression that calls the row's Python reference per row.
        window: the call stands over a window.
        distinct: `wrap` puts DISTINCT on its first argument.
    """

    row: Function
    arguments: tuple[E, ...]
    nodes: tuple[Expression, ...]
    types: tuple[pa.DataType, ...]
    dtype: pa.DataType
    wrap: Callable[[E], E]
    fallback: Callable[[], E]
    window: bool = False
    distinct: bool = False

    def constant(self, position: int) -> Any:
        """The Python value of an argument that the catalogue says is a literal."""
        node = self.nodes[position]
        if not isinstance(node, Literal):
            raise TypeError(f"argument {position} of {self.row.name} is not a literal")
        return node.value


@dataclass(frozen=True)
class Form(Generic[E]):
    """How an engine builds a function.

    Attributes:
        build: gives the engine's expression. Must not fail for calls that `refuse` lets pass.
        refuse: gives the reason why the engine cannot run the function on these argument nodes
            and types, or None if it can.
    """

    build: Callable[[TypedCall[E]], E]
    refuse: Callable[[Sequence[Expression], Sequence[pa.DataType]], str | None] = (
        lambda nodes, types: None
    )


@dataclass(frozen=True)
class Absent:
    """A function that an engine cannot run as the catalogue means it, and why."""

    reason: str


Forms = Mapping[str, Form[E] | Absent]


def merge_forms(*tables: Forms[E]) -> dict[str, Form[E] | Absent]:
    """Join the tables of several themes; a name in two of them is an error."""
    merged: dict[str, Form[E] | Absent] = {}
    for table in tables:
        for name, form in table.items():
            if name in merged:
                raise ValueError(f"function {name!r} has two forms")
            merged[name] = form
    return merged


def refuse_function(
    forms: Forms[E], name: str, nodes: Sequence[Expression], types: Sequence[pa.DataType]
) -> str | None:
    """Say why an engine cannot run a function on these arguments; None if it can."""
    form = forms.get(name)
    if form is None:
        return f"function {name!r} has no form there"
    if isinstance(form, Absent):
        return f"function {name!r}: {form.reason}"
    reason = form.refuse(nodes, types)
    return None if reason is None else f"function {name!r}: {reason}"

"""Whether an engine can run the expressions of an operator: one walk for all engines.

An engine brings what it knows (its table of functions, its casts, its types), and only what an
operator holds is asked: a plan without function calls makes no engine load its table.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa

from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Case,
    Cast,
    Expression,
    Literal,
    WindowCall,
)
from umbel.plan.operators import (
    Aggregate,
    Filter,
    Join,
    Operator,
    Project,
    Scan,
    Sort,
    ToFrame,
    Window,
)
from umbel.plan.operators.base import Element
from umbel.plan.sources import AttachedSource, Source
from umbel.plan.typing import infer_type


class Abilities(Protocol):
    """What an engine says of the parts of expressions; each answer is a reason or None."""

    def refuse_type(self, dtype: pa.DataType) -> str | None:
        """Say why values of a type cannot be held."""

    def refuse_cast(self, source: pa.DataType, target: pa.DataType) -> str | None:
        """Say why a conversion cannot be done as the plan means it."""

    def refuse_call(
        self, name: str, nodes: Sequence[Expression], types: Sequence[pa.DataType]
    ) -> str | None:
        """Say why a function cannot be run on these arguments."""

    def refuse_window(self, call: WindowCall, schema: pa.Schema) -> str | None:
        """Say why the partition, order or frame of a window cannot be done."""


def expressions_of(operator: Operator) -> Iterator[tuple[Expression, pa.Schema]]:
    """Yield an operator's expressions, each with the schema whose columns it reads."""
    match operator:
        case Scan(source=source, predicate=Expression() as predicate):
            yield predicate, source.schema
        case Project(columns=columns) | Window(columns=columns):
            yield from ((expression, operator.input.schema) for _, expression in columns)
        case Filter(predicate=predicate):
            yield predicate, operator.input.schema
        case Join(residual=Expression() as residual):
            yield residual, operator.pair_schema
        case Aggregate(keys=keys, aggregates=aggregates):
            yield from ((expression, operator.input.schema) for _, expression in keys)
            yield from ((expression, operator.input.schema) for _, expression in aggregates)
        case Sort(keys=keys):
            yield from ((key.expression, operator.input.schema) for key in keys)


def refuse_expressions(operator: Operator, engine: Abilities) -> str | None:
    """Give the first reason why an engine cannot hold or compute what an operator says."""
    schemas = [operator.schema, *(child.schema for child in operator.inputs)]
    for schema in schemas:
        for field in schema:
            reason = engine.refuse_type(field.type)
            if reason is not None:
                return f"column {field.name!r}: {reason}"
    for expression, schema in expressions_of(operator):
        reason = _refuse(expression, schema, engine)
        if reason is not None:
            return reason
    return None


def _refuse(node: Expression, schema: pa.Schema, engine: Abilities) -> str | None:
    reason: str | None = None
    match node:
        case Literal(dtype=dtype):
            reason = engine.refuse_type(dtype)
        case Cast(operand=operand, dtype=dtype):
            source = infer_type(operand, schema)
            reason = engine.refuse_type(dtype) or engine.refuse_cast(source, dtype)
        case Case(branches=branches, otherwise=otherwise):
            dtype = infer_type(node, schema)
            values = [value for _, value in branches] + ([] if otherwise is None else [otherwise])
            for value in values:
                source = infer_type(value, schema)
                if reason is None and source != dtype:
                    reason = engine.refuse_cast(source, dtype)
        case Call(function=function, arguments=nodes):
            reason = engine.refuse_call(function, nodes, [infer_type(n, schema) for n in nodes])
        case AggregateCall(function=function, arguments=nodes):
            types = [infer_type(n, schema) for n in nodes]
            reason = engine.refuse_call(function, nodes, types)
        case WindowCall(function=function, arguments=nodes):
            types = [infer_type(n, schema) for n in nodes]
            reason = engine.refuse_call(function, nodes, types)
            reason = reason or engine.refuse_window(node, schema)
    if reason is None and isinstance(node, Call | AggregateCall | WindowCall):
        reason = engine.refuse_type(infer_type(node, schema))
    for child in node.children:
        reason = reason or _refuse(child, schema, engine)
    return reason


def refuse_source(operator: Operator, platform: str, reads: tuple[type[Source], ...]) -> str | None:
    """Say why a platform cannot read what a scan reads, by the kind of its source.

    Args:
        operator: any operator; only scans are looked at.
        platform: the platform's name.
        reads: the sources that its engine reads, those that lie in the platform aside.
    """
    if not isinstance(operator, Scan):
        return None
    source = operator.source
    if isinstance(source, AttachedSource):
        if source.platform == platform and isinstance(source, reads):
            return None
        return f"{source.describe()} lies in {source.platform!r}"
    return None if isinstance(source, reads) else f"it reads no {source.kind}"


def refuse_frame(operator: ToFrame) -> str | None:
    """Say why making a relation of elements needs Python; None if it only names columns."""
    below, wanted = operator.input.schema, operator.columns
    reason = "makes columns of Python values, which needs the python platform"
    if below.types != wanted.types:
        return reason
    if any(a.nullable and not b.nullable for a, b in zip(below, wanted, strict=True)):
        return reason
    match operator.input.element:
        case Element.ROW | Element.RECORD if below.names != wanted.names:
            return reason
        case Element.OBJECT:
            return reason
        case _:
            return None


__all__ = ["Abilities", "expressions_of", "refuse_expressions", "refuse_frame", "refuse_source"]

"""Whether an engine can run the expressions of an operator: one walk for all engines.

An engine brings what it knows (its table of functions, its casts, its types), and only what an
operator holds is asked: a plan without function calls makes no engine load its table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias

import pyarrow as pa

from umbel.catalog.texts import refuse_text
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
    Contribute,
    Count,
    Distinct,
    Evaluate,
    Except,
    Explode,
    Filter,
    Fit,
    Intersect,
    Join,
    Limit,
    Operator,
    Placeholder,
    Predict,
    Project,
    Rows,
    Sample,
    Scan,
    Sort,
    ToFrame,
    Transform,
    Union,
    Values,
    Window,
    WithModel,
)
from umbel.plan.operators.base import OBJECT_SCHEMA, Element
from umbel.plan.sources import AttachedSource, CsvSource, MemorySource, Source
from umbel.plan.typing import infer_type

#: Says why a function cannot be run on argument nodes of some types; None if it can.
Refusal: TypeAlias = Callable[[Sequence[Expression], Sequence[pa.DataType]], "str | None"]


#: The operators that one statement of an SQL engine, or one lazy query, can hold.
RELATIONAL: tuple[type[Operator], ...] = (
    Scan, Values, Placeholder, Project, Filter, Join, Aggregate, Window, Sort, Limit, Distinct,
    Union, Intersect, Except, Explode, Count, Rows, ToFrame,
)  # fmt: skip


#: The operators that learn and apply what was learned; they work on columns.
LEARNING: tuple[type[Operator], ...] = (Contribute, Evaluate, Predict, Transform)


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


def refuse_class(operator: Operator) -> str:
    """Say why a class of operators that an SQL engine does not compile is not for it."""
    if isinstance(operator, LEARNING):
        return f"{operator.name} works on columns of numbers, which the python platform does"
    if isinstance(operator, Fit | WithModel):
        return "a session trains models before it runs what reads them, and not inside a loop"
    if isinstance(operator, Sample):
        return "the sample is defined by Python's random number generator"
    if operator.schema == OBJECT_SCHEMA or getattr(operator, "functions", ()):
        return f"{operator.name} works on Python objects or runs Python functions"
    return f"{operator.name} is not an operator of relations"


def refuse_names(operator: Operator, fold: Callable[[str], str]) -> str | None:
    """Say which two columns an engine takes for one, or which has no name.

    Args:
        operator: one that the engine compiles.
        fold: gives what the engine compares of a name.
    """
    schemas = [operator.schema, *(child.schema for child in operator.inputs)]
    if isinstance(operator, Join):
        schemas.append(operator.pair_schema)
    if isinstance(operator, Scan):
        schemas.append(operator.source.schema)
    for schema in schemas:
        seen: dict[str, str] = {}
        for name in schema.names:
            if not name:
                return "SQL has no columns without a name"
            other = seen.setdefault(fold(name), name)
            if other != name:
                return f"columns {other!r} and {name!r} differ only in case"
    return None


def refuse_shape(operator: Operator, engine: str) -> str | None:
    """Say why an operator cannot be written in SQL, expressions aside.

    Args:
        operator: one that SQL engines compile.
        engine: the engine's name for people.
    """
    match operator:
        case Scan(source=MemorySource(form="object")):
            return f"{engine} holds no Python objects"
        case ToFrame():
            return refuse_frame(operator)
        case Distinct() | Union() | Intersect() | Except() if not operator.schema.names:
            return "SQL has no relations without columns"
    return None


def refuse_texts(operator: Operator) -> str | None:
    """Say which column of a CSV file an engine cannot make of its texts."""
    match operator:
        case Scan(source=CsvSource() as source):
            for field in operator.schema:
                reason = None
                if field.type != pa.string() and field.name not in source.partitions:
                    reason = refuse_text(field.type)
                if reason is not None:
                    return f"column {field.name!r} of a CSV file: {reason}"
    return None


def refuse_constant(position: int, holds: Callable[[Any], bool], reason: str) -> Refusal:
    """Make what refuses a constant argument that is null, or of which something does not hold.

    >>> refuse = refuse_constant(0, lambda n: n > 0, "there must be at least one bucket")
    >>> refuse([Literal(0, pa.int64())], [pa.int64()])
    'there must be at least one bucket'
    """

    def refuse(nodes: Sequence[Expression], types: Sequence[pa.DataType]) -> str | None:
        node = nodes[position] if len(nodes) > position else None
        if isinstance(node, Literal) and (node.value is None or not holds(node.value)):
            return reason
        return None

    return refuse


#: Constants that have no meaning; a plan that has them fails when it runs, on `python`.
REFUSE_FRACTION = refuse_constant(1, lambda n: 0 <= n <= 1, "the fraction lies between 0 and 1")
REFUSE_SEPARATOR = refuse_constant(1, lambda text: True, "the separator is null")
REFUSE_NTH = refuse_constant(1, lambda n: n >= 1, "rows are counted from 1")
REFUSE_BUCKETS = refuse_constant(0, lambda n: n >= 1, "there must be at least one bucket")
REFUSE_OFFSET = refuse_constant(1, lambda n: True, "the offset is null")


__all__ = [
    "LEARNING",
    "REFUSE_BUCKETS",
    "REFUSE_FRACTION",
    "REFUSE_NTH",
    "REFUSE_OFFSET",
    "REFUSE_SEPARATOR",
    "RELATIONAL",
    "Abilities",
    "Refusal",
    "expressions_of",
    "refuse_class",
    "refuse_constant",
    "refuse_expressions",
    "refuse_frame",
    "refuse_names",
    "refuse_shape",
    "refuse_source",
    "refuse_texts",
]

"""Hypothesis strategies for queries with expressions that fail for some rows.

They are the queries of `random_queries` with steps in between whose expressions may fail: strict
casts of text, integers that overflow, numbers that are no code points.
"""

from __future__ import annotations

import pyarrow as pa
from hypothesis import strategies as st

from tests.conformance.random_queries import (
    Names,
    literal,
    scalar,
    sortable,
    step,
    tables,
    total_order,
)
from umbel.plan.expressions import AggregateCall, Call, Case, Cast, Column, Expression, Literal
from umbel.plan.operators import Aggregate, Filter, Join, JoinType, Limit, Operator, Project, Sort
from umbel.plan.types import BOOL, INT64, STRING

#: Steps that are as in `random_queries`, and steps that may fail.
SAFE = [
    "project", "filter", "join", "aggregate", "window", "distinct", "union", "intersect", "except",
    "sort",
]  # fmt: skip
FAILING = ["project", "project", "filter", "aggregate", "join", "sort", "limit"]
GREATEST = Literal(2**63 - 1, INT64)


def failing(draw: st.DrawFn, schema: pa.Schema) -> Expression:
    """An integer that some rows do not have: if a value is text, too large or negative."""
    number, text = scalar(draw, schema, INT64, 1), scalar(draw, schema, STRING, 1)
    kinds = ["cast", "add", "subtract", "multiply", "chr"]
    match draw(st.sampled_from(kinds)):
        case "cast":
            return Cast(text, INT64)
        case "add":
            return Call("add", (number, GREATEST))
        case "subtract":
            return Call("subtract", (Call("negate", (GREATEST,)), number))
        case "multiply":
            return Call("multiply", (number, Literal(2**62, INT64)))
    return Call("length", (Call("chr", (number,)),))


def failing_value(draw: st.DrawFn, schema: pa.Schema) -> Expression:
    """An integer, some of whose parts may fail, and some of which may not be reached."""
    inner = failing(draw, schema)
    match draw(st.integers(0, 4)):
        case 0:
            return Case(((scalar(draw, schema, BOOL, 1), inner),), scalar(draw, schema, INT64, 1))
        case 1:
            return Call("coalesce", (scalar(draw, schema, INT64, 1), inner))
    return inner


def failing_condition(draw: st.DrawFn, schema: pa.Schema) -> Expression:
    """A condition that may fail, by itself or beside another."""
    function = draw(st.sampled_from(["greater", "less_equal", "equal"]))
    inner: Expression = Call(function, (failing_value(draw, schema), literal(draw, INT64)))
    other = scalar(draw, schema, BOOL, 1)
    match draw(st.integers(0, 3)):
        case 0:
            return Call("and", (other, inner))
        case 1:
            return Call("or", (inner, other))
    return inner


def failing_step(draw: st.DrawFn, names: Names, kind: str, below: Operator) -> Operator:
    """Put one operator that may fail on a plan."""
    schema = below.schema
    if kind == "filter":
        return Filter(input=below, predicate=failing_condition(draw, schema))
    if kind == "project":
        kept = draw(st.lists(st.sampled_from(schema.names), min_size=1, unique=True))
        computed = (names(), failing_value(draw, schema))
        return Project(input=below, columns=(*((names(), Column(k)) for k in kept), computed))
    if kind == "aggregate":
        where = failing_condition(draw, schema) if draw(st.booleans()) else None
        where = scalar(draw, schema, BOOL, 1) if draw(st.booleans()) else where
        function = draw(st.sampled_from(["sum", "max", "count"]))
        call = AggregateCall(function, (failing_value(draw, schema),), where=where)
        keys = (
            draw(st.lists(st.sampled_from(sortable(schema)), max_size=1))
            if sortable(schema)
            else []
        )
        return Aggregate(
            input=below,
            keys=tuple((names(), Column(k)) for k in keys),
            aggregates=((names(), call), (names(), AggregateCall("len"))),
        )
    if kind == "join":
        right = draw(tables(names))
        on = ((schema.names[0], right.schema.names[0]),)
        if schema.field(0).type != INT64:
            return below
        both = pa.schema([*schema, *right.schema])
        kinds: list[JoinType] = ["inner", "left"]
        how = draw(st.sampled_from(kinds))
        return Join(left=below, right=right, how=how, on=on, residual=failing_condition(draw, both))
    if not sortable(schema) or len(sortable(schema)) < len(schema):
        return below
    ordered = Sort(input=below, keys=total_order(draw, schema))
    if kind == "sort":
        return ordered
    columns = ((names(), failing_value(draw, schema)), (names(), Column(schema.names[0])))
    top = Project(input=ordered, columns=columns)
    return Limit(input=top, count=draw(st.integers(0, 2)), offset=draw(st.integers(0, 1)))


@st.composite
def failing_queries(draw: st.DrawFn, depth: int = 4) -> Operator:
    """A query of a few operators above its tables, of which at least one may fail."""
    names = Names()

    def other() -> Operator:
        return draw(tables(names))

    query: Operator = other()
    steps = draw(st.integers(1, depth))
    certain = draw(st.integers(0, steps - 1))
    for position in range(steps):
        if position == certain or draw(st.booleans()):
            query = failing_step(draw, names, draw(st.sampled_from(FAILING)), query)
        else:
            query = step(draw, names, draw(st.sampled_from(SAFE)), query, other)
    return query

"""Hypothesis strategies for queries that have one right answer, over small hostile tables.

Where a query's answer would depend on the order of rows (a limit, a ranking), the order is total.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Case,
    Cast,
    Column,
    Expression,
    Frame,
    Literal,
    SortKey,
    WindowCall,
)
from umbel.plan.operators import (
    Aggregate,
    Distinct,
    Except,
    Explode,
    Filter,
    Intersect,
    Join,
    JoinType,
    Limit,
    Operator,
    Project,
    Sort,
    Union,
    Values,
    Window,
)
from umbel.plan.types import BOOL, FLOAT64, INT64, STRING

DECIMAL = pa.decimal128(9, 2)
TEXTS = pa.list_(STRING)
VALUES: dict[pa.DataType, list[Any]] = {
    INT64: [None, 0, 1, 2, 3, -1, -7, 1000],
    FLOAT64: [None, 0.0, -0.0, 1.5, -2.5, float("nan"), float("inf"), 1e9],
    STRING: [None, "", "a", "B", "ab", "é", " a ", "Ab c"],
    BOOL: [None, True, False],
    DECIMAL: [None, Decimal("0.00"), Decimal("1.25"), Decimal("-3.50"), Decimal("999.99")],
    TEXTS: [None, [], ["a"], ["a", None, "b"]],
}
TYPES = [INT64, FLOAT64, STRING, BOOL, DECIMAL]


class Names:
    """Gives column names that no other column of the query has."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self) -> str:
        self._count += 1
        return f"c{self._count}"


@st.composite
def tables(draw: st.DrawFn, names: Names) -> Values:
    types = [INT64, *draw(st.lists(st.sampled_from([*TYPES, TEXTS]), min_size=1, max_size=3))]
    rows = draw(st.integers(0, 6))
    schema = pa.schema([(names(), dtype) for dtype in types])
    arrays = [
        pa.array(draw(st.lists(st.sampled_from(VALUES[t]), min_size=rows, max_size=rows)), type=t)
        for t in types
    ]
    return Values(table=pa.table(arrays, schema=schema))


def literal(draw: st.DrawFn, dtype: pa.DataType) -> Expression:
    return Literal(draw(st.sampled_from(VALUES[dtype])), dtype)


def scalar(draw: st.DrawFn, schema: pa.Schema, dtype: pa.DataType, depth: int = 2) -> Expression:
    """An expression of a type over a schema."""
    own = [Column(f.name) for f in schema if f.type == dtype]
    if depth == 0 or draw(st.booleans()):
        chance: int = draw(st.integers(0, 4))
        if own and chance:
            return draw(st.sampled_from(own))
        return literal(draw, dtype)

    def sub(of: pa.DataType) -> Expression:
        return scalar(draw, schema, of, depth - 1)

    def pick(*choices: Any) -> Expression:
        result: Expression = draw(st.sampled_from(choices))()
        return result

    if dtype == INT64:
        return pick(
            lambda: Call(draw(st.sampled_from(["add", "subtract"])), (sub(INT64), sub(INT64))),
            lambda: Call(
                draw(st.sampled_from(["floor_divide", "modulo", "truncate_divide", "remainder"])),
                (sub(INT64), sub(INT64)),
            ),
            lambda: Call("length", (sub(STRING),)),
            lambda: Call("coalesce", (sub(INT64), sub(INT64))),
            lambda: Case(((sub(BOOL), sub(INT64)),), sub(INT64)),
            lambda: Call("null_if", (sub(INT64), sub(INT64))),
            lambda: Call("greatest", (sub(INT64), sub(INT64))),
        )
    if dtype == FLOAT64:
        return pick(
            lambda: Call(
                draw(st.sampled_from(["add", "subtract", "multiply", "divide"])),
                (sub(FLOAT64), sub(FLOAT64)),
            ),
            lambda: Cast(sub(INT64), FLOAT64),
            lambda: Call("divide", (sub(INT64), sub(INT64))),
            lambda: Call("abs", (sub(FLOAT64),)),
            lambda: Call("least", (sub(FLOAT64), sub(FLOAT64))),
        )
    if dtype == STRING:
        return pick(
            lambda: Call(draw(st.sampled_from(["lower", "upper", "strip"])), (sub(STRING),)),
            lambda: Call("concat", (sub(STRING), sub(STRING))),
            lambda: Cast(sub(INT64), STRING),
            lambda: Call("coalesce", (sub(STRING), sub(STRING))),
        )
    if dtype == BOOL:
        kind = draw(st.sampled_from(TYPES))
        compare = ["equal", "not_equal", "less", "less_equal", "greater", "is_distinct_from"]
        return pick(
            lambda: Call(draw(st.sampled_from(compare)), (sub(kind), sub(kind))),
            lambda: Call(draw(st.sampled_from(["and", "or"])), (sub(BOOL), sub(BOOL))),
            lambda: Call("not", (sub(BOOL),)),
            lambda: Call(draw(st.sampled_from(["is_null", "is_not_null"])), (sub(kind),)),
            lambda: Call("contains", (sub(STRING), sub(STRING))),
            lambda: Call("is_in", (sub(kind), literal(draw, kind), literal(draw, kind))),
        )
    return pick(
        lambda: Call("coalesce", (sub(DECIMAL), sub(DECIMAL))),
        lambda: Case(((sub(BOOL), sub(DECIMAL)),), sub(DECIMAL)),
    )


def sortable(schema: pa.Schema) -> list[str]:
    return [f.name for f in schema if not pa.types.is_nested(f.type)]


def total_order(draw: st.DrawFn, schema: pa.Schema) -> tuple[SortKey, ...]:
    """Keys over all columns that can be sorted, in some order and direction."""
    names = draw(st.permutations(sortable(schema)))
    return tuple(SortKey(Column(n), draw(st.booleans()), draw(st.booleans())) for n in names)


def aggregate(draw: st.DrawFn, schema: pa.Schema) -> AggregateCall:
    dtype = draw(st.sampled_from(TYPES))
    choices = {
        INT64: ["sum", "min", "max", "count", "mean", "n_unique", "median"],
        FLOAT64: ["min", "max", "count", "n_unique"],
        STRING: ["min", "max", "count", "n_unique"],
        BOOL: ["any", "all", "count"],
        DECIMAL: ["sum", "min", "max", "count", "mean"],
    }[dtype]
    function = draw(st.sampled_from([*choices, "len"]))
    where = scalar(draw, schema, BOOL, 1) if draw(st.booleans()) else None
    if function == "len":
        return AggregateCall("len", where=where)
    distinct = function in ("sum", "count") and draw(st.booleans())
    argument = scalar(draw, schema, dtype, 1)
    return AggregateCall(function, (argument,), distinct=distinct, where=where)


def window(draw: st.DrawFn, schema: pa.Schema) -> WindowCall:
    order = total_order(draw, schema)
    names = sortable(schema)
    partition = tuple(Column(n) for n in draw(st.lists(st.sampled_from(names), max_size=1)))
    function = draw(st.sampled_from(["rank", "dense_rank", "sum", "count", "max", "lag"]))
    integers = [f.name for f in schema if f.type == INT64]
    if function in ("rank", "dense_rank"):
        return WindowCall(function, (), partition, order)
    argument = Column(integers[0]) if integers else Literal(1, INT64)
    if function == "lag":
        return WindowCall(function, (argument,), partition, order)
    frame = draw(
        st.sampled_from([None, Frame("rows", -1, 0), Frame("rows", None, 0), Frame("rows", -1, 1)])
    )
    ordered = frame is not None or draw(st.booleans())
    return WindowCall(function, (argument,), partition, order if ordered else (), frame)


@st.composite
def queries(draw: st.DrawFn, depth: int = 4) -> Operator:
    """A query of up to `depth` operators above its tables."""
    names = Names()

    def build(level: int) -> Operator:
        if level == 0:
            return draw(tables(names))
        kind = draw(
            st.sampled_from(
                ["project", "filter", "join", "aggregate", "window", "limit", "distinct", "union",
                 "intersect", "except", "explode", "sort"]
            )
        )  # fmt: skip
        below = build(level - 1)
        return step(draw, names, kind, below, lambda: build(draw(st.integers(0, 1))))

    return build(draw(st.integers(1, depth)))


def step(draw: st.DrawFn, names: Names, kind: str, below: Operator, other: Any) -> Operator:
    """Put one operator of a kind on a plan."""
    schema = below.schema
    if kind == "filter":
        return Filter(input=below, predicate=scalar(draw, schema, BOOL))
    if kind == "project":
        types = draw(st.lists(st.sampled_from(TYPES), max_size=2))
        kept = draw(st.lists(st.sampled_from(schema.names), min_size=1, unique=True))
        computed = [(names(), scalar(draw, schema, t)) for t in types]
        return Project(input=below, columns=(*((names(), Column(k)) for k in kept), *computed))
    if kind == "join":
        right = other()
        pairs = [
            (a.name, b.name)
            for a in schema
            for b in right.schema
            if a.type == b.type and not pa.types.is_nested(a.type)
        ]
        if pairs:
            on = (draw(st.sampled_from(pairs)),)
            kinds: list[JoinType] = ["inner", "left", "right", "full", "semi", "anti"]
            how = draw(st.sampled_from(kinds))
            residual = None
            if how in ("inner", "left", "semi", "anti") and draw(st.booleans()):
                both = pa.schema([*schema, *right.schema])
                residual = scalar(draw, both, BOOL, 1)
            return Join(left=below, right=right, how=how, on=on, residual=residual)
        return Join(left=below, right=right, how="cross")
    if kind == "aggregate":
        keys = (
            draw(st.lists(st.sampled_from(sortable(schema)), max_size=2, unique=True))
            if (sortable(schema))
            else []
        )
        calls = [aggregate(draw, schema) for _ in range(draw(st.integers(1, 2)))]
        return Aggregate(
            input=below,
            keys=tuple((names(), Column(k)) for k in keys),
            aggregates=tuple((names(), call) for call in calls),
        )
    if kind in ("window", "sort", "limit") and not sortable(schema):
        return below
    if kind == "window":
        return Window(input=below, columns=((names(), window(draw, schema)),))
    if kind == "sort":
        return Sort(input=below, keys=total_order(draw, schema))
    if kind == "limit":
        ordered = Sort(input=below, keys=total_order(draw, schema))
        if len(sortable(schema)) < len(schema):
            return ordered  # rows may be equal in all keys and differ in a list
        return Limit(input=ordered, count=draw(st.integers(0, 3)), offset=draw(st.integers(0, 2)))
    if kind == "distinct":
        return Distinct(input=below)
    if kind in ("union", "intersect", "except"):
        twin = Filter(input=below, predicate=scalar(draw, schema, BOOL, 1))
        if kind == "union":
            return Union(members=(below, twin), distinct=draw(st.booleans()))
        return (Intersect if kind == "intersect" else Except)(left=below, right=twin)
    lists = [f.name for f in schema if f.type == TEXTS]
    if kind == "explode" and lists:
        return Explode(input=below, column=draw(st.sampled_from(lists)), outer=draw(st.booleans()))
    return below

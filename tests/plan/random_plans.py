"""Hypothesis strategies for well-typed expressions and plans of every kind of node."""

from __future__ import annotations

import datetime
import struct
from collections.abc import Callable
from decimal import Context, Decimal
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
from umbel.plan.function_ref import PythonFunction
from umbel.plan.operators import (
    Aggregate,
    Broadcast,
    Cartesian,
    CoGroup,
    Count,
    Distinct,
    DoWhile,
    Element,
    Except,
    Explode,
    Filter,
    FilterRows,
    FlatMap,
    GroupBy,
    GroupByKey,
    Intersect,
    Join,
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
    Repeat,
    Rows,
    Sample,
    Scan,
    Sort,
    SortBy,
    ToFrame,
    Union,
    Values,
    Window,
    Write,
    ZipWithId,
)
from umbel.plan.origin import Origin
from umbel.plan.sinks import (
    CsvSink,
    DeltaSink,
    IcebergSink,
    IpcSink,
    JsonLinesSink,
    ParquetSink,
    RelationSink,
    TextSink,
)
from umbel.plan.sources import (
    CsvSource,
    DeltaSource,
    IcebergSource,
    IpcSource,
    JsonLinesSource,
    MemorySource,
    ParquetSource,
    QuerySource,
    RelationSource,
    TextSource,
)
from umbel.plan.types import OBJECT, is_decimal, is_list, is_object

PRIMITIVES = [
    pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(),
    pa.uint32(), pa.uint64(), pa.float32(), pa.float64(), pa.string(), pa.binary(), pa.date32(),
    pa.time64("us"), pa.timestamp("s"), pa.timestamp("ms", "Europe/Berlin"), pa.timestamp("us"),
    pa.timestamp("us", "UTC"), pa.timestamp("us", "+02:00"), pa.duration("s"), pa.duration("us"),
    pa.decimal128(38, 0), pa.decimal128(38, 38), pa.decimal128(5, 2),
]  # fmt: skip

#: Decimals of 38 digits are scaled without rounding.
_exact = Context(prec=60)

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
types = st.recursive(
    st.sampled_from(PRIMITIVES),
    lambda inner: st.one_of(
        inner.map(pa.list_),
        st.lists(st.tuples(names, inner), max_size=3, unique_by=lambda f: f[0]).map(pa.struct),
    ),
    max_leaves=4,
)


def values_of(dtype: pa.DataType) -> st.SearchStrategy[Any]:
    """Python values that Arrow gives for a type, hostile ones and None among them."""
    return st.none() | _some_value(dtype).map(lambda v: pa.scalar(v, dtype).as_py())


def _some_value(dtype: pa.DataType) -> st.SearchStrategy[Any]:
    if pa.types.is_boolean(dtype):
        return st.booleans()
    if pa.types.is_integer(dtype):
        low = 0 if pa.types.is_unsigned_integer(dtype) else -(2 ** (dtype.bit_width - 1))
        return st.integers(low, low + 2**dtype.bit_width - 1)
    if pa.types.is_floating(dtype):
        return st.floats(width=dtype.bit_width)
    if is_decimal(dtype):
        top = 10**dtype.precision - 1
        return st.integers(-top, top).map(lambda n: Decimal(n).scaleb(-dtype.scale, _exact))
    if pa.types.is_string(dtype):
        return texts
    if pa.types.is_binary(dtype):
        return st.binary(max_size=12)
    if pa.types.is_date(dtype):
        return st.dates()
    if pa.types.is_time(dtype):
        return st.times()
    if pa.types.is_timestamp(dtype):
        low = datetime.datetime(1, 1, 3, tzinfo=datetime.UTC)  # a zone may shift it by a day
        high = datetime.datetime(9999, 12, 29, tzinfo=datetime.UTC)
        per_second = {"s": 1, "ms": 1_000, "us": 1_000_000}[dtype.unit]
        ticks = st.integers(int(low.timestamp()) * per_second, int(high.timestamp()) * per_second)
        return ticks.map(lambda n: pa.scalar(n, pa.int64()).cast(dtype).as_py())
    if pa.types.is_duration(dtype):
        most = 10**14 if dtype.unit == "us" else 10**9
        return st.integers(-most, most).map(lambda n: pa.scalar(n, pa.int64()).cast(dtype).as_py())
    if is_list(dtype):
        return st.lists(values_of(dtype.value_type), max_size=3)
    return st.fixed_dictionaries({f.name: values_of(f.type) for f in dtype})


def literals(dtype: pa.DataType) -> st.SearchStrategy[Literal]:
    """Constants of a type."""
    return values_of(dtype).map(lambda value: Literal(value, dtype))


@st.composite
def expressions(draw: Any, schema: pa.Schema, dtype: pa.DataType, depth: int = 3) -> Expression:
    """Expressions of a type over the columns of a schema."""
    leaves: list[st.SearchStrategy[Expression]] = [literals(dtype)]
    leaves += [st.just(Column(f.name)) for f in schema if f.type == dtype]
    if depth == 0:
        return draw(st.one_of(leaves))
    kind = draw(st.sampled_from(["leaf", "call", "cast", "case", "case_without_else"]))
    condition = expressions(schema, pa.bool_(), depth - 1)
    same = expressions(schema, dtype, depth - 1)
    match kind:
        case "call":
            return Call("require", (draw(same), draw(condition)))
        case "cast":
            return Cast(draw(same), dtype, draw(st.booleans()))
        case "case" | "case_without_else":
            branches = draw(st.lists(st.tuples(condition, same), min_size=1, max_size=2))
            return Case(tuple(branches), draw(same) if kind == "case" else None)
    return draw(st.one_of(leaves))


@st.composite
def sort_keys(draw: Any, schema: pa.Schema) -> tuple[SortKey, ...]:
    """One to three keys of an order."""
    sortable = [f.type for f in schema if not pa.types.is_nested(f.type) and not is_object(f.type)]
    dtype = st.sampled_from([*sortable, pa.int64()])
    key = dtype.flatmap(lambda t: expressions(schema, t, 1))
    made = draw(st.lists(st.tuples(key, st.booleans(), st.booleans()), min_size=1, max_size=3))
    return tuple(SortKey(*parts) for parts in made)


schemas = st.lists(
    st.tuples(names, types, st.booleans()), min_size=1, max_size=4, unique_by=lambda f: f[0]
).map(lambda columns: pa.schema([pa.field(*c) for c in columns]))


@st.composite
def leaves(draw: Any) -> Operator:
    """Scans of every kind of source, constant tables and placeholders."""
    schema = draw(schemas)
    paths = tuple(draw(st.lists(texts, min_size=1, max_size=2)))
    kinds = ["text", "csv", "json", "parquet", "ipc", "memory", "relation", "query", "delta",
             "iceberg", "values"]  # fmt: skip
    match draw(st.sampled_from(kinds)):
        case "text":
            schema = pa.schema([pa.field("value", pa.string(), nullable=False)])
            source: Any = TextSource(schema, paths)
        case "csv":
            nulls = tuple(draw(st.lists(texts, max_size=2)))
            source = CsvSource(schema, paths, (), draw(st.sampled_from(",;\t")), "'", False, nulls)
        case "json":
            source = JsonLinesSource(schema, paths)
        case "parquet":
            source = ParquetSource(schema, paths, tuple(schema.names[-1:]))
        case "ipc":
            source = IpcSource(schema, paths)
        case "memory":
            source = MemorySource(schema, draw(texts), draw(st.sampled_from(["row", "record"])))
        case "relation":
            source = RelationSource(schema, "warehouse", paths)
        case "delta":
            version = draw(st.integers(0, 2**40))
            source = DeltaSource(schema, paths, tuple(schema.names[-1:]), version)
        case "iceberg":
            snapshot = draw(st.none() | st.integers(0, 2**62))
            source = IcebergSource(schema, paths, (), snapshot, "ice.db.t")
        case "query":
            source = QuerySource(schema, "warehouse", draw(texts))
        case _:
            rows = draw(st.integers(0, 3))
            columns = []
            for f in schema:
                value = values_of(f.type) if f.nullable else _some_value(f.type)
                columns.append(pa.array([draw(value) for _ in range(rows)], f.type))
            return Values(table=pa.table(columns, schema=schema))
    kept = draw(st.none() | st.lists(st.sampled_from(schema.names), unique=True, min_size=1))
    predicate = draw(st.none() | expressions(schema, pa.bool_(), 2))
    origin = draw(st.none() | st.just(Origin("script.py", draw(st.integers(1, 99)))))
    pin = draw(st.sampled_from(["", "duckdb"]))
    wanted = None if kept is None else tuple(kept)
    return Scan(source=source, columns=wanted, predicate=predicate, origin=origin, pin=pin)


@st.composite
def relations(draw: Any, size: int = 4) -> Operator:
    """Plans of relational operators."""
    plan = draw(leaves())
    for _ in range(draw(st.integers(0, size))):
        plan = draw(_relational(plan))
    return plan


@st.composite
def _projected(draw: Any, below: Operator, prefix: str = "p") -> Operator:
    kinds = draw(
        st.lists(st.sampled_from([*below.schema.types, pa.int64()]), min_size=1, max_size=3)
    )
    columns = [(f"{prefix}{i}", draw(expressions(below.schema, t))) for i, t in enumerate(kinds)]
    return Project(input=below, columns=tuple(columns), form=draw(st.sampled_from(Element)))


@st.composite
def _relational(draw: Any, below: Operator) -> Operator:
    schema = below.schema
    sortable = [f for f in schema if not pa.types.is_nested(f.type)]
    lists = [f.name for f in schema if is_list(f.type)]
    options = ["filter", "project", "sort", "limit", "distinct", "union", "sample", "aggregate",
               "window", "intersect", "except", "cross", "loop"]  # fmt: skip
    options += ["join"] if sortable else []
    options += ["explode"] if lists else []
    condition = expressions(schema, pa.bool_())
    match draw(st.sampled_from(options)):
        case "filter":
            return Filter(input=below, predicate=draw(condition))
        case "project":
            return draw(_projected(below))
        case "sort":
            return Sort(input=below, keys=draw(sort_keys(schema)))
        case "limit":
            count = draw(st.none() | st.integers(0, 2**40))
            return Limit(input=below, count=count, offset=draw(st.integers(0, 9)))
        case "distinct":
            return Distinct(input=below)
        case "union":
            return Union(
                members=(below, Distinct(input=below), below), distinct=draw(st.booleans())
            )
        case "intersect":
            return Intersect(left=below, right=Distinct(input=below))
        case "except":
            return Except(left=Distinct(input=below), right=below)
        case "sample":
            size: Any = draw(
                st.fixed_dictionaries({"count": st.integers(0, 9)})
                | st.fixed_dictionaries({"fraction": st.floats(0, 1)})
            )
            return Sample(input=below, seed=draw(st.integers()) % 2**63, **size)
        case "explode":
            return Explode(
                input=below, column=draw(st.sampled_from(lists)), outer=draw(st.booleans())
            )
        case "cross":
            values = Values(table=pa.table({"cross\0column": [1, 2]}))
            clash = "cross\0column" in schema.names
            return below if clash else Join(left=below, right=values, how="cross")
        case "join":
            key = draw(st.sampled_from(sortable))
            right = Project(input=below, columns=(("right\0key", Column(key.name)),))
            if "right\0key" in schema.names:
                return below
            pair = pa.schema([*schema, *right.schema])
            residual = draw(st.none() | expressions(pair, pa.bool_(), 2))
            how = draw(st.sampled_from(["inner", "left", "right", "full", "semi", "anti"]))
            on = ((key.name, "right\0key"),)
            return Join(left=below, right=right, how=how, on=on, residual=residual)
        case "aggregate":
            call = AggregateCall(
                "count",
                (draw(expressions(schema, pa.int64(), 2)),),
                draw(st.booleans()),
                draw(st.none() | condition),
                draw(st.just(()) | sort_keys(schema)),
            )
            keys = (("key", draw(expressions(schema, pa.string(), 2))),)
            return Aggregate(input=below, keys=keys, aggregates=(("n", call),))
        case "window":
            start = draw(st.none() | st.integers(-5, 0))
            frame = draw(
                st.none() | st.just(Frame("rows", start, draw(st.none() | st.integers(0, 5))))
            )
            partition = (draw(expressions(schema, pa.int64(), 1)),)
            running = WindowCall("count", partition, partition, draw(sort_keys(schema)), frame)
            rank = WindowCall("row_number", (), (), draw(sort_keys(schema)))
            if {"w\0count", "w\0rank"} & set(schema.names):
                return below
            return Window(input=below, columns=(("w\0count", running), ("w\0rank", rank)))
    start = Placeholder(label="round", columns=schema)
    other = Placeholder(label="fixed", columns=schema)
    body = Filter(input=Distinct(input=start), predicate=draw(condition))
    both: dict[str, Any] = {
        "initial": below,
        "invariants": (Distinct(input=below),),
        "labels": ("round", "fixed"),
    }
    merged = Union(members=(body, other))
    if draw(st.booleans()):
        return Repeat(**both, body=merged, times=draw(st.integers(0, 5)))
    done = Project(
        input=Limit(input=start, count=1), columns=(("value", Literal(False, pa.bool_())),)
    )
    return DoWhile(**both, body=merged, condition=done, expected=3, limit=draw(st.integers(1, 9)))


def double(x: Any) -> Any:
    """Twice the value."""
    return x + x


FUNCTIONS: list[Callable[..., Any]] = [double, str.split, lambda pair: pair[0], lambda a, b: a + b]


@st.composite
def functional(draw: Any) -> Operator:
    """Plans of Python functions, with side inputs and sinks."""
    plan: Operator = Rows(input=draw(relations(1)))
    side = Broadcast(input=plan, keyword="side")
    for _ in range(draw(st.integers(1, 4))):
        function = PythonFunction.of(draw(st.sampled_from(FUNCTIONS)))
        with_side = PythonFunction.of(draw(st.sampled_from(FUNCTIONS)), ("side",))
        plan = draw(
            st.sampled_from(
                [
                    Map(input=plan, function=with_side, broadcasts=(side,)),
                    FlatMap(input=plan, function=function),
                    FilterRows(input=plan, function=function, pin="python"),
                    MapPartitions(input=plan, function=function),
                    ReduceByKey(input=plan, function=function),
                    ReduceBy(input=plan, key=function, function=function),
                    GroupByKey(input=plan),
                    GroupBy(input=plan, key=function),
                    Reduce(input=plan, function=function),
                    SortBy(input=plan, key=function, descending=True),
                    SortBy(input=plan),
                    JoinByKey(left=plan, right=plan),
                    CoGroup(left=plan, right=plan),
                    Cartesian(left=plan, right=plan),
                    ZipWithId(input=plan),
                    Count(input=plan),
                ]
            )
        )
    if draw(st.booleans()):
        return Write(input=plan, sink=TextSink("out.txt", "fail"))
    frame = ToFrame(input=plan, columns=draw(schemas))
    sink = draw(
        st.sampled_from(
            [JsonLinesSink("o"), ParquetSink("o", compression="none"), IpcSink("o", "fail")]
        )
    )
    if draw(st.booleans()):
        mode = draw(st.sampled_from(["error", "replace", "append"]))
        kept = pa.schema([f for f in frame.schema if pa.types.is_signed_integer(f.type)])
        if len(kept) > 1:
            frame = ToFrame(input=plan, columns=kept)
            by = tuple(kept.names[:1])
            lakes = [DeltaSink(mode, by, "lake/t"), IcebergSink(mode, by, "ice", ("db", "t"))]
            return Write(input=frame, sink=draw(st.sampled_from(lakes)))
        return Write(input=frame, sink=RelationSink("warehouse", ("public", "t"), mode))
    flat = not any(pa.types.is_nested(t) or pa.types.is_binary(t) for t in frame.schema.types)
    return Write(input=frame, sink=CsvSink("o") if flat else sink)


plans = st.one_of(relations(), functional())


def same_bits(left: Any, right: Any) -> bool:
    """Whether two values are the same to the bit: NaN is NaN, and 0.0 is not -0.0."""
    if isinstance(left, float) and isinstance(right, float):
        return struct.pack("<d", left) == struct.pack("<d", right) or (
            left != left and right != right
        )
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same_bits, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return list(left) == list(right) and all(same_bits(left[k], right[k]) for k in left)
    return type(left) is type(right) and repr(left) == repr(right)


__all__ = ["FUNCTIONS", "OBJECT", "expressions", "plans", "relations", "same_bits", "values_of"]

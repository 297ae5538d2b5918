"""Every engine compiles every operator and function, or says why not."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from tests.conformance.engines import (
    ENGINES,
    SERVERS,
    memory,
    names,
    platform,
    table,
)
from umbel.plan.expressions import (
    AggregateCall,
    Cast,
    Column,
    Literal,
    SortKey,
    WindowCall,
)
from umbel.plan.function_ref import PythonFunction
from umbel.plan.functions import CATALOGUE
from umbel.plan.models import Design, LinearRegression, Number
from umbel.plan.operators import (
    OBJECT_SCHEMA,
    OPERATORS,
    Aggregate,
    Broadcast,
    Cartesian,
    CoGroup,
    Contribute,
    Count,
    Distinct,
    DoWhile,
    Element,
    Evaluate,
    EvaluateWith,
    Except,
    Explode,
    Filter,
    FilterRows,
    Fit,
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
    Predict,
    PredictWith,
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
    Transform,
    Union,
    Window,
    Write,
    ZipWithId,
)
from umbel.plan.operators.learning import STATE
from umbel.plan.recipes import Recipe, WantedNumber
from umbel.plan.sinks import ParquetSink
from umbel.plan.sources import MemorySource

NAN = float("nan")


def count_rows() -> AggregateCall:
    return AggregateCall("len")


def total(column: str, **modifiers: Any) -> AggregateCall:
    return AggregateCall("sum", (Column(column),), **modifiers)


# --- completeness ----------------------------------------------------------------------------


def _function() -> PythonFunction:
    return PythonFunction.of(str.upper)


def one_of_each() -> dict[str, Operator]:
    """A plan whose root is the operator, for every operator there is."""
    rows = memory(a=[1, 2], l=[[1], [2]])
    other = memory(b=[1, 2])
    objects = Scan(source=MemorySource(schema=OBJECT_SCHEMA, token="o", form="object", data=[1]))
    function = _function()
    single = Project(input=rows, columns=names("a"))
    start = Placeholder(label="round", columns=single.schema)
    window = WindowCall("row_number", order_by=(SortKey(Column("a")),))
    yes = Literal(True, pa.bool_())
    both = memory(a=[1, 2], b=[1, 2])
    design = Design(LinearRegression(), (Number("a"),), "b")
    state = pa.Table.from_arrays([pa.array([0.0, 0.0])], schema=STATE)
    fit = Fit(input=both, recipe=Recipe(LinearRegression(), (WantedNumber("a"),), "b"))
    condition = Project(input=start, columns=(("value", yes),), form=Element.VALUE)
    plans: list[Operator] = [
        rows,
        table(a=[1]),
        single,
        Filter(input=rows, predicate=yes),
        Join(left=rows, right=other, on=(("a", "b"),)),
        Aggregate(input=rows, aggregates=(("n", count_rows()),)),
        Window(input=rows, columns=(("n", window),)),
        Sort(input=rows, keys=(SortKey(Column("a")),)),
        Limit(input=rows, count=1),
        Distinct(input=single),
        Union(members=(single, single)),
        Intersect(left=single, right=single),
        Except(left=single, right=single),
        Sample(input=rows, count=1),
        Explode(input=rows, column="l"),
        Map(input=objects, function=function),
        FlatMap(input=objects, function=function),
        FilterRows(input=objects, function=function),
        MapPartitions(input=objects, function=function),
        ReduceByKey(input=objects, function=function),
        ReduceBy(input=objects, key=function, function=function),
        GroupByKey(input=objects),
        GroupBy(input=objects, key=function),
        Reduce(input=objects, function=function),
        JoinByKey(left=objects, right=objects),
        CoGroup(left=objects, right=objects),
        Cartesian(left=objects, right=objects),
        SortBy(input=objects, key=function),
        ZipWithId(input=rows),
        Count(input=rows),
        Rows(input=rows),
        ToFrame(input=Rows(input=single), columns=single.schema),
        Broadcast(input=rows, keyword="k"),
        start,
        Repeat(initial=single, body=start, labels=("round",), times=2),
        DoWhile(initial=single, body=start, labels=("round",), condition=condition),
        Write(input=rows, sink=ParquetSink(path="never-written.parquet")),
        fit,
        PredictWith(left=both, right=fit),
        EvaluateWith(left=both, right=fit),
        Contribute(input=both, design=design, state=state),
        Predict(input=both, design=design, state=state),
        Evaluate(input=both, design=design, state=state),
        Transform(input=both, design=design),
    ]
    return {plan.name: plan for plan in plans}


#: What an engine refuses as a whole class; all other operators it compiles.
RELATIONAL = {
    "Scan", "Values", "Placeholder", "Project", "Filter", "Join", "Aggregate", "Window", "Sort",
    "Limit", "Distinct", "Union", "Intersect", "Except", "Sample", "Explode", "Count", "Rows",
    "ToFrame",
}  # fmt: skip
COMPILED = {
    "polars": RELATIONAL,
    "duckdb": RELATIONAL - {"Sample"},
    "datafusion": RELATIONAL - {"Sample"},
}
COMPILED |= {name: RELATIONAL - {"Sample"} for name in ENGINES if name in SERVERS}
RELATIONAL_ENGINES = list(COMPILED)
if "spark" in COMPILED:  # its workers run Python functions on Python objects
    COMPILED["spark"] |= {
        "Cartesian", "CoGroup", "FilterRows", "FlatMap", "GroupBy", "GroupByKey",
        "JoinByKey", "Map", "MapPartitions", "Reduce", "ReduceBy", "ReduceByKey", "SortBy",
        "ZipWithId",
    }  # fmt: skip
    RELATIONAL_ENGINES.remove("spark")


@pytest.mark.parametrize("engine", COMPILED)
def test_every_operator_is_compiled_or_refused_with_a_reason(engine):
    plans = one_of_each()
    assert plans.keys() == OPERATORS.keys()
    for name, plan in plans.items():
        reason = platform(engine).refuse(plan)
        if name in COMPILED[engine]:
            assert reason is None, f"{engine} refuses {name}: {reason}"
        else:
            assert reason, f"{engine} gives no reason against {name}"


@pytest.mark.parametrize("engine", COMPILED)
def test_every_function_has_a_form_or_is_absent(engine):
    module = __import__(f"umbel.platforms.{engine}.functions", fromlist=["forms"])
    assert module.forms().keys() == set(CATALOGUE.names())


@pytest.mark.parametrize("engine", RELATIONAL_ENGINES)
def test_python_objects_are_refused(engine):
    objects = Scan(source=MemorySource(schema=OBJECT_SCHEMA, token="o", form="object", data=[1]))
    for plan in (objects, Limit(input=objects, count=1)):
        assert "Python objects" in (platform(engine).refuse(plan) or "")


@pytest.mark.parametrize("engine", COMPILED)
def test_a_cast_inside_any_operator_is_asked_for(engine):
    odd = Cast(Column("a"), pa.timestamp("ns", "UTC"))
    plan = Project(input=memory(a=pa.array([0], pa.timestamp("us", "UTC"))), columns=(("b", odd),))
    assert (platform(engine).refuse(plan) is None) == (engine in ("polars", "datafusion"))

"""Aggregates and window functions on Spark, all of a type in one job, against the references."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pytest

from tests.conformance.compare import rows_of, same_value
from tests.conformance.engines import Context, platform
from tests.conformance.functions import test_aggregates as aggregates
from tests.conformance.functions import test_windows as windows
from tests.conformance.functions.groups import fold, reference_window
from umbel.plan.errors import EvaluationError
from umbel.plan.expressions import AggregateCall, Column, Frame, SortKey, WindowCall
from umbel.plan.functions import CATALOGUE, Kind
from umbel.plan.operators import Aggregate, Operator, Scan, Window
from umbel.plan.sources import MemorySource
from umbel.platforms.base import ARROW, Stage

AGGREGATES = [row for row in CATALOGUE.of_kind(Kind.AGGREGATE) if row.name != "any_value"]


def scan(table: pa.Table) -> Scan:
    return Scan(source=MemorySource(schema=table.schema, token="spark", data=table))


def run(root: Operator) -> pa.Table:
    return platform("spark").compile(Stage(root, {}, ARROW)).run({}, Context())


#: Types of which Spark is asked without keys too; a job of so many aggregates takes seconds.
WITHOUT_KEYS = ("int64", "float64", "string")
#: Types that differ in what Spark does; the others are kept as these are.
AGGREGATED = (
    "int64", "uint32", "float64", "nan", "decimal", "wide decimal", "string", "date", "list",
)  # fmt: skip


@pytest.mark.parametrize("name", AGGREGATED)
def test_aggregates(name: str) -> None:
    dtype, values = aggregates.VALUES[name]
    table = aggregates.table_of(dtype, values)
    calls: dict[str, AggregateCall] = {}
    for row in AGGREGATES:
        if row.ordered or not aggregates.takes(row, table):
            continue
        call = aggregates.call_of(row, table)
        options: dict[str, dict[str, Any]] = {"": {}, " where w": {"where": Column("w")}}
        if row.name in ("sum", "count", "mean", "median", "var_population"):
            options[" distinct"] = {"distinct": True}
        for label, option in options.items():
            made = AggregateCall(call.function, call.arguments, **option)
            plan = Aggregate(input=scan(table), keys=(), aggregates=(("r", made),))
            if platform("spark").refuse(plan) is None and not fails(made, table):
                calls[row.name + label] = made
    assert {"min", "max", "count", "n_unique"} <= set(calls) or pa.types.is_nested(dtype)
    keys = (("g", Column("g")),)
    grouped = run(Aggregate(input=scan(table), keys=keys, aggregates=tuple(calls.items())))
    parts = {key: table.filter(mask(table, key)) for key in ("a", "b", "c", None)}
    answers = {row[0]: row[1:] for row in rows_of(grouped)}
    if name in WITHOUT_KEYS:
        parts["all"] = table
        plan = Aggregate(input=scan(table), keys=(), aggregates=tuple(calls.items()))
        [answers["all"]] = rows_of(run(plan))
    for key, part in parts.items():
        got = answers[key]
        for (label, call), value in zip(calls.items(), got, strict=True):
            want = fold(call, part.to_pylist(), table.schema)
            assert same_value(value, want), f"{label} of {name} in {key}: {value!r}, not {want!r}"


def mask(table: pa.Table, key: str | None) -> pa.Array:
    return pa.array([value == key for value in table.column("g").to_pylist()])


def fails(call: AggregateCall, table: pa.Table) -> bool:
    try:
        fold(call, table.to_pylist(), table.schema)
    except EvaluationError:
        return True
    return False


def test_an_integer_sum_that_does_not_fit_fails() -> None:
    table = pa.table({"x": pa.array([2**62, 2**62, None])})
    call = AggregateCall("sum", (Column("x"),))
    with pytest.raises(EvaluationError):
        run(Aggregate(input=scan(table), keys=(), aggregates=(("s", call),)))


FRAMES = (None, Frame("rows", -1, 1), Frame("rows", None, 0), Frame("rows", 1, None))


#: The others differ from these in nothing that a window does; a job of 80 windows takes seconds.
WINDOWED = ("nan", "decimal", "string")


@pytest.mark.parametrize("name", WINDOWED)
def test_windows(name: str) -> None:
    table = windows.table_of(windows.VALUES[name])
    keys = (Column("g"),)
    total = (SortKey(Column("k"), descending=True), SortKey(Column("id")))
    calls: dict[str, WindowCall] = {}
    for row in windows.WINDOWS:
        for label, partition in (("", ()), (" by g", keys)):
            calls[row.name + label] = WindowCall(
                row.name, windows.arguments_of(row), partition, total
            )
    peers = (SortKey(Column("k"), nulls_first=True),)
    for ranking in ("rank", "dense_rank", "percent_rank", "cume_dist"):
        calls[f"{ranking} of peers"] = WindowCall(ranking, (), keys, peers)
    for row in AGGREGATES:
        if not windows.takes(row, windows.VALUES[name]):
            continue
        for number, frame in enumerate(FRAMES):
            calls[f"{row.name} {number}"] = WindowCall(
                row.name, windows.arguments_of(row), keys, total, frame
            )
        calls[f"{row.name} unordered"] = WindowCall(row.name, windows.arguments_of(row), keys)
    wanted = {}
    for label, call in calls.items():
        if CATALOGUE[call.function].ordered and not call.order_by:
            continue
        plan = Window(input=scan(table), columns=(("r", call),))
        if platform("spark").refuse(plan) is not None:
            continue
        try:
            wanted[label] = reference_window(call, table.to_pylist(), table.schema)
        except EvaluationError:
            continue
    assert len(wanted) > 20
    columns = tuple((label, calls[label]) for label in wanted)
    rows = run(Window(input=scan(table), columns=columns)).sort_by("id").to_pylist()
    for label, expected in wanted.items():
        for row, (_, want) in zip(rows, expected, strict=True):
            near = isinstance(want, float) and math.isclose(row[label], want, abs_tol=1e-9)
            assert near or same_value(row[label], want), (
                f"{label} of {name} is {row[label]!r}, not {want!r}, for id {row['id']}"
            )

"""Partial aggregation: rows are grouped before they move where that is cheaper; answers stay equal."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import umbel as ub
from tests.conformance.compare import assert_same_rows
from tests.optimizer.fakes import conversion
from tests.optimizer.test_reduction import FETCH, Database, Local
from umbel import col
from umbel.catalog.statistics import ColumnStatistics, Interval, TableStatistics
from umbel.executor import run
from umbel.optimizer import ExecutionPlan, aggregation, optimize
from umbel.optimizer.aggregation import PartialAggregate, partial_aggregates
from umbel.optimizer.explain import explain
from umbel.optimizer.facts import Facts
from umbel.plan import operators as ops
from umbel.plan.expressions import AggregateCall, Call, Column, Literal
from umbel.plan.sources import AttachedSource, MemorySource, RelationSource, Source
from umbel.plan.text import plan_to_text
from umbel.plan.types import BOOL, FLOAT64, INT64, STRING
from umbel.platforms.base import ARROW
from umbel.platforms.costs import CostProfile, Linear
from umbel.platforms.registry import Registry

INT32, DECIMAL = pa.int32(), pa.decimal128(9, 2)
PLATFORMS = Registry.discover()

# --- the answer -------------------------------------------------------------------------------

VALUES: dict[str, tuple[pa.DataType, list[Any]]] = {
    "k": (INT64, [None, 1, 2, 3]),
    "g": (STRING, [None, "", "a", "b"]),
    "i": (INT32, [None, 0, 5, -7, 2**31 - 1]),
    "d": (DECIMAL, [None, Decimal("0.00"), Decimal("1.25"), Decimal("-3.50")]),
    "f": (FLOAT64, [None, 0.0, -1.5, float("nan"), float("inf")]),
    "b": (BOOL, [None, True, False]),
    "l": (INT64, [None, 1, -2, 2**40]),
}
CALLS: list[tuple[str, str]] = [
    *(("sum", c) for c in "idl"),
    *(("sum", c) for c in "id"),
    *(("mean", c) for c in "id"),
    *(("count", c) for c in "kgidfbl"),
    *(("min", c) for c in "kgidfl"),
    *(("max", c) for c in "kgidfl"),
    ("any", "b"),
    ("all", "b"),
    ("bit_and", "l"),
    ("bit_or", "l"),
    ("bit_xor", "l"),
]


@st.composite
def relations(draw: st.DrawFn, side: str, pin: str) -> ops.Operator:
    """A table whose columns end in the name of its side, in memory, pinned to a platform."""
    rows = draw(st.integers(0, 7))
    columns = {
        f"{name}{side}": pa.array(
            draw(st.lists(st.sampled_from(values), min_size=rows, max_size=rows)), type=dtype
        )
        for name, (dtype, values) in VALUES.items()
    }
    table = pa.table(columns)
    token = f"{side}{draw(st.integers(0, 2**40))}"
    source = MemorySource(schema=table.schema, token=token, data=table)
    return ops.Scan(source=source, pin=pin)


@st.composite
def aggregates(draw: st.DrawFn, below: ops.Operator, sides: str) -> ops.Aggregate:
    """Group by a few columns; sum up columns of one side, with extremes of the others."""
    keys = draw(st.lists(st.sampled_from(["g", "k", "b"]), max_size=2, unique=True))
    main = draw(st.sampled_from(sides))
    calls = []
    for function, name in draw(st.lists(st.sampled_from(CALLS), min_size=1, max_size=4)):
        side = draw(st.sampled_from(sides)) if function in ("min", "max", "any", "all") else main
        where = None
        if draw(st.booleans()):
            where = Call("is_not_null", (Column(f"g{side}"),))
        calls.append(AggregateCall(function, (Column(f"{name}{side}"),), where=where))
    if draw(st.booleans()):
        calls.append(AggregateCall("len"))
    return ops.Aggregate(
        input=below,
        keys=tuple((f"key {n}", Column(f"{n}{draw(st.sampled_from(sides))}")) for n in keys),
        aggregates=tuple((f"call {i}", call) for i, call in enumerate(calls)),
    )


@st.composite
def joins(draw: st.DrawFn) -> ops.Operator:
    """An aggregate over two joins of three tables, with filters and projections between."""
    left = draw(relations("1", "python"))
    middle = draw(relations("2", "duckdb"))
    right = draw(relations("3", "python"))
    how: ops.JoinType = draw(st.sampled_from(["inner", "left", "right"]))
    residual = draw(st.sampled_from([None, Call("less_equal", (Column("i1"), Column("i2")))]))
    below: ops.Operator = ops.Join(
        left=left, right=middle, how=how, on=(("k1", "k2"),), residual=residual
    )
    if draw(st.booleans()):
        some = Literal(0, INT64)
        below = ops.Filter(input=below, predicate=Call("less_equal", (some, Column("l1"))))
    if draw(st.booleans()):
        copies = tuple((name, Column(name)) for name in below.schema.names if name != "i1")
        more = Call("add", (Column("i1"), Literal(1, INT32)))
        below = ops.Project(input=below, columns=(*copies, ("i1", more)))
    how = draw(st.sampled_from(["inner", "left", "semi", "anti"]))
    below = ops.Join(left=below, right=right, how=how, on=(("k1", "k3"), ("g2", "g3")))
    return draw(aggregates(below, "12" if how in ("semi", "anti") else "123"))


@st.composite
def unions(draw: st.DrawFn) -> ops.Operator:
    members = [draw(relations("1", pin)) for pin in ("python", "duckdb", "polars")]
    return draw(aggregates(ops.Union(members=tuple(members)), "1"))


@pytest.fixture
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every place is worth trying, however few rows there are."""
    monkeypatch.setattr(aggregation, "_LEAST_BYTES", 0)
    monkeypatch.setattr(aggregation, "_MOST_LEFT", float("inf"))
    monkeypatch.setattr(aggregation, "_different", lambda estimate, keys: 1.0)


relaxed = settings(
    deadline=None,
    max_examples=50,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture,
                           HealthCheck.data_too_large],
)  # fmt: skip


def check(root: ops.Operator) -> int:
    """Every place gives the answer of the plan without it, under the same schema."""
    expected = run(ops.rebuild(root, lambda op: op.pinned("python")), platforms=PLATFORMS).table
    places = partial_aggregates(root, Facts())
    for place in places:
        changed = place.apply()
        assert changed.schema.names == root.schema.names
        assert changed.schema.types == root.schema.types
        context = f"{place.what}\n{plan_to_text(changed)}"
        assert_same_rows(run(changed, platforms=PLATFORMS).table, expected, context=context)
    return len(places)


@pytest.mark.usefixtures("everything")
@relaxed
@given(root=joins())
def test_groups_before_joins_give_equal_answers(root: ops.Operator) -> None:
    check(root)


@pytest.mark.usefixtures("everything")
@relaxed
@given(root=unions())
def test_groups_before_unions_give_equal_answers(root: ops.Operator) -> None:
    check(root)


# --- what is left alone -----------------------------------------------------------------------

LEFT = pa.table({"k": pa.array([1, 2], INT64), "i": pa.array([1, 2], INT32), "f": [1.0, 2.0]})
RIGHT = pa.table({"n": pa.array([1, 2], INT64), "y": pa.array([1, 2], INT32)})


def pinned(table: pa.Table, pin: str) -> ops.Scan:
    source = MemorySource(schema=table.schema, token=pin, data=table)
    return ops.Scan(source=source, pin=pin)


def counted(
    *calls: AggregateCall,
    how: ops.JoinType = "inner",
    on: tuple[str, str] = ("k", "n"),
    key: str = "n",
) -> ops.Aggregate:
    """An aggregate over a join of tables that lie on two platforms."""
    join = ops.Join(
        left=pinned(LEFT, "duckdb"),
        right=pinned(RIGHT, "polars"),
        how=how,
        on=(on,),
    )
    numbered = tuple((f"c{i}", call) for i, call in enumerate(calls))
    return ops.Aggregate(input=join, keys=(("key", Column(key)),), aggregates=numbered)


def call(function: str, column: str, **more: Any) -> AggregateCall:
    return AggregateCall(function, (Column(column),), **more)


@pytest.mark.usefixtures("everything")
@pytest.mark.parametrize(
    "root",
    [
        counted(call("sum", "f")),  # the last bits depend on the order
        counted(call("mean", "f")),
        counted(call("sum", "k")),  # as no bounds are known, a part of it might not fit
        counted(call("sum", "i", distinct=True)),
        counted(call("n_unique", "i")),
        counted(call("sum", "i"), call("sum", "y")),  # each would have to know the other's rows
        counted(AggregateCall("sum", (Call("add", (Column("i"), Column("y"))),))),
        counted(
            call("min", "i"), on=("f", "n"), how="left"
        ),  # floats that are equal may differ in sign
    ],
    ids=lambda root: root.describe(),
)
def test_what_would_give_something_else_is_left_alone(
    root: ops.Aggregate, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Tables in memory have bounds; those of databases have none.
    facts = Facts()
    monkeypatch.setattr(facts.bounds, "of", lambda operator, name, depth=0: None)
    assert partial_aggregates(root, facts) == []


@pytest.mark.usefixtures("everything")
def test_only_sides_whose_rows_all_count_are_grouped() -> None:
    def sides(how: ops.JoinType) -> list[str]:
        found = partial_aggregates(counted(AggregateCall("len"), how=how), Facts())
        return sorted(place.what.split()[-1] for place in found)

    assert sides("inner") == ["duckdb", "polars"]
    assert sides("left") == ["duckdb"]
    assert sides("right") == ["polars"]
    assert sides("full") == []


@pytest.mark.usefixtures("everything")
def test_nothing_is_looked_for_where_all_lies_in_one_place() -> None:
    root = counted(call("sum", "i"))
    alone = ops.rebuild(root, lambda op: op.pinned("duckdb"))
    assert partial_aggregates(alone, Facts()) == []
    unpinned = ops.rebuild(root, lambda op: op.pinned(""))
    assert partial_aggregates(unpinned, Facts()) == []


# --- the choice -------------------------------------------------------------------------------

ROWS = 1e6


class Known(Registry):
    """Knows a database's table of a million rows, with so many different keys."""

    keys = 100.0

    def statistics(self, source: Source) -> TableStatistics:
        if not isinstance(source, AttachedSource):
            return super().statistics(source)
        columns = {"g": ColumnStatistics(distinct=self.keys), "i": ColumnStatistics()}
        return TableStatistics(Interval(ROWS, ROWS, 1.0), 0, 24.0, columns)


def platforms(keys: float = 100.0, aggregate: float = 1e-8) -> Known:
    """A database that is slow to fetch from, and what runs the rest."""
    work = {"Join": Linear(per_row=1e-8), "Aggregate": Linear(per_row=1e-8)}
    costs = CostProfile(
        operators={"Aggregate": Linear(per_row=aggregate), "Join": Linear(per_row=1.0)},
        write={ARROW: Linear(per_byte=FETCH)},
    )
    database = Database("db", costs=costs, conversions=(conversion("x", ARROW, 0.0),))
    known = Known(database, Local("local", costs=CostProfile(operators=work)))
    known.keys = keys
    return known


TABLE = ops.Scan(
    source=RelationSource(
        schema=pa.schema([("g", INT64), ("i", INT32)]), platform="db", relation=("t",)
    )
)


def names() -> ops.Scan:
    table = pa.table({"n": list(range(1000)), "label": [f"label {n}" for n in range(1000)]})
    return ops.Scan(source=MemorySource(schema=table.schema, token="n", data=table))


def per_label(calls: tuple[tuple[str, AggregateCall], ...]) -> ops.Operator:
    join = ops.Join(left=TABLE, right=names(), on=(("g", "n"),))
    return ops.Aggregate(input=join, keys=(("label", Column("label")),), aggregates=calls)


SUMMED = (("total", call("sum", "i")), ("rows", AggregateCall("len")))


def in_the_database(plan: ExecutionPlan) -> list[str]:
    (stage,) = [stage for stage in plan.stages if stage.platform.name == "db"]
    return [planned.operator.name for planned in stage.operators]


def test_rows_are_grouped_in_the_database() -> None:
    plan = optimize(per_label(SUMMED), platforms())
    assert in_the_database(plan) == ["Scan", "Aggregate"]
    assert plan.early == ("partial aggregate by g in db",)
    # A hundred rows come, where a million of 24 bytes would take 2.4 s.
    assert plan.cost.seconds < 0.1
    text = explain(per_label(SUMMED), platforms()).text()
    assert "before data moves: partial aggregate by g in db" in text
    assert "partial 0 = sum(i)" in text


def test_they_are_not_where_that_costs_more_than_it_saves() -> None:
    # 10 microseconds for each of a million rows take longer than to fetch them.
    dear = optimize(per_label(SUMMED), platforms(aggregate=1e-5))
    assert dear.early == ()
    assert in_the_database(dear) == ["Scan"]
    # Of 600,000 groups nearly as many rows move.
    assert optimize(per_label(SUMMED), platforms(keys=600_000)).early == ()


def test_a_frame_over_two_databases_is_grouped_in_both(tmp_path: Any) -> None:
    session = ub.connect(progress=False)
    for name in ("north", "south"):
        duckdb.connect(tmp_path / f"{name}.duckdb").close()
        session.catalog.attach(name, f"duckdb:///{tmp_path}/{name}.duckdb")
        rows = session.from_arrow(pa.table({"g": [1, 2, 2], "i": pa.array([1, 2, 3], INT32)}))
        rows.write_table(f"{name}.sales")
    both = session.table("north.sales").union(session.table("south.sales"))
    wanted = both.group_by("g").agg(col("i").sum().alias("total"), col("i").mean().alias("mean"))
    (place,) = tried(wanted.plan, session)
    assert place.what == "partial aggregate by g in each part"
    result = run(place.apply(), platforms=session.platforms()).table
    found = sorted(result.to_pylist(), key=lambda row: row["g"])
    assert found == [{"g": 1, "total": 2, "mean": 1.0}, {"g": 2, "total": 10, "mean": 2.5}]


def tried(root: ops.Operator, session: ub.Session) -> list[PartialAggregate]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aggregation, "_LEAST_BYTES", 0)
        patch.setattr(aggregation, "_MOST_LEFT", float("inf"))
        patch.setattr(aggregation, "_different", lambda estimate, keys: 1.0)
        return partial_aggregates(root, Facts(known=session.platforms().statistics))

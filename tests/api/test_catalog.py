"""The session's catalogue, over a store of tables that lives in this process."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

import umbel as ub
from umbel.api.session import Session
from umbel.catalog.address import Address
from umbel.catalog.namespace import TableEntry, unknown_table
from umbel.catalog.statistics import ColumnStatistics, Interval, TableStatistics
from umbel.plan.errors import PlacementError, PlanError, RunError, SourceError, UnknownNameError
from umbel.plan.operators import Operator, Placeholder, Scan, Write
from umbel.plan.sinks import RelationSink, Sink
from umbel.plan.sources import AttachedSource, QuerySource, RelationSource
from umbel.platforms.base import ARROW, Engine, RunContext, Stage
from umbel.platforms.costs import CostProfile
from umbel.platforms.refusal import refuse_source
from umbel.platforms.registry import Registry


class Shelf:
    """A platform that keeps tables, scans them whole, and writes them: the least a store does."""

    engine = "shelf"
    version = "1"
    costs = CostProfile()
    reads: Sequence[str] = (ARROW,)
    writes: Sequence[str] = (ARROW,)
    conversions: Sequence[Any] = ()

    def __init__(self, name: str, address: Address) -> None:
        self.name = name
        self.address = str(address)
        self.kept: dict[tuple[str, ...], pa.Table] = {
            ("public", "orders"): pa.table({"id": [1, 2, 3], "total": [1.5, 2.5, 3.5]}),
            ("public", "odd.name"): pa.table({"a": [1]}),
        }
        self.closed = False

    def refuse(self, operator: Operator) -> str | None:
        match operator:
            case Scan():
                return refuse_source(operator, self.name, (RelationSource, QuerySource))
            case Write(sink=RelationSink(platform=self.name)) | Placeholder():
                return None
        return f"a shelf does not run {operator.name}"

    def started(self) -> bool:
        return True

    def compile(self, stage: Stage) -> Job:
        return Job(self, stage)

    def tables(self) -> Sequence[TableEntry]:
        return [TableEntry(self.name, t, "table", len(rows)) for t, rows in self.kept.items()]

    def source(self, table: Sequence[str], **options: Any) -> AttachedSource:
        parts = tuple(table) if len(table) > 1 else ("public", *table)
        if parts not in self.kept:
            raise unknown_table(self.name, table, self.tables())
        return RelationSource(self.kept[parts].schema, self.name, parts)

    def query(self, text: str, **options: Any) -> AttachedSource:
        return QuerySource(pa.schema([("one", pa.int64())]), self.name, text)

    def sink(self, table: Sequence[str], mode: Any, **options: Any) -> Sink:
        return RelationSink(self.name, tuple(table) if len(table) > 1 else ("public", *table), mode)

    def check_sink(self, sink: RelationSink, schema: pa.Schema) -> None:
        if sink.mode == "error" and sink.relation in self.kept:
            raise RunError(f"{sink.describe()}: the table is there already")

    def statistics(self, source: AttachedSource) -> TableStatistics:
        rows = len(self.kept["public", "orders"])
        columns = {"id": ColumnStatistics(1, 3, 0.0, 3.0)}
        return TableStatistics(Interval(rows, rows, 1.0), 48, 16.0, columns)

    def close(self) -> None:
        self.closed = True


class Job:
    def __init__(self, shelf: Shelf, stage: Stage) -> None:
        self.shelf, self.root = shelf, stage.root
        self.text = stage.root.describe()

    def run(self, inputs: Mapping[str, Any], context: RunContext) -> pa.Table:
        match self.root:
            case Scan(source=QuerySource()):
                return pa.table({"one": [1]})
            case Scan(source=RelationSource(relation=relation)):
                assert self.root.predicate is None
                return self.shelf.kept[relation].select(self.root.schema.names)
            case Write(sink=RelationSink(relation=relation)):
                (data,) = inputs.values()
                self.shelf.kept[relation] = data
                return pa.table(
                    {"path": [self.root.sink.describe()], "rows": [len(data)]},
                    schema=self.root.schema,
                )
        raise AssertionError(f"{self.root.name} was refused")


ENGINE = Engine(schemes=("shelf", "board"), attach=Shelf)


@pytest.fixture
def session() -> Session:
    registry = Registry.discover()
    registry.engines["shelf"] = ENGINE
    session = Session(platforms=registry)
    session.catalog.attach("warehouse", "shelf://ann:hunter2@here/x", password="env:PW")
    return session


def test_tables_are_listed_and_described(session):
    tables = session.catalog.tables("warehouse")
    assert tables.names == ['warehouse.public."odd.name"', "warehouse.public.orders"]
    assert "warehouse.public.orders (table, about 3 rows)" in repr(tables)
    description = session.catalog.describe("warehouse.orders")
    assert description.schema.names == ["id", "total"]
    assert str(description.statistics.rows) == "3"
    assert "id: int64" in repr(description)


def test_a_table_joins_with_other_data(session):
    orders = session.table("warehouse.public.orders")
    names = session.from_dict({"key": [2, 3], "name": ["b", "c"]})
    joined = orders.join(names, left_on="id", right_on="key").select("name", "total")
    assert sorted(joined.collect().to_pylist(), key=lambda r: r["name"]) == [
        {"name": "b", "total": 2.5},
        {"name": "c", "total": 3.5},
    ]


def test_the_statistics_are_those_of_the_store(session):
    assert "3" in str(session.table("warehouse.orders").explain())


def test_a_query_runs_as_written(session):
    assert session.query("warehouse", "SELECT 1").collect().to_pydict() == {"one": [1]}


def test_a_table_is_written_and_read_back(session):
    frame = session.from_dict({"a": [1, 2]})
    result = frame.write_table("warehouse.fresh")
    assert result.table.to_pydict()["rows"] == [2]
    assert session.table("warehouse.fresh").collect().to_pydict() == {"a": [1, 2]}
    with pytest.raises(RunError, match="there already"):
        frame.write_table("warehouse.fresh")


def test_only_its_own_platform_scans_a_table(session):
    frame = session.table("warehouse.orders")
    for name in ("duckdb", "polars", "python"):
        with pytest.raises(PlacementError, match=r"warehouse.public.orders lies in 'warehouse'"):
            frame.on(name).collect()


def test_two_attached_of_one_engine_are_two_platforms(session):
    session.catalog.attach("other", "board://there")
    left, right = session.table("warehouse.orders"), session.table("other.orders")
    assert {"warehouse", "other"} <= {platform.name for platform in session.platforms()}
    assert left.union(right).count() == 6


def test_detaching_closes_and_forgets(session):
    shelf = session.catalog["warehouse"]
    frame = session.table("warehouse.orders")
    session.catalog.detach("warehouse")
    assert shelf.closed
    assert "warehouse" not in session.platforms()
    assert list(session.catalog) == []
    with pytest.raises(PlacementError, match=r"session.catalog.attach\('warehouse', url\)"):
        frame.collect()


def test_nothing_shows_the_password(session):
    frame = session.table("warehouse.orders")
    shown = [
        repr(session.catalog), frame.to_json(), repr(frame), str(frame.explain()),
        frame.explain().to_json(), repr(session.catalog["warehouse"].address),
    ]  # fmt: skip
    assert not any("hunter2" in text for text in map(str, shown))
    assert "shelf://ann@here/x" in shown[0]


def test_a_plan_with_a_table_goes_through_json(session):
    frame = session.table("warehouse.orders")
    assert session.from_plan(ub.plan_from_json(frame.to_json())).collect() == frame.collect()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("orders", "does not say where it is"),
        ("warehose.orders", "unknown namespace 'warehose'"),
        ("warehouse.order", "unknown table 'warehouse.order'"),
        ('warehouse."orders', "not a name"),
        ("warehouse..orders", "not a name"),
    ],
)
def test_a_wrong_name_is_named(session, name, message):
    with pytest.raises(PlanError, match=message):
        session.table(name)


def test_what_cannot_be_attached_is_said(session):
    attach = session.catalog.attach
    with pytest.raises(PlanError, match="unknown scheme of a URL 'postgres-ish'"):
        attach("a", "postgres-ish://x")
    with pytest.raises(PlacementError, match="attached already"):
        attach("warehouse", "shelf://x")
    with pytest.raises(PlacementError, match="there is a platform 'duckdb' already"):
        attach("duckdb", "shelf://x")
    with pytest.raises(PlanError, match="text without dots"):
        attach("a.b", "shelf://x")
    with pytest.raises(UnknownNameError, match="mode of writing"):
        session.from_dict({"a": [1]}).write_table("warehouse.x", mode="upsert")
    assert list(session.catalog) == ["warehouse"]


def test_a_database_file_is_known_by_its_content(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect("one.data") as one:
        one.execute("CREATE TABLE t (a INTEGER)")
    with duckdb.connect("two.data") as two:
        two.execute("CREATE TABLE u AS SELECT 1 AS a")
    session = Session()
    session.catalog.attach("one", "one.data")
    session.catalog.attach("two", Path("two.data"))
    assert session.table("one.t").count() == 0
    assert session.table("two.u").collect().to_pydict() == {"a": [1]}


def test_what_is_no_database_file_is_said(tmp_path):
    for name, content in (("a.csv", "a,b\n1,2\n"), ("empty.db", "")):
        (tmp_path / name).write_text(content)
        with pytest.raises(SourceError, match="is no file of a database"):
            Session().catalog.attach("x", tmp_path / name)


def test_a_missing_engine_says_how_to_install_it():
    registry = Registry.discover()
    registry.engines["shelf"] = ENGINE
    registry.missing["shelf"] = "pip install shelf"
    with pytest.raises(PlacementError, match="pip install shelf"):
        Session(platforms=registry).catalog.attach("a", "shelf://x")


def test_attaching_takes_no_time(session):
    began = time.perf_counter()
    session.catalog.attach("late", "shelf://nowhere.invalid")
    assert time.perf_counter() - began < 1.0

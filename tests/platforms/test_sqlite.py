"""SQLite files: what runs inside them, what their values may be, and writes whole or not at all."""

from __future__ import annotations

import contextlib
import datetime
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import umbel as ub
from tests.conformance.compare import assert_same_rows
from tests.conformance.engines import Context
from tests.conformance.engines import run as run_on
from tests.conformance.test_completeness import one_of_each
from umbel.api.session import Session
from umbel.catalog.address import Address
from umbel.plan.errors import (
    CancelledError,
    EvaluationError,
    PlanError,
    RunError,
    SourceError,
    UnknownNameError,
)
from umbel.plan.expressions import (
    AggregateCall,
    Call,
    Column,
    Expression,
    Frame,
    Literal,
    SortKey,
    WindowCall,
)
from umbel.plan.functions import CATALOGUE
from umbel.plan.functions.forms import Absent, refuse_function
from umbel.plan.operators import (
    Aggregate,
    Distinct,
    Except,
    Intersect,
    Join,
    Limit,
    Operator,
    Project,
    Scan,
    Sort,
    Union,
    Window,
    topological,
)
from umbel.plan.sources import QuerySource, RelationSource
from umbel.platforms.base import Stage
from umbel.platforms.sqlite import attach
from umbel.platforms.sqlite.functions import forms


def make(path: Path, script: str) -> Path:
    connection = sqlite3.connect(path)
    connection.executescript(script)
    connection.close()
    return path


SHOP = """
CREATE TABLE orders (id INTEGER PRIMARY KEY, person INT, total REAL, day DATE, paid BOOLEAN,
                     note VARCHAR(20) COLLATE NOCASE);
INSERT INTO orders VALUES
    (1, 1, 10, '2026-01-02', 1, 'a'), (2, 2, 0.5, '2026-01-03', 0, 'A'),
    (3, 1, 2.5, NULL, NULL, 'b'), (4, NULL, NULL, '2025-12-31', 1, NULL);
CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT) STRICT;
INSERT INTO people VALUES (1, 'ann'), (2, 'bob');
CREATE VIEW paid AS SELECT id, total * 2 AS double FROM orders WHERE paid;
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make(tmp_path / "shop.db", SHOP)


@pytest.fixture
def session(path: Path) -> Session:
    session = ub.connect()
    session.catalog.attach("shop", f"sqlite://{path}")
    return session


def rows_of(path: Path, query: str) -> list[tuple[Any, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


# --- reading ----------------------------------------------------------------------------------


def test_tables_types_and_statistics(session):
    assert session.catalog.tables("shop").names == ["shop.orders", "shop.paid", "shop.people"]
    known = session.catalog.describe("shop.orders")
    assert known.schema.types == [
        pa.int64(), pa.int64(), pa.float64(), pa.date32(), pa.bool_(), pa.string(),
    ]  # fmt: skip
    assert known.statistics.rows.exact
    assert known.statistics.rows.low == 4


def test_rows_come_in_the_types_of_the_plan(session):
    assert session.table("shop.orders").sort("id").collect().to_pylist()[0] == {
        "id": 1, "person": 1, "total": 10.0, "day": datetime.date(2026, 1, 2), "paid": True,
        "note": "a",
    }  # fmt: skip


def test_a_whole_query_is_one_statement(session):
    orders, people = session.table("shop.orders"), session.table("shop.people")
    joined = orders.filter(ub.col("id") < 4).join(people, left_on="person", right_on="id")
    frame = joined.group_by("name").agg(ub.col("id").sum().alias("ids")).sort("name").on("shop")
    assert len(frame.explain().plan.stages) == 1
    assert frame.collect().to_pydict() == {"name": ["ann", "bob"], "ids": [4, 2]}


def test_the_declared_collation_does_not_count(session):
    frame = session.table("shop.orders").filter(ub.col("note") == "a").on("shop")
    assert frame.collect()["id"].to_pylist() == [1]


def test_data_moves_in_and_leaves_nothing(session, path):
    other = session.from_dict({"key": [1, 3], "word": ["x", "y"]})
    found = session.table("shop.orders").join(other, left_on="id", right_on="key")
    rows = found.select("id", "word").sort("id").on("shop").collect().to_pydict()
    assert rows == {"id": [1, 3], "word": ["x", "y"]}
    assert rows_of(path, "SELECT name FROM sqlite_master WHERE name LIKE 'umbel%'") == []


def test_what_sqlite_cannot_do_runs_elsewhere(session):
    names = (
        session.table("shop.people").select(ub.col("name").str.to_uppercase().alias("n")).sort("n")
    )
    assert names.collect().to_pydict() == {"n": ["ANN", "BOB"]}


def test_conditions_that_sqlite_cannot_check_are_checked_elsewhere(session):
    found = session.sql("SELECT name FROM shop.people WHERE name LIKE 'a%' AND id < 2")
    assert found.collect().to_pydict() == {"name": ["ann"]}
    assert "columns name; where less(id, 2)" in str(found.explain())


def test_views_and_queries_type_their_columns_by_values(session):
    assert session.table("shop.paid").sort("id").collect().to_pydict() == {
        "id": [1, 4],
        "double": [20.0, None],
    }
    frame = session.query("shop", "SELECT count(*) AS n, max(note) AS m FROM orders -- all")
    assert frame.collect().to_pydict() == {"n": [4], "m": ["b"]}
    with pytest.raises(PlanError, match="one SELECT"):
        session.query("shop", "DROP TABLE orders")
    with pytest.raises(SourceError, match="no_such"):
        session.query("shop", "SELECT no_such FROM orders")


# --- values that a column's type has not ------------------------------------------------------


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("person", "'many'", r"shop.orders: column 'person' holds 'many' of kind text in row 9"),
        ("person", "1.5", r"column 'person' holds 1\.5 of kind real in row 9"),
        ("total", "x'00'", r"column 'total' holds X'00' of kind blob in row 9"),
        ("total", "9007199254740993", None),  # the REAL column rounds it when it is written
        ("day", "'2026-02-31'", r"column 'day' holds '2026-02-31' of kind text in row 9"),
        ("day", "20260101", r"column 'day' holds 20260101 of kind integer in row 9"),
        ("paid", "2", r"column 'paid' holds 2 of kind integer in row 9.*no bool"),
        ("note", "x'41'", r"column 'note' holds X'41' of kind blob in row 9"),
    ],
)
def test_a_value_of_another_kind_is_an_error(session, path, column, value, message):
    make(path, f"INSERT INTO orders (id, {column}) VALUES (9, {value})")
    frame = session.table("shop.orders")
    # The rule of all sources: a column that is read is checked in every row, others are not.
    assert frame.select("id").count() == 5
    if message is None:
        assert frame.count() == 5
        return
    with pytest.raises(SourceError, match=message):
        frame.filter(ub.col("id") == 1).select(column).collect()


def test_a_value_that_comes_later_is_found(session, path):
    frame = session.table("shop.orders").select("person")
    assert frame.collect().num_rows == 4
    make(path, "UPDATE orders SET person = 'x' WHERE id = 2")
    with pytest.raises(SourceError, match="in row 2"):
        frame.collect()


def test_text_that_is_not_utf8(session, path):
    make(path, "UPDATE orders SET note = CAST(x'ff41' AS TEXT) WHERE id = 2")
    with pytest.raises(SourceError, match="not UTF-8"):
        session.table("shop.orders").select("note").collect()


# --- failures ---------------------------------------------------------------------------------


def test_files_that_cannot_be_used(tmp_path, path):
    session = ub.connect()
    session.catalog.attach("x", f"sqlite://{tmp_path}/shop.bd")
    with pytest.raises(SourceError, match=r"there is no file .*shop\.bd\n.*shop\.db"):
        session.catalog.tables("x")
    (tmp_path / "bad.db").write_bytes(b"SQLite format 4\0" * 500)
    session.catalog.attach("bad", f"sqlite://{tmp_path}/bad.db")
    with pytest.raises(SourceError, match=r"bad\.db is no SQLite database, or damaged"):
        session.catalog.tables("bad")
    make(tmp_path / "wide.db", "PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (a)")
    session.catalog.attach("wide", f"sqlite://{tmp_path}/wide.db")
    with pytest.raises(SourceError, match="UTF-16le"):
        session.catalog.tables("wide")
    with pytest.raises(PlanError, match="three slashes"):
        session.catalog.attach("y", "sqlite://shop.db")


def test_a_locked_file_is_said_after_a_wait(session, path, monkeypatch):
    monkeypatch.setattr("umbel.platforms.sqlite.file.TIMEOUT", 0.2)
    frame = session.table("shop.people")
    code = (
        f"import sqlite3, sys; c = sqlite3.connect({str(path)!r}, isolation_level=None); "
        "c.execute('BEGIN EXCLUSIVE'); print('ready', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"ready\n"
        with pytest.raises(SourceError, match="is locked by another connection"):
            frame.collect()
    finally:
        holder.communicate(b"")
    assert frame.count() == 2


def test_a_table_that_changes_after_planning(session, path):
    frame = session.table("shop.people").select("name")
    make(path, "DROP TABLE people; CREATE TABLE people (id INTEGER, name INTEGER)")
    with pytest.raises(SourceError, match="column 'name' is int64, not string"):
        frame.collect()
    make(path, "DROP TABLE people; CREATE TABLE people (id INTEGER)")
    with pytest.raises(SourceError, match="column 'name' is gone"):
        frame.collect()


def test_a_wrong_table_names_the_closest(session):
    with pytest.raises(UnknownNameError, match="orders"):
        session.table("shop.order")


def test_cancelling_interrupts_the_statement(path):
    platform = attach("shop", Address.of(f"sqlite://{path}"))
    endless = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000000000) "
        "SELECT count(*) AS c FROM n"
    )
    source = QuerySource(pa.schema([("c", pa.int64())]), "shop", endless)

    class Stopped(Context):
        def on_cancel(self, interrupt: Any) -> None:
            import threading

            def stop() -> None:
                self._left = 0
                interrupt()

            self.timer = threading.Timer(0.5, stop)
            self.timer.start()

    with pytest.raises(CancelledError):
        platform.compile(Stage(Scan(source=source))).run({}, Stopped())


# --- writing ----------------------------------------------------------------------------------


def test_writing_creates_replaces_and_appends(session, path):
    first = session.from_dict({"a": [1, 2], "f": [0.5, None], "s": ["x", "nul\0in"]})
    result = first.write_table("shop.fresh").table.to_pydict()
    assert result == {"path": ["shop.fresh"], "rows": [2]}
    assert session.table("shop.fresh").collect() == first.collect()
    with pytest.raises(RunError, match="there already"):
        first.write_table("shop.fresh")
    first.write_table("shop.fresh", mode="append")
    assert session.table("shop.fresh").count() == 4
    # A table may be replaced by what is made of it.
    session.table("shop.fresh").limit(1).write_table("shop.fresh", mode="replace")
    assert rows_of(path, "SELECT count(*) FROM fresh") == [(1,)]


def test_dates_and_booleans_read_back(session):
    given = pa.table(
        {"d": [datetime.date(1999, 12, 31), None], "b": [True, None], "x": [b"\0", b""]}
    )
    session.from_arrow(given).write_table("shop.typed")
    assert session.table("shop.typed").collect() == given


def test_a_write_that_fails_leaves_all_as_it_was(session, path):
    make(path, "CREATE TABLE small (a INTEGER CHECK (a < 3)); INSERT INTO small VALUES (1)")
    with pytest.raises(SourceError, match="CHECK constraint failed"):
        session.from_dict({"a": [2, 3]}).write_table("shop.small", mode="append")
    with pytest.raises(EvaluationError, match="NaN"):
        session.from_dict({"f": [float("nan")]}).write_table("shop.small", mode="replace")
    assert rows_of(path, "SELECT a FROM small") == [(1,)]
    assert rows_of(path, "SELECT name FROM sqlite_master WHERE name LIKE 'small%'") == [("small",)]


@pytest.mark.parametrize(
    ("table", "mode", "columns", "message"),
    [
        ("orders", "append", {"nope": [1]}, "no column 'nope'"),
        ("orders", "append", {"person": ["x"]}, "column 'person' is int64, not string"),
        ("fresh", "append", {"id": [1]}, "no such table"),
        ("paid", "replace", {"id": [1]}, "is a view"),
        ("fresh", "error", {"t": [datetime.datetime(2026, 1, 1)]}, "keeps no column 't'"),
    ],
)
def test_a_write_that_cannot_be_is_refused_before_it_runs(session, table, mode, columns, message):
    with pytest.raises(RunError, match=message):
        session.from_dict(columns).write_table(f"shop.{table}", mode=mode)


# --- functions and operators against the reference --------------------------------------------

INTEGERS = [0, 1, -1, 2, -7, 7, 2**31, -(2**31), 2**53 + 1, 2**63 - 1, -(2**63), None]
FLOATS = [0.0, -0.0, 1.5, -2.5, 1e300, 5e-324, float("inf"), float("-inf"), 2.0**53, None]
STRINGS = [
    "",
    "a",
    "A",
    "abc",
    "b",
    "nul\0inside",
    "nul\0",
    "é",
    "e\u0301",
    "日本",
    "😀",
    "\uffff",
    None,
]
BOOLEANS = [True, False, None]
DATES = [datetime.date(1, 1, 1), datetime.date(2024, 2, 29), datetime.date(9999, 12, 31), None]
BLOBS = [b"", b"\0", b"\xff", b"a", None]
COLUMNS: dict[str, list[Any]] = {
    "i": INTEGERS,
    "f": FLOATS,
    "s": STRINGS,
    "b": BOOLEANS,
    "d": DATES,
    "x": BLOBS,
}
DECLARED = {"i": "INTEGER", "f": "REAL", "s": "TEXT", "b": "BOOLEAN", "d": "DATE", "x": "BLOB"}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> dict[str, Scan]:
    """For each type the pairs of all its hostile values, in a table of a file."""
    path = tmp_path_factory.mktemp("sqlite") / "hostile.db"
    connection = sqlite3.connect(path)
    for name, values in COLUMNS.items():
        kind = DECLARED[name]
        connection.execute(f"CREATE TABLE {name} (l {kind}, r {kind})")
        pairs = [(str(a) if name == "d" and a else a, str(b) if name == "d" and b else b)
                 for a in values for b in values]  # fmt: skip
        connection.executemany(f"INSERT INTO {name} VALUES (?, ?)", pairs)
    connection.commit()
    connection.close()
    platform = attach("hostile", Address.of(f"sqlite://{path}"))
    scans = {name: Scan(source=platform.source((name,))) for name in COLUMNS}
    hostile_platform.append(platform)
    return scans


hostile_platform: list[Any] = []


def run_here(plan: Operator) -> pa.Table:
    platform = hostile_platform[-1]
    reasons = [platform.refuse(operator) for operator in topological(plan)]
    assert not any(reasons), reasons
    return platform.compile(Stage(plan)).run({}, Context())


def moved(plan: Operator, tables: dict[str, pa.Table]) -> Operator:
    """The plan over the same rows in memory, for the reference."""
    from umbel.plan.operators import Values

    if isinstance(plan, Scan) and isinstance(plan.source, RelationSource):
        return Values(table=tables[plan.source.relation[0]])
    return plan.with_inputs(tuple(moved(child, tables) for child in plan.inputs))


@pytest.fixture(scope="module")
def tables(hostile) -> dict[str, pa.Table]:
    found = {name: run_here(scan) for name, scan in hostile.items()}
    for name, values in COLUMNS.items():
        assert found[name].num_rows == len(values) ** 2
    return found


CLAIMED = [name for name, form in forms().items() if not isinstance(form, Absent)]
KINDS = {name: row.kind.name for name in CLAIMED for row in [CATALOGUE[name]]}


def test_every_function_has_a_form_or_a_reason():
    assert forms().keys() == set(CATALOGUE.names())
    assert all(form.reason for form in forms().values() if isinstance(form, Absent))


def test_every_operator_is_compiled_or_refused_with_a_reason(hostile):
    compiled = {
        "Scan", "Values", "Placeholder", "Project", "Filter", "Join", "Aggregate", "Window", "Sort",
        "Limit", "Distinct", "Union", "Intersect", "Except", "Count", "Rows", "ToFrame",
    }  # fmt: skip
    for name, plan in one_of_each().items():
        reason = hostile_platform[-1].refuse(plan)
        lists = any(pa.types.is_list(f.type) for op in topological(plan) for f in op.schema)
        if name in compiled and not lists:
            assert reason is None, f"{name}: {reason}"
        elif name not in compiled:
            assert reason, f"no reason against {name}"
        elif reason is not None:
            assert "no values of type list" in reason
        if name in compiled:
            key = f"Scan.{plan.source.kind}" if isinstance(plan, Scan) else name
            assert key in hostile_platform[-1].costs.operators


@pytest.mark.parametrize("name", [n for n in CLAIMED if KINDS[n] == "SCALAR"])
def test_scalar_functions_equal_the_reference(name, hostile, tables):
    from tests.conformance.functions.check import Raises, reference_values, same

    tried = 0
    for column, scan in hostile.items():
        for arguments in ([Column("l")], [Column("l"), Column("r")],
                          [Column("l"), Column("r"), Column("l")]):  # fmt: skip
            expression: Expression = Call(name, tuple(arguments))
            try:
                plan = Project(input=scan, columns=(("l", Column("l")), ("v", expression)))
            except PlanError:
                continue
            if hostile_platform[-1].refuse(plan) is not None:
                continue
            tried += 1
            table = tables[column]
            wanted = reference_values(expression, table)
            good = [not isinstance(value, Raises) for value in wanted]
            if all(good):
                got = run_here(plan)["v"].to_pylist()
                order = run_here(scan)
                assert order.equals(table)
                for value, want, row in zip(got, wanted, table.to_pylist(), strict=True):
                    assert same(value, want, 0.0), f"{expression} of {row}: {value!r}, not {want!r}"
            else:
                with pytest.raises(EvaluationError):
                    run_here(plan)
                _check_good_rows(plan, table, wanted, good)
    assert tried, f"{name} is claimed, and refused for all types"


def _check_good_rows(plan: Project, table: pa.Table, wanted: list[Any], good: list[bool]) -> None:
    """Compare the rows on which the reference does not fail, moved in."""
    from umbel.plan.operators import Values

    rows = table.filter(pa.array(good))
    moved_in = Project(input=Values(table=rows), columns=plan.columns)
    got = run_here(moved_in)["v"].to_pylist()
    assert got == [value for value, fine in zip(wanted, good, strict=True) if fine]


@pytest.mark.parametrize("name", [n for n in CLAIMED if KINDS[n] == "AGGREGATE"])
def test_aggregates_equal_the_reference(name, hostile, tables):
    arguments = () if name == "len" else (Column("r"),)
    for column, scan in hostile.items():
        if name == "sum" and column != "i":
            assert refuse_function(
                forms(), name, arguments, [tables[column].schema.field("r").type]
            )
            continue
        grouped = Aggregate(
            input=scan,
            keys=(("l", Column("l")),),
            aggregates=(("v", AggregateCall(name, arguments)),),
        )
        assert_same_rows(
            run_here(grouped),
            [tuple(row.values()) for row in run_on("python", moved(grouped, tables)).to_pylist()],
            context=f"{name} of {column}",
        )


def test_a_sum_fails_only_if_the_whole_does(hostile):
    source = hostile["i"].source
    column = AggregateCall(
        "sum", (Column("l"),), where=Call("greater", (Column("l"), Literal(1, pa.int64())))
    )
    plan = Aggregate(input=Scan(source=source), aggregates=(("v", column),))
    with pytest.raises(EvaluationError, match="int64"):
        run_here(plan)


@pytest.mark.parametrize("column", COLUMNS)
def test_operators_equal_the_reference(column, hostile, tables):
    scan = hostile[column]
    other = Project(input=scan, columns=(("k", Column("r")), ("m", Column("l"))))
    keys = (SortKey(Column("l")), SortKey(Column("r"), descending=True, nulls_first=True))
    left = Project(input=scan, columns=(("l", Column("l")),))
    right = Project(input=scan, columns=(("l", Column("r")),))
    distinct = Distinct(input=left)
    joins = [
        Join(left=distinct, right=Limit(input=other, count=9), on=(("l", "k"),), how=how)
        for how in ("inner", "left", "right", "full", "semi", "anti")
    ]
    plans: list[Operator] = [
        distinct,
        Sort(input=scan, keys=keys),
        Limit(input=Sort(input=scan, keys=keys), count=5, offset=3),
        Limit(input=Sort(input=scan, keys=keys), count=None, offset=7),
        Union(members=(left, right)),
        Union(members=(left, right), distinct=True),
        Intersect(left=left, right=right),
        Except(
            left=left, right=Limit(input=Sort(input=right, keys=(SortKey(Column("l")),)), count=20)
        ),
        *joins,
    ]
    for plan in plans:
        expected = run_on("python", moved(plan, tables)).to_pylist()
        assert_same_rows(
            run_here(plan),
            [tuple(row.values()) for row in expected],
            ordered=isinstance(plan, Sort | Limit),
            context=f"{plan.name} of {column}",
        )


@pytest.mark.parametrize("column", ["i", "s", "d"])
def test_windows_equal_the_reference(column, hostile, tables):
    # All columns of the order, so that no two rows tie.
    order = (SortKey(Column("r"), nulls_first=True),)
    groups = (Column("l"),)
    frame = Frame("rows", -1, 0)
    calls = [
        ("row", WindowCall("row_number", (), groups, order)),
        ("rank", WindowCall("rank", (), (), (SortKey(Column("l")),))),
        ("dense", WindowCall("dense_rank", (), (), (SortKey(Column("l"), descending=True),))),
        ("most", WindowCall("max", (Column("r"),), groups, order)),
        ("pair", WindowCall("count", (Column("r"),), groups, order, frame)),
    ]
    plan = Window(input=hostile[column], columns=tuple(calls))
    expected = run_on("python", moved(plan, tables)).to_pylist()
    assert_same_rows(run_here(plan), [tuple(row.values()) for row in expected], context=column)


def test_a_running_sum_of_integers(session):
    call = WindowCall("sum", (Column("id"),), (), (SortKey(Column("id")),))
    platform = session.catalog["shop"]
    plan = Window(input=Scan(source=platform.source(("orders",))), columns=(("sum", call),))
    assert platform.refuse(plan) is None
    found = platform.compile(Stage(plan)).run({}, Context())
    assert sorted(found["sum"].to_pylist()) == [1, 3, 6, 10]


def test_a_url_may_have_four_slashes(tmp_path: Path) -> None:
    """As SQLAlchemy writes absolute paths."""
    with contextlib.closing(sqlite3.connect(tmp_path / "shop.db")) as made:
        made.execute("create table t as select 1 as a")
        made.commit()
    session = ub.connect()
    session.catalog.attach("shop", f"sqlite:///{tmp_path}/shop.db")
    assert f"sqlite:///{tmp_path}".startswith("sqlite:////")
    assert session.table("shop.t").collect().to_pydict() == {"a": [1]}

"""What a site does with tasks: it counts, refuses, and lets nothing out beside what it shows.

Tasks are given to the site itself, as a coordinator would that does not care for rules.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest

import umbel as ub
from umbel import col
from umbel.api.dataframe import DataFrame
from umbel.executor import Cancellation
from umbel.federation import Form, Rule, Site
from umbel.federation.errors import FederationError, LimitError, PolicyError
from umbel.federation.execution import SiteExecution
from umbel.federation.execution.clean import cleaned
from umbel.federation.tasks import Input, Limits, Outcome, Requester, Task
from umbel.plan.errors import CancelledError, PlanError
from umbel.plan.expressions import Call, Column, Literal, WindowCall
from umbel.plan.function_ref import PythonFunction
from umbel.plan.operators import Limit, Map, Operator, Placeholder, Scan, Values, Window, Write
from umbel.plan.sinks import CsvSink
from umbel.plan.sources import CsvSource, MemorySource, QuerySource, RelationSource
from umbel.plan.types import INT64

LEAST = 3
#: For each group the individual and the value of every row.
GROUPS: dict[str, list[tuple[int | None, int | None]]] = {
    "one": [(1, 5)],
    "same": [(2, 5)] * 10,
    "two": [(3, 5), (4, 5)],
    "three": [(5, 5), (6, 5), (7, 5)],
    "four": [(8, 5), (9, 5), (10, 5), (11, 5)],
    "nobody": [(None, 5)] * 10,
    "a zero": [(12, 0), (13, 0), (14, 0), (15, 7)],
    "a null": [(16, None), (17, None), (18, None), (19, 7)],
    "mixed": [(20, 5), (21, 5), (22, 5), (23, 0), (24, None)],
}


@pytest.fixture(scope="module")
def site() -> Site:
    made = Site("north", ub.connect())
    rows = [(who, g, v) for g, members in GROUPS.items() for who, v in members]
    who, g, v = (list(column) for column in zip(*rows, strict=True))
    frame = made.session.from_dict(
        {"id": who, "g": g, "v": v}, {"id": "int64", "g": str, "v": "int64"}
    )
    made.publish("t", frame, Rule(Form.AGGREGATES, LEAST, "id"))
    made.publish("open", frame, Rule(Form.ROWS))
    made.publish("closed", frame)
    return made


@pytest.fixture(scope="module")
def tables(site: Site) -> Callable[[str], DataFrame]:
    manifest = {table.name: table for table in site.manifest().tables}
    session = ub.connect()

    def table(name: str) -> DataFrame:
        source = RelationSource(manifest[name].schema, "north", (name,))
        return DataFrame(Scan(source=source), session)

    return table


def ask(
    site: Site, plan: Operator, inputs: dict[str, pa.Table] | None = None, **changes: Any
) -> tuple[pa.Table, Outcome]:
    """Give a site a task; what it delivers, and what it says."""
    given = inputs or {}
    parts: list[pa.Table] = []
    task = Task(
        run="r",
        stage=0,
        site=changes.pop("to", "north"),
        plan=plan,
        inputs=tuple(Input.of(label, table) for label, table in given.items()),
        requester=Requester("ann"),
        limits=changes.pop("limits", Limits()),
    )
    cancellation = changes.pop("cancellation", Cancellation())
    outcome = SiteExecution(site)(task, given, cancellation, parts.append)
    found = pa.concat_tables(parts) if parts else plan.schema.empty_table()
    assert (found.num_rows, found.schema) == (outcome.rows, plan.schema)
    return found, outcome


@pytest.mark.parametrize(
    ("aggregate", "shown"),
    [
        (ub.len(), {"three", "four", "a zero", "a null", "mixed"}),
        # Values that are missing, or are zero in a sum, are no one's: one alone would show.
        (col("v").count(), {"three", "four", "a zero", "mixed"}),
        (col("v").sum(), {"three", "four", "mixed"}),
        (col("v").mean(), {"three", "four", "mixed"}),
        (col("v").var(), {"three", "four", "mixed"}),
        (col("id").n_unique(), {"three", "four", "a zero", "a null", "mixed"}),
        # Only one individual is behind what is not zero.
        (ub.when(col("g") == "one").then(col("v")).otherwise(0).sum(), set()),
        (ub.when(col("g") == "four").then(1).sum(), {"four"}),
    ],
)
def test_groups_of_too_few_individuals_do_not_leave(
    site: Site, tables: Callable[[str], DataFrame], aggregate: Any, shown: set[str]
) -> None:
    plan = tables("t").group_by("g").agg(aggregate.alias("a")).plan
    found, outcome = ask(site, plan)
    assert set(found.column("g").to_pylist()) == shown
    assert outcome.withheld


def test_what_is_above_a_group_sees_only_what_was_let_through(
    site: Site, tables: Callable[[str], DataFrame]
) -> None:
    groups = tables("t").group_by("g").agg(ub.len().alias("n"))
    found, _ = ask(site, groups.filter(col("n") < 4).sort("g").select("g").plan)
    assert found.column("g").to_pylist() == ["three"]
    found, _ = ask(site, groups.select(col("n").max().alias("most"), ub.len().alias("c")).plan)
    assert found.to_pylist() == [{"most": 5, "c": 5}]
    nothing, outcome = ask(site, tables("t").filter(col("g") == "two").select(ub.len()).plan)
    assert (nothing.num_rows, outcome.withheld) == (0, True)
    nothing, outcome = ask(site, tables("t").filter(col("g") == "").select(ub.len()).plan)
    assert (nothing.num_rows, outcome.withheld) == (0, True)


def test_individuals_are_counted_through_joins_and_unions(
    site: Site, tables: Callable[[str], DataFrame]
) -> None:
    many = pa.table({"h": ["one"] * 50 + ["three"] * 2, "w": list(range(52))})
    given = Placeholder(label="many", columns=many.schema)
    joined = tables("t").join(DataFrame(given, ub.connect()), left_on="g", right_on="h")
    found, _ = ask(site, joined.group_by("g").agg(col("w").sum()).plan, {"many": many})
    assert found.to_pylist() == [{"g": "three", "w": 3 * (50 + 51)}]
    # Twice the rows are not twice the individuals.
    twice = tables("t").select("g", "id").union(tables("t").select("g", "id"))
    found, _ = ask(site, twice.group_by("g").agg(ub.len().alias("n")).plan)
    assert {row["g"]: row["n"] for row in found.to_pylist()} == {
        "three": 6, "four": 8, "a zero": 8, "a null": 8, "mixed": 10
    }  # fmt: skip
    # One row for each individual, and then of all together.
    each = tables("t").group_by("id", "g").agg(col("v").max().alias("v"))
    found, _ = ask(site, each.group_by("g").agg(col("v").sum()).plan)
    assert {row["g"]: row["v"] for row in found.to_pylist()} == {
        "three": 15, "four": 20, "mixed": 15
    }  # fmt: skip
    same = tables("t").join(tables("t").select(i=col("id"), u=col("v")), left_on="id", right_on="i")
    found, _ = ask(site, same.group_by("g").agg(ub.len().alias("n")).plan)
    expected = {
        g: sum(1 for a, _ in rows for b, _ in rows if a is not None and a == b)
        for g, rows in GROUPS.items()
    }
    for row in found.to_pylist():
        assert row["n"] == expected[row["g"]]
    assert found.num_rows == 5


def test_what_may_leave_leaves_whole(site: Site, tables: Callable[[str], DataFrame]) -> None:
    found, outcome = ask(site, tables("open").sort("id").limit(3).plan)
    assert found.num_rows == 3
    assert not outcome.withheld
    assert "/" not in outcome.text
    mixed = tables("open").select(og=col("g")).unique()
    joined = tables("t").join(mixed, left_on="g", right_on="og")
    found, _ = ask(site, joined.group_by("g").agg(ub.len().alias("n")).plan)
    assert found.num_rows == 5


def _plan_of(table: DataFrame) -> Operator:
    return table.plan


_T = RelationSource(
    pa.schema([("id", pa.int64()), ("g", pa.string()), ("v", pa.int64())]), "north", ("t",)
)
_WIDER = RelationSource(pa.schema([*_T.schema, ("ssn", pa.string())]), "north", ("t",))
_TEXT = pa.schema([("line", pa.string())])
_RANK = WindowCall("row_number", order_by=())


@pytest.mark.parametrize(
    ("plan", "word"),
    [
        (Scan(source=_T), "gives rows of it"),
        (Scan(source=_T, columns=("v",)), "gives rows of it"),
        (Limit(input=Scan(source=_T), count=1), "single rows"),
        (Window(input=Scan(source=_T), columns=(("r", _RANK),)), "single rows"),
        (
            Scan(source=_T, predicate=Call("equal", (Column("id"), Literal(1, INT64)))),
            "who they are about",
        ),
        (Scan(source=replace(_T, relation=("closed",))), "nothing may leave"),
        (Scan(source=replace(_T, relation=("missing",))), "unknown table"),
        (Scan(source=replace(_T, relation=("main", "open"))), "unknown table"),
        (Scan(source=replace(_T, platform="south")), "reads published tables"),
        (Scan(source=_WIDER), "other columns by now"),
        (Scan(source=CsvSource(_TEXT, ("/etc/passwd",))), "reads published tables"),
        (Scan(source=MemorySource(_TEXT, "memory-1")), "reads published tables"),
        (Scan(source=QuerySource(_TEXT, "north", "select 1")), "reads published tables"),
        (Write(input=Scan(source=_T), sink=CsvSink("/tmp/out.csv")), "does not run Write"),
        (Map(input=Scan(source=_T), function=PythonFunction.of(str)), "does not run Map"),
    ],
)
def test_tasks_that_ask_for_more_are_refused(site: Site, plan: Operator, word: str) -> None:
    with pytest.raises((PolicyError, PlanError, FederationError), match=word):
        ask(site, plan)


def test_tasks_of_others_and_wrong_inputs_are_refused(
    site: Site, tables: Callable[[str], DataFrame]
) -> None:
    with pytest.raises(FederationError, match="got a task of site 'south'"):
        ask(site, tables("open").plan, to="south")
    whole = pa.schema([pa.field("k", pa.string(), nullable=False)])
    given = Placeholder(label="k", columns=whole)
    joined = tables("open").join(DataFrame(given, ub.connect()), left_on="g", right_on="k")
    with pytest.raises(FederationError, match="other columns than the plan"):
        ask(site, joined.plan, {"k": pa.table({"k": [1]})})
    with pytest.raises(FederationError, match="has nulls"):
        ask(site, joined.plan, {"k": pa.table({"k": ["a", None]})})
    offsets = pa.array([0, 1000, 3], pa.int32()).buffers()[1]  # the middle one is out of range
    broken = pa.StringArray.from_buffers(2, offsets, pa.py_buffer(b"abc"))
    with pytest.raises(pa.ArrowInvalid):
        ask(site, joined.plan, {"k": pa.table({"k": broken})})


def test_limits_and_cancelling_stop_the_work(
    site: Site, tables: Callable[[str], DataFrame]
) -> None:
    for limits in (Limits(rows=3), Limits(bytes=30)):
        with pytest.raises(LimitError, match="more than"):
            ask(site, tables("open").plan, limits=limits)
    numbers = pa.table({"n": list(range(3000))})
    many = DataFrame(Values(table=numbers), ub.connect())
    pairs = many.join(many.select(m=col("n")), how="cross")
    triples = pairs.join(many.select(k=col("n")), how="cross")
    slow = triples.filter((col("n") * col("m") + col("k")) % 7919 == 1).select(ub.len()).plan
    with pytest.raises(LimitError, match=r"more than 0\.3 s"):
        ask(site, slow, limits=Limits(seconds=0.3))
    cancelled = Cancellation()
    cancelled.cancel()
    with pytest.raises(CancelledError):
        ask(site, tables("open").plan, cancellation=cancelled)


def _bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found


_WORDS = ["SECRET-one", "open", "SECRET-two"]
_MASK = pa.array([True, False, True])


@pytest.mark.parametrize(
    "column",
    [
        pa.array(_WORDS).dictionary_encode().filter(pa.array([False, True, False])),
        pa.array(_WORDS).slice(1, 1),
        pa.chunked_array([pa.array(_WORDS).slice(1, 1), pa.array(_WORDS).slice(1, 1)]),
        pa.Array.from_buffers(
            pa.string(), 3, [pa.py_buffer(b"\x02"), *pa.array(_WORDS).buffers()[1:]], 2
        ),
        pa.StructArray.from_arrays([pa.array(_WORDS)], ["w"], mask=_MASK),
        pa.ListArray.from_arrays(pa.array([0, 1, 2, 3]), pa.array(_WORDS), mask=_MASK),
        pa.ListArray.from_arrays(pa.array([1, 2]), pa.array(_WORDS)),
    ],
    ids=["dictionary", "slice", "slices", "under nulls", "null structs", "null lists", "lists"],
)
def test_nothing_is_left_of_what_a_table_does_not_show(column: pa.Array) -> None:
    dtype = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    table = pa.table({"c": column}).replace_schema_metadata({"note": "SECRET-metadata"})
    assert b"SECRET" in _bytes(table)  # so that there is something to be removed
    made = cleaned(table, pa.schema([("c", dtype)]))
    assert b"SECRET" not in _bytes(made)
    assert made.column("c").to_pylist() == table.column("c").to_pylist()
    assert made.schema.metadata is None

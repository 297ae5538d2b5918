"""What a module's tests ask of engines, asked at its end in a few statements.

A statement of PostgreSQL, with the copying of its rows, costs as much as a thousand small
expressions, one of DataFusion, with its session, as much as a hundred, and one of DuckDB or Polars
as much as ten. So many cases go into one statement, with their tables side by side, and rows on
which the reference fails are asked one by one, some of each test.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tests import sqlite_file
from tests.conformance.compare import assert_same_rows
from tests.conformance.engines import Context, at_home, platform
from tests.conformance.functions import embedded
from tests.postgres_server import available
from tests.sqlite_file import digest
from umbel.plan.expressions import AggregateCall, Column, Expression, WindowCall, substitute
from umbel.plan.operators import (
    Aggregate,
    Operator,
    Project,
    Scan,
    Values,
    Window,
    topological,
)
from umbel.plan.sources import MemorySource
from umbel.platforms.base import Stage

#: Expressions of one statement, and rows of one test that must fail.
_TOGETHER, _FAILING = 40, 2


@dataclass(frozen=True)
class Case:
    """An expression over rows, and what it gives there.

    Attributes:
        engine: which is asked.
        test: where it comes from.
        expression: what is evaluated.
        table: the rows on which the reference has a value.
        expected: the values.
        failing: rows on which it fails.
        dtype: the type of the values.
        same: compares two values.
    """

    engine: str
    test: str
    expression: Expression
    table: pa.Table
    expected: list[Any]
    failing: pa.Table
    dtype: pa.DataType
    same: Callable[[Any, Any], bool]

    def __str__(self) -> str:
        return f"{self.engine}, {self.test}"


CASES: list[Case] = []
ENGINES = ("datafusion", "sqlite", *(["postgres"] if available() else []))


def refusal(engine: str, expression: Expression, schema: pa.Schema) -> str | None:
    """Why an engine does not run an expression over columns; None if it does."""
    scan = _scan(schema.empty_table())
    if engine == "sqlite" and sqlite_file.storable(schema):
        scan = Scan(source=sqlite_file.relation(schema))
    return platform(engine).refuse(scan) or platform(engine).refuse(
        Project(input=scan, columns=(("value", expression),))
    )


def storable(engine: str, table: pa.Table, values: Sequence[Any]) -> list[int]:
    """Positions of the rows that an engine can hold: PostgreSQL's text has no NUL, SQLite no NaN."""
    if engine == "sqlite":
        return [i for i, row in enumerate(table.to_pylist()) if not any(map(_is_nan, row.values()))]
    if engine != "postgres":
        return list(range(table.num_rows))
    rows = enumerate(zip(table.to_pylist(), values, strict=True))
    return [i for i, (row, value) in rows if not _has_nul([*row.values(), value])]


def _is_nan(value: Any) -> bool:
    return isinstance(value, float) and value != value


def _has_nul(values: Iterable[Any]) -> bool:
    return any(
        "\0" in value if isinstance(value, str) else isinstance(value, list) and _has_nul(value)
        for value in values
    )


def record(case: Case) -> None:
    """Keep a case for the end of the module."""
    CASES.append(case)


def current_test() -> str:
    """The test that is running."""
    return os.environ.get("PYTEST_CURRENT_TEST", "").rpartition(" ")[0]


@dataclass(frozen=True)
class GroupCase:
    """A call over the groups of a table, or over windows of it, and what it gives there.

    Attributes:
        engine: which is asked.
        test: where it comes from.
        call: an aggregate call, or a window call.
        table: the rows.
        keys: the columns that groups have in common, or the one that tells rows apart.
        expected: rows of the keys and the value.
    """

    engine: str
    test: str
    call: AggregateCall | WindowCall
    table: pa.Table
    keys: tuple[str, ...]
    expected: list[tuple[Any, ...]]

    def __str__(self) -> str:
        return f"{self.engine}, {self.test}: {self.call}"


GROUP_CASES: list[GroupCase] = []


def record_call(
    call: AggregateCall | WindowCall,
    table: pa.Table,
    keys: Sequence[str],
    expected: list[tuple[Any, ...]],
    *,
    servers: bool = True,
) -> dict[str, bool]:
    """Keep a call for the engines that do not refuse it.

    Args:
        call: what is evaluated.
        table: over which rows.
        keys: see `GroupCase`.
        expected: see `GroupCase`.
        servers: whether those are asked too whose own tests list what they refuse.

    Returns:
        Which of the others run it.
    """

    def keep(engine: str) -> None:
        GROUP_CASES.append(GroupCase(engine, test, call, table, tuple(keys), expected))

    test, ran = current_test(), {}
    for way in embedded.WAYS:
        ran[way] = embedded.refuse_call(way, call, table.schema) is None
        if ran[way]:
            keep(way)
    if servers:
        plan = _grouping([call], table, keys)
        for engine in ENGINES:
            if engine == "postgres" and "\\x00" in str(table.to_pylist()):
                continue
            operators = topological(at_home(engine, plan))
            if all(platform(engine).refuse(operator) is None for operator in operators):
                keep(engine)
    return ran


def _grouping(
    calls: Sequence[AggregateCall | WindowCall], table: pa.Table, keys: Sequence[str]
) -> Operator:
    """One operator with calls over a table."""
    scan = _scan(table)
    named: tuple[Any, ...] = tuple((f"c{i}", call) for i, call in enumerate(calls))
    columns = tuple((key, Column(key)) for key in keys)
    if isinstance(calls[0], AggregateCall):
        return Aggregate(input=scan, keys=columns, aggregates=named)
    window = Window(input=scan, columns=named)
    return Project(input=window, columns=(*columns, *((name, Column(name)) for name, _ in named)))


def _ask_groups() -> list[str]:
    cases, GROUP_CASES[:] = list(GROUP_CASES), []
    groups: defaultdict[tuple[Any, ...], list[GroupCase]] = defaultdict(list)
    for case in cases:
        groups[case.engine, type(case.call), case.keys, digest(case.table)].append(case)
    wrong: list[str] = []
    for group in groups.values():
        for start in range(0, len(group), _TOGETHER):
            wrong += _ask_group(group[start : start + _TOGETHER])
    return wrong


def _ask_group(cases: list[GroupCase]) -> list[str]:
    try:
        answers = _call_all(cases)
    except Exception as error:  # noqa: BLE001 - one by one, to say which fails
        if len(cases) > 1:
            return [line for case in cases for line in _ask_group([case])]
        return [f"{cases[0]} fails: {error}"[:400]]
    wrong = []
    for case, given in zip(cases, answers, strict=True):
        try:
            assert_same_rows(given, case.expected, context=str(case))
        except AssertionError as error:
            wrong.append(str(error)[:400])
    return wrong


def _call_all(cases: list[GroupCase]) -> list[embedded.Rows]:
    engine, table, keys = cases[0].engine, cases[0].table, cases[0].keys
    calls = [case.call for case in cases]
    if engine in embedded.WAYS:
        return embedded.call_all(engine, calls, table, keys)
    plan = at_home(engine, _grouping(calls, table, keys))
    answer = platform(engine).compile(Stage(plan)).run({}, Context())
    assert answer.schema.types == plan.schema.types
    return embedded.beside(keys, len(cases), lambda name: answer.column(name).to_pylist())


def ask_all() -> None:
    """Ask what was recorded; raises with all answers that are wrong."""
    cases, CASES[:] = list(CASES), []
    groups: defaultdict[tuple[str, bool, bool], list[Case]] = defaultdict(list)
    for case in sorted(cases, key=lambda case: case.table.num_rows):
        # Of no rows, too, the embedded engines give columns of the right types.
        if case.table.num_rows or case.engine in embedded.ENGINES:
            home = case.engine == "sqlite" and sqlite_file.storable(case.table.schema)
            groups[case.engine, case.table.num_rows > 0, home].append(case)
    wrong = _ask_groups()
    for group in groups.values():
        for start in range(0, len(group), _TOGETHER):
            wrong += _ask(group[start : start + _TOGETHER])
    failing: defaultdict[tuple[str, str], int] = defaultdict(int)
    for case in cases:
        if case.failing.num_rows and failing[case.engine, case.test] < _FAILING:
            failing[case.engine, case.test] += 1
            wrong += _must_fail(case)
    assert not wrong, f"{len(wrong)} answers are wrong:\n" + "\n".join(wrong[:40])


def _scan(table: pa.Table) -> Scan:
    return Scan(source=MemorySource(schema=table.schema, token="given", data=table))


def _run(engine: str, table: pa.Table, expressions: list[Expression]) -> pa.Table:
    if engine in embedded.ENGINES:
        answer = embedded.evaluate(engine, expressions, numbered(table))
        return answer.drop_columns(["position"])
    plan = at_home(engine, _projection(table, expressions))
    answer = platform(engine).compile(Stage(plan)).run({}, Context())
    return answer.sort_by("position").drop_columns(["position"])


def numbered(table: pa.Table) -> pa.Table:
    """Give rows their positions."""
    return table.append_column("position", pa.array(range(table.num_rows), pa.int64()))


def _projection(table: pa.Table, expressions: list[Expression]) -> Project:
    """Expressions over rows, with the rows' positions."""
    columns = [(f"c{i}", expression) for i, expression in enumerate(expressions)]
    return Project(
        input=_scan(numbered(table)), columns=(("position", Column("position")), *columns)
    )


def side_by_side(cases: list[Case]) -> tuple[list[Expression], pa.Table]:
    """Put the tables of cases beside one another, so that one statement asks all of them.

    Shorter ones are repeated to the length of the longest: whatever is evaluated for the added
    rows is evaluated for the first ones too.
    """
    tables: dict[bytes, str] = {}
    columns: dict[str, pa.ChunkedArray] = {}
    length = max(case.table.num_rows for case in cases)
    expressions = []
    for case in cases:
        prefix = tables.setdefault(digest(case.table), f"t{len(tables)}_")
        rows = pa.array([i % case.table.num_rows for i in range(length)], pa.int64())
        for name in case.table.schema.names:
            if prefix + name not in columns:
                columns[prefix + name] = case.table.column(name).take(rows)
        given: dict[str, Expression] = {
            name: Column(prefix + name) for name in case.table.schema.names
        }
        expressions.append(substitute(case.expression, given))
    return expressions, pa.table(columns)


def _ask(cases: list[Case]) -> list[str]:
    expressions, table = side_by_side(cases)
    try:
        answer = _run(cases[0].engine, table, expressions)
    except Exception as error:  # noqa: BLE001 - one by one, to say which fails
        if len(cases) > 1:
            return [line for case in cases for line in _ask([case])]
        return [f"{cases[0]}: {cases[0].expression} fails: {error}"[:400]]
    types = _TYPES.get(cases[0].engine)
    wrong = types(cases, _projection(table, expressions)) if types else []
    for case, column in zip(cases, answer.columns, strict=True):
        if column.type != case.dtype:
            wrong.append(f"{case}: {case.expression} is {column.type}, not {case.dtype}")
            continue
        values = column.to_pylist()[: case.table.num_rows]
        for index, (got, want) in enumerate(zip(values, case.expected, strict=True)):
            if not case.same(got, want):
                row = case.table.slice(index, 1).to_pylist()[0]
                wrong.append(
                    f"{case}: {case.expression} is {got!r} instead of {want!r} for {row}"[:400]
                )
                break
    return wrong


def _types_in_datafusion(cases: list[Case], plan: Project) -> list[str]:
    """What DataFusion gives has the value's own type, before anything casts it."""
    from umbel.platforms.datafusion.stage import DataFusionStage

    found = DataFusionStage(Stage(plan)).types(Context())
    return [
        f"{case}: {case.expression} is {found[i + 1]} in DataFusion, not {case.dtype}"
        for i, case in enumerate(cases)
        if found[i + 1] != case.dtype
    ]


def _types_in_postgres(cases: list[Case], plan: Project) -> list[str]:
    """Inside the server a value must have its own type too: further operators rely on it."""
    from umbel.platforms.postgres.dialect import DIALECT
    from umbel.platforms.postgres.sources import PostgresSources
    from umbel.platforms.postgres.types import type_text
    from umbel.sql.compiler import compile_plan

    schema = plan.input.schema
    nulls = pa.Table.from_arrays([pa.nulls(1, t) for t in schema.types], names=schema.names)
    query = compile_plan(
        Project(input=Values(table=nulls), columns=plan.columns),
        DIALECT,
        PostgresSources(lambda source: None),  # type: ignore[arg-type,return-value]
    )
    asked = ", ".join(
        f"pg_typeof(c{i}), pg_typeof(CAST(NULL AS {type_text(case.dtype)}))"
        for i, case in enumerate(cases)
    )
    text = f"SELECT {asked} FROM (SELECT 1) AS o LEFT JOIN ({query.sql('postgres', copy=False)}) AS q ON FALSE"
    postgres: Any = platform("postgres")
    [found] = postgres.server.ask(text)
    return [
        f"{case}: {case.expression} is {found[2 * i]} in the server, not {found[2 * i + 1]}"
        for i, case in enumerate(cases)
        if found[2 * i] != found[2 * i + 1]
    ]


#: Finds what has another type inside an engine than it should have.
_TYPES: dict[str, Callable[[list[Case], Project], list[str]]] = {
    "postgres": _types_in_postgres,
    "datafusion": _types_in_datafusion,
}


def _must_fail(case: Case) -> list[str]:
    row = case.failing.slice(0, 1)
    try:
        got = _run(case.engine, row, [case.expression])
    except Exception:  # noqa: BLE001 - it should
        return []
    return [f"{case}: {case.expression} is {got.to_pylist()} for {row.to_pylist()[0]}"]

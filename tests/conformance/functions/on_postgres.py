"""What a module's tests ask of PostgreSQL, asked at its end in a few statements.

A statement, with the copying of its rows, costs as much as a thousand small expressions. So cases
over the same rows go into one statement, and rows on which the reference fails are asked one by
one, some of each test.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from tests.conformance.engines import Context, platform
from tests.postgres_server import available
from umbel.plan.expressions import Expression
from umbel.plan.operators import Project, Scan, Values
from umbel.plan.sources import MemorySource
from umbel.platforms.base import Stage

#: Expressions of one statement, and rows of one test that must fail.
_TOGETHER, _FAILING = 25, 2


@dataclass(frozen=True)
class Case:
    """An expression over rows, and what it gives there.

    Attributes:
        test: where it comes from.
        expression: what is evaluated.
        table: the rows on which the reference has a value.
        expected: the values.
        failing: rows on which it fails.
        dtype: the type of the values.
        same: compares two values.
    """

    test: str
    expression: Expression
    table: pa.Table
    expected: list[Any]
    failing: pa.Table
    dtype: pa.DataType
    same: Callable[[Any, Any], bool]


CASES: list[Case] = []


def refusal(expression: Expression, schema: pa.Schema) -> str | None:
    """Why PostgreSQL does not run an expression over columns; None if it does."""
    if not available():
        return "it is not installed"
    scan = _scan(schema.empty_table())
    return platform("postgres").refuse(scan) or platform("postgres").refuse(
        Project(input=scan, columns=(("value", expression),))
    )


def storable(table: pa.Table, values: Sequence[Any]) -> list[int]:
    """Positions of the rows that PostgreSQL can hold, with what they give: its text has no NUL."""
    rows = enumerate(zip(table.to_pylist(), values, strict=True))
    return [i for i, (row, value) in rows if not _has_nul([*row.values(), value])]


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


def ask_all() -> None:
    """Ask what was recorded; raises with all answers that are wrong."""
    cases, CASES[:] = list(CASES), []
    groups: defaultdict[bytes, list[Case]] = defaultdict(list)
    for case in cases:
        groups[_digest(case.table)].append(case)
    wrong: list[str] = []
    for group in groups.values():
        for start in range(0, len(group), _TOGETHER):
            wrong += _ask(group[start : start + _TOGETHER])
    failing: defaultdict[str, int] = defaultdict(int)
    for case in cases:
        if case.failing.num_rows and failing[case.test] < _FAILING:
            failing[case.test] += 1
            wrong += _must_fail(case)
    assert not wrong, f"{len(wrong)} answers of PostgreSQL are wrong:\n" + "\n".join(wrong[:40])


def _digest(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks())
    return bytes(sink.getvalue())


def _scan(table: pa.Table) -> Scan:
    return Scan(source=MemorySource(schema=table.schema, token="given", data=table))


def _run(table: pa.Table, expressions: list[Expression]) -> pa.Table:
    from umbel.plan.expressions import Column

    numbered = table.append_column("position", pa.array(range(table.num_rows), pa.int64()))
    columns = [(f"c{i}", expression) for i, expression in enumerate(expressions)]
    plan = Project(input=_scan(numbered), columns=(("position", Column("position")), *columns))
    answer = platform("postgres").compile(Stage(plan)).run({}, Context())
    return answer.sort_by("position").drop_columns(["position"])


def _ask(cases: list[Case]) -> list[str]:
    if cases[0].table.num_rows == 0:
        return []
    expressions = [case.expression for case in cases]
    try:
        answer = _run(cases[0].table, expressions)
    except Exception as error:  # noqa: BLE001 - one by one, to say which fails
        if len(cases) > 1:
            return [line for case in cases for line in _ask([case])]
        return [f"{cases[0].test}: {cases[0].expression} fails: {error}"[:400]]
    wrong = _wrong_types(cases)
    for case, column in zip(cases, answer.columns, strict=True):
        if column.type != case.dtype:
            wrong.append(f"{case.test}: {case.expression} is {column.type}, not {case.dtype}")
            continue
        for index, (got, want) in enumerate(zip(column.to_pylist(), case.expected, strict=True)):
            if not case.same(got, want):
                row = case.table.slice(index, 1).to_pylist()[0]
                wrong.append(
                    f"{case.test}: {case.expression} is {got!r} instead of {want!r} for {row}"[:400]
                )
                break
    return wrong


def _wrong_types(cases: list[Case]) -> list[str]:
    """Inside the server a value must have its own type too: further operators rely on it."""
    from umbel.platforms.postgres.dialect import DIALECT
    from umbel.platforms.postgres.sources import PostgresSources
    from umbel.platforms.postgres.types import type_text
    from umbel.sql.compiler import compile_plan

    schema = cases[0].table.schema
    nulls = pa.Table.from_arrays([pa.nulls(1, t) for t in schema.types], names=schema.names)
    columns = tuple((f"c{i}", case.expression) for i, case in enumerate(cases))
    query = compile_plan(
        Project(input=Values(table=nulls), columns=columns),
        DIALECT,
        PostgresSources(lambda source: None),  # type: ignore[arg-type,return-value]
    )
    asked = ", ".join(
        f"pg_typeof(c{i}), pg_typeof(CAST(NULL AS {type_text(case.dtype)}))"
        for i, case in enumerate(cases)
    )
    text = f"SELECT {asked} FROM (SELECT 1) AS o LEFT JOIN ({query.sql('postgres')}) AS q ON FALSE"
    postgres: Any = platform("postgres")
    [found] = postgres.server.ask(text)
    return [
        f"{case.test}: {case.expression} is {found[2 * i]} in the server, not {found[2 * i + 1]}"
        for i, case in enumerate(cases)
        if found[2 * i] != found[2 * i + 1]
    ]


def _must_fail(case: Case) -> list[str]:
    row = case.failing.slice(0, 1)
    try:
        got = _run(row, [case.expression])
    except Exception:  # noqa: BLE001 - it should
        return []
    return [f"{case.test}: {case.expression} is {got.to_pylist()} for {row.to_pylist()[0]}"]

"""What a module's tests ask of Spark, asked at its end: a job costs as much as 500 expressions.

Expressions that Spark does not refuse are kept, some of each function over columns of each types;
many go into one statement, with their tables side by side. Each answer is held against the
reference's.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pyarrow as pa

from tests.conformance.functions.recorded import Case, numbered, side_by_side
from tests.spark_server import available, start
from umbel.plan.expressions import Expression
from umbel.plan.typing import infer_type

#: Expressions in a statement; Spark compiles each statement to one Java class.
_TOGETHER = 60
#: So many expressions of a function over columns of the same types are asked, of a process.
_OF_A_KIND = 1
#: So many rows that must fail, of a function and of a process; each is a job.
_FAILING = 1

Kind = tuple[str, str]

CASES: list[Case] = []
_asked: Counter[Kind] = Counter()


def wanted(expression: Expression, schema: pa.Schema) -> bool:
    """Whether Spark is asked: it does not refuse the expression, nor had enough of its test."""
    if not available():
        return False
    from tests.conformance.functions.check import refusal
    from umbel.platforms.spark.types import refuse_type

    if _asked[_kind(expression, schema)] >= _OF_A_KIND:
        return False
    types = [*schema.types, infer_type(expression, schema)]
    if any(refuse_type(dtype) for dtype in types):
        return False
    return refusal("spark", expression, schema) is None


def record(case: Case) -> None:
    """Keep a case for the end of the module."""
    CASES.append(case)
    _asked[_kind(case.expression, case.table.schema)] += 1


def _kind(expression: Expression, schema: pa.Schema) -> Kind:
    return _outermost(expression), str([str(dtype) for dtype in schema.types])


def _outermost(expression: Expression) -> str:
    return str(getattr(expression, "function", type(expression).__name__))


def ask_all() -> None:
    """Ask what was recorded; raises with all answers that are wrong."""
    cases, CASES[:] = list(CASES), []
    if not cases:
        return
    wrong = _ask(cases)
    assert not wrong, f"Spark differs in {len(wrong)} of {len(cases)}:\n" + "\n".join(wrong[:40])


def _ask(cases: list[Case]) -> list[str]:
    from umbel.platforms.spark.connection import Connection

    good = [case for case in cases if case.table.num_rows]
    batches = [good[start : start + _TOGETHER] for start in range(0, len(good), _TOGETHER)]
    failing: Counter[str] = Counter()
    must_fail = []
    for case in cases:
        function = _outermost(case.expression)
        if case.failing.num_rows and failing[function] < _FAILING:
            failing[function] += 1
            must_fail.append(case)
    connection = Connection(start())
    session = connection.session()
    # Constants would be computed by other code than rows are.
    rule = "org.apache.spark.sql.catalyst.optimizer.ConvertToLocalRelation"
    session.conf.set("spark.sql.optimizer.excludedRules", rule)
    try:
        wrong = [line for batch in batches for line in _differences(connection, batch)]
        session.conf.unset("spark.sql.optimizer.excludedRules")
        return [*wrong, *filter(None, (_passes(connection, case) for case in must_fail))]
    finally:
        connection.close()


def statement(expressions: list[Expression], schema: pa.Schema, view: str) -> str:
    """Write the statement that evaluates expressions over a view, with the rows' positions."""
    from sqlglot import exp

    from umbel.platforms.spark.dialect import DIALECT
    from umbel.platforms.spark.dialect import statement as written
    from umbel.sql.expressions import Scope, column, compile_expression

    columns = [
        compile_expression(e, Scope(schema), DIALECT).as_(f"c{i}", quoted=True)
        for i, e in enumerate(expressions)
    ]
    query = exp.Select(expressions=[column("position"), *columns])
    query.set("from_", exp.From(this=exp.Table(this=exp.to_identifier(view, quoted=True))))
    return written(query)


def _evaluate(connection: Any, cases: list[Case]) -> pa.Table:
    from umbel.platforms.spark.frames import fetch, upload

    expressions, table = side_by_side(cases)
    table = numbered(table)
    view = connection.new_name("check")
    frame = upload(connection, table, table.schema)
    frame.createOrReplaceTempView(view)
    wanted = pa.schema(
        [("position", pa.int64()), *((f"c{i}", c.dtype) for i, c in enumerate(cases))]
    )
    text = statement(expressions, table.schema, view)
    try:
        return fetch(connection.session().sql(text), wanted).sort_by("position")
    finally:
        connection.session().catalog.dropTempView(view)
        del frame  # its file may go now


def _differences(connection: Any, cases: list[Case]) -> list[str]:
    from umbel.platforms.spark.errors import condense

    try:
        answer = _evaluate(connection, cases)
    except Exception as error:  # noqa: BLE001 (some of them fails: find out which)
        if len(cases) == 1:
            return [f"{cases[0].test}: {cases[0].expression} fails: {condense(error).message}"]
        middle = len(cases) // 2
        return [
            *_differences(connection, cases[:middle]),
            *_differences(connection, cases[middle:]),
        ]
    wrong = []
    for number, case in enumerate(cases):
        got = answer.column(f"c{number}").to_pylist()[: case.table.num_rows]
        for row, (a, b) in enumerate(zip(got, case.expected, strict=True)):
            if not case.same(a, b):
                where = case.table.slice(row, 1).to_pylist()[0]
                wrong.append(f"{case.expression} is {a!r} instead of {b!r} for {where}")
                break
    return wrong


def _passes(connection: Any, case: Case) -> str | None:
    """Say that an expression gives something where the reference fails."""
    row = case.failing.slice(0, 1)
    try:
        answer = _evaluate(connection, [replace(case, table=row)])
    except Exception:  # noqa: BLE001 (it is meant to fail)
        return None
    got = answer.column("c0").to_pylist()[0]
    return f"{case.expression} is {got!r} for {row.to_pylist()[0]}, where it must fail"

"""Evaluate an expression on every engine and hold the answers against the reference.

The reference is the python platform's evaluator, row by row. An engine must give the same values
in a column of the same Arrow type, and must fail on every row on which the reference fails.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from typing import Any

import pyarrow as pa

from tests.conformance.functions import embedded, on_spark, recorded
from umbel.plan.errors import RunError
from umbel.plan.expressions import Call, Case, Cast, Column, Expression, Literal
from umbel.plan.functions.forms import refuse_function
from umbel.plan.typing import infer, infer_type
from umbel.platforms.python.expressions import compile_expression as evaluator

#: Rows on which the reference fails are given to an engine one by one; so many at most.
_FAILING_ROWS = 4


class Raises:
    """Stands for the value of a row on which the reference fails."""

    def __init__(self, error: RunError) -> None:
        self.error = error

    def __repr__(self) -> str:
        return f"failure ({self.error.message})"


def call(function: str, *arguments: Any) -> Call:
    """Call a function; strings are columns, anything else that is no expression a constant."""
    return Call(function, tuple(map(operand, arguments)))


def operand(value: Any) -> Expression:
    """An argument as an expression: a column's name, an expression or a Python constant."""
    if isinstance(value, Expression):
        return value
    if isinstance(value, str):
        return Column(value)
    return constant(value)


def constant(value: Any, dtype: pa.DataType | None = None) -> Literal:
    """A constant, of the type that Arrow gives the value if none is named."""
    return Literal(value, pa.scalar(value).type if dtype is None else dtype)


def reference_values(expression: Expression, table: pa.Table) -> list[Any]:
    """What the reference gives for each row: a value, or `Raises`."""
    evaluate = evaluator(expression, table.schema)
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    values = []
    for row in rows if table.column_names else [()] * table.num_rows:
        try:
            values.append(evaluate(row))
        except RunError as error:
            values.append(Raises(error))
    return values


def refusal(engine: str, expression: Expression, schema: pa.Schema) -> str | None:
    """Why an engine does not run an expression; None if it does."""
    if engine == "polars":
        from umbel.platforms.polars.casts import refuse_cast
        from umbel.platforms.polars.functions import forms
    elif engine == "spark":
        from umbel.platforms.spark.casts import refuse_cast
        from umbel.platforms.spark.functions import forms
    else:
        from umbel.platforms.duckdb.casts import refuse_cast
        from umbel.platforms.duckdb.functions import forms
    reason = None
    match expression:
        case Cast(node, dtype):
            reason = refuse_cast(infer_type(node, schema), dtype)
        case Call(function, nodes):
            types = [infer_type(node, schema) for node in nodes]
            reason = refuse_function(forms(), function, nodes, types)
        case Case():
            dtype = infer_type(expression, schema)
            values = [value for _, value in expression.branches]
            if expression.otherwise is not None:
                values.append(expression.otherwise)
            reason = next(
                filter(None, (refuse_cast(infer_type(v, schema), dtype) for v in values)), None
            )
    for child in expression.children:
        reason = reason or refusal(engine, child, schema)
    return reason


def check(
    expression: Expression,
    columns: Mapping[str, pa.Array],
    engines: Iterable[str] = embedded.ENGINES,
    *,
    tolerance: float = 0.0,
) -> list[Any]:
    """Assert that all engines agree with the reference on an expression over a table.

    They are asked for the values at the end of the module, with other expressions; that they fail
    where the reference does is asked now.

    Args:
        expression: what to evaluate.
        columns: the table's columns, all of one length.
        engines: those that must run it; one that refuses it is an error unless `check_if_claimed`
            is called instead.
        tolerance: the relative difference that floats may have; 0 means the same number. Not for
            anything but functions whose row says that the last bits may differ.

    Returns:
        The reference's values; `Raises` where it fails.
    """
    table = pa.table(dict(columns))
    values = reference_values(expression, table)
    field = infer(expression, table.schema)
    _check_reference(expression, values, field)
    for engine in engines:
        reason = refusal(engine, expression, table.schema)
        assert reason is None, f"{engine} refuses {expression}: {reason}"
        _must_fail(engine, expression, table, values)
    _record(expression, table, values, field, tolerance, engines)
    return values


def _record(
    expression: Expression,
    table: pa.Table,
    values: Sequence[Any],
    field: pa.Field,
    tolerance: float,
    engines: Iterable[str],
) -> None:
    """Keep a case for engines, and for those others that do not refuse the expression."""
    test = recorded.current_test()

    @cache
    def case(positions: tuple[int, ...]) -> recorded.Case:
        good = [i for i in positions if not isinstance(values[i], Raises)]
        bad = [i for i in positions if isinstance(values[i], Raises)]
        return recorded.Case(
            "",
            test,
            expression,
            table.take(pa.array(good, pa.int64())),
            pa.array([values[i] for i in good], type=field.type).to_pylist(),
            table.take(pa.array(bad, pa.int64())),
            field.type,
            partial(same, tolerance=tolerance),
        )

    def record(engine: str) -> recorded.Case:
        rows = recorded.storable(engine, table, values)
        return replace(case(tuple(rows)), engine=engine)

    for engine in engines:
        # On the rows on which the reference fails they were asked already.
        recorded.record(replace(record(engine), failing=table.slice(0, 0)))
    for engine in recorded.ENGINES:
        if recorded.refusal(engine, expression, table.schema) is None:
            recorded.record(record(engine))
    if on_spark.wanted(expression, table.schema):
        on_spark.record(record("spark"))


def check_if_claimed(
    expression: Expression,
    columns: Mapping[str, pa.Array],
    *,
    tolerance: float = 0.0,
) -> list[str]:
    """Do as `check` on the engines that do not refuse the expression, and name them."""
    schema = pa.table(dict(columns)).schema
    engines = [engine for engine in embedded.ENGINES if refusal(engine, expression, schema) is None]
    check(expression, columns, engines, tolerance=tolerance)
    return engines


def _check_reference(expression: Expression, values: Sequence[Any], field: pa.Field) -> None:
    """The reference's values must be values of the type that the catalogue says."""
    good = [value for value in values if not isinstance(value, Raises)]
    pa.array(good, type=field.type)
    assert field.nullable or None not in good, f"{expression} is never null, but the reference is"


def _must_fail(engine: str, expression: Expression, table: pa.Table, values: Sequence[Any]) -> None:
    """An engine must fail on rows on which the reference does."""
    bad = [i for i, value in enumerate(values) if isinstance(value, Raises)]
    if not bad:
        return
    rows = recorded.numbered(table)
    for index in bad[:: math.ceil(len(bad) / _FAILING_ROWS)]:
        row = rows.slice(index, 1)
        try:
            answer = embedded.evaluate(engine, [expression], row)
        except AssertionError:
            raise
        except Exception:  # noqa: BLE001 (each engine fails in its own way)
            continue
        raise AssertionError(
            f"{engine}: {expression} is {answer.column('c0').to_pylist()[0]!r} instead of "
            f"{values[index]!r} for {row.to_pylist()[0]}"
        )


def same(left: Any, right: Any, tolerance: float = 0.0) -> bool:
    """Whether two values mean the same: NaN is NaN, -0.0 is 0.0, and 1 is not 1.0 nor True."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float):
        if math.isnan(left) or math.isnan(right):
            return math.isnan(left) and math.isnan(right)
        return left == right or (tolerance > 0 and math.isclose(left, right, rel_tol=tolerance))
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(
            same(left[key], right[key], tolerance) for key in left
        )
    if isinstance(left, list):
        return len(left) == len(right) and all(
            same(a, b, tolerance) for a, b in zip(left, right, strict=True)
        )
    return bool(left == right)


def check_examples(function: str, tolerance: float = 0.0) -> None:
    """Assert that the reference gives what a catalogue row's examples say."""
    from umbel.plan.functions import CATALOGUE, Nulls

    row = CATALOGUE[function]
    assert row.examples, f"{function} has no example"
    for arguments, want in row.examples:
        row.check_arity(len(arguments))
        nodes = [constant(value) for value in arguments]
        dtype = row.result_type([node.dtype for node in nodes], nodes)
        reference = partial(row.reference, dtype=dtype) if row.typed else row.reference
        strict = row.nulls in (Nulls.STRICT, Nulls.PARTIAL)
        got = None if strict and None in arguments else reference(*arguments)
        assert same(pa.scalar(got, dtype).as_py(), pa.scalar(want, dtype).as_py(), tolerance), (
            f"{function}{arguments} is {got!r}, not {want!r}"
        )

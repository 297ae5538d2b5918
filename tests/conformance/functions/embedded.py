"""Polars and DuckDB on the smallest statements that hold what forms build: many, over one table.

The platforms' own operators have their own tests. A statement costs as much as many expressions, so
there are as many in one as the caller has.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import polars as pl
import pyarrow as pa
from sqlglot import expressions as exp

from umbel.plan.expressions import AggregateCall, Expression, WindowCall
from umbel.plan.functions.forms import refuse_function
from umbel.plan.typing import infer, infer_type
from umbel.platforms.conform import conform
from umbel.platforms.duckdb.database import Database, fetch, select_for_arrow
from umbel.platforms.duckdb.dialect import DIALECT
from umbel.platforms.duckdb.functions import forms as duckdb_forms
from umbel.platforms.duckdb.types import type_text
from umbel.platforms.polars.expressions import compile_expression as to_polars
from umbel.platforms.polars.functions import forms as polars_forms
from umbel.platforms.polars.stage import to_arrow
from umbel.platforms.polars.types import polars_type
from umbel.platforms.polars.windows import compile_window, refuse_window
from umbel.sql.expressions import Scope
from umbel.sql.expressions import compile_expression as to_sql
from umbel.sql.python_functions import functions_used

ENGINES = ("polars", "duckdb")
AnyCall = AggregateCall | WindowCall
Rows = list[tuple[Any, ...]]


@cache
def _database() -> Database:
    return Database()


def polars_frame(table: pa.Table) -> pl.DataFrame:
    schema = {field.name: polars_type(field.type) for field in table.schema}
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame.cast(schema)


# --- expressions ------------------------------------------------------------------------------


def evaluate(engine: str, expressions: Sequence[Expression], table: pa.Table) -> pa.Table:
    """Evaluate expressions over a table with a column `position`; give it and c0, c1, …"""
    fields = [pa.field(f"c{i}", infer_type(e, table.schema)) for i, e in enumerate(expressions)]
    wanted = pa.schema([pa.field("position", pa.int64()), *fields])
    run = {"polars": _in_polars, "duckdb": _in_duckdb}[engine]
    return run(expressions, table, wanted).sort_by("position")


def _in_polars(expressions: Sequence[Expression], table: pa.Table, wanted: pa.Schema) -> pa.Table:
    built = [to_polars(e, table.schema).alias(f"c{i}") for i, e in enumerate(expressions)]
    result = polars_frame(table).lazy().select(pl.col("position"), *built).collect()
    for expression, field in zip(expressions, list(wanted)[1:], strict=True):
        assert result.schema[field.name] == polars_type(field.type), (
            f"{expression}: Polars gives {result.schema[field.name]}, not {field.type}"
        )
    return to_arrow(result, wanted)


def _in_duckdb(expressions: Sequence[Expression], table: pa.Table, wanted: pa.Schema) -> pa.Table:
    scope = Scope(table.schema)
    built = [to_sql(e, scope, DIALECT).as_(f"c{i}") for i, e in enumerate(expressions)]
    query = exp.select(exp.column("position"), *built, copy=False).from_("given", copy=False)
    # On the root connection: the functions of a cursor end with it, and DuckDB would still call
    # them.
    _database().define(functions_used(query))
    cursor = _database().cursor()
    cursor.register("given", table)
    text = query.sql(dialect="duckdb", copy=False)
    types = dict(row[:2] for row in cursor.execute(f"DESCRIBE {text}").fetchall())
    for expression, field in zip(expressions, list(wanted)[1:], strict=True):
        if not pa.types.is_null(field.type):
            expected = _typeof(type_text(field.type))
            found = types[field.name]
            assert found == expected, f"{expression}: {found}, not {field.type}"
    return fetch(cursor, select_for_arrow(text, wanted), wanted)


@cache
def _typeof(text: str) -> str:
    """DuckDB's own name of a type."""
    [[name]] = _database().cursor().execute(f"SELECT typeof(CAST(NULL AS {text}))").fetchall()
    return str(name)


# --- calls over groups and windows ------------------------------------------------------------

#: Ways to ask, of which Polars has two.
WAYS = ("polars", "polars streaming", "duckdb")


def refuse_call(way: str, call: AnyCall, schema: pa.Schema) -> str | None:
    """Why an engine does not run a call; None if it does."""
    if way != "duckdb" and isinstance(call, WindowCall):
        return refuse_window(call, schema)
    types = [infer_type(argument, schema) for argument in call.arguments]
    forms = duckdb_forms() if way == "duckdb" else polars_forms()
    return refuse_function(forms, call.function, call.arguments, types)


def call_all(
    way: str, calls: Sequence[AnyCall], table: pa.Table, keys: Sequence[str]
) -> list[Rows]:
    """For each call, what it gives: rows of the keys and the value.

    Aggregates are over the groups that have the keys in common; windows keep the keys beside them.
    """
    if way == "duckdb":
        return _calls_in_duckdb(calls, table, keys)
    engine = "streaming" if way == "polars streaming" else "in-memory"
    return _calls_in_polars(calls, table, keys, engine)


def _calls_in_polars(
    calls: Sequence[AnyCall], table: pa.Table, keys: Sequence[str], engine: Any
) -> list[Rows]:
    lazy, schema = polars_frame(table).lazy(), table.schema
    if isinstance(calls[0], WindowCall):
        windows = [call for call in calls if isinstance(call, WindowCall)]
        columns = [compile_window(call, schema).alias(f"c{i}") for i, call in enumerate(windows)]
        lazy = lazy.with_columns(columns)
    else:
        columns = [to_polars(call, schema).alias(f"c{i}") for i, call in enumerate(calls)]
        lazy = lazy.group_by(*keys).agg(columns) if keys else lazy.select(columns)
    result = lazy.collect(engine=engine)
    for i, call in enumerate(calls):
        assert result.schema[f"c{i}"] == polars_type(infer_type(call, schema)), call
    return beside(keys, len(calls), lambda name: result[name].to_list())


def _calls_in_duckdb(calls: Sequence[AnyCall], table: pa.Table, keys: Sequence[str]) -> list[Rows]:
    schema, scope = table.schema, Scope(table.schema)
    columns = [exp.column(name, quoted=True) for name in keys]
    built = [to_sql(call, scope, DIALECT).as_(f"c{i}") for i, call in enumerate(calls)]
    select = exp.select(*columns, *built, copy=False).from_("input", copy=False)
    if keys and isinstance(calls[0], AggregateCall):
        select = select.group_by(*(exp.column(name, quoted=True) for name in keys))
    fields = [pa.field(f"c{i}", infer(call, schema).type) for i, call in enumerate(calls)]
    output = pa.schema([*(schema.field(name) for name in keys), *fields])
    query = select_for_arrow(select.sql("duckdb", copy=False), output)
    cursor = _database().cursor()
    cursor.register("input", table)
    raw = cursor.sql(query).to_arrow_table()
    for call, field in zip(calls, fields, strict=True):
        # Intervals become numbers of microseconds on their way.
        actual = raw.schema.field(field.name).type
        assert actual == field.type or pa.types.is_duration(field.type), f"{call}: {actual}"
    given = conform(raw, output)
    return beside(keys, len(calls), lambda name: given.column(name).to_pylist())


def beside(keys: Sequence[str], count: int, column: Callable[[str], list[Any]]) -> list[Rows]:
    """For each of the columns c0, c1, … its rows, beside the keys'."""
    shared = [column(key) for key in keys]
    return [list(zip(*shared, column(f"c{i}"), strict=True)) for i in range(count)]

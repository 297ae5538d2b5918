"""A stage in DuckDB's terms: one statement, and how it runs on a cursor of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import duckdb
import pyarrow as pa

from umbel.dataclass import dataclass
from umbel.plan.errors import SourceError
from umbel.plan.operators import Sort
from umbel.plan.sources import AttachedSource, QuerySource
from umbel.plan.types import type_name
from umbel.platforms.base import ARROW, RunContext, Stage, order_of
from umbel.platforms.duckdb.database import (
    MEMORY,
    Database,
    DuckDBTable,
    Rows,
    fetch,
    select_for_arrow,
)
from umbel.platforms.duckdb.dialect import DIALECT
from umbel.platforms.duckdb.profile import find_targets, measured_rows
from umbel.platforms.duckdb.scans import DuckDBSources, input_name
from umbel.platforms.duckdb.short import late, shorten
from umbel.platforms.duckdb.store import CATALOG, Store
from umbel.sql.compiler import compile_plan
from umbel.sql.python_functions import PythonFunction, functions_used


@dataclass(frozen=True)
class _Statement:
    """A translation: the text, its leaves, and the Python functions that it calls.

    Attributes:
        short: whether it fails where a product of decimals has more than 18 digits.
    """

    text: str
    sources: DuckDBSources
    functions: list[PythonFunction]
    short: bool = False


class DuckDBStage:
    """One statement over registered inputs, and over tables of the platform's file if it has one.

    Attributes:
        writes: whether the file is written.
    """

    writes = False

    def __init__(self, stage: Stage, database: Database, store: Store | None = None) -> None:
        self._stage = stage
        self._database = database
        self._store = store
        self._statement = self._translate(short=not self.writes)
        self._targets = find_targets(stage.root)
        # Rows that are kept as a table come out as they went in, not by the ORDER BY before.
        sorts = stage.output != ARROW and isinstance(order_of(stage.root), Sort)
        self._in_order = sorts or stage.keeps_order

    @property
    def text(self) -> str:
        """The statement."""
        return self._statement.text

    def _translate(self, *, short: bool, streams_only: bool = False) -> _Statement:
        columns = None if self._store is None else self._store.columns
        database = self._database
        sources = DuckDBSources(DIALECT, database.describe, streams_only, columns=columns)
        query = compile_plan(self._stage.root, DIALECT, sources)
        functions = functions_used(query)  # before it is written, which may change the tree
        short = short and shorten(query)
        return _Statement(query.sql("duckdb", pretty=True, copy=False), sources, functions, short)

    def run(self, inputs: Mapping[str, Any], context: RunContext) -> Any:
        """Run the statement; give an Arrow table or a table kept in the database."""
        return self._run_on_cursors(inputs, context, None)

    def stream(
        self, inputs: Mapping[str, Any], context: RunContext, deliver: Callable[[pa.Table], None]
    ) -> int:
        """Run the statement; hand over its rows while DuckDB computes them."""
        rows = Rows(self._stage.root.schema, deliver, context.check_cancelled)
        self._run_on_cursors(inputs, context, rows)
        return rows.num_rows

    def _run_on_cursors(
        self, inputs: Mapping[str, Any], context: RunContext, rows: Rows | None
    ) -> Any:
        context.check_cancelled()
        cursors: list[Any] = []

        def interrupt() -> None:
            for cursor in cursors:
                cursor.interrupt()

        context.on_cancel(interrupt)
        statement = self._statement
        if statement.short and rows is not None and not late(self._stage.root):
            statement = self._translate(short=False)
        while True:
            try:
                return self._attached_run(statement, inputs, context, cursors, rows)
            except (duckdb.InvalidInputException, duckdb.OutOfRangeException) as error:
                again = self._written_anew(statement, error)
                if again is None or (rows is not None and rows.num_rows):
                    raise  # what is delivered cannot be taken back
                statement = again
            finally:
                for cursor in cursors:
                    cursor.close()
                cursors.clear()

    def _written_anew(self, statement: _Statement, error: duckdb.Error) -> _Statement | None:
        """The statement as it is to be tried after one failed; None if that one is right."""
        streams_only = statement.sources.streams_only
        if statement.short and isinstance(error, duckdb.OutOfRangeException):
            return self._translate(short=False, streams_only=streams_only)
        if statement.sources.read_as_csv and _is_csv_error(error):
            # A stream takes what is valid, and says which line of which file is not.
            return self._translate(short=statement.short, streams_only=True)
        return None

    def _attached_run(
        self,
        statement: _Statement,
        inputs: Mapping[str, Any],
        context: RunContext,
        cursors: list[Any],
        rows: Rows | None,
    ) -> Any:
        """Run with the file attached, if the statement needs it."""
        attached: AbstractContextManager[None] = nullcontext()
        if self._store is not None and (statement.sources.stored or self.writes):
            attached = self._store.attached(write=self.writes, check=context.check_cancelled)
        with attached:
            if self._store is not None:
                for source in statement.sources.stored:
                    check_unchanged(self._store, source)
            try:
                return self._run(statement, inputs, context, cursors, rows)
            finally:  # an open result would keep the file
                for cursor in cursors:
                    cursor.close()

    def _run(
        self,
        statement: _Statement,
        inputs: Mapping[str, Any],
        context: RunContext,
        cursors: list[Any],
        rows: Rows | None,
    ) -> Any:
        cursor = self._database.cursor(context.memory_limit, in_order=self._in_order)
        cursors.append(cursor)
        sources, root = statement.sources, self._stage.root
        sources.failures.clear()
        self._database.define(statement.functions)
        for label, data in inputs.items():
            _bind_input(cursor, label, data)
        for bind in sources.bindings.values():
            bind(cursor, context)
        if any(isinstance(source, QuerySource) for source in sources.stored):
            cursor.execute(f"USE {CATALOG}")  # where the names of a user's query are
        profiled = bool(self._targets) and context.profile and not self.writes
        if profiled:
            # It takes DuckDB 2.0 up to 8 % longer, so it is for those who ask.
            cursor.execute("SET enable_profiling = 'no_output'")
        try:
            result = self._result(cursor, statement.text, context, rows)
        except duckdb.Error as error:
            context.check_cancelled()
            if sources.failures:
                raise sources.failures[0] from error
            raise
        if not self.writes:
            context.measure(root, result.num_rows)
        if profiled:
            profile = cursor.get_profiling_information(format="json")
            for operator, count in measured_rows(self._targets, profile):
                context.measure(operator, count)
        return result

    def _result(self, cursor: Any, query: str, context: RunContext, rows: Rows | None) -> Any:
        """Run the statement; give its rows in the stage's output channel, or what handed them on."""
        if rows is not None:
            rows.read(cursor.sql(select_for_arrow(query, rows.schema)))
            return rows
        if self._stage.output == ARROW:
            schema = self._stage.root.schema
            return fetch(cursor, select_for_arrow(query, schema), schema)
        return self._database.keep(cursor, query)


def check_unchanged(store: Store, source: AttachedSource) -> None:
    """Raise if a table or query of the file has other columns than when the plan was made."""
    now = {column.name: column.dtype for column in store.attached_columns(source)}
    for field in source.schema:
        found = now.get(field.name)
        if found != field.type:
            change = "is gone" if found is None else f"is {type_name(found)}"
            wanted = "" if found is None else f", not {type_name(field.type)}"
            raise SourceError(
                f"{source.describe()} was changed after the plan was made: "
                f"column {field.name!r} {change}{wanted}",
                hint="make the frame anew: session.table(...)",
            )


def _is_csv_error(error: duckdb.Error) -> bool:
    """Whether `read_csv` rejected a file."""
    return isinstance(error, duckdb.InvalidInputException) and "CSV" in str(error)


def _bind_input(cursor: Any, label: str, data: Any) -> None:
    name = input_name(label)
    if isinstance(data, DuckDBTable):
        inner = data.name.replace('"', '""')
        escaped = name.replace('"', '""')
        cursor.execute(
            f'CREATE OR REPLACE TEMP VIEW "{escaped}" AS SELECT * FROM {MEMORY}."{inner}"'  # noqa: S608
        )
    else:
        cursor.register(name, data)

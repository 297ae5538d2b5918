"""A stage in DataFusion's terms: one statement, and how it runs."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.lazy import LazyModule
from umbel.platforms.base import RunContext, Stage
from umbel.platforms.conform import conform
from umbel.platforms.datafusion.dialect import DIALECT
from umbel.platforms.datafusion.keys import name_keys
from umbel.platforms.datafusion.operators import SYNTAX
from umbel.platforms.datafusion.scans import DataFusionSources, input_name
from umbel.platforms.datafusion.session import Session
from umbel.sql.compiler import compile_parts, compile_plan

if TYPE_CHECKING:
    from sqlglot import expressions as exp
else:
    exp = LazyModule("sqlglot.expressions")


class DataFusionStage:
    """One statement over registered tables and files.

    What several operators read is computed first and kept, as DataFusion would compute a common
    table expression again for each of them.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._sources = DataFusionSources(DIALECT)
        self._root = name_keys(stage.root)
        shared, query = compile_parts(self._root, DIALECT, self._sources)
        self._kept = [*self._sources.conversions.items(), *shared]
        self._query = query

    @property
    def text(self) -> str:
        """The statement."""
        query = compile_plan(self._root, DIALECT, DataFusionSources(DIALECT))
        return query.sql(SYNTAX, pretty=True, copy=False)

    def types(self, context: RunContext) -> list[pa.DataType]:
        """Say what DataFusion takes the columns of the statement for, before they are conformed."""
        session = Session(context)
        session.define([self._query])
        for bind in self._sources.bindings.values():
            bind(session)
        return list(session.context.sql(self._query.sql(SYNTAX)).schema().types)

    def run(self, inputs: Mapping[str, Any], context: RunContext) -> pa.Table:
        """Run the statement; give an Arrow table."""
        context.check_cancelled()
        sessions: list[Session] = []
        cancelled = threading.Event()

        def cancel() -> None:
            cancelled.set()  # a session may be in the making
            for session in sessions:
                session.cancel()

        context.on_cancel(cancel)
        try:
            result = self._run(inputs, context, sessions, cancelled, spilling_joins=False)
        except Exception as error:
            if not _is_memory(error):
                raise
            # Its hash joins keep a side in memory; those by sorting spill.
            result = self._run(inputs, context, sessions, cancelled, spilling_joins=True)
        context.measure(self._stage.root, result.num_rows)
        return result

    def _run(
        self,
        inputs: Mapping[str, Any],
        context: RunContext,
        sessions: list[Session],
        cancelled: threading.Event,
        *,
        spilling_joins: bool,
    ) -> pa.Table:
        statistics = self._sources.trusts_statistics
        session = Session(
            context,
            statistics=statistics,
            spilling_joins=spilling_joins,
            in_order=self._stage.keeps_order,
        )
        sessions.append(session)
        if cancelled.is_set():
            session.cancel()
        session.define([query for _, query in self._kept] + [self._query])

        def work() -> pa.Table:
            for label, data in inputs.items():
                session.put(input_name(label), data)
            for bind in self._sources.bindings.values():
                bind(session)
            for name, query in self._kept:
                rows = session.rows(query.sql(SYNTAX))
                session.keep(name, rows.schema, rows.to_batches())
            return conform(session.rows(self._query.sql(SYNTAX)), self._stage.root.schema)

        try:
            table: pa.Table = session.finish(work)
        finally:
            # An error holds the frames that hold the session, which holds the functions that failed.
            session.failures.clear()
        return table


def _is_memory(error: Exception) -> bool:
    """Whether DataFusion ran out of the memory that it was given."""
    return "Resources exhausted" in str(error)

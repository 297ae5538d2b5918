"""A stage in Polars' terms: one lazy query, and how it is collected."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future, wait
from threading import Thread
from typing import Any

import polars as pl
import pyarrow as pa

from umbel.catalog.files import is_remote
from umbel.plan.operators import Operator, Placeholder, Scan, Window, topological
from umbel.plan.sources import ParquetSource
from umbel.platforms.base import ARROW, RunContext, Stage
from umbel.platforms.conform import conform
from umbel.platforms.polars.abort import aborter
from umbel.platforms.polars.compile import compile_plan
from umbel.platforms.polars.scans import PolarsSources
from umbel.platforms.polars.types import polars_type

#: Seconds between looks at whether the run was cancelled.
_WAIT = 0.05
#: Seconds that a query has to stop once it was. What goes on then is left behind.
_PATIENCE = 0.8


class PolarsStage:
    """One lazy query over the stage's inputs."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        # Windows take rows by position, which only the in-memory engine keeps.
        windows = any(isinstance(op, Window) for op in topological(stage.root))
        self._engine: Any = "in-memory" if windows else "streaming"
        self._explained = ""
        self._query: pl.LazyFrame | None = None
        # A query over nothing but Parquet files of this machine is the same for each run.
        self._is_same = all(_is_local(op) for op in topological(stage.root) if not op.inputs)

    @property
    def text(self) -> str:
        """The query as Polars explains it: as it ran first, or over empty inputs if it has not."""
        if self._explained:
            return self._explained
        schemas = _placeholders(self._stage.root)
        empty = {
            label: pl.DataFrame(schema={f.name: polars_type(f.type) for f in schema})
            for label, schema in schemas.items()
        }
        sources = PolarsSources(empty, lambda: None)
        return str(compile_plan(self._stage.root, sources.leaf).explain())

    def run(self, inputs: Mapping[str, Any], context: RunContext) -> Any:
        """Run the query; give an Arrow table or a Polars frame."""
        context.check_cancelled()
        root = self._stage.root
        query = self._query
        if query is None:
            sources = PolarsSources(dict(inputs), context.check_cancelled)
            query = compile_plan(root, sources.leaf).select(root.schema.names)
            if self._is_same:
                self._query = query
        if not self._explained:  # to build it once more would take several times as long
            self._explained = str(query.explain())
        try:
            frame = self._collect(query, context)
        except pl.exceptions.PolarsError:
            context.check_cancelled()  # a stream that stopped for that comes out as Polars' error
            raise
        result = to_arrow(frame, root.schema) if self._stage.output == ARROW else frame
        context.measure(root, frame.height)
        return result

    def _collect(self, query: pl.LazyFrame, context: RunContext) -> pl.DataFrame:
        """Collect; again if the query was stopped along with one that was to stop.

        Raises:
            KeyboardInterrupt: the user pressed Ctrl-C, and Polars heard of it first.
        """
        while True:
            before, disturbed = aborter.aborts, aborter.disturbing
            try:
                return self._collect_once(query, context)
            except KeyboardInterrupt:
                context.check_cancelled()
                if aborter.aborts == before and not disturbed:
                    raise
            while aborter.disturbing:
                context.check_cancelled()
                time.sleep(_WAIT)

    def _collect_once(self, query: pl.LazyFrame, context: RunContext) -> pl.DataFrame:
        """Collect on a thread of its own, so that a cancelled run ends at once.

        The streaming engine stops within milliseconds. The in-memory engine, which windows need,
        may be deaf until the operator that it is at is done; that is computed and thrown away.
        """
        collected: Future[pl.DataFrame] = Future()

        def work() -> None:
            try:
                collected.set_result(query.collect(engine=self._engine))
            except BaseException as error:  # noqa: BLE001 (handed to the waiting thread)
                collected.set_exception(error)

        thread = Thread(target=work, name="umbel-polars", daemon=True)
        thread.start()
        try:
            while not wait([collected], timeout=_WAIT).done:
                context.check_cancelled()
        except BaseException:  # cancelled, or interrupted from outside
            _stop(collected)
            raise
        thread.join()  # it only lets go of what it used; not to be cut off by the process's exit
        return collected.result()


def _stop(collected: Future[pl.DataFrame]) -> None:
    """Have a query stopped; ask again, for one that was about to begin has not heard."""
    deadline = time.monotonic() + _PATIENCE
    while not collected.done() and time.monotonic() < deadline:
        aborter.abort(lambda: not collected.done())
        wait([collected], timeout=_WAIT)


def to_arrow(frame: pl.DataFrame, schema: pa.Schema) -> pa.Table:
    """Give a frame as an Arrow table of exactly this schema."""
    # Of a chunk of empty lists Polars 2.1 gives items at an offset into a buffer that is empty:
    # Arrow takes that for valid, and fails when it joins the chunks.
    nested = [c.rechunk() for c in frame.get_columns() if c.dtype.is_nested() and c.n_chunks() > 1]
    whole = frame.with_columns(nested) if nested else frame
    return conform(whole.to_arrow(compat_level=pl.CompatLevel.oldest()), schema)


def _is_local(operator: Operator) -> bool:
    """Whether an operator reads Parquet files that Polars opens by their names."""
    source = operator.source if isinstance(operator, Scan) else None
    return type(source) is ParquetSource and not any(is_remote(path) for path in source.paths)


def _placeholders(root: Operator) -> dict[str, pa.Schema]:
    return {op.label: op.schema for op in topological(root) if isinstance(op, Placeholder)}

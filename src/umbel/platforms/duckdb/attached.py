"""A DuckDB file as a platform and as a namespace of tables. Nothing imports the engine at once."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.catalog.address import Address
from umbel.catalog.namespace import TableEntry
from umbel.catalog.statistics import Interval, TableStatistics
from umbel.plan.errors import PlanError, RunError, SourceError
from umbel.plan.operators import Operator, Write
from umbel.plan.sinks import RelationSink
from umbel.plan.sources import (
    AttachedSource,
    FileSource,
    MemorySource,
    QuerySource,
    RelationSource,
    dotted,
)
from umbel.plan.types import type_name, type_width
from umbel.platforms.base import CompiledStage, Stage
from umbel.platforms.costs import CostProfile
from umbel.platforms.duckdb.platform import DuckDBPlatform
from umbel.platforms.targets import check_target, target_name

if TYPE_CHECKING:
    from umbel.platforms.duckdb.store import Store

#: What attaching the file adds to a stage, in seconds.
_ATTACHING = 0.002


class DuckDBFile(DuckDBPlatform):
    """One DuckDB file: its tables are read and written inside the statements of its stages."""

    reads_sources = (FileSource, MemorySource, RelationSource, QuerySource)

    def __init__(self, name: str, address: Address) -> None:
        super().__init__(name)
        if address.host or not address.path.strip("/"):
            raise PlanError(
                f"{address} does not name a file",
                hint="write three slashes before the path: duckdb:///home/ann/shop.duckdb",
            )
        for option in address.options:
            raise PlanError(f"a DuckDB file has no option {option!r}")
        self.path = Path(address.path)
        self.address = str(address)
        self._kept: dict[AttachedSource, tuple[tuple[int, int], TableStatistics]] = {}
        self._kept_lock = threading.Lock()

    @cached_property
    def costs(self) -> CostProfile:
        """Those of DuckDB, and a little for attaching the file."""
        shipped = super().costs
        return replace(shipped, stage=shipped.stage + _ATTACHING)

    @cached_property
    def store(self) -> Store:
        """The file's tables."""
        from umbel.platforms.duckdb.store import Store

        return Store(self.name, self.path, self.database())

    def refuse(self, operator: Operator) -> str | None:
        """Say why the platform cannot run an operator; None if it can."""
        if not isinstance(operator, Write):
            return super().refuse(operator)
        sink = operator.sink
        if isinstance(sink, RelationSink) and sink.platform == self.name:
            return None
        return f"{sink.describe()} is not written here"

    def compile(self, stage: Stage) -> CompiledStage:
        """Translate a stage into one statement."""
        if isinstance(stage.root, Write):
            from umbel.platforms.duckdb.writing import WriteStage

            return WriteStage(stage, self.database(), self.store)
        from umbel.platforms.duckdb.stage import DuckDBStage

        return DuckDBStage(stage, self.database(), self.store)

    def tables(self) -> Sequence[TableEntry]:
        """List the tables and views."""
        return self.store.tables()

    def source(self, table: Sequence[str], **options: Any) -> RelationSource:
        """Find a table or view, with its columns."""
        self._no_options(table, options)
        name = self.store.resolve(table)
        columns = self.store.columns(name)
        return RelationSource(pa.schema([(c.name, c.dtype) for c in columns]), self.name, name)

    def query(self, text: str, **options: Any) -> QuerySource:
        """Take a query in DuckDB's own SQL."""
        self._no_options((), options)
        query = self.store.check_query(text)
        columns = self.store.columns(query)
        return QuerySource(pa.schema([(c.name, c.dtype) for c in columns]), self.name, query)

    def sink(self, table: Sequence[str], mode: Any, **options: Any) -> RelationSink:
        """Describe the writing of a table; without a schema it goes to `main`."""
        self._no_options(table, options)
        name = ("main", *table) if len(table) == 1 else tuple(table)
        return RelationSink(self.name, name, mode)

    def _no_options(self, table: Sequence[str], options: dict[str, Any]) -> None:
        for option in options:
            raise PlanError(f"a table of DuckDB has no option {option!r}")
        if len(table) > 2:
            raise PlanError(f"a table here has a schema and a name, not {dotted(table)!r}")

    def refuse_once(self, sink: RelationSink) -> str | None:
        """A transaction of DuckDB holds rows and token."""
        return None

    def committed(self, sink: RelationSink, token: str) -> int | None:
        """Give the rows that a durable run has written with a token; None if none were."""
        return self.store.committed(sink.relation[0], token)

    def forget_commit(self, sink: RelationSink, token: str) -> None:
        """Drop a token that nobody will ask for any more."""
        self.store.forget_commit(sink.relation[0], token)

    def version_of(self, source: AttachedSource) -> str | None:
        """Tell the state of a table by that of the file."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        return f"{status.st_mtime_ns} {status.st_size}"

    def check_sink(self, sink: RelationSink, schema: pa.Schema) -> None:
        """Raise `RunError` if rows cannot be written there."""
        shown = target_name(sink)
        for field in schema:
            if pa.types.is_duration(field.type) or pa.types.is_null(field.type):
                raise RunError(
                    f"{shown}: column {field.name!r} of type {type_name(field.type)} has no form "
                    "in DuckDB that reads back the same",
                    hint="cast it to a number or to text first",
                )
        if sink.relation[0] not in (schemas := self.store.schemas()):
            raise RunError(
                f"{shown}: there is no schema {sink.relation[0]!r}",
                hint=f"there is: {', '.join(schemas)}",
            )
        found = self.store.find(sink.relation)
        check_target(
            sink,
            schema,
            None if found is None else found.kind,
            lambda: {c.name: c.dtype for c in self.store.columns(sink.relation)},
        )

    def statistics(self, source: AttachedSource) -> TableStatistics:
        """Give what is known of a source; kept as long as the file stays as it is."""
        try:
            status = self.path.stat()
            stamp = status.st_mtime_ns, status.st_size
            kept = self._kept.get(source)
            if kept is not None and kept[0] == stamp:
                return kept[1]
            found = self.store.statistics(source)
        except (OSError, SourceError):
            # Planning goes on: the run will say what is wrong with the file.
            width = sum(type_width(field.type) for field in source.schema)
            return TableStatistics(Interval(1, 1e9, 0.1), 0, width)
        with self._kept_lock:
            self._kept[source] = stamp, found
        return found

    def close(self) -> None:
        """Nothing is held between runs."""

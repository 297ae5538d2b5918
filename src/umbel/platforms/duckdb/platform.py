"""What the optimizer and the executor ask of DuckDB. Nothing here imports the engine at once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from umbel.plan.expressions import Expression, WindowCall
from umbel.plan.functions.forms import refuse_function
from umbel.plan.operators import (
    Element,
    Operator,
)
from umbel.plan.sources import FileSource, MemorySource, Source
from umbel.plan.types import is_list, is_object
from umbel.platforms.base import ARROW, CompiledStage, Conversion, Stage
from umbel.platforms.costs import CostProfile, Linear
from umbel.platforms.refusal import (
    RELATIONAL,
    refuse_class,
    refuse_expressions,
    refuse_names,
    refuse_shape,
    refuse_source,
    refuse_texts,
)

if TYPE_CHECKING:
    from umbel.platforms.duckdb.database import Database, DuckDBTable


class DuckDBPlatform:
    """One in-memory DuckDB, shared by all stages that this platform runs."""

    engine = "duckdb"
    #: The sources that its statements read.
    reads_sources: tuple[type[Source], ...] = (FileSource, MemorySource)

    def __init__(self, name: str = "duckdb") -> None:
        self.name = name
        self._lock = threading.Lock()
        self._database: Database | None = None
        self._refusals: dict[str, str | None] = {}

    @property
    def version(self) -> str:
        """The installed version."""
        return version("duckdb")

    @cached_property
    def costs(self) -> CostProfile:
        """The cost profile shipped with the engine."""
        return CostProfile.load(Path(__file__).with_name("costs.toml"))

    @property
    def channel(self) -> str:
        """The channel of tables kept in this platform's database."""
        return self.name

    @property
    def reads(self) -> Sequence[str]:
        """Its own tables, and Arrow tables."""
        return (self.channel, ARROW)

    @property
    def writes(self) -> Sequence[str]:
        """Arrow tables, and its own tables."""
        return (ARROW, self.channel)

    @property
    def conversions(self) -> Sequence[Conversion]:
        """Between its own tables and Arrow tables."""
        return (
            Conversion(ARROW, self.channel, Linear(0.003, 1e-8, 2.5e-9), self._keep),
            Conversion(self.channel, ARROW, Linear(0.002, 1e-8, 1.2e-9), self._fetch),
        )

    def refuse(self, operator: Operator) -> str | None:
        """Say why DuckDB cannot run an operator; None if it can.

        The tables of functions and casts, which import DuckDB's dialect, are asked only if an
        expression holds a call or a cast. Answers are remembered by the operator's digest.
        """
        if not isinstance(operator, RELATIONAL):
            return refuse_class(operator)
        if operator.digest not in self._refusals:
            self._refusals[operator.digest] = (
                refuse_source(operator, self.name, self.reads_sources)
                or refuse_names(operator, str.casefold)  # DuckDB folds quoted names too
                or refuse_shape(operator, "DuckDB")
                or refuse_texts(operator)
                or refuse_expressions(operator, _Abilities())
            )
        return self._refusals[operator.digest]

    def started(self) -> bool:
        """Whether DuckDB and the SQL generator are imported."""
        return "duckdb" in sys.modules and "sqlglot" in sys.modules

    def compile(self, stage: Stage) -> CompiledStage:
        """Translate a stage into one statement."""
        from umbel.platforms.duckdb.stage import DuckDBStage

        return DuckDBStage(stage, self.database())

    def database(self) -> Database:
        """Give the platform's database, opened when first asked for."""
        from umbel.platforms.duckdb.database import Database

        with self._lock:
            if self._database is None:
                self._database = Database()
            return self._database

    def _keep(self, data: pa.Table, schema: pa.Schema, element: Element) -> DuckDBTable:
        database = self.database()
        cursor = database.cursor(in_order=True)
        name = database.new_name("arrow")
        cursor.register(name, data)
        return database.keep(cursor, f'SELECT * FROM "{name}"')  # noqa: S608

    def _fetch(self, data: DuckDBTable, schema: pa.Schema, element: Element) -> pa.Table:
        from umbel.platforms.duckdb.database import fetch, select_for_arrow

        query = select_for_arrow(f'SELECT * FROM "{data.name}"', schema)  # noqa: S608
        return fetch(data.database.cursor(in_order=True), query, schema)


class _Abilities:
    """What DuckDB says of types, casts, functions and windows."""

    def refuse_type(self, dtype: pa.DataType) -> str | None:
        if is_object(dtype):
            return "DuckDB holds no Python objects"
        if pa.types.is_timestamp(dtype) and dtype.tz is not None and dtype.unit != "us":
            return f"DuckDB holds times with a zone in microseconds, not {dtype.unit}"
        if pa.types.is_duration(dtype) and dtype.unit == "ns":
            return "DuckDB holds durations in microseconds, not ns"
        inner = [dtype.value_type] if is_list(dtype) else []
        if pa.types.is_struct(dtype):
            inner = [field.type for field in dtype]
        for item in inner:
            if pa.types.is_duration(item):
                return "DuckDB gives durations inside lists and structs no Arrow form"
            reason = self.refuse_type(item)
            if reason is not None:
                return reason
        return None

    def refuse_cast(self, source: pa.DataType, target: pa.DataType) -> str | None:
        from umbel.platforms.duckdb.casts import refuse_cast

        return refuse_cast(source, target)

    def refuse_call(
        self, name: str, nodes: Sequence[Expression], types: Sequence[pa.DataType]
    ) -> str | None:
        from umbel.platforms.duckdb.functions import forms

        return refuse_function(forms(), name, nodes, types)

    def refuse_window(self, call: WindowCall, schema: pa.Schema) -> str | None:
        return None

"""What the optimizer and the executor ask of Spark. Nothing here imports it at once."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from umbel.catalog.namespace import TableEntry
from umbel.catalog.statistics import TableStatistics
from umbel.plan.errors import PlanError
from umbel.plan.expressions import AggregateCall, Expression, WindowCall, walk
from umbel.plan.functions import CATALOGUE
from umbel.plan.functions.forms import refuse_function
from umbel.plan.functions.row import Kind
from umbel.plan.operators import (
    Aggregate,
    Count,
    Distinct,
    Element,
    Except,
    Explode,
    Filter,
    Intersect,
    Join,
    Limit,
    Operator,
    Placeholder,
    Project,
    Rows,
    Scan,
    Sort,
    ToFrame,
    Union,
    Values,
    Window,
    Write,
)
from umbel.plan.sinks import RelationSink
from umbel.plan.sources import (
    AttachedSource,
    FileSource,
    MemorySource,
    QuerySource,
    RelationSource,
)
from umbel.platforms.base import ARROW, PYTHON, CompiledStage, Conversion, Engine, Platform, Stage
from umbel.platforms.costs import CostProfile, Linear
from umbel.platforms.refusal import (
    expressions_of,
    refuse_expressions,
    refuse_frame,
    refuse_source,
)
from umbel.platforms.spark.connection import Connection
from umbel.platforms.spark.pieces import NARROW, PYTHON_WORK, is_pickled
from umbel.platforms.spark.tables import Tables
from umbel.platforms.spark.types import refuse_type

if TYPE_CHECKING:
    from umbel.platforms.spark.frames import SparkFrame

_IN_SQL = (
    Scan, Values, Placeholder, Project, Filter, Join, Aggregate, Window, Sort, Limit, Distinct,
    Union, Intersect, Except, Explode, Count, Rows, ToFrame,
)  # fmt: skip


class SparkPlatform:
    """One Spark: of this machine, or a cluster."""

    engine = "spark"

    def __init__(self, name: str = "spark", connection: Connection | None = None) -> None:
        self.name = name
        self.connection = connection or Connection("local[*]")
        self._tables = Tables(name, self.connection)
        self._refusals: dict[str, str | None] = {}
        self._sql: dict[str, str | None] = {}

    @property
    def version(self) -> str:
        """The version of the installed client."""
        return version("pyspark")

    @cached_property
    def costs(self) -> CostProfile:
        """The cost profile shipped with the engine."""
        return CostProfile.load(Path(__file__).with_name("costs.toml"))

    @property
    def channel(self) -> str:
        """The channel of rows kept in this platform's session."""
        return self.name

    @property
    def reads(self) -> Sequence[str]:
        """Its own rows, Arrow tables and Python objects."""
        return (self.channel, ARROW, PYTHON)

    @property
    def writes(self) -> Sequence[str]:
        """Arrow tables, Python objects, and rows that stay in the session."""
        return (ARROW, PYTHON, self.channel)

    @property
    def conversions(self) -> Sequence[Conversion]:
        """Between rows kept in the session and Arrow tables; measured as costs.toml says."""
        return (
            Conversion(ARROW, self.channel, Linear(0.6, 2e-7, 1.7e-8), self._keep),
            Conversion(self.channel, ARROW, Linear(0.2, 1e-7, 1.9e-8), self._fetch),
        )

    def refuse(self, operator: Operator) -> str | None:
        """Say why Spark cannot run an operator; None if it can.

        What has no form in SQL runs in Python workers where that needs no more than the rows at
        hand. Answers are remembered by the operator's digest.
        """
        if not isinstance(operator, (*_IN_SQL, *PYTHON_WORK, Write)):
            return f"{operator.name} has no form on Spark"
        if operator.digest not in self._refusals:
            self._refusals[operator.digest] = self._refusal(operator)
        return self._refusals[operator.digest]

    def _refusal(self, operator: Operator) -> str | None:
        if isinstance(operator, Write):
            return self._refuse_write(operator)
        reason = refuse_source(
            operator, self.name, (FileSource, MemorySource, RelationSource, QuerySource)
        )
        if reason is not None:
            return reason
        reason = self.refuse_sql(operator)
        if reason is None:
            return None
        if isinstance(operator, Scan | Values | Placeholder) and is_pickled(operator):
            return None
        objects = is_pickled(operator) or any(map(is_pickled, operator.inputs))
        if isinstance(operator, NARROW) or (objects and isinstance(operator, PYTHON_WORK)):
            return _refuse_columns(operator)
        return reason

    def _refuse_write(self, write: Write) -> str | None:
        sink = write.sink
        if not isinstance(sink, RelationSink) or sink.platform != self.name:
            return f"{sink.describe()} is not written here"
        return _refuse_columns(write)

    def refuse_sql(self, operator: Operator) -> str | None:
        """Say why an operator has no form in Spark's SQL; None if it has one."""
        if operator.digest not in self._sql:
            self._sql[operator.digest] = _refuse_sql(operator)
        return self._sql[operator.digest]

    def started(self) -> bool:
        """Whether there is a session, so that no Java has to start."""
        return self.connection.is_started

    def compile(self, stage: Stage) -> CompiledStage:
        """Cut a stage into SQL and Python."""
        from umbel.platforms.spark.pieces import Cutter
        from umbel.platforms.spark.stage import SparkStage

        cutter = Cutter(stage.root, lambda operator: self.refuse_sql(operator) is None)
        return SparkStage(stage, self.connection, reference_platform(), cutter, self._tables)

    # The catalogue of Spark (`umbel.platforms.base.TableStore`)

    @property
    def address(self) -> str:
        """Where it is, for people."""
        return self.connection.master

    def tables(self) -> Sequence[TableEntry]:
        """List the tables and views of Spark's catalogue."""
        return self._tables.tables()

    def source(self, table: Sequence[str], **options: Any) -> RelationSource:
        """Find a table of Spark's catalogue."""
        return self._tables.source(table, **options)

    def query(self, text: str, **options: Any) -> QuerySource:
        """Take a query in Spark's SQL."""
        return self._tables.query(text, **options)

    def sink(self, table: Sequence[str], mode: Any, **options: Any) -> RelationSink:
        """Describe the writing of a table of Spark's catalogue."""
        return self._tables.sink(table, mode, **options)

    def statistics(self, source: AttachedSource) -> TableStatistics:
        """Say what is known of a table without reading it."""
        return self._tables.statistics(source)

    def check_sink(self, sink: RelationSink, schema: pa.Schema) -> None:
        """Raise `RunError` if rows cannot be written to a table."""
        self._tables.check_sink(sink, schema)

    def close(self) -> None:
        """End the session, and the Spark if it is ours."""
        self.connection.close()

    def _keep(self, data: pa.Table, schema: pa.Schema, element: Element) -> SparkFrame:
        from umbel.platforms.spark.frames import SparkFrame, upload

        frame = upload(self.connection, data, schema)
        return SparkFrame(self.connection, frame, pickled=False, num_rows=len(data))

    def _fetch(self, data: SparkFrame, schema: pa.Schema, element: Element) -> pa.Table:
        from umbel.platforms.spark.frames import fetch

        return fetch(data.frame, schema)


def reference_platform() -> Platform:
    """The platform that runs every operator, which Spark's Python workers use."""
    (entry,) = entry_points(group="umbel.platforms", name="python")
    offered: Any = entry.load()
    make = offered.make if isinstance(offered, Engine) else offered
    if make is None:
        raise PlanError("the entry point 'python' offers no platform")
    platform: Platform = make("python")
    return platform


class _Abilities:
    """What Spark says of types, casts, functions and windows."""

    def refuse_type(self, dtype: pa.DataType) -> str | None:
        return refuse_type(dtype)

    def refuse_cast(self, source: pa.DataType, target: pa.DataType) -> str | None:
        from umbel.platforms.spark.casts import refuse_cast

        return refuse_cast(source, target)

    def refuse_call(
        self, name: str, nodes: Sequence[Expression], types: Sequence[pa.DataType]
    ) -> str | None:
        from umbel.platforms.spark.functions import forms

        return refuse_function(forms(), name, nodes, types)

    def refuse_window(self, call: WindowCall, schema: pa.Schema) -> str | None:
        from umbel.platforms.spark.functions.windows import refuse_window

        return refuse_window(call)


def _refuse_sql(operator: Operator) -> str | None:
    if not isinstance(operator, _IN_SQL):
        return f"{operator.name} works on Python objects or runs Python functions"
    return (
        _refuse_shape(operator)
        or refuse_expressions(operator, _Abilities())
        or _refuse_order(operator)
    )


def _refuse_columns(operator: Operator) -> str | None:
    """Say why an operator's rows cannot travel through Spark, objects aside."""
    for schema in (operator.schema, *(child.schema for child in operator.inputs)):
        if any(not name for name in schema.names):
            return "Spark has no columns without a name"
        if len(schema) == 1 and is_pickled_schema(schema):
            continue
        for field in schema:
            reason = refuse_type(field.type)
            if reason is not None:
                return f"column {field.name!r}: {reason}"
    return None


def is_pickled_schema(schema: pa.Schema) -> bool:
    """Whether the only column holds Python objects."""
    from umbel.plan.types import is_object

    return is_object(schema.field(0).type)


def _refuse_shape(operator: Operator) -> str | None:
    """Say why an operator cannot be written in SQL, expressions aside."""
    schemas = [operator.schema, *(child.schema for child in operator.inputs)]
    if isinstance(operator, Scan):
        schemas.append(operator.source.schema)
    if any(not name for schema in schemas for name in schema.names):
        return "Spark has no columns without a name"
    match operator:
        case ToFrame():
            return refuse_frame(operator)
        case Distinct() | Union() | Intersect() | Except() if not operator.schema.names:
            return "SQL has no relations without columns"
    return None


def _refuse_order(operator: Operator) -> str | None:
    """Say that an aggregate depends on an order, which Spark's aggregates do not keep."""
    for expression, _ in expressions_of(operator):
        for node in walk(expression):
            if not isinstance(node, AggregateCall):
                continue
            row = CATALOGUE[node.function]
            if row.kind is Kind.AGGREGATE and row.ordered:
                return f"{node.function!r} depends on the order of rows, which Spark does not keep"
    return None

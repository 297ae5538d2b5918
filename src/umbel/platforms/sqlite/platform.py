"""What the optimizer and the executor ask of an SQLite file, and the tables it holds."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from umbel.catalog.address import Address
from umbel.catalog.namespace import TableEntry
from umbel.catalog.statistics import Interval, TableStatistics
from umbel.plan.errors import PlanError, RunError, SourceError
from umbel.plan.expressions import AggregateCall, Expression, Literal, WindowCall, walk
from umbel.plan.functions import CATALOGUE
from umbel.plan.functions.forms import refuse_function
from umbel.plan.operators import (
    Except,
    Explode,
    Intersect,
    Join,
    Operator,
    Scan,
    Union,
    Write,
)
from umbel.plan.sinks import RelationSink
from umbel.plan.sources import AttachedSource, MemorySource, QuerySource, RelationSource, dotted
from umbel.plan.types import common_type, is_float, type_name, type_width
from umbel.platforms.base import ARROW, CompiledStage, Conversion, Stage
from umbel.platforms.costs import CostProfile
from umbel.platforms.refusal import (
    RELATIONAL,
    expressions_of,
    refuse_class,
    refuse_expressions,
    refuse_names,
    refuse_shape,
    refuse_source,
)
from umbel.platforms.sqlite.casts import refuse_cast
from umbel.platforms.sqlite.file import File, Stamp
from umbel.platforms.sqlite.types import DECLARED, refuse_literal, refuse_type
from umbel.platforms.targets import check_target, target_name

_COMPILED = (*(kind for kind in RELATIONAL if kind is not Explode), Write)


class SQLitePlatform:
    """One SQLite file: a platform, and a namespace of tables."""

    engine = "sqlite"

    def __init__(self, name: str, address: Address) -> None:
        if address.host or not address.path.strip("/"):
            raise PlanError(
                f"{address} does not name a file",
                hint="write three slashes before the path: sqlite:///home/ann/shop.db",
            )
        for option in address.options:
            raise PlanError(f"an SQLite file has no option {option!r}")
        self.name = name
        self.address = str(address)
        self.file = File(name, Path(address.path))
        self._refusals: dict[str, str | None] = {}
        self._statistics: dict[AttachedSource, tuple[Stamp, TableStatistics]] = {}

    # --- platform -------------------------------------------------------------------------------

    @property
    def version(self) -> str:
        """The version of the library that Python is linked with."""
        return sqlite3.sqlite_version

    @cached_property
    def costs(self) -> CostProfile:
        """The cost profile shipped with the engine."""
        return CostProfile.load(Path(__file__).with_name("costs.toml"))

    @property
    def reads(self) -> Sequence[str]:
        """Arrow tables, which are copied into temporary ones."""
        return (ARROW,)

    @property
    def writes(self) -> Sequence[str]:
        """Arrow tables."""
        return (ARROW,)

    @property
    def conversions(self) -> Sequence[Conversion]:
        """None of its own: taking and giving Arrow are parts of a stage."""
        return ()

    def refuse(self, operator: Operator) -> str | None:
        """Say why SQLite cannot run an operator; None if it can."""
        if not isinstance(operator, _COMPILED):
            return _reason(operator)
        if operator.digest not in self._refusals:
            self._refusals[operator.digest] = self._refuse(operator)
        return self._refusals[operator.digest]

    def _refuse(self, operator: Operator) -> str | None:
        if isinstance(operator, Write):
            sink = operator.sink
            own = isinstance(sink, RelationSink) and sink.platform == self.name
            return None if own else f"{sink.describe()} is not written here"
        return (
            refuse_source(operator, self.name, (MemorySource, RelationSource, QuerySource))
            or refuse_names(operator, str.lower)  # of letters that are not ASCII too, to be safe
            or refuse_shape(operator, "SQLite")
            or _refuse_shape(operator)
            or refuse_expressions(operator, _Abilities())
            or self._refuse_floats(operator)
        )

    def _refuse_floats(self, operator: Operator) -> str | None:
        """Say that floats from elsewhere may be NaN; those of the file, and of what runs here, not."""
        if not operator.inputs:
            own = isinstance(operator, Scan) and isinstance(operator.source, AttachedSource)
            floats = not own and any(is_float(field.type) for field in operator.schema)
            return "SQLite makes null of NaN, which moved floats may be" if floats else None
        for child in operator.inputs:
            if any(is_float(field.type) for field in child.schema):
                reason = self.refuse(child)
                if reason is not None:
                    return f"SQLite makes null of NaN, which moved floats may be ({reason})"
        return None

    def started(self) -> bool:
        """Whether the SQL generator is imported."""
        return "sqlglot" in sys.modules

    def compile(self, stage: Stage) -> CompiledStage:
        """Translate a stage into one statement."""
        from umbel.platforms.sqlite.stage import SQLiteStage, WriteStage

        return (WriteStage if isinstance(stage.root, Write) else SQLiteStage)(stage, self.file)

    # --- namespace ------------------------------------------------------------------------------

    def tables(self) -> Sequence[TableEntry]:
        """List the tables and views."""
        return self.file.tables()

    def source(self, table: Sequence[str], **options: Any) -> RelationSource:
        """Find a table or view, with its columns."""
        name = self.file.resolve(_table_name(table, options))
        columns = self.file.columns((name,))
        return RelationSource(pa.schema([(c.name, c.dtype) for c in columns]), self.name, (name,))

    def query(self, text: str, **options: Any) -> QuerySource:
        """Take a query in SQLite's own SQL."""
        _table_name(("query",), options)
        query = text.strip().rstrip(";").strip()
        if query.split(None, 1)[:1] == [] or query.split(None, 1)[0].upper() not in _QUERIES:
            raise PlanError(f"a query of {self.name!r} is one SELECT statement")
        columns = self.file.columns(query)
        return QuerySource(pa.schema([(c.name, c.dtype) for c in columns]), self.name, query)

    def sink(self, table: Sequence[str], mode: Any, **options: Any) -> RelationSink:
        """Describe the writing of a table."""
        return RelationSink(self.name, (_table_name(table, options),), mode)

    def refuse_once(self, sink: RelationSink) -> str | None:
        """A transaction of SQLite holds rows and token."""
        return None

    def committed(self, sink: RelationSink, token: str) -> int | None:
        """Give the rows that a durable run has written with a token; None if none were."""
        return self.file.committed(token)

    def forget_commit(self, sink: RelationSink, token: str) -> None:
        """Drop a token that nobody will ask for any more."""
        self.file.forget_commit(token)

    def version_of(self, source: AttachedSource) -> str | None:
        """Tell the state of a table by that of the file."""
        return repr(self.file.stamp())

    def check_sink(self, sink: RelationSink, schema: pa.Schema) -> None:
        """Raise `RunError` if rows cannot be written there."""
        for field in schema:
            if field.type not in DECLARED:
                raise RunError(
                    f"{target_name(sink)}: SQLite keeps no column {field.name!r} of type "
                    f"{type_name(field.type)}",
                    hint=f"cast it to one of: {', '.join(map(type_name, DECLARED))}",
                )
        found = self.file.find(sink.relation[0])
        check_target(
            sink,
            schema,
            None if found is None else found.kind,
            lambda: {c.name: c.dtype for c in self.file.columns(sink.relation)},
        )

    def statistics(self, source: AttachedSource) -> TableStatistics:
        """Give what is known of a source; kept as long as the file stays as it is."""
        width = sum(type_width(field.type) for field in source.schema)
        unknown = TableStatistics(Interval(1, 1e9, 0.1), 0, width)
        if not isinstance(source, RelationSource):
            return unknown
        stamp = self.file.stamp()
        kept = self._statistics.get(source)
        if kept is not None and kept[0] == stamp:
            return kept[1]
        try:
            rows = self.file.rows(source)
        except SourceError:
            return unknown  # planning goes on: the run will say what is wrong with the file
        found = TableStatistics(rows, int(rows.high * width), width)
        self._statistics[source] = stamp, found
        return found

    def close(self) -> None:
        """Nothing is held between runs."""


_QUERIES = ("SELECT", "WITH", "VALUES")


def _table_name(table: Sequence[str], options: dict[str, Any]) -> str:
    for option in options:
        raise PlanError(f"a table of SQLite has no option {option!r}")
    if len(table) == 2 and table[0] == "main":
        table = table[1:]
    if len(table) != 1:
        raise PlanError(f"a table here has one name, not {dotted(table)!r}")
    return table[0]


class _Abilities:
    """What SQLite says of types, casts, functions and windows."""

    def refuse_type(self, dtype: pa.DataType) -> str | None:
        return refuse_type(dtype)

    def refuse_cast(self, source: pa.DataType, target: pa.DataType) -> str | None:
        return refuse_cast(source, target)

    def refuse_call(
        self, name: str, nodes: Sequence[Expression], types: Sequence[pa.DataType]
    ) -> str | None:
        from umbel.platforms.sqlite.functions import forms

        return refuse_function(forms(), name, nodes, types)

    def refuse_window(self, call: WindowCall, schema: pa.Schema) -> str | None:
        frame = call.frame
        if frame is not None and frame.unit == "range" and {frame.start, frame.end} - {None, 0}:
            return "SQLite's ranges with a distance overflow"
        return None


def _refuse_shape(operator: Operator) -> str | None:
    """Say why an operator cannot be written for SQLite."""
    for schema in (operator.schema, *(child.schema for child in operator.inputs)):
        if any("\0" in name for name in schema.names):
            return "SQLite keeps no name with a NUL character"
    for root, _ in expressions_of(operator):
        for node in walk(root):
            if isinstance(node, Literal) and (reason := refuse_literal(node.value)):
                return reason
            if isinstance(node, AggregateCall):
                if node.distinct and node.function == "sum":
                    return "SQLite sums in two parts, which are not distinct"
                if node.order_by and CATALOGUE[node.function].ordered:
                    return "SQLite's aggregates take no order"
    match operator:
        case Join(how="full" | "right") if sqlite3.sqlite_version_info < (3, 39):
            return f"SQLite {sqlite3.sqlite_version} has no full and right joins"
        case Join():
            return _refuse_keys(operator)
        case Union() | Intersect() | Except():
            for member in operator.inputs:
                for field, wanted in zip(member.schema, operator.schema, strict=True):
                    if reason := refuse_cast(field.type, wanted.type):
                        return reason
    return None


def _refuse_keys(join: Join) -> str | None:
    for names in join.on:
        types = [join.pair_schema.field(name).type for name in names]
        target = common_type(*types)
        for dtype in types:
            if reason := refuse_cast(dtype, target):
                return reason
    return None


def _reason(operator: Operator) -> str:
    """Say why a whole class of operators is not for SQLite."""
    return "SQLite has no lists" if isinstance(operator, Explode) else refuse_class(operator)

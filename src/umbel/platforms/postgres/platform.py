"""What the optimizer and the executor ask of a PostgreSQL database, and the tables it holds.

Nothing here imports the drivers or the SQL generator at once.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa

from umbel.catalog.address import Address
from umbel.catalog.namespace import TableEntry
from umbel.catalog.statistics import Interval, TableStatistics
from umbel.plan.errors import PlanError, SourceError, UmbelError
from umbel.plan.expressions import AggregateCall, Expression, Literal, WindowCall, walk
from umbel.plan.functions.forms import refuse_function
from umbel.plan.operators import (
    Join,
    Operator,
    Scan,
    Values,
    Write,
    topological,
)
from umbel.plan.sinks import RelationSink
from umbel.plan.sources import AttachedSource, MemorySource, QuerySource, RelationSource, dotted
from umbel.platforms.base import ARROW, CompiledStage, Conversion, Stage
from umbel.platforms.costs import CostProfile
from umbel.platforms.postgres.types import refuse_type
from umbel.platforms.refusal import (
    RELATIONAL,
    expressions_of,
    refuse_class,
    refuse_expressions,
    refuse_shape,
    refuse_source,
)

_COMPILED = (*RELATIONAL, Write)
#: Bytes of a name that PostgreSQL keeps.
_NAME_BYTES = 63
#: Seconds for which statistics are taken as they were.
_FRESH = 10.0
#: Milliseconds that an estimate may take, waiting for locks included.
_PATIENCE = 100


class PostgresPlatform:
    """One PostgreSQL database: a platform, and a namespace of tables."""

    engine = "postgres"

    def __init__(self, name: str, address: Address) -> None:
        self.name = name
        self._address = address
        self._lock = threading.Lock()
        self._refusals: dict[str, str | None] = {}
        self._described: dict[AttachedSource, Any] = {}
        self._statistics: dict[AttachedSource, tuple[float, TableStatistics]] = {}
        self._limits: str | None = None

    # --- platform -------------------------------------------------------------------------------

    @property
    def version(self) -> str:
        """The version of the driver; the server's is known once it is connected."""
        return version("adbc-driver-postgresql")

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
        """Arrow tables, streamed by ADBC."""
        return (ARROW,)

    @property
    def conversions(self) -> Sequence[Conversion]:
        """None of its own: taking and giving Arrow are parts of a stage."""
        return ()

    def refuse(self, operator: Operator) -> str | None:
        """Say why the server cannot run an operator; None if it can."""
        if not isinstance(operator, _COMPILED):
            return refuse_class(operator)
        if operator.digest not in self._refusals:
            self._refusals[operator.digest] = (
                refuse_source(operator, self.name, (MemorySource, RelationSource, QuerySource))
                or self._refuse_sink(operator)
                or _refuse_names(operator)
                or _refuse_shape(operator)
                or refuse_expressions(operator, _Abilities())
            )
        return self._refusals[operator.digest] or self._refuse_copy(operator)

    def _refuse_sink(self, operator: Operator) -> str | None:
        if not isinstance(operator, Write):
            return None
        sink = operator.sink
        if isinstance(sink, RelationSink) and sink.platform == self.name:
            return None
        return f"{sink.describe()} is not written here"

    def _refuse_copy(self, operator: Operator) -> str | None:
        """Say why rows cannot be moved in, as far as the server told when it was connected."""
        if not self._limits:
            return None
        large = isinstance(operator, Values) and operator.table.num_rows > 32
        memory = isinstance(operator, Scan) and isinstance(operator.source, MemorySource)
        return self._limits if large or memory else None

    def started(self) -> bool:
        """Whether the drivers are imported and the server is connected."""
        return "adbc_driver_postgresql" in sys.modules and self.server.connected

    def compile(self, stage: Stage) -> CompiledStage:
        """Translate a stage into one statement."""
        if isinstance(stage.root, Write):
            from umbel.platforms.postgres.writing import WriteStage

            return WriteStage(stage, self)
        from umbel.platforms.postgres.stage import PostgresStage

        return PostgresStage(stage, self)

    def estimate(self, operator: Operator) -> Interval | None:
        """Ask the server's planner for the rows of an operator over its own tables."""
        if not self.server.connected:
            return None
        leaves = [op for op in topological(operator) if not op.inputs]
        own = all(isinstance(leaf, Scan | Values) for leaf in leaves)
        if not own or any(self.refuse(op) is not None for op in topological(operator)):
            return None
        from umbel.platforms.postgres.sources import PostgresSources
        from umbel.platforms.postgres.stage import statement

        sources = PostgresSources(self.description)
        text = statement(operator, sources)
        if sources.staged or not sources.read:
            return None
        return self._relations.estimate_query(text, operator.schema, _PATIENCE).rows

    # --- namespace ------------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """Where the database is, without its secrets."""
        return str(self._address)

    @cached_property
    def server(self) -> Any:
        """The connections to the database."""
        from umbel.platforms.postgres.server import Server

        return Server(self.name, self._address)

    @cached_property
    def _relations(self) -> Any:
        from umbel.platforms.postgres.relations import Relations

        self._connect()
        return Relations(self.server)

    def _connect(self) -> None:
        """Ask once what the server is and what it lets us do.

        Raises:
            SourceError: it cannot be reached, lets us not in, is too old, or not in UTF-8.
        """
        [[number, encoding, temporary, standby]] = self.server.ask(
            "SELECT current_setting('server_version_num')::int, current_setting('server_encoding'),"
            " has_database_privilege(current_database(), 'TEMP'), pg_is_in_recovery()"
        )
        if number < 150000:
            raise SourceError(
                f"platform {self.name!r}: PostgreSQL {number // 10000} is too old",
                hint="umbel needs PostgreSQL 15 or newer",
            )
        if encoding != "UTF8":
            raise SourceError(
                f"platform {self.name!r}: the database is in {encoding}, whose texts compare and "
                "count otherwise",
                hint="move the data to a database in UTF8",
            )
        if standby:
            self._limits = f"{self.name!r} is a standby, which takes no temporary tables"
        elif not temporary:
            self._limits = (
                f"{self.name!r} gives this user no temporary tables: "
                "GRANT TEMPORARY ON DATABASE … TO …"
            )

    def tables(self) -> Sequence[TableEntry]:
        """List the tables and views that we may read."""
        found: Sequence[TableEntry] = self._relations.tables()
        return found

    def source(self, table: Sequence[str], **options: Any) -> RelationSource:
        """Find a table or view, with its columns."""
        if options:
            raise PlanError(f"a table of PostgreSQL has no option {next(iter(options))!r}")
        if not 1 <= len(table) <= 3:
            raise PlanError(f"a table here has a schema and a name, not {dotted(table)!r}")
        name = self._relations.resolve(table)
        relation = self._relations.describe(name)
        source = RelationSource(relation.schema, self.name, name)
        self._remember(source, relation)
        return source

    def query(self, text: str, **options: Any) -> QuerySource:
        """Take a query in PostgreSQL's own SQL."""
        if options:
            raise PlanError(f"a query of PostgreSQL has no option {next(iter(options))!r}")
        stripped = text.strip().rstrip(";").strip()
        relation = self._relations.describe_query(stripped)
        source = QuerySource(relation.schema, self.name, stripped)
        self._remember(source, relation)
        return source

    def sink(self, table: Sequence[str], mode: Any, **options: Any) -> RelationSink:
        """Describe the writing of a table; without a schema it goes to the first of the path."""
        if options:
            raise PlanError(f"a table of PostgreSQL has no option {next(iter(options))!r}")
        if not 1 <= len(table) <= 2:
            raise PlanError(f"a table here has a schema and a name, not {dotted(table)!r}")
        name = tuple(table)
        if len(name) == 1:
            found = self._relations.find(name)
            [[schema]] = self.server.ask("SELECT current_schema()")
            if found is None and schema is None:
                raise PlanError(
                    f"there is no schema for {dotted(name)!r}", hint="write schema.table"
                )
            name = found or (schema, *name)
        return RelationSink(self.name, name, mode)

    def check_sink(self, sink: RelationSink, schema: pa.Schema) -> None:
        """Raise `RunError` if rows cannot be written there."""
        from umbel.platforms.postgres.writing import check_sink

        check_sink(self._relations, self.server, sink, schema)

    def refuse_once(self, sink: RelationSink) -> str | None:
        """Say why a durable run could not write a table exactly once; None if it can."""
        from umbel.platforms.postgres.writing import refuse_once

        return refuse_once(self.server, sink)

    def committed(self, sink: RelationSink, token: str) -> int | None:
        """Give the rows that a durable run has written with a token; None if none were."""
        from umbel.platforms.postgres.writing import committed

        return committed(self.server, sink, token)

    def forget_commit(self, sink: RelationSink, token: str) -> None:
        """Drop a token that nobody will ask for any more."""
        from umbel.platforms.postgres.writing import forget_commit

        forget_commit(self.server, sink, token)

    def statistics(self, source: AttachedSource) -> TableStatistics:
        """Give what the server's catalogue says of a table, or its planner of a query."""
        now = time.monotonic()
        kept = self._statistics.get(source)
        if kept is not None and now - kept[0] < _FRESH:
            return kept[1]
        try:
            if isinstance(source, QuerySource):
                found = self._relations.estimate_query(source.query, source.schema)
            else:
                found = self._relations.statistics(self.description(source))
        except UmbelError:
            # Planning goes on: the run will say what is wrong with the server.
            found = TableStatistics(Interval(1, 1e9, 0.1), 0, 100.0)
        with self._lock:
            self._statistics[source] = now, found
        return found

    def description(self, source: AttachedSource) -> Any:
        """Give the server's columns of a source, as they were when it was made."""
        if source not in self._described:
            if isinstance(source, QuerySource):
                relation = self._relations.describe_query(source.query)
            elif isinstance(source, RelationSource):
                relation = self._relations.describe(source.relation)
            else:
                raise TypeError(f"not a source of PostgreSQL: {source.describe()}")
            self._remember(source, relation)
        return self._described[source]

    def describe_anew(self, source: RelationSource) -> Any:
        """Give a table's columns as they are now."""
        return self._relations.describe(source.relation)

    def _remember(self, source: AttachedSource, relation: Any) -> None:
        with self._lock:
            self._described[source] = relation

    def close(self) -> None:
        """Close the connections; what is asked afterwards opens new ones."""
        if "server" in vars(self):
            self.server.close()


class _Abilities:
    """What PostgreSQL says of types, casts, functions and windows."""

    def refuse_type(self, dtype: pa.DataType) -> str | None:
        return refuse_type(dtype)

    def refuse_cast(self, source: pa.DataType, target: pa.DataType) -> str | None:
        from umbel.platforms.postgres.casts import refuse_cast

        return refuse_cast(source, target)

    def refuse_call(
        self, name: str, nodes: Sequence[Expression], types: Sequence[pa.DataType]
    ) -> str | None:
        from umbel.platforms.postgres.functions import forms

        return refuse_function(forms(), name, nodes, types)

    def refuse_window(self, call: WindowCall, schema: pa.Schema) -> str | None:
        from umbel.platforms.postgres.functions.aggregates import refuse_over_window

        return refuse_over_window(call.function)


def _refuse_names(operator: Operator) -> str | None:
    """Say which column has a name that PostgreSQL does not keep."""
    for schema in (operator.schema, *(child.schema for child in operator.inputs)):
        for name in schema.names:
            if not name or "\0" in name:
                return "SQL has no columns without a name"
            if len(name.encode()) > _NAME_BYTES:
                return f"column {name!r} has more than {_NAME_BYTES} bytes in its name"
    return None


def _refuse_shape(operator: Operator) -> str | None:
    """Say why an operator cannot be written for PostgreSQL."""
    for root, _ in expressions_of(operator):
        for node in walk(root):
            if isinstance(node, Literal) and "\0" in str(node.value):
                return "PostgreSQL's text has no NUL character"
            if isinstance(node, AggregateCall):
                reason = _refuse_aggregate(node)
                if reason is not None:
                    return reason
    match operator:
        case Join(how="full") if operator.residual is not None or not operator.on:
            return "PostgreSQL joins fully by equality only"
    return refuse_shape(operator, "PostgreSQL")


def _refuse_aggregate(call: AggregateCall) -> str | None:
    from umbel.platforms.postgres.functions.aggregates import refuse_modifiers

    order = bool(call.order_by)
    return refuse_modifiers(call.function, distinct=call.distinct, order=order)

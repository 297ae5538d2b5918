"""Running plans on one engine at a time, as the executor would run a single stage; small plans."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests import postgres_server, spark_server, sqlite_file
from tests.conformance.compare import assert_same_rows
from umbel.catalog.address import Address
from umbel.catalog.diagnose import diagnose
from umbel.plan.errors import CancelledError
from umbel.plan.expressions import Call, Column, Expression, Literal
from umbel.plan.operators import Operator, Scan, Values, topological
from umbel.plan.sources import MemorySource
from umbel.platforms.base import ARROW, Platform, Stage

#: Engines with a server of their own take part where it is installed.
SERVERS: dict[str, Callable[[], bool]] = {
    "postgres": postgres_server.available,
    "spark": spark_server.available,
}
ENGINES = (
    "python",
    "polars",
    "duckdb",
    "datafusion",
    "sqlite",
    *(name for name, here in SERVERS.items() if here()),
)
#: Engines that refuse much; their own tests list what.
CHOOSY = {"postgres": "PostgreSQL", "datafusion": "DataFusion", "sqlite": "SQLite"}


class Context:
    """The run's services; `cancel_after` checks it is cancelled."""

    def __init__(self, cancel_after: int | None = None, memory_limit: int = 1 << 31) -> None:
        self.scratch = Path(tempfile.gettempdir())
        self.memory_limit = memory_limit
        self.profile = False
        self.run_id, self.commit = "", None
        self.measured: dict[str, int] = {}
        self.interrupt: Callable[[], None] | None = None
        self._left = cancel_after

    def progress(self, operator: Operator, rows: int) -> None:
        """Nobody looks at it."""

    def check_cancelled(self) -> None:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise CancelledError("the run was cancelled")

    def on_cancel(self, interrupt: Callable[[], None]) -> None:
        assert self.interrupt is None, "on_cancel may be called once"
        self.interrupt = interrupt

    def measure(self, operator: Operator, rows: int, seconds: float | None = None) -> None:
        self.measured[operator.name] = rows


@cache
def platform(engine: str) -> Platform:
    """The platform of an engine, one for all tests."""
    if engine == "postgres":
        from umbel.platforms.postgres import attach

        return attach("postgres", Address.of(postgres_server.server().url()))
    if engine == "sqlite":
        return sqlite_file.platform()
    if engine == "spark":
        from umbel.platforms.spark.connection import Connection
        from umbel.platforms.spark.platform import SparkPlatform

        return SparkPlatform("spark", Connection(spark_server.start()))
    module = __import__(f"umbel.platforms.{engine}", fromlist=["engine"])
    made: Platform = module.engine()
    return made


def at_home(engine: str, plan: Operator) -> Operator:
    """The plan with its tables where an engine has them: in SQLite's file, for others in memory."""
    return sqlite_file.stored(plan) if engine == "sqlite" else plan


def refusal(engine: str, plan: Operator) -> str | None:
    """Why an engine cannot run a plan as one stage; None if it can."""
    operators = topological(at_home(engine, plan))
    reasons = (platform(engine).refuse(operator) for operator in operators)
    return next((reason for reason in reasons if reason is not None), None)


def run(
    engine: str, plan: Operator, inputs: Mapping[str, Any] | None = None, output: str = ARROW
) -> Any:
    """Run a plan on one engine, which must not refuse it.

    As under the executor, a failure that a file is to blame for becomes an error that says so.
    """
    plan = at_home(engine, plan)
    reason = refusal(engine, plan)
    if engine in CHOOSY and reason is not None:
        pytest.skip(f"{CHOOSY[engine]} refuses: {reason}")
    assert reason is None, f"{engine} refuses the plan: {reason}"
    stage = Stage(plan, dict.fromkeys(inputs or {}, ARROW), output)
    try:
        return platform(engine).compile(stage).run(inputs or {}, Context())
    except Exception as error:
        for operator in topological(plan):
            found = diagnose(operator.source, error) if isinstance(operator, Scan) else None
            if found is not None:
                raise found from error
        raise


def table(**columns: Any) -> Values:
    """A constant table; lists get the type that Arrow finds, arrays keep theirs."""
    return Values(table=pa.table(columns))


def memory(**columns: Any) -> Scan:
    """A table in memory."""
    data = pa.table(columns)
    return Scan(source=MemorySource(schema=data.schema, token="test", data=data))


#: The schema of lines of text.
LINES = pa.schema([pa.field("value", pa.string(), nullable=False)])


def check(
    engine: str, plan: Operator, expected: list[tuple[Any, ...]], *, ordered: bool = False
) -> None:
    """Run a plan; its rows and the types of its columns must be as expected."""
    result = run(engine, plan)
    assert result.schema.names == plan.schema.names
    assert result.schema.types == plan.schema.types
    assert_same_rows(result, expected, ordered=ordered, context=engine)


def number(value: int) -> Literal:
    return Literal(value, pa.int64())


def names(*columns: str) -> tuple[tuple[str, Expression], ...]:
    return tuple((name, Column(name)) for name in columns)


def call(function: str, *arguments: Expression) -> Call:
    return Call(function, arguments)


PEOPLE = {"id": [1, 2, 3, 4], "age": [30, None, 20, 30], "name": ["a", "b", None, "d"]}


def people() -> Scan:
    return memory(**PEOPLE)

"""What the executor relies on, on Polars, DuckDB and DataFusion alike: laziness, channels, cancelling."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time

import pyarrow as pa
import pytest

from tests.conformance.compare import assert_same_rows
from tests.conformance.engines import Context, memory, platform
from umbel.plan.errors import CancelledError
from umbel.plan.expressions import AggregateCall, Call, Column, Literal
from umbel.plan.operators import Aggregate, Element, Filter, Join, Operator, Placeholder, Project
from umbel.platforms.base import Stage

ENGINES = ("polars", "duckdb", "datafusion")
SCHEMA = pa.schema([("a", pa.int64()), ("s", pa.string())])
ROWS = [(1, "x"), (None, "é"), (3, None)]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def rows() -> pa.Table:
    return pa.table({"a": [1, None, 3], "s": ["x", "é", None]})


def in_a_new_process(code: str) -> str:
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_making_and_asking_a_platform_imports_no_engine(engine):
    code = f"""
        import sys
        import pyarrow as pa
        from umbel.plan.expressions import Call, Cast, Column
        from umbel.plan.operators import Filter, Project, Values
        from umbel.platforms.{engine} import engine
        made = engine()
        table = Values(table=pa.table({{"a": [True]}}))
        assert made.refuse(Filter(input=table, predicate=Column("a"))) is None
        text = Call("lower", (Cast(Column("a"), pa.string()),))
        assert made.refuse(Project(input=table, columns=(("b", text),))) is None
        assert made.version and made.costs.start > 0 and not made.started()
        print([name for name in ("polars", "duckdb", "datafusion", "sqlglot") if name in sys.modules])
    """
    assert in_a_new_process(code) == "[]\n"


def test_rows_pass_through_every_channel(engine):
    chosen = platform(engine)
    plan = Placeholder(label="p", columns=SCHEMA)
    for source in chosen.reads:
        data = rows() if source == "arrow" else _convert(engine, "arrow", source, rows())
        for target in chosen.writes:
            stage = chosen.compile(Stage(plan, {"p": source}, target))
            result = stage.run({"p": data}, Context())
            if target != "arrow":
                result = _convert(engine, target, "arrow", result)
            assert result.schema == SCHEMA
            assert_same_rows(result, ROWS, context=f"{source} to {target}")


def _convert(engine: str, source: str, target: str, data: object) -> object:
    (conversion,) = (
        c for c in platform(engine).conversions if (c.source, c.target) == (source, target)
    )
    assert conversion.cost(1000, 8000) > 0
    return conversion.convert(data, SCHEMA, Element.ROW)


def test_every_compiled_operator_has_a_cost(engine):
    costs = platform(engine).costs.operators
    kinds = {f"Scan.{kind}" for kind in ("memory", "text", "csv", "json", "parquet", "ipc")}
    operators = {
        "Values", "Placeholder", "Project", "Filter", "Join", "Aggregate", "Window", "Sort",
        "Limit", "Distinct", "Union", "Intersect", "Except", "Explode", "Count", "Rows", "ToFrame",
    }  # fmt: skip
    own = {
        "polars": {"Sample"},
        "duckdb": {"Scan.relation", "Scan.query", "Write"},
        "datafusion": set(),
    }
    assert costs.keys() == kinds | operators | own[engine]


def test_a_stage_measures_its_rows_and_runs_again(engine):
    plan = Filter(input=memory(a=[True, False, True]), predicate=Column("a"))
    stage = platform(engine).compile(Stage(plan))
    for _ in range(2):
        context = Context()
        assert stage.run({}, context).num_rows == 2
        assert context.measured == {"Filter": 2}


def test_a_stage_shows_its_query(engine):
    plan = Filter(input=Placeholder(label="p", columns=SCHEMA), predicate=Literal(True, pa.bool_()))
    text = platform(engine).compile(Stage(plan, {"p": "arrow"})).text
    assert ("DF" in text) if engine == "polars" else ("SELECT" in text)


#: Rows whose pairs keep an engine busy for long. Polars computes on after a run was cancelled,
#: until the operator at hand is done, and keeps later queries waiting: seconds only there.
SLOW = {"polars": 5_000, "duckdb": 60_000, "datafusion": 20_000}


def slow(count: int) -> Operator:
    """A sum over all pairs of so many rows."""
    numbers = pa.array(range(count), pa.int64())
    pairs = Join(left=memory(a=numbers), right=memory(b=numbers), how="cross")
    product = Call("multiply", (Column("a"), Column("b")))
    sums = Project(input=pairs, columns=(("p", product),))
    return Aggregate(input=sums, aggregates=(("s", AggregateCall("sum", (Column("p"),))),))


class Cancelled(Context):
    """A run that the user cancels after a while."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._end = time.monotonic() + seconds

    def progress(self, operator: Operator, rows: int) -> None:
        """Nobody looks at it."""

    def check_cancelled(self) -> None:
        if time.monotonic() >= self._end:
            raise CancelledError("the run was cancelled")


def test_a_cancelled_run_stops_at_once(engine):
    stage = platform(engine).compile(Stage(slow(SLOW[engine])))
    context = Cancelled(0.1)
    timer = threading.Timer(0.15, lambda: context.interrupt and context.interrupt())
    timer.start()
    started = time.monotonic()
    with pytest.raises(CancelledError):
        stage.run({}, context)
    timer.join()
    assert time.monotonic() - started < 2


def test_stages_of_one_platform_run_at_the_same_time(engine):
    plans = [
        Filter(
            input=memory(a=list(range(1000))),
            predicate=Call("less", (Column("a"), Literal(limit, pa.int64()))),
        )
        for limit in range(100, 116)
    ]
    counts: list[int] = []

    def work(plan: Operator) -> None:
        counts.append(platform(engine).compile(Stage(plan)).run({}, Context()).num_rows)

    threads = [threading.Thread(target=work, args=(plan,)) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(counts) == list(range(100, 116))

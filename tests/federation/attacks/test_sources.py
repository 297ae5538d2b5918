"""A task reads what its site has published, and nothing else that a plan can name."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

import umbel as ub
from umbel.api.dataframe import DataFrame
from umbel.executor import Cancellation
from umbel.federation import Form, Rule, Site
from umbel.federation.errors import PolicyError
from umbel.federation.execution import SiteExecution
from umbel.federation.tasks import Requester, Task
from umbel.plan import sinks, sources
from umbel.plan.codec import plan_from_json, plan_to_json
from umbel.plan.operators import Operator, Scan, Write

TEXT = pa.schema([("id", pa.int64())])
PATHS = (
    "/etc/passwd",
    "../../secret.parquet",
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data",
    "https://localhost:1/x",
    "s3://bucket/key",
)
FILES = (
    sources.TextSource,
    sources.CsvSource,
    sources.JsonLinesSource,
    sources.ParquetSource,
    sources.DeltaSource,
    sources.IcebergSource,
    sources.IpcSource,
)
SOURCES: list[sources.Source] = [
    *(kind(TEXT, (path,)) for kind in FILES for path in PATHS),
    sources.MemorySource(TEXT, "memory-1"),
    sources.QuerySource(TEXT, "north", "select 1"),
    sources.QuerySource(TEXT, "warehouse", "select pg_read_file('/etc/passwd')"),
    # What is published is named by the site and one name: no other engine, no other depth.
    sources.RelationSource(TEXT, "warehouse", ("t",)),
    sources.RelationSource(TEXT, "", ("t",)),
    sources.RelationSource(TEXT, "north", ("main", "t")),
    sources.RelationSource(TEXT, "north", ("../t",)),
    sources.RelationSource(TEXT, "north", ("t; drop table t",)),
]
SINKS: list[sinks.Sink] = [
    sinks.TextSink("/tmp/umbel-attack"),
    sinks.CsvSink("/tmp/umbel-attack"),
    sinks.JsonLinesSink("/tmp/umbel-attack"),
    sinks.ParquetSink("/tmp/umbel-attack"),
    sinks.IpcSink("/tmp/umbel-attack"),
    sinks.DeltaSink(path="/tmp/umbel-attack"),
    sinks.IcebergSink(catalog="c", table=("t",)),
    sinks.RelationSink("north", ("t",), "replace"),
]


def kinds(base: type[Any]) -> set[str]:
    """All kinds of something that a plan can name."""
    own = {base.kind} if base.kind else set()
    return own.union(*(kinds(one) for one in base.__subclasses__()))


@pytest.fixture(scope="module")
def site() -> Site:
    made = Site("north", ub.connect())
    made.publish("t", made.session.from_dict({"id": [1, 2, 3]}), Rule(Form.ROWS))
    return made


def ask(site: Site, plan: Operator) -> list[Any]:
    """Give a site a task that came over the wire."""
    parts: list[pa.Table] = []
    read = plan_from_json(plan_to_json(plan))
    task = Task("r", 0, "north", read, (), Requester("ann"))
    SiteExecution(site)(task, {}, Cancellation(), parts.append)
    return [row for part in parts for row in part.to_pylist()]


def test_no_kind_is_missing_here() -> None:
    assert {one.kind for one in SOURCES} == kinds(sources.Source)
    assert {one.kind for one in SINKS} == kinds(sinks.Sink)


@pytest.mark.parametrize("source", SOURCES, ids=lambda one: one.describe())
def test_a_task_reads_published_tables_only(site: Site, source: sources.Source) -> None:
    published = Scan(source=sources.RelationSource(TEXT, "north", ("t",)))
    assert len(ask(site, published)) == 3
    rest = DataFrame(Scan(source=source), ub.connect())
    table = DataFrame(published, ub.connect())
    word = r"reads published tables, not|unknown table|not a name|cannot be"
    for plan in (rest.plan, table.union(rest).plan, table.join(rest, on="id").plan):
        with pytest.raises(ub.UmbelError, match=word):
            ask(site, plan)


@pytest.mark.parametrize("sink", SINKS, ids=lambda one: one.kind)
def test_a_task_writes_nowhere(site: Site, sink: sinks.Sink) -> None:
    published = Scan(source=sources.RelationSource(TEXT, "north", ("t",)))
    with pytest.raises(PolicyError, match="does not run Write"):
        ask(site, Write(input=published, sink=sink))

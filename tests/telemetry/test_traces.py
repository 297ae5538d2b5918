"""One run is one trace over all who take part, and tells nothing but names, counts and times."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

import umbel as ub
from tests.federation.harness import compute, federation, numbers, task
from tests.telemetry.conftest import Seen
from umbel import col, telemetry
from umbel.federation import Form, Rule, Site, local
from umbel.plan.errors import RunError
from umbel.telemetry import checked_traceparent
from umbel.telemetry.export import providers
from umbel.telemetry.instruments import ATTRIBUTES

LITERAL, DATUM, COLUMN = "zxliteralzx", "zxdatumzx", "zxcolumnzx"
SITES = ("north", "south", "west")


def three() -> list[Site]:
    made = []
    for number, name in enumerate(SITES):
        site = Site(name, ub.connect(progress=False))
        rows: dict[str, Any] = {
            "id": [10 * number + i for i in range(4)],
            COLUMN: [DATUM, LITERAL, "c", DATUM],
        }
        rule = Rule(Form.AGGREGATES, min_individuals=1, individual="id")
        site.publish("people", site.session.from_dict(rows), rule)
        made.append(site)
    return made


def test_one_trace_over_coordinator_and_three_sites(seen: Seen) -> None:
    session = local(three(), progress=False)
    asked = session.table("people").filter(col(COLUMN) != LITERAL).select(n=ub.len())
    assert asked.collect().to_pylist() == [{"n": 9}]

    assert len({span.context.trace_id for span in seen.spans}) == 1
    parents = seen.parents()
    # The sites' runs are runs of their own sessions, below their tasks.
    assert parents == {
        "umbel.run": {"", "umbel.site.task"},
        "umbel.plan": {"umbel.run"},
        "umbel.stage": {"umbel.run"},
        "umbel.task": {"umbel.stage"},
        "umbel.site.task": {"umbel.task"},
    }
    tasks = {span.attributes["umbel.site"]: span for span in seen.named("umbel.task")}
    assert tasks.keys() == set(SITES)
    for span in seen.named("umbel.site.task"):
        above = tasks[span.attributes["umbel.site"]]
        assert span.parent is not None
        assert span.parent.span_id == above.context.span_id
        assert span.attributes["umbel.task"] == above.attributes["umbel.task"]
        assert above.start_time <= span.start_time <= span.end_time <= above.end_time
    (first,) = [span for span in seen.named("umbel.run") if span.parent is None]
    stages = [s for s in seen.named("umbel.stage") if s.parent.span_id == first.context.span_id]
    assert first.attributes["umbel.stages"] == len(stages)
    assert {s.attributes["umbel.platform"] for s in stages} >= set(SITES)

    measured = seen.measured()
    assert measured["umbel.runs"] == {(("umbel.state", "finished"),): 4}
    took = measured["umbel.task.duration"]
    assert {dict(key)["umbel.site"]: count for key, (count, _) in took.items()} == dict.fromkeys(
        SITES, 1
    )
    border = {dict(key)["umbel.site"]: size for key, size in measured["umbel.border.bytes"].items()}
    assert border == dict.fromkeys(SITES, 8)  # one count, an int64
    assert sum(measured["umbel.stages"].values()) == len(seen.named("umbel.stage"))

    for span in seen.spans:
        assert set(span.attributes or {}) <= ATTRIBUTES
    for word in (LITERAL, DATUM, COLUMN, "people"):
        assert word not in seen.text()


def test_errors_are_told_by_their_class_alone(seen: Seen) -> None:
    frame = ub.connect(progress=False).from_dict({"a": [DATUM]})
    with pytest.raises(RunError, match=DATUM):
        frame.select(b=col("a").cast("int64")).on("python").collect()
    (run,) = seen.named("umbel.run")
    assert run.attributes["error.type"] == "EvaluationError"
    assert not run.status.is_ok
    assert seen.measured()["umbel.runs"] == {(("umbel.state", "failed"),): 1}
    assert DATUM not in seen.text()


def test_over_the_wire_with_transfers_and_attempts(seen: Seen) -> None:
    """The traceparent travels with the lease; a task that is tried again is two attempts."""
    failed: list[str] = []

    def sometimes(task, inputs, cancellation, deliver):
        if not failed:
            failed.append(task.id)
            raise ConnectionResetError(DATUM)
        return compute(task, inputs, cancellation, deliver)

    with federation() as made:
        made.agent("a", sometimes)
        large, small = task("r", 0, 200_000), task("r", 1, 3)
        instruments = telemetry.active()
        assert instruments is not None
        with instruments.span("umbel.run"):
            assert made.run(large).equals(numbers(large))
            assert made.run(small).equals(numbers(small))
    assert len({span.context.trace_id for span in seen.spans}) == 1
    assert seen.parents() == {
        "umbel.run": {""},
        "umbel.task": {"umbel.run"},
        "umbel.site.task": {"umbel.task"},
        "umbel.transfer": {"umbel.site.task"},
    }
    attempts = [span for span in seen.named("umbel.task") if span.attributes["umbel.stage"] == 0]
    assert [(s.attributes["umbel.attempt"], s.attributes["umbel.state"]) for s in attempts] == [
        (1, "failed"),
        (2, "done"),
    ]
    sent = sum(span.attributes["umbel.rows"] for span in seen.named("umbel.transfer"))
    assert sent == 200_003
    measured = seen.measured()
    assert "umbel.leases.lost" not in measured
    assert measured["umbel.task.retries"] == {(("umbel.site", "a"),): 1}
    ((key, size),) = measured["umbel.border.bytes"].items()
    assert dict(key) == {"umbel.site": "a", "umbel.direction": "from"}
    assert size == sum(span.attributes["umbel.bytes"] for span in seen.named("umbel.transfer"))
    assert DATUM not in seen.text()


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\n",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ff",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        "x" * 100_000,
    ],
)
def test_what_is_no_traceparent_counts_as_nothing(text: str | None) -> None:
    assert checked_traceparent(text) == ""


def test_a_lease_with_a_wrong_trace_is_refused() -> None:
    from umbel.federation.wire import messages

    lease: dict[str, Any] = {"task": "0" * 64, "token": "0" * 32, "attempt": 1, "envelope": False}
    assert messages.Lease(**lease).trace == ""
    with pytest.raises(ValueError, match="no traceparent"):
        messages.Lease(**lease, trace="'; drop table")


def test_the_variables_of_opentelemetry_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans and measures go by OTLP to where OTEL_EXPORTER_OTLP_ENDPOINT says."""
    came: dict[str, bytes] = {}

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers["content-length"]))
            packed = self.headers.get("content-encoding") == "gzip"
            came[self.path] = gzip.decompress(content) if packed else content
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{collector.server_port}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "coordinator-of-north")
        found = providers()
        assert found is not None
        telemetry.use(*found)
        try:
            ub.connect(progress=False).from_dict({"a": [DATUM]}).on("python").collect()
        finally:
            telemetry.use()
            for provider in found:
                provider.shutdown()
        collector.shutdown()
    assert came.keys() == {"/v1/traces", "/v1/metrics"}
    assert b"umbel.stage" in came["/v1/traces"]
    assert b"umbel.runs" in came["/v1/metrics"]
    for content in came.values():
        assert b"coordinator-of-north" in content
        assert DATUM.encode() not in content
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    assert providers() is None


def test_a_run_imports_no_telemetry_unless_it_is_asked_for() -> None:
    code = (
        "import sys, umbel as ub; ub.connect().from_dict({'a': [1]}).on('python').collect();"
        "assert not [m for m in sys.modules if m.startswith('opentelemetry')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PATH": ""})

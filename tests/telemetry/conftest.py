"""OpenTelemetry's own SDK, which keeps what it is told in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from umbel import telemetry


class Seen:
    """All spans that ended, and all that was measured."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        return self.exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    def parents(self) -> dict[str, set[str]]:
        """The names of spans, and those of the spans above them; "" for none."""
        by_id = {span.context.span_id: span for span in self.spans}
        found: dict[str, set[str]] = {}
        for span in self.spans:
            above = "" if span.parent is None else by_id[span.parent.span_id].name
            found.setdefault(span.name, set()).add(above)
        return found

    def text(self) -> str:
        """Everything that was told, as it would be exported."""
        return "\n".join(span.to_json() for span in self.spans) + repr(self.measured())

    def measured(self) -> dict[str, dict[tuple[tuple[str, Any], ...], Any]]:
        """Values by the name of the metric and its attributes; of histograms count and sum."""
        found: dict[str, dict[tuple[tuple[str, Any], ...], Any]] = {}
        data = self.reader.get_metrics_data()
        if data is None:
            return found
        for resource in data.resource_metrics:
            for scope in resource.scope_metrics:
                for metric in scope.metrics:
                    for point in metric.data.data_points:
                        value = getattr(point, "value", None)
                        if value is None:
                            value = point.count, point.sum
                        key = tuple(sorted((point.attributes or {}).items()))
                        found.setdefault(metric.name, {})[key] = value
        return found


@pytest.fixture
def seen() -> Iterator[Seen]:
    made = Seen()
    telemetry.use(made.tracers, made.meters)
    try:
        yield made
    finally:
        telemetry.use()
        made.tracers.shutdown()
        made.meters.shutdown()

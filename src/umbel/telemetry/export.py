"""Providers of OpenTelemetry's as the variables OTEL_* ask for them.

The SDK reads most of the variables itself: resource and service name, sampler, batches, the
endpoint, headers and certificates of OTLP. Here is decided which exporter is used.
"""

from __future__ import annotations

import logging
import os
from importlib.metadata import entry_points
from typing import Any

log = logging.getLogger("umbel.telemetry")

#: How OpenTelemetry's packages name their exporters for OTLP, by protocol.
_OTLP = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}


def providers() -> tuple[Any, Any] | None:
    """Make providers of tracers and meters; None if the SDK is not there, which is told once."""
    try:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        log.warning(
            "variables OTEL_* ask for traces, but the SDK is not installed: "
            "pip install 'umbel[telemetry]'"
        )
        return None
    tracers = meters = None
    spans = _exporter("TRACES", "opentelemetry_traces_exporter")
    if spans is not None:
        tracers = TracerProvider()
        tracers.add_span_processor(BatchSpanProcessor(spans))
    measures = _exporter("METRICS", "opentelemetry_metrics_exporter")
    if measures is not None:
        meters = MeterProvider([PeriodicExportingMetricReader(measures)])
    return None if tracers is None and meters is None else (tracers, meters)


def _exporter(signal: str, group: str) -> Any:
    """Make the exporter of a signal; None if none is wanted, or it is not installed."""
    name = os.environ.get(f"OTEL_{signal}_EXPORTER", "otlp").strip().lower()
    if name == "none":
        return None
    if name == "otlp":
        protocol = (
            os.environ.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL")
            or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
            or "http/protobuf"
        )
        name = _OTLP.get(protocol, protocol)
    found = list(entry_points(group=group, name=name))
    if not found:
        known = ", ".join(sorted(entry.name for entry in entry_points(group=group)))
        log.warning("there is no exporter for %s of this name; there are: %s", signal, known)
        return None
    return found[0].load()()


__all__ = ["providers"]

"""Spans and metrics, made with whatever OpenTelemetry somebody has configured, if anybody has.

A program that has set OpenTelemetry's global providers has them used. Otherwise the variables
OTEL_* decide, see `umbel.telemetry.export`. Attributes are of a closed list and are names and
numbers that umbel itself made; of an error only its class is told.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import Any, TypeAlias

from umbel.telemetry.traceparent import checked_traceparent, parts, written

#: All that is ever told of a span or a measurement, beside names and times.
ATTRIBUTES = frozenset(
    f"umbel.{name}"
    for name in (
        "run", "stage", "stages", "depth", "platform", "operators", "site", "task", "attempt",
        "rows", "bytes", "direction", "state",
    )
) | {"error.type"}  # fmt: skip
_LONGEST = 200
Value: TypeAlias = str | int | float | bool

#: Any of these asks for traces or metrics.
_ASKING = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_TRACES_EXPORTER",
    "OTEL_METRICS_EXPORTER",
)


class Instruments:
    """Makes spans and measures, with two providers of OpenTelemetry's.

    Args:
        tracers: gives tracers.
        meters: gives meters.
    """

    def __init__(self, tracers: Any, meters: Any) -> None:
        from opentelemetry import trace

        self._api = trace
        self._tracer = tracers.get_tracer("umbel", version("umbel"))
        meter = meters.get_meter("umbel", version("umbel"))
        self._runs = meter.create_counter("umbel.runs", "{run}", "Runs that ended.")
        self._stages = meter.create_counter("umbel.stages", "{stage}", "Stages that ended.")
        self._border = meter.create_counter(
            "umbel.border.bytes", "By", "Bytes that crossed the border of a site."
        )
        self._seconds = meter.create_histogram(
            "umbel.task.duration", "s", "Time that tasks took at their sites."
        )
        self._lost = meter.create_counter(
            "umbel.leases.lost", "{lease}", "Tasks taken back from sites that fell silent."
        )
        self._retries = meter.create_counter(
            "umbel.task.retries", "{task}", "Tasks that were begun once more."
        )

    # --- spans ----------------------------------------------------------------------------------

    @contextmanager
    def span(
        self, name: str, *, parent: str = "", kind: str = "INTERNAL", **attributes: Value
    ) -> Iterator[Any]:
        """Make a span of what a block does; inside, it is the current one.

        Args:
            name: of the span: "umbel.run".
            parent: a traceparent that came from elsewhere; empty for the current span.
            kind: of the span, as OpenTelemetry calls it.
            attributes: names and numbers, by their keys without "umbel.".
        """
        context = self._context(parent)
        with self._tracer.start_as_current_span(
            name, context=context, kind=self._api.SpanKind[kind], attributes=_clean(attributes),
            record_exception=False, set_status_on_exception=False,
        ) as span:  # fmt: skip
            try:
                yield span
            except BaseException as error:
                self._failed(span, error)
                raise

    def note(self, span: Any, **attributes: Value) -> None:
        """Add to a span what became known."""
        span.set_attributes(_clean(attributes))

    def task(self, **attributes: Value) -> TaskTrace:
        """Follow a task, whose attempts begin and end on other threads, below the current span."""
        from opentelemetry import context

        return TaskTrace(self, context.get_current(), attributes)

    def begin(self, name: str, context: Any, attributes: dict[str, Value]) -> Any:
        """Begin a span that is ended by hand."""
        kind = self._api.SpanKind.CLIENT
        return self._tracer.start_span(
            name, context=context, kind=kind, attributes=_clean(attributes)
        )

    def traceparent(self, span: Any = None) -> str:
        """Give the traceparent of a span, by default the current one; empty if there is none."""
        found = (span or self._api.get_current_span()).get_span_context()
        if not found.is_valid:
            return ""
        return written(found.trace_id, found.span_id, int(found.trace_flags))

    def _context(self, parent: str) -> Any:
        text = checked_traceparent(parent)
        if not text:
            return None
        api = self._api
        trace, span, flags = parts(text)
        known = api.SpanContext(trace, span, is_remote=True, trace_flags=api.TraceFlags(flags))
        return api.set_span_in_context(api.NonRecordingSpan(known))

    def _failed(self, span: Any, error: BaseException) -> None:
        """Say that a span failed: the error's class alone, for its message may quote values."""
        span.set_attribute("error.type", type(error).__name__)
        self.fail(span)

    def fail(self, span: Any) -> None:
        """Say that what a span stands for did not succeed."""
        span.set_status(self._api.StatusCode.ERROR)

    # --- metrics --------------------------------------------------------------------------------

    def run_ended(self, state: str) -> None:
        """Count a run."""
        self._runs.add(1, _clean({"state": state}))

    def stage_ended(self, platform: str, state: str) -> None:
        """Count a stage."""
        self._stages.add(1, _clean({"platform": platform, "state": state}))

    def crossed(self, site: str, direction: str, size: int) -> None:
        """Count bytes that went "to" a site, or came "from" it."""
        self._border.add(size, _clean({"site": site, "direction": direction}))

    def task_took(self, site: str, seconds: float) -> None:
        """Measure a task."""
        self._seconds.record(seconds, _clean({"site": site}))

    def lease_lost(self, site: str) -> None:
        """Count a lease that a site lost by its silence."""
        self._lost.add(1, _clean({"site": site}))

    def retried(self, site: str) -> None:
        """Count a task that is begun once more."""
        self._retries.add(1, _clean({"site": site}))


class TaskTrace:
    """The spans of a task's attempts; one at a time is open."""

    def __init__(
        self, instruments: Instruments, context: Any, attributes: dict[str, Value]
    ) -> None:
        self._instruments = instruments
        self._context = context
        self._attributes = attributes
        self._span: Any = None

    def begin(self, attempt: int) -> str:
        """Begin an attempt; give its traceparent, for whoever makes it."""
        self.end("lost")
        attributes = {**self._attributes, "attempt": attempt}
        self._span = self._instruments.begin("umbel.task", self._context, attributes)
        return self._instruments.traceparent(self._span)

    def end(self, state: str) -> None:
        """End the attempt that is open, if one is."""
        span, self._span = self._span, None
        if span is None:
            return
        self._instruments.note(span, state=state)
        if state not in ("done", "cancelled"):
            self._instruments.fail(span)
        span.end()


def _clean(attributes: dict[str, Value]) -> dict[str, Value]:
    """Name attributes in full; what is not on the list is a defect here."""
    found: dict[str, Value] = {}
    for name, value in attributes.items():
        key = f"umbel.{name}"
        if key not in ATTRIBUTES:
            raise KeyError(f"{key} is not on the list of attributes")
        found[key] = value[:_LONGEST] if isinstance(value, str) else value
    return found


# --- which -------------------------------------------------------------------------------------

_lock = threading.Lock()
_used: Instruments | None = None
_known: tuple[Any, Instruments] | None = None
_looked = False


def active() -> Instruments | None:
    """Give what makes spans and measures; None if nobody has configured OpenTelemetry.

    >>> active() is None
    True
    """
    api = sys.modules.get("opentelemetry.trace")
    if _used is None and api is None and _looked:
        return None
    return _used or _global(api) or _from_environment()


def use(tracers: Any = None, meters: Any = None) -> None:
    """Use these providers of OpenTelemetry's, and no others; without any, those there are.

    Args:
        tracers: a TracerProvider; None for one that makes nothing.
        meters: a MeterProvider; None for one that measures nothing.
    """
    global _used  # noqa: PLW0603
    if tracers is None and meters is None:
        _used = None
        return
    from opentelemetry import metrics, trace

    _used = Instruments(
        tracers or trace.NoOpTracerProvider(), meters or metrics.NoOpMeterProvider()
    )


def _global(api: Any) -> Instruments | None:
    """What the program has set, if it has."""
    global _known  # noqa: PLW0603
    if api is None:
        return None
    tracers = api.get_tracer_provider()
    if isinstance(tracers, api.ProxyTracerProvider | api.NoOpTracerProvider):
        return None
    known = _known
    if known is None or known[0] is not tracers:
        from opentelemetry import metrics

        known = _known = (tracers, Instruments(tracers, metrics.get_meter_provider()))
    return known[1]


def _from_environment() -> Instruments | None:
    """What the variables OTEL_* ask for; looked at once."""
    global _looked  # noqa: PLW0603
    if _looked:
        return None
    with _lock:
        if not _looked:
            _looked = True
            off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
            if not off and any(os.environ.get(name) for name in _ASKING):
                from umbel.telemetry.export import providers

                found = providers()
                if found is not None:
                    use(*found)
    return _used


__all__ = ["ATTRIBUTES", "Instruments", "TaskTrace", "active", "use"]

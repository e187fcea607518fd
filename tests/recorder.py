"""What a test sees of the telemetry: everything exported, and nothing else."""

from __future__ import annotations

from collections import Counter
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

Attributes = dict[str, Any]

# Made once: each takes a pool of threads.
RESOURCE = Resource.create()


class Open(SpanProcessor):
    """A span processor that knows which spans have begun and not ended.

    Attributes:
        begun: The names of all that have begun.
        names: The names of those that have not ended.
    """

    # Threads share it: each step on a list is atomic.

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.names: list[str] = []

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        """Note a start."""
        self.begun.append(span.name)
        self.names.append(span.name)

    def on_end(self, span: ReadableSpan) -> None:
        """Note an end."""
        self.names.remove(span.name)


class Recorder:
    """Providers of a test's own, and what arrived at their exporters."""

    def __init__(self, **tracer_provider: Any) -> None:
        self._exporter = InMemorySpanExporter()
        # What is shut down when the process exits lives until then, and with it operations that its records keep.
        self.tracer_provider = TracerProvider(**{"resource": RESOURCE, "shutdown_on_exit": False, **tracer_provider})
        self.tracer_provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider(metric_readers=[self.reader], resource=RESOURCE, shutdown_on_exit=False)
        self._logs = InMemoryLogRecordExporter()  # type: ignore[no-untyped-call]
        self.logger_provider = LoggerProvider(resource=RESOURCE, shutdown_on_exit=False)
        self.logger_provider.add_log_record_processor(SimpleLogRecordProcessor(self._logs))

    @property
    def providers(self) -> dict[str, Any]:
        """The arguments for ``instrument()``."""
        return {
            "tracer_provider": self.tracer_provider,
            "meter_provider": self.meter_provider,
            "logger_provider": self.logger_provider,
        }

    # --- spans ---

    def spans(self) -> list[ReadableSpan]:
        """All ended spans, in the order in which they ended."""
        return list(self._exporter.get_finished_spans())

    def names(self) -> list[str]:
        """The names of all ended spans, sorted."""
        return sorted(span.name for span in self.spans())

    def span(self, name: str) -> ReadableSpan:
        """The one span of that name."""
        (found,) = (span for span in self.spans() if span.name == name)
        return found

    def children(self, parent: ReadableSpan) -> list[ReadableSpan]:
        """The spans directly under another, by start time."""
        return sorted(
            (span for span in self.spans() if span.parent and span.parent.span_id == parent.context.span_id),
            key=lambda span: span.start_time or 0,
        )

    def clear(self) -> None:
        """Forget the spans and logs so far (metrics are cumulative)."""
        self._exporter.clear()
        self._logs.clear()

    # --- metrics ---

    def _metrics(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        return {
            metric.name: metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def metric_names(self) -> list[str]:
        """The names of all metrics with points, sorted."""
        return sorted(self._metrics())

    def points(self, name: str) -> list[tuple[Attributes, Any]]:
        """``(attributes, value)`` of each point; the value of a histogram is its count."""
        metric = self._metrics().get(name)
        if metric is None:
            return []
        return [
            (dict(point.attributes), point.count if hasattr(point, "count") else point.value)
            for point in metric.data.data_points
        ]

    def sums(self, name: str) -> list[tuple[Attributes, float]]:
        """``(attributes, sum)`` of each point of a histogram."""
        metric = self._metrics().get(name)
        return [(dict(point.attributes), point.sum) for point in metric.data.data_points] if metric else []

    def bounds(self, name: str) -> tuple[float, ...]:
        """The bucket boundaries of a histogram."""
        (bounds,) = {tuple(point.explicit_bounds) for point in self._metrics()[name].data.data_points}
        return bounds

    def counts(self, name: str, label: str) -> Counter[str]:
        """The values of a counter (counts of a histogram), by one label."""
        totals: Counter[str] = Counter()
        for attributes, value in self.points(name):
            totals[str(attributes.get(label))] += value
        return totals

    # --- logs ---

    def events(self) -> list[Any]:
        """All exported log records."""
        return [data.log_record for data in self._logs.get_finished_logs()]

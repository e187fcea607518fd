"""The providers of an application, with exporters that throw everything away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

# A thousand calls at once end at once, and none of their spans is to be dropped with a warning.
_QUEUE = 1 << 16


class _NoSpans(SpanExporter):
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class _NoLogs(LogRecordExporter):
    def export(self, batch: Sequence[Any]) -> LogRecordExportResult:
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        """Do nothing."""

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        """Do nothing."""
        return True


@dataclass
class Sdk:
    """Providers with batch export.

    Args:
        spans: What exports spans, if that is to be seen.
    """

    tracer_provider: TracerProvider = field(default_factory=TracerProvider)
    meter_provider: MeterProvider = field(default_factory=lambda: MeterProvider([InMemoryMetricReader()]))
    logger_provider: LoggerProvider = field(default_factory=LoggerProvider)

    spans: InitVar[SpanProcessor | None] = None

    def __post_init__(self, spans: SpanProcessor | None) -> None:
        self.tracer_provider.add_span_processor(spans or BatchSpanProcessor(_NoSpans(), max_queue_size=_QUEUE))
        self.logger_provider.add_log_record_processor(BatchLogRecordProcessor(_NoLogs(), max_queue_size=_QUEUE))

    def flush(self) -> None:
        """Export what waits for it, so that no one else's sample does."""
        self.tracer_provider.force_flush()
        self.logger_provider.force_flush()

    def shutdown(self) -> None:
        """End the threads of the processors."""
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()
        self.logger_provider.shutdown()

"""Clients' spans for a tracer that has one of the runtime's own exporters: ``Tracer("app", InMemoryExporter())``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.trace import SpanContext, Tracer

from opentelemetry_instrumentation_ailib import semconv
from opentelemetry_instrumentation_ailib.telemetry import SCOPE
from opentelemetry_instrumentation_ailib.version import __version__

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExportResult

_MODULE: Final = "ai_lib_python.telemetry.tracer"


class RuntimeExporter:
    """Hands OpenTelemetry's spans to the exporter of one of the runtime's tracers, as spans of the runtime's.

    Args:
        tracer: The runtime's ``Tracer``.
    """

    def __init__(self, tracer: Any) -> None:
        self._tracer = tracer

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans.

        Args:
            spans: Those that have ended.
        """
        from opentelemetry.sdk.trace.export import SpanExportResult

        exporter = self._tracer._exporter
        if exporter:  # As the runtime asks: the application may have taken it away.
            for span in spans:
                exporter.export(_runtimes(span))
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Do nothing: the exporter is the application's."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Return ``True``: nothing is kept here."""
        return True


def _runtimes(span: ReadableSpan) -> Any:
    module = sys.modules[_MODULE]
    return module.Span(
        name=span.name,
        context=runtime_context(span.context),
        parent_context=None if span.parent is None else runtime_context(span.parent),
        kind=module.SpanKind[span.kind.name],
        status=module.SpanStatus[span.status.status_code.name],
        status_message=span.status.description or "",
        start_time=(span.start_time or 0) / 1e9,
        end_time=(span.end_time or 0) / 1e9,
        attributes=dict(span.attributes or {}),
        events=[
            module.SpanEvent(name=event.name, timestamp=event.timestamp / 1e9, attributes=dict(event.attributes or {}))
            for event in span.events
        ],
    )


def runtime_context(context: SpanContext) -> Any:
    """Return a span's context as the runtime's ``SpanContext``."""
    return sys.modules[_MODULE].SpanContext(
        trace_id=f"{context.trace_id:032x}",
        span_id=f"{context.span_id:016x}",
        trace_flags=int(context.trace_flags),
        trace_state=context.trace_state.to_header(),
    )


def tracer_to(tracer: Any) -> Tracer | None:
    """Return what makes spans for the exporter of one of the runtime's tracers; ``None`` where it has none.

    Args:
        tracer: The runtime's ``Tracer``.
    """
    if getattr(tracer, "_exporter", None) is None:
        return None
    try:
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    except ImportError:
        return None  # Without the SDK nothing makes spans.
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(RuntimeExporter(tracer)))  # type: ignore[arg-type]
    return provider.get_tracer(SCOPE, __version__, semconv.SCHEMA_URL)

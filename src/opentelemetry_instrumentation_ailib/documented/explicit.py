"""The runtime's classes with what the page documents, for those who prefer to import it, and for editors.

They extend the runtime's own, which they import. What they add works whether or not the runtime's classes are patched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, overload

from ai_lib_python.telemetry import health as runtime_health
from ai_lib_python.telemetry import metrics as runtime_metrics
from ai_lib_python.telemetry import tracer as runtime_tracer

from opentelemetry_instrumentation_ailib.documented import health, metrics, pipe, spans
from opentelemetry_instrumentation_ailib.documented.health_report import HealthReport
from opentelemetry_instrumentation_ailib.documented.tracing import DEFAULT_NAME


class MetricsCollector(runtime_metrics.MetricsCollector):
    """The runtime's collector, with the metrics of the clients that were built with it in Prometheus' text format."""

    def export_prometheus(self) -> str:
        """Return the metrics of the clients built with this collector, in Prometheus' text format.

        Raises:
            ImportError: The extra ``prometheus`` is not installed.
        """
        return metrics.export_prometheus(self)


class Tracer(runtime_tracer.Tracer):
    """The runtime's tracer, with a way out to an OTLP endpoint, and its spans in the OpenTelemetry trace.

    Args:
        name: The tracer's name, by default the service name.
        exporter: The runtime's exporter for spans opened with :meth:`span`.
        service_name: ``service.name`` of what it exports.
        endpoint: An OTLP/gRPC endpoint: ``http://localhost:4317``.

    Raises:
        ImportError: There is a service name or an endpoint, and the extra ``otlp`` is not installed.
    """

    joins_opentelemetry: ClassVar[bool] = True

    def __init__(
        self,
        name: str | None = None,
        exporter: runtime_tracer.SpanExporter | None = None,
        *,
        service_name: str | None = None,
        endpoint: str | None = None,
    ) -> None:
        super().__init__(name or service_name or DEFAULT_NAME, exporter)
        if service_name is not None or endpoint is not None:
            pipe.connect(self, service_name or self.name, endpoint)

    @contextmanager
    def span(
        self,
        name: str,
        kind: runtime_tracer.SpanKind = runtime_tracer.SpanKind.INTERNAL,
        attributes: dict[str, Any] | None = None,
    ) -> Iterator[runtime_tracer.Span]:
        """Open a span that is current in OpenTelemetry too.

        Args:
            name: Its name.
            kind: Its kind.
            attributes: Its first attributes.
        """
        with spans.joined(self, super().span, (name, kind, attributes), {}) as span:
            yield span

    def start_span(
        self,
        name: str,
        kind: runtime_tracer.SpanKind = runtime_tracer.SpanKind.INTERNAL,
        parent: runtime_tracer.SpanContext | None = None,
        attributes: dict[str, Any] | None = None,
    ) -> runtime_tracer.Span:
        """Create a span, by default under OpenTelemetry's current one.

        Args:
            name: Its name.
            kind: Its kind.
            parent: Its parent.
            attributes: Its first attributes.
        """
        known = {"kind": kind, "parent": parent, "attributes": attributes}
        span: runtime_tracer.Span = spans.start_span(super().start_span, (name,), known)
        return span

    def shutdown(self) -> None:
        """Deliver what has not been delivered to the endpoint, and let go of the connection."""
        pipe.shutdown(self)


class HealthChecker(runtime_health.HealthChecker):
    """The runtime's health checker, which knows how the application's calls went of late."""

    @overload
    async def check(self, name: None = None) -> HealthReport: ...

    @overload
    async def check(self, name: str) -> runtime_health.HealthCheckResult: ...

    async def check(self, name: str | None = None) -> HealthReport | runtime_health.HealthCheckResult:
        """Run the registered check of a name, or return the health of everything.

        Args:
            name: The check's name.

        Raises:
            KeyError: There is no check of that name.
        """
        return await health.check(self) if name is None else await super().check(name)


__all__ = ["HealthChecker", "HealthReport", "MetricsCollector", "Tracer"]

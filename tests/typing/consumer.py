"""What a type checker sees of the installed package. It is checked by ``tox run -e typing``, and never run."""

from __future__ import annotations

from typing import Any

from ai_lib_python import AiClient
from ai_lib_python.telemetry import HealthCheckResult, MetricSnapshot
from ai_lib_python.telemetry import Span as Span_
from opentelemetry.trace import Span
from typing_extensions import assert_type

from opentelemetry_instrumentation_ailib import (
    AiLibInstrumentor,
    FeedbackCollector,
    FeedbackResult,
    HealthChecker,
    HealthReport,
    MetricsCollector,
    StreamSummary,
    Tracer,
    __version__,
    observe,
    signals_snapshot,
)

assert_type(__version__, str)


def on_response(span: Span, response: Any) -> None:
    if isinstance(response, StreamSummary):
        assert_type(response.outcome, str)
        assert_type(response.finish_reasons, tuple[str, ...])
        assert_type(response.usage.input, int | None)
        assert_type((response.bytes, response.frames, response.events), tuple[int, int, int])
        response.frames = 0  # type: ignore[misc] # A summary is frozen.


AiLibInstrumentor().instrument(response_hook=on_response, stages="none", chunk_timing=False)
AiLibInstrumentor().uninstrument()
AiLibInstrumentor().instrument(documented_api=False)


async def documented_api(client: AiClient) -> None:
    collector = MetricsCollector()
    assert_type(collector.export_prometheus(), str)
    assert_type(collector.get_snapshot(), MetricSnapshot)
    tracer = Tracer(service_name="my-app", endpoint="http://localhost:4317")
    with tracer.span("work") as span:
        assert_type(span, Span_)
    tracer.shutdown()
    observe(client, metrics=collector, tracer=tracer)
    checker = HealthChecker()
    report = await checker.check()
    assert_type(report, HealthReport)
    assert_type(report.is_healthy, bool)
    assert_type(report.details, dict[str, Any])
    assert_type(await checker.check("database"), HealthCheckResult)
    result = FeedbackCollector().record(request_id="id", rating=5, comment="Helpful", traceparent=None)
    assert_type(result, FeedbackResult)
    FeedbackCollector().record(request_id=5)  # type: ignore[arg-type]
    signals = signals_snapshot(client)
    assert_type(signals.circuit_state, str)
    assert_type(signals.current_inflight, int)

"""OpenTelemetry for one worker process: set up after the fork, flushed when the worker ends."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from opentelemetry import metrics, trace
from opentelemetry._logs import set_logger_provider
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.logging import LoggingInstrumentor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from opentelemetry_instrumentation_ailib import AiLibInstrumentor

Page = Callable[[str], tuple[bytes, str]]
"""What a scraper that accepts this gets: the page and its content type."""


@contextmanager
def running() -> Iterator[Page]:
    """Send everything by OTLP where ``OTEL_EXPORTER_OTLP_ENDPOINT`` says, and yield this worker's Prometheus page."""
    registry = CollectorRegistry()
    readers: list[MetricReader] = [PrometheusMetricReader(scope_info_enabled=False, registry=registry)]
    tracer_provider, logger_provider = TracerProvider(), LoggerProvider()
    if os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
        tracer_provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        logger_provider.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter()))
    meter_provider = MeterProvider(readers)
    trace.set_tracer_provider(tracer_provider)
    metrics.set_meter_provider(meter_provider)
    set_logger_provider(logger_provider)
    instrumentors = (AiLibInstrumentor(), HTTPXClientInstrumentor(), LoggingInstrumentor())
    for instrumentor in instrumentors:
        instrumentor.instrument()
    # A line for each call; without this only warnings are told.
    logging.getLogger("ai_lib").setLevel(logging.INFO)

    def page(accept: str) -> tuple[bytes, str]:
        encode, content_type = choose_encoder(accept)
        return encode(registry), content_type

    try:
        yield page
    finally:
        for instrumentor in instrumentors:
            instrumentor.uninstrument()
        for provider in (tracer_provider, meter_provider, logger_provider):
            provider.shutdown()

"""A FastAPI service in this process, everything instrumented: what it sends by OTLP it keeps a copy of."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
from ai_lib_python import AiClient
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcLogs
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetrics
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpans
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpLogs
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetrics
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpans
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from opentelemetry_instrumentation_ailib import AiLibInstrumentor
from recorder import Recorder

TIMEOUT = 5.0


def exporters(protocol: str, endpoint: str) -> tuple[Any, Any, Any]:
    """Return the exporters of spans, metrics and logs for ``grpc`` or ``http``."""
    if protocol == "grpc":
        grpc: dict[str, Any] = {"endpoint": endpoint, "insecure": True, "timeout": TIMEOUT}
        return GrpcSpans(**grpc), GrpcMetrics(**grpc), GrpcLogs(**grpc)
    http = (HttpSpans, "traces"), (HttpMetrics, "metrics"), (HttpLogs, "logs")
    spans, metrics, logs = (kind(endpoint=f"{endpoint}/v1/{signal}", timeout=TIMEOUT) for kind, signal in http)
    return spans, metrics, logs


class Sender(Recorder):
    """Providers that send by OTLP, besides keeping a copy.

    Args:
        protocol: ``grpc`` or ``http``.
        endpoint: Of the receiver.
        traces_only: Whether it takes nothing else.
    """

    def __init__(self, protocol: str, endpoint: str, *, traces_only: bool = False) -> None:
        super().__init__()
        spans, metrics, logs = exporters(protocol, endpoint)
        # Sent when flush() says so, or when what is queued is much.
        self.tracer_provider.add_span_processor(BatchSpanProcessor(spans, schedule_delay_millis=200))
        if not traces_only:
            periodic = PeriodicExportingMetricReader(metrics, export_interval_millis=3_600_000)
            self.reader = InMemoryMetricReader()
            self.meter_provider = MeterProvider([self.reader, periodic])
            self.logger_provider.add_log_record_processor(BatchLogRecordProcessor(logs, schedule_delay_millis=200))

    def kept_logs(self) -> list[Any]:
        """Return the log records, with their scopes."""
        return list(self._logs.get_finished_logs())

    def flush(self) -> None:
        """Send what is left."""
        for provider in (self.tracer_provider, self.meter_provider, self.logger_provider):
            provider.force_flush()

    def shutdown(self) -> None:
        """End the threads of the exporters."""
        for provider in (self.tracer_provider, self.meter_provider, self.logger_provider):
            provider.shutdown()

    @contextlib.contextmanager
    def instrumented(self) -> Iterator[None]:
        """Instrument the runtime, httpx and the runtime's loggers."""
        logger = logging.getLogger("ai_lib")
        level, handler = logger.level, LoggingHandler(logger_provider=self.logger_provider)
        instrumentors: tuple[Any, ...] = (AiLibInstrumentor(), HTTPXClientInstrumentor())
        for instrumentor in instrumentors:
            instrumentor.instrument(**self.providers)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            yield
        finally:
            logger.setLevel(level)
            logger.removeHandler(handler)
            for instrumentor in instrumentors:
                instrumentor.uninstrument()

    @contextlib.asynccontextmanager
    async def service(self, base_url: str) -> AsyncIterator[httpx.AsyncClient]:
        """Open a service that streams answers, and yield a user of it: ``/chat`` asks, ``/stream`` streams."""
        app = FastAPI()
        client = await AiClient.create("openai/gpt-4o", base_url=base_url)

        @app.get("/chat")
        async def chat() -> str:
            return str((await client.chat().user("Hello?").execute()).content)

        @app.get("/stream")
        async def stream() -> StreamingResponse:
            async def parts() -> AsyncIterator[str]:
                async for event in client.chat().user("Hello?").stream():
                    if event.is_content_delta:
                        yield event.as_content_delta.content

            return StreamingResponse(parts())

        providers = {key: value for key, value in self.providers.items() if key != "logger_provider"}
        FastAPIInstrumentor.instrument_app(app, exclude_spans=["receive", "send"], **providers)
        async with client, httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as user:
            yield user

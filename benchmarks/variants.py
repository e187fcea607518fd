"""What is compared: the bare runtime, the instrumentation without and with an SDK, and the floor."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from floor import Floor
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from workload import Workload

from opentelemetry_instrumentation_ailib import AiLibInstrumentor

BARE = "uninstrumented"
API = "instrumented, no SDK, chunk timing"
OFF = "instrumented, SDK"
ON = "instrumented, SDK, chunk timing"
FLOOR_OFF = "floor, SDK"
FLOOR_ON = "floor, SDK, chunk timing"


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
    """Providers as an application has them, with exporters that throw everything away."""

    tracer_provider: TracerProvider = field(default_factory=TracerProvider)
    meter_provider: MeterProvider = field(default_factory=lambda: MeterProvider([InMemoryMetricReader()]))
    logger_provider: LoggerProvider = field(default_factory=LoggerProvider)

    def __post_init__(self) -> None:
        self.tracer_provider.add_span_processor(BatchSpanProcessor(_NoSpans()))
        self.logger_provider.add_log_record_processor(BatchLogRecordProcessor(_NoLogs()))

    def shutdown(self) -> None:
        """End the threads of the processors."""
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()
        self.logger_provider.shutdown()


@dataclass(frozen=True)
class Variant:
    """One way to make the same calls.

    Attributes:
        name: What the report calls it.
        call: Makes one call.
        stream: Reads one stream of that many chunks.
        active: The context manager in which the two work.
        measures_calls: Whether calls are worth measuring; chunk timing makes no difference to them.
    """

    name: str
    call: Callable[[], Awaitable[None]]
    stream: Callable[[int], Awaitable[None]]
    active: Callable[[], AbstractContextManager[None]] = contextlib.nullcontext
    measures_calls: bool = True


@contextlib.contextmanager
def instrumented(chunk_timing: bool, **providers: Any) -> Iterator[None]:
    """Instrument the runtime for a while."""
    AiLibInstrumentor().instrument(chunk_timing=chunk_timing, stages="all", **providers)
    try:
        yield
    finally:
        AiLibInstrumentor().uninstrument()


def _with_sdk(name: str, workload: Workload, sdk: Sdk, *, chunk_timing: bool) -> Variant:
    def active() -> AbstractContextManager[None]:
        return instrumented(chunk_timing, **vars(sdk))

    return Variant(name, workload.call, workload.stream, active, measures_calls=not chunk_timing)


def _by_hand(name: str, workload: Workload, sdk: Sdk, *, chunk_timing: bool) -> Variant:
    floor = Floor(sdk.tracer_provider, sdk.meter_provider, chunk_timing=chunk_timing)
    return Variant(
        name,
        lambda: floor.call(workload),
        lambda chunks: floor.stream(workload, chunks),
        measures_calls=not chunk_timing,
    )


def variants(workload: Workload, sdks: Sequence[Sdk]) -> list[Variant]:
    """Return all variants, each of the four that need an SDK with one of its own."""
    instrumented_off, instrumented_on, floor_off, floor_on = sdks
    return [
        Variant(BARE, workload.call, workload.stream),
        Variant(API, workload.call, workload.stream, lambda: instrumented(chunk_timing=True)),
        _with_sdk(OFF, workload, instrumented_off, chunk_timing=False),
        _by_hand(FLOOR_OFF, workload, floor_off, chunk_timing=False),
        _with_sdk(ON, workload, instrumented_on, chunk_timing=True),
        _by_hand(FLOOR_ON, workload, floor_on, chunk_timing=True),
    ]

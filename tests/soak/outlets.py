"""Where the telemetry goes: counted, dropped, a part of it sent to a receiver that hangs now and then."""

from __future__ import annotations

import contextlib
import itertools
import logging
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from receiver import receiver

_SENT: Final = 50
"""One trace in so many is sent to the receiver: to encode them all would take the time that the calls are to have."""
_HANGS: Final = 20
"""One export in so many hangs."""
_SECONDS: Final = 0.2
# What comes in such a moment has to fit in: a queue that is full drops spans, and says so.
_QUEUE: Final = 500_000


class _Counting(SpanProcessor):
    """Counts spans. Each step of a count is atomic."""

    def __init__(self) -> None:
        self._started, self._ended = itertools.count(), itertools.count()

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        next(self._started)

    def on_end(self, span: ReadableSpan) -> None:
        next(self._ended)

    def counts(self) -> tuple[int, int]:
        # To ask a count for its number would be a step of it.
        return int(repr(self._started)[6:-1]), int(repr(self._ended)[6:-1])


class _Some(BatchSpanProcessor):
    """Passes on whole traces, a few of them."""

    def on_end(self, span: ReadableSpan) -> None:
        if span.context.trace_id % _SENT == 0:
            super().on_end(span)


class _NoSpans(SpanExporter):
    """Drops what it gets, and hangs now and then."""

    def __init__(self) -> None:
        self._exports = 0
        self._never = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._exports += 1
        if self._exports % _HANGS == 0:
            self._never.wait(_SECONDS)
        return SpanExportResult.SUCCESS


class _NoLogs(LogRecordExporter):
    def export(self, batch: Sequence[Any]) -> LogRecordExportResult:
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        return True


class Outlets:
    """Providers as an application has them.

    Args:
        endpoint: The receiver of a part of the traces.
    """

    def __init__(self, endpoint: str) -> None:
        self._counting = _Counting()
        self.reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(self._counting)
        self.tracer_provider.add_span_processor(BatchSpanProcessor(_NoSpans(), max_queue_size=_QUEUE))
        exporter = OTLPSpanExporter(f"{endpoint}/v1/traces", timeout=10)
        self.tracer_provider.add_span_processor(_Some(exporter, max_queue_size=_QUEUE))
        # Exemplars fill up as long as there are buckets without one.
        self.meter_provider = MeterProvider(
            [self.reader], exemplar_filter=AlwaysOffExemplarFilter(), shutdown_on_exit=False
        )
        self.logger_provider = LoggerProvider(shutdown_on_exit=False)
        self.logger_provider.add_log_record_processor(BatchLogRecordProcessor(_NoLogs(), max_queue_size=_QUEUE))

    @property
    def providers(self) -> dict[str, Any]:
        """The arguments for ``instrument()``."""
        return {
            "tracer_provider": self.tracer_provider,
            "meter_provider": self.meter_provider,
            "logger_provider": self.logger_provider,
        }

    def spans(self) -> tuple[int, int]:
        """Return how many spans have started, and how many have ended."""
        return self._counting.counts()

    def flush(self) -> None:
        """Wait until everything is delivered."""
        self.tracer_provider.force_flush()
        self.logger_provider.force_flush()

    def shutdown(self) -> None:
        """End the threads of the processors."""
        self.tracer_provider.shutdown()
        self.meter_provider.shutdown()
        self.logger_provider.shutdown()


@contextlib.contextmanager
def outlets() -> Iterator[Outlets]:
    """Run a receiver, and yield providers that send to it."""
    never = threading.Event()
    exports = itertools.count(1)

    def accept(path: str, body: bytes) -> None:
        if next(exports) % _HANGS == 0:
            never.wait(_SECONDS)

    with receiver() as received:
        received.accept = accept  # type: ignore[method-assign]
        made = Outlets(received.endpoint)
        try:
            yield made
        finally:
            made.shutdown()


class Complaints(logging.Handler):
    """What OpenTelemetry, asyncio and we complain of. The lines of ``ai_lib.*`` are counted and dropped.

    Attributes:
        heard: The first hundred of them.
        lines: How many lines there were about calls.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.heard: list[str] = []
        self.lines = 0

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("ai_lib."):
            self.lines += bool(record.getMessage())
        elif record.levelno >= logging.WARNING and len(self.heard) < 100:
            self.heard.append(f"{record.name}: {self.format(record)}")

    def note(self, arguments: Any) -> None:
        """Take what Python has to say of an exception that nobody caught."""
        what = getattr(arguments, "exc_value", arguments)
        self.heard.append(f"{what!r} in {getattr(arguments, 'object', None) or getattr(arguments, 'thread', None)!r}")


@contextlib.contextmanager
def complaints() -> Iterator[Complaints]:
    """Listen to them all."""
    heard, root, ours = Complaints(), logging.getLogger(), logging.getLogger("ai_lib")
    hooks = sys.unraisablehook, threading.excepthook
    level, propagates = ours.level, ours.propagate
    root.addHandler(heard)
    ours.addHandler(heard)
    ours.setLevel(logging.INFO)
    ours.propagate = False
    sys.unraisablehook = threading.excepthook = heard.note
    try:
        yield heard
    finally:
        sys.unraisablehook, threading.excepthook = hooks
        ours.setLevel(level)
        ours.propagate = propagates
        ours.removeHandler(heard)
        root.removeHandler(heard)

"""Where the telemetry goes: counted, dropped, refused, a part of it sent to a receiver that hangs now and then."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from ai_lib_python.telemetry import SpanExporter as RuntimeSpanExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter, LogRecordExportResult
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from tally import Tally

from receiver import receiver

_SENT: Final = 50
"""One trace in so many is sent to the receiver: to encode them all would take the time that the calls are to have."""
_HANGS: Final = 20
"""One export in so many hangs."""
_SECONDS: Final = 0.2
# What comes in such a moment has to fit in: a queue that is full drops spans, and says so.
_QUEUE: Final = 500_000
_SMALL_QUEUE: Final = 64
"""The length of the one that is full."""


class ExportError(Exception):
    """What an exporter raises."""


class _Counting(SpanProcessor):
    """Counts spans."""

    def __init__(self) -> None:
        self.started, self.ended = Tally(), Tally()

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.started.step()

    def on_end(self, span: ReadableSpan) -> None:
        self.ended.step()


class _Some(BatchSpanProcessor):
    """Passes on whole traces, a few of them."""

    def on_end(self, span: ReadableSpan) -> None:
        if span.context.trace_id % _SENT == 0:
            super().on_end(span)


class _NoSpans(SpanExporter):
    """Drops what it gets, and hangs now and then."""

    def __init__(self) -> None:
        self.spans = 0
        self._exports = 0
        self._never = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.spans += len(spans)
        self._exports += 1
        if self._exports % _HANGS == 0:
            self._never.wait(_SECONDS)
        return SpanExportResult.SUCCESS


class _Failing(_NoSpans):
    """Takes what it gets, refuses it, and raises, in turn. While it hangs its queue fills up."""

    def __init__(self) -> None:
        super().__init__()
        self.made = Counter({"taken": 0, "refused": 0, "lost": 0})
        self._turns = itertools.cycle(self.made)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        super().export(spans)
        turn = next(self._turns)
        self.made[turn] += len(spans)
        if turn == "lost":
            raise ExportError
        return SpanExportResult.SUCCESS if turn == "taken" else SpanExportResult.FAILURE


class _NoLogs(LogRecordExporter):
    def export(self, batch: Sequence[Any]) -> LogRecordExportResult:
        return LogRecordExportResult.SUCCESS

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 10_000) -> bool:
        return True


class Dropped(RuntimeSpanExporter):
    """Drops what a tracer of the runtime's gets."""

    def export(self, span: Any) -> None:
        pass


class Outlets:
    """Providers as an application has them.

    Args:
        endpoint: The receiver of a part of the traces.
    """

    def __init__(self, endpoint: str) -> None:
        self._counting, self._dropping, self._failing = _Counting(), _NoSpans(), _Failing()
        self.reader = InMemoryMetricReader()
        self.tracer_provider = TracerProvider(shutdown_on_exit=False)
        self.tracer_provider.add_span_processor(self._counting)
        self.tracer_provider.add_span_processor(BatchSpanProcessor(self._dropping, max_queue_size=_QUEUE))
        exporter = OTLPSpanExporter(f"{endpoint}/v1/traces", timeout=10)
        self.tracer_provider.add_span_processor(_Some(exporter, max_queue_size=_QUEUE))
        self.tracer_provider.add_span_processor(
            BatchSpanProcessor(self._failing, max_queue_size=_SMALL_QUEUE, max_export_batch_size=_SMALL_QUEUE)
        )
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

    def spans(self) -> dict[str, int]:
        """Return how many spans have started, ended and been exported, and what the exporter that fails made of its."""
        return {
            "started": self._counting.started.value,
            "ended": self._counting.ended.value,
            "exported": self._dropping.spans,
            **self._failing.made,
        }

    def differences(self) -> list[str]:
        """Return whether a span has not ended, or not been exported by the exporter that can."""
        started, ended, exported, *_ = self.spans().values()
        if started == ended == exported:
            return []
        return [f"{started} spans started, {ended} ended, {exported} exported"]

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

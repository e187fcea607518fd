"""Exporters of all three signals behind the SDK's own batch processors, and a collector that comes and goes."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter

from receiver import Receiver, served
from recorder import Recorder

Export = Callable[[Any], Any]
SIGNALS = ("traces", "metrics", "logs")


class _Spans(SpanExporter):
    """A span exporter that is a function."""

    def __init__(self, export: Export) -> None:
        self.export = export  # type: ignore[method-assign, assignment]


class _Logs(LogRecordExporter):
    """A log exporter that is a function."""

    def __init__(self, export: Export) -> None:
        self._export = export

    def export(self, batch: Sequence[Any]) -> Any:
        """Export."""
        return self._export(batch)

    def shutdown(self) -> None:
        """Do nothing."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Do nothing."""
        return True


class _Metrics(MetricExporter):
    """A metric exporter that is a function."""

    def __init__(self, export: Export) -> None:
        super().__init__()
        self._export = export

    def export(self, metrics_data: Any, timeout_millis: float = 10_000, **kwargs: Any) -> Any:
        """Export."""
        return self._export(metrics_data)

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: Any) -> None:
        """Do nothing."""

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """Do nothing."""
        return True


class Exporting(Recorder):
    """A recorder whose signals go to real batch processors as well.

    Args:
        spans: Exports spans.
        metrics: Exports metrics.
        logs: Exports log records.
        queue: The size of the queues; every item is a batch of its own.
    """

    def __init__(
        self, spans: SpanExporter, metrics: MetricExporter, logs: LogRecordExporter, *, queue: int = 2048
    ) -> None:
        super().__init__()
        sizes: dict[str, Any] = {"max_queue_size": queue, "max_export_batch_size": 1, "schedule_delay_millis": 5}
        self.tracer_provider.add_span_processor(BatchSpanProcessor(spans, **sizes))
        self.logger_provider.add_log_record_processor(BatchLogRecordProcessor(logs, **sizes))
        periodic = PeriodicExportingMetricReader(metrics, export_interval_millis=5)
        self.reader = InMemoryMetricReader()
        self.meter_provider = MeterProvider(metric_readers=[self.reader, periodic])
        self._exporters = spans, metrics, logs

    @classmethod
    def by(cls, export: Callable[[str, Any], Any], **options: Any) -> Exporting:
        """Return one whose exporters are a function of the signal and what is exported."""
        return cls(
            _Spans(lambda batch: export("traces", batch)),
            _Metrics(lambda data: export("metrics", data)),
            _Logs(lambda batch: export("logs", batch)),
            **options,
        )

    @classmethod
    def to(cls, endpoint: str, timeout: float) -> Exporting:
        """Return one that sends OTLP over HTTP."""
        return cls(
            OTLPSpanExporter(f"{endpoint}/v1/traces", timeout=timeout),
            OTLPMetricExporter(f"{endpoint}/v1/metrics", timeout=timeout),
            OTLPLogExporter(f"{endpoint}/v1/logs", timeout=timeout),
        )

    def flush(self) -> None:
        """Export what there is, or try to."""
        self.tracer_provider.force_flush()
        self.logger_provider.force_flush()
        self.meter_provider.force_flush()

    def give_up(self) -> None:
        """Let the exporters not try again what failed, since a shutdown would wait for it."""
        for exporter in self._exporters:
            exporter.shutdown()

    def shutdown(self) -> None:
        """Shut the SDK down."""
        self.tracer_provider.shutdown()
        self.logger_provider.shutdown()
        self.meter_provider.shutdown()


class Held:
    """Exporting that hangs until it is let go."""

    def __init__(self) -> None:
        self.entered = {signal: threading.Event() for signal in SIGNALS}
        self.released = threading.Event()
        self.exported: dict[str, list[Any]] = {signal: [] for signal in SIGNALS}

    def __call__(self, signal: str, batch: Any) -> Any:
        """Hang, and note what it was about."""
        self.entered[signal].set()
        self.released.wait(30)
        self.exported[signal] += batch if isinstance(batch, list) else [batch]

    def all_entered(self, signals: Sequence[str]) -> bool:
        """Wait until the exporters of these signals hang."""
        return all(self.entered[signal].wait(10) for signal in signals)


class Collector:
    """A collector that can be killed and started again on the port that it had.

    Args:
        reserved: A socket that keeps the port while it is down.
    """

    def __init__(self, reserved: socket.socket) -> None:
        self.received = Receiver()
        self._address = reserved.getsockname()
        self.endpoint = f"http://127.0.0.1:{self._address[1]}"

    @contextlib.contextmanager
    def up(self) -> Iterator[Receiver]:
        """Run it for the length of a ``with`` block."""
        received = self.received

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.accept(self.path, self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        with ThreadingHTTPServer(self._address, Handler) as server, served(server):
            yield received


@contextlib.contextmanager
def collector() -> Iterator[Collector]:
    """Reserve a port for a collector that is down."""
    with socket.socket() as reserved:
        # Bound and not listening: whoever connects is refused, and nobody else gets the port.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        yield Collector(reserved)
